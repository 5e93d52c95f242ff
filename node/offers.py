"""What peers say is better than what they started from: their champions and open claims. Pure.

A peer's champion is what the shipped fold makes of its runs, one fold for each author, kept up run
by run in the order in which records arrive here. None of it is believed: an author's numbers order
what is tried first, and rule out what is no better by its own author's word.

What was found on another tier is on offer too, once its author's own re-runs have kept it there, so
that quick machines search for slow ones: it is believed by half, and opens no claim here. Numbers
of different tiers never meet in one fold.

Taking back a run changes nothing here; taking back a claim withdraws it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from gossip.identity import friendly_name
from node.plan import SCREEN_OPTIMISM
from skep.evidence import Candidate, Fold, Kept, Research
from skep.evidence.research import SETTLED
from skep.ports import TaskFacts
from skep.records import MICRO, Claim, Payload, Retract, Run, Unknown, program_id
from skep.tier import tier

OFFERS_MAX = 4
"""Programs of one author that are on offer at a time: its champion, and its best open claims."""

TIERS_MAX = 8
"""Other tiers that are listened to: whoever invents more of them is not heard."""

BELIEVED_ELSEWHERE = 0.5
"""Part of a gain on another tier that is expected here."""

CLAIMS_MAX = 64
"""Open claims of one author that are kept in mind; more are not listened to."""


name_of = lru_cache(maxsize=4096)(friendly_name)


class Lead(Struct, frozen=True, kw_only=True):
    """A program that an author says is better; its text may not be known here yet.

    Attributes:
        program: content id.
        author: whose word it is.
        claim: id of the claim that a run of it replicates.
        estimate: by the author's numbers, against this node's champion; negative is better.
        gain: the same, against the program that the author's search began with.
        parent: the program that it was made from.
        chain: that one and all that led from there to this program, with their gains, in order.
        note: the hypothesis behind it, as far as it was claimed.
    """

    program: bytes
    author: bytes
    claim: bytes | None
    estimate: float
    gain: float
    parent: bytes
    chain: dict[bytes, float]
    note: str


class Seen(Struct, frozen=True, gc=False):
    """An author's first run of a program: its record id, and whether it finished."""

    id: bytes
    done: bool


class Author:
    """What one peer's records come to."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.claims: dict[bytes, tuple[bytes, Claim]] = {}
        """Claim by program, with its id."""
        self._gains: dict[bytes, float] = {fold.start: 0.0}

    @property
    def gains(self) -> dict[bytes, float]:
        """Gain since the start of every program of the chain that leads to the champion."""
        if len(self._gains) <= len(self.fold.kept):
            self._gains = gains(self.fold.start, self.fold.kept)
        return self._gains


class Peers:
    """Everything that other authors say of one task on one tier.

    Args:
        task: its facts.
        here: this node's tier.
        me: this node's own key, whose records are not looked at.
    """

    def __init__(self, task: TaskFacts, here: str, me: bytes) -> None:
        self._task = task
        self._here = here
        self._me = me
        self._sign = -1 if task.direction == "max" else 1
        self._authors: dict[bytes, Author] = {}
        self._first: dict[bytes, dict[bytes, Seen]] = {}
        self._claims: dict[bytes, tuple[bytes, bytes]] = {}
        self._names: dict[str, bytes] = {}
        self._elsewhere: dict[str, Peers] = {}
        """The same of other tiers."""

    @property
    def authors(self) -> Sequence[bytes]:
        """Everybody who has a run or a claim, in the order they were first heard of; those of
        this tier first.
        """
        found = dict.fromkeys(self._authors)
        for there in self._elsewhere.values():
            found.update(dict.fromkeys(there.authors))
        return tuple(found)

    def take(self, content_id: bytes, author: bytes, payload: Payload | Unknown) -> None:
        """Take in one record of the task; costs the same however many came before."""
        if author == self._me:
            return
        if isinstance(payload, Run) and payload.scored_by == self._task.scored_by:
            there = tier(payload.environment)
            if there != self._here:
                self._take_elsewhere(there, content_id, author, payload)
                return
            seen = Seen(content_id, payload.status == "done")
            self._first.setdefault(payload.program, {}).setdefault(author, seen)
            self._author(author, payload).fold.add(content_id, payload)
        elif isinstance(payload, Claim):
            self._take_claim(content_id, author, payload)
        elif isinstance(payload, Retract):
            self._withdraw(author, payload.record)

    def first_run(self, program: bytes, author: bytes) -> bytes | None:
        """Record id of an author's first run of a program: it says how the program is made."""
        seen = self._first.get(program, {}).get(author)
        if seen is not None:
            return seen.id
        return _first(there.first_run(program, author) for there in self._elsewhere.values())

    def ran(self, program: bytes) -> bool:
        """Whether somebody else has run a program on this tier."""
        return program in self._first

    def origin(self, program: bytes, claim: bytes | None) -> bytes | None:
        """Whose offer a program was: the claim's author, else whose run of it came here first."""
        if claim in self._claims:
            return self._claims[claim][0]
        here = next(iter(self._first.get(program, ())), None)
        if here is not None:
            return here
        return _first(there.origin(program, None) for there in self._elsewhere.values())

    def named(self, name: str) -> bytes | None:
        """Who goes by a name; None if nobody was heard of."""
        here = self._names.get(name)
        return here or _first(there.named(name) for there in self._elsewhere.values())

    def parent_of(self, claim: bytes | None) -> bytes | None:
        """The program that a claim's program is said to be better than; None if not known."""
        author, program = self._claims.get(claim, (b"", b"")) if claim else (b"", b"")
        _, known = self._authors[author].claims.get(program, (b"", None)) if author else (b"", None)
        return known.parent if known else None

    def leads(self, author: bytes, own: Research, known: Callable[[bytes], bool]) -> list[Lead]:
        """What an author has to offer, best first by its own numbers, at most `OFFERS_MAX`.

        Args:
            author: whose.
            own: what this node's runs support.
            known: tells programs that were tried here.
        """
        mine = gains(own.start, own.kept)
        leads = [lead for lead in self._all_leads(author, mine) if not known(lead.program)]
        better = [one for one in leads if one.estimate < 0 or fresh(one, mine) < 0]
        return sorted(better, key=_estimate)[:OFFERS_MAX]

    def _all_leads(self, author: bytes, mine: dict[bytes, float]) -> Iterator[Lead]:
        """Leads of this tier, and the champions that an author has on others."""
        found = self._authors.get(author)
        if found is not None:
            yield from self._leads(author, found, mine)
        for there in self._elsewhere.values():
            found = there._authors.get(author)
            if found is not None and found.fold.kept:
                last = found.fold.kept[-1]
                yield half(there._lead(author, last.program, last.parent, 0.0, mine))

    def _leads(self, author: bytes, found: Author, mine: dict[bytes, float]) -> Iterator[Lead]:
        champion, fold = found.fold.champion, found.fold
        if champion != fold.start:
            yield self._lead(author, champion, fold.kept[-1].parent, 0.0, mine)
        for program, (_, claim) in found.claims.items():
            screen = self._first.get(program, {}).get(author)
            if screen is not None and screen.done and not is_settled(fold, program):
                effect = believed(fold.candidates.get(program), self._sign * claim.effect / MICRO)
                yield self._lead(author, program, claim.parent, effect, mine)

    def claimed(self, author: bytes) -> list[Lead]:
        """The claims of an author that its own re-runs have kept, oldest first."""
        found = self._authors.get(author)
        if found is None:
            return []
        mine = {found.fold.start: 0.0}
        return [
            replace(
                self._lead(author, kept.program, known[1].parent, 0.0, mine), estimate=kept.effect
            )
            for kept in found.fold.kept
            if (known := found.claims.get(kept.program)) is not None
        ]

    def _lead(
        self, author: bytes, program: bytes, parent: bytes, effect: float, mine: dict[bytes, float]
    ) -> Lead:
        """A champion, or what is better than a program of its chain by an effect."""
        found = self._authors[author]
        claim_id, claim = found.claims.get(program, (None, None))
        chain = list(found.gains.items())
        length = next((n for n, (one, _) in enumerate(chain, 1) if one == parent), 0)
        origin = program if program in found.gains else parent
        return Lead(
            program=program,
            author=author,
            claim=claim_id,
            estimate=ahead(origin, effect, found.gains, mine),
            gain=found.gains.get(origin, 0.0) + effect,
            parent=parent,
            chain=dict(chain[:length]),
            note=claim.note if claim else "",
        )

    def _take_elsewhere(self, there: str, content_id: bytes, author: bytes, run: Run) -> None:
        if there not in self._elsewhere and len(self._elsewhere) < TIERS_MAX:
            self._elsewhere[there] = Peers(self._task, there, self._me)
        if there in self._elsewhere:
            self._elsewhere[there].take(content_id, author, run)

    def _author(self, author: bytes, run: Run | None = None) -> Author:
        """What is known of an author; its search starts with the first program without a parent."""
        if author not in self._authors:
            task = self._task
            started = run is not None and run.parent is None
            fold = Fold(
                start=run.program if run and started else program_id(task.seed_program),
                direction=task.direction,
                sigma_prior=task.sigma,
                noise_prior=task.noise,
            )
            self._authors[author] = Author(fold)
            self._names.setdefault(name_of(author), author)
        return self._authors[author]

    def _take_claim(self, content_id: bytes, author: bytes, claim: Claim) -> None:
        claims = self._author(author).claims
        if claim.program in claims:
            return
        if len(claims) >= CLAIMS_MAX:
            self._forget_settled(author)
        if len(claims) < CLAIMS_MAX:
            claims[claim.program] = content_id, claim
            self._claims[content_id] = author, claim.program

    def _forget_settled(self, author: bytes) -> None:
        """Drop the claims that their author's own runs have settled."""
        found = self._authors[author]
        for program in [one for one in found.claims if is_settled(found.fold, one)]:
            del found.claims[program]

    def _withdraw(self, author: bytes, record: bytes) -> None:
        by, program = self._claims.get(record, (b"", b""))
        if by == author:
            self._authors[author].claims.pop(program, None)


def is_settled(fold: Fold, program: bytes) -> bool:
    """Whether an author's own runs have a verdict on a program.

    One whose comparison is not known here, because the baselines did not come along, has none.
    """
    candidate = fold.candidates.get(program)
    if candidate is None or candidate.stage not in SETTLED:
        return False
    return candidate.stage != "discarded" or candidate.delta is not None


def believed(candidate: Candidate | None, screen: float) -> float:
    """What an author's numbers promise of a claim: the mean of its re-runs, or part of the screen
    that selected it; by itself that is half luck.

    Args:
        candidate: what the author's own runs say of it.
        screen: claimed effect; negative is better.
    """
    if candidate is not None and candidate.effect is not None:
        return candidate.effect
    return SCREEN_OPTIMISM * screen


def half(lead: Lead) -> Lead:
    """What a lead of another tier promises here."""
    part = BELIEVED_ELSEWHERE
    chain = {program: part * gain for program, gain in lead.chain.items()}
    return replace(lead, estimate=part * lead.estimate, gain=part * lead.gain, chain=chain)


def gains(start: bytes, kept: Sequence[Kept]) -> dict[bytes, float]:
    """Effect of every program of a chain against its start, by its author's evidence."""
    found, total = {start: 0.0}, 0.0
    for one in kept:
        total += one.effect
        found[one.program] = total
    return found


def ahead(
    program: bytes, effect: float, theirs: dict[bytes, float], mine: dict[bytes, float]
) -> float:
    """How much better than this node's champion an author's numbers make a program; negative is.

    Both chains are measured from the last program that they have in common. Where there is none
    the author's own gain has to do.

    Args:
        program: in the author's chain, or in the own one; else only the effect counts.
        effect: what comes on top of it.
        theirs: gains of the author's chain, in its order.
        mine: gains of the own one, the champion last.
    """
    own = next(reversed(mine.values()))
    if program in mine and program not in theirs:
        return mine[program] + effect - own
    if program not in theirs:
        return effect
    total = theirs[program] + effect
    shared = next((one for one in reversed(theirs) if one in mine), None)
    if shared is None:
        return total
    return total - theirs[shared] - (own - mine[shared])


def fresh(lead: Lead, mine: Collection[bytes]) -> float:
    """What a program gains since the last one of its chain that this node had, too; 0 without."""
    shared = next((gain for one, gain in reversed(lead.chain.items()) if one in mine), None)
    return 0.0 if shared is None else lead.gain - shared


def _estimate(lead: Lead) -> float:
    return lead.estimate


def _first(found: Iterable[bytes | None]) -> bytes | None:
    return next((one for one in found if one is not None), None)
