"""How the search of a swarm is doing: what share of ideas holds, how fast, and whether it is stuck.

Pure; made from the latest runs of one task and tier and the verdicts on its claims. It only looks:
nothing here decides what is run.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median

from msgspec import Struct

from skep.evidence import Verdicts
from skep.evidence.claims import BASELINE
from skep.evidence.verdict import State
from skep.ports import ABLATE, FOREIGN
from skep.records import MICRO, PINNED_DRAW, Run

PLATEAU = 50
"""So many ideas in a row without one that looked good are called a plateau."""


class Health(Struct, frozen=True, kw_only=True):
    """The state of a search.

    Attributes:
        ideas: programs that their authors proposed themselves.
        claimed: share of them that passed the author's screen; None without ideas.
        states: claims by state.
        confirmed_ms: median time from a claim to the replication that confirmed it, by the clocks
            of their authors; None without any.
        gap: how much better confirmed programs look on the text of searches than on held-out
            text, beyond what their parents do; metric units, positive is a warning. None if
            nothing was scored on both.
        time: share of run time by strategy, the largest first.
        since: ideas since the last that was claimed.
        plateau: whether those are many.
    """

    ideas: int
    claimed: float | None
    states: Mapping[State, int]
    confirmed_ms: int | None
    gap: float | None
    time: Mapping[str, float]
    since: int
    plateau: bool


def health(runs: Sequence[tuple[bytes, Run]], verdicts: Verdicts, sign: int) -> Health:
    """Look at a search.

    Args:
        runs: (author, run) of one task and tier in the order they arrived.
        verdicts: on the claims of that tier.
        sign: 1 where less is better, -1 where more is.
    """
    claimed = {one.claim.claim.program for one in verdicts.claims.values()}
    ideas = _ideas(runs)
    good = [program in claimed for program in ideas]
    since = next((n for n, one in enumerate(reversed(good)) if one), len(good))
    states: defaultdict[State, int] = defaultdict(int)
    for judged in verdicts.claims.values():
        states[judged.state] += 1
    return Health(
        ideas=len(ideas),
        claimed=sum(good) / len(good) if good else None,
        states=dict(states),
        confirmed_ms=_confirmed_ms(verdicts),
        gap=_gap(runs, verdicts, sign),
        time=_time(run for _, run in runs),
        since=since,
        plateau=since >= PLATEAU,
    )


def _ideas(runs: Iterable[tuple[bytes, Run]]) -> list[bytes]:
    """Programs in the order they were first run by whoever thought of them."""
    found = (
        run.program
        for _, run in runs
        if run.parent is not None and run.strategy not in (BASELINE, ABLATE, *FOREIGN)
    )
    return list(dict.fromkeys(found))


def _confirmed_ms(verdicts: Verdicts) -> int | None:
    took = [
        max(voice.replication.time for voice in one.voices if voice.counts) - one.claim.time
        for one in verdicts.claims.values()
        if one.state == "confirmed"
    ]
    return round(median(took)) if took else None


def _time(runs: Iterable[Run]) -> dict[str, float]:
    spent: defaultdict[str, int] = defaultdict(int)
    for run in runs:
        spent[run.strategy] += run.total_ms
    total = sum(spent.values())
    ordered = sorted(spent.items(), key=lambda one: (-one[1], one[0]))
    return {name: ms / total for name, ms in ordered} if total else {}


def _gap(runs: Sequence[tuple[bytes, Run]], verdicts: Verdicts, sign: int) -> float | None:
    """Held-out minus dev of confirmed programs, less the same of their parents.

    The dev side is the pinned draw, which every search reports; the parents' held-out scores stand
    in the records of those who replicated.
    """
    pinned = {
        (author, run.program): row.micro
        for author, run in runs
        for row in run.scores
        if row.draw == PINNED_DRAW
    }
    gaps = []
    confirmed = {
        one.claim.id: one.claim.claim
        for one in verdicts.claims.values()
        if one.state == "confirmed"
    }
    for author, run in runs:
        claim = confirmed.get(run.claim) if run.claim else None
        held = [row.micro for row in run.scores if row.split == "heldout"]
        old = [row.micro for row in run.rescored if row.split == "heldout"]
        if claim is None or not held or not old:
            continue
        before, after = pinned.get((author, claim.parent)), pinned.get((author, run.program))
        if before is not None and after is not None:
            gaps.append((held[0] - after) - (fmean(old) - before))
    return sign * fmean(gaps) / MICRO if gaps else None
