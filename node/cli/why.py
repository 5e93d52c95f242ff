"""`skep why`: what the swarm thinks of a claim, with every number behind it, in words."""

from gossip.identity import friendly_name, peer_id
from node.cli.output import AsJson, emit, facts, number, say, short, table
from node.cli.reading import Reading, reading
from node.cli.show import Ident
from node.explain import e_value, headline, meaning, of_voice
from node.export.documents import Document
from node.verdicts import claims_of, roots_of, verdicts
from skep.errors import UnknownId
from skep.evidence import Verdict, Verdicts, Voice
from skep.ports import TaskFacts


def why(ident: Ident, /, *, json: AsJson = False) -> None:
    """Why a claim is confirmed, refuted or still open: who re-ran it, and what that adds up to.

    Args:
        ident: id of a claim, or of a program that was claimed.
        json: print a JSON object.
    """
    with reading() as home:
        task, claims = _claims(home, home.resolve(ident))
        counted = roots_of(home.home.root, home.ledger.me)
        known = {
            here: verdicts(home.ledger, task, here, counted)
            for here in dict.fromkeys(claims.values())
            if here is not None
        }
        if json:
            documents = [_document(known, one, here) for one, here in claims.items()]
            emit({"task": task.name, "metric": task.metric, "claims": documents})
            return
        for place, (claim, here) in enumerate(claims.items()):
            if place:
                say()
            if here is None:
                say(f"claim {short(claim)}: the run that it rests on is not here")
            else:
                _explain(home, task, known[here], known[here].claims[claim], here)


def _claims(home: Reading, content_id: bytes) -> tuple[TaskFacts, dict[bytes, str | None]]:
    for task in home.tasks:
        found = claims_of(home.ledger, task, content_id)
        if found:
            return task, found
    raise UnknownId(
        f"nobody has claimed {short(content_id)}",
        "`skep show` has what this machine knows of it.",
    )


def _explain(home: Reading, task: TaskFacts, known: Verdicts, one: Verdict, here: str) -> None:
    claim, me = one.claim, home.ledger.me
    sign = -1 if task.direction == "max" else 1
    facts(
        [
            ("claim", claim.id.hex()),
            ("by", _name(claim.author, me)),
            ("program", f"{short(claim.claim.program)} instead of {short(claim.claim.parent)}"),
            ("edit", claim.claim.note),
            ("tier", here),
            ("its word", f"{sign * claim.effect:+.6f} {task.metric}; never counted as evidence"),
            ("verdict", headline(known, one)),
        ]
    )
    if one.voices:
        say()
        table(
            ("machine", "on", "runs", "against", "difference", "σ", "e", "heard"),
            [_row(known, voice, claim.claim.parent, sign, me) for voice in one.voices],
            words=("machine", "on", "heard"),
        )
    say()
    for sentence in meaning(task, known, one):
        say(sentence)
    say(
        f"\nidentities that count on this tier: {known.identities}; {known.confirmed} of "
        f"{known.replicated} claims that were re-run are confirmed; σ = {known.sigma:.6f}"
    )


def _row(known: Verdicts, voice: Voice, parent: bytes, sign: int, me: bytes) -> tuple[str, ...]:
    made = voice.replication
    return (
        _name(made.author, me),
        "its parent" if made.parent == parent else short(made.parent),
        str(made.children),
        str(made.parents),
        f"{sign * made.difference:+.6f}",
        number(made.difference / known.sigma, "+.1f"),
        e_value(voice.log_e),
        of_voice(known, voice),
    )


def _name(author: bytes, me: bytes) -> str:
    return "me" if author == me else friendly_name(author)


def _document(known: dict[str, Verdicts], claim: bytes, here: str | None) -> Document:
    if here is None:
        return {"claim": claim.hex(), "tier": None, "state": None}
    swarm, one = known[here], known[here].claims[claim]
    return {
        "claim": claim.hex(),
        "tier": here,
        "state": one.state,
        "author": peer_id(one.claim.author),
        "program": one.claim.claim.program.hex(),
        "parent": one.claim.claim.parent.hex(),
        "note": one.claim.claim.note,
        "claimed": one.claim.effect,
        "effect": one.effect,
        "spread": one.spread,
        "measured": one.measured,
        "log_e": one.log_e,
        "log_threshold": swarm.log_threshold,
        "log_cap": swarm.log_cap,
        "sigma": swarm.sigma,
        "identities": swarm.identities,
        "replicated": swarm.replicated,
        "confirmed": swarm.confirmed,
        "voices": [_voice(voice) for voice in one.voices],
    }


def _voice(voice: Voice) -> Document:
    made = voice.replication
    return {
        "author": peer_id(made.author),
        "name": friendly_name(made.author),
        "parent": made.parent.hex(),
        "counts": voice.counts,
        "difference": made.difference,
        "children": made.children,
        "parents": made.parents,
        "split": made.split,
        "log_e": voice.log_e,
        "heard": voice.clipped,
        "runs": [run.hex() for run in made.runs],
    }
