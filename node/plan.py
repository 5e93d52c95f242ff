"""What an idle slot should do next: ordered rules over what the own runs support. Pure.

Two experiments in flight never wait for each other, so the rules count what is still running as
if it had come in. What a proposal looks like is the strategies' business; running it is
`node.loop`'s.
"""

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from node.shares import NOBODY, Swarm
from skep.events import Purpose
from skep.evidence.claims import PARENTS_MIN
from skep.evidence.research import BASELINES_MIN, Candidate, Research
from skep.evidence.rules import rule_of
from skep.ports import ADOPT, REPLICATE

SCREEN_OPTIMISM = 0.5
"""Share of a selected screening result that is believed (winner's curse)."""


class Flight(Struct, frozen=True):
    """An experiment that is queued or running."""

    program: bytes
    purpose: Purpose


class Repeat(Struct, frozen=True):
    """Run a known program again with a fresh seed."""

    program: bytes
    purpose: Literal["baseline", "rerun"]


class Propose(Struct, frozen=True):
    """Ask a strategy for something new."""


class Adopt(Struct, frozen=True):
    """Try something that a peer offers; `doubtful` is whose offers failed here before."""

    doubtful: bool


class Replicate(Struct, frozen=True):
    """Try the edit of a peer's claim, for the swarm's sake as well."""


class Wait(Struct, frozen=True):
    """Nothing to do until an experiment in flight ends."""


class Stop(Struct, frozen=True):
    """The asked number of proposals is judged."""


Action = Repeat | Propose | Adopt | Replicate | Wait | Stop


def next_action(
    research: Research,
    flights: Sequence[Flight],
    *,
    comparable: int,
    proposals: int | None = None,
    swarm: Swarm = NOBODY,
    ideas: bool = True,
) -> Action:
    """The first rule that matches decides.

    1. The champion has too few runs that anything can be compared with: a baseline run. As long
       as it has none at all, nothing else makes sense on any slot.
    2. A promising candidate still needs evidence that is not on its way: a re-run, or the
       champion run that it has to be compared with.
       What peers offered waits where it had its share.
    3. Something that a peer offers, within its share.
    4. The edit of a peer's claim, within its share.
    5. Otherwise something new, as long as fewer than `proposals` were made.
    6. Otherwise wait for what is in flight or for peers, or stop.

    Without ideas of its own, or room for more proposals, a node finishes what it has begun, and
    has all its time for offers. Of those that are doubtful no more than their part is begun.

    Args:
        research: what the own runs support.
        flights: everything queued or running on any slot.
        comparable: finished runs of the champion that can still be scored on a new draw.
        proposals: stop after this many judged proposals; None for no limit.
        swarm: what peers offer, and what their offers have cost.
        ideas: whether the node may have something of its own to try.
    """
    screens = sum(flight.purpose == "screen" for flight in flights)
    room = proposals is None or len(research.candidates) + screens < proposals
    ideas = ideas and room
    baseline = Repeat(research.champion, "baseline")
    baselines = comparable + flights.count(Flight(research.champion, "baseline"))
    if comparable == 0 or baselines < _least(research):
        return baseline
    wanted = _evidence(research, flights, baselines, swarm if ideas else None)
    if wanted is not None:
        return wanted
    if room and swarm.trusted and (not ideas or swarm.affords()):
        return Adopt(doubtful=False)
    if room and swarm.doubtful and swarm.affords_doubted() and (not ideas or swarm.affords()):
        return Adopt(doubtful=True)
    if room and swarm.claims and (not ideas or swarm.affords_replication()):
        return Replicate() if baselines >= PARENTS_MIN else baseline
    if ideas:
        return Propose()
    if room or flights or any(c.stage == "open" for c in research.candidates.values()):
        return Wait()
    return Stop()


def _evidence(
    research: Research, flights: Sequence[Flight], baselines: int, swarm: Swarm | None
) -> Repeat | None:
    """What a promising candidate still needs; `swarm` says what is affordable, if that matters."""
    baseline = Repeat(research.champion, "baseline")
    flying_baselines = flights.count(Flight(research.champion, "baseline"))
    for candidate in _most_promising(research):
        if swarm is not None and not _affordable(candidate, swarm):
            continue
        flying = flights.count(Flight(candidate.program, "rerun"))
        if candidate.missing and not flying and not flying_baselines:
            return baseline
        if not _wants_more(research, candidate, flying, baselines):
            continue
        if baselines < rule_of(candidate.strategy).parents(candidate.reruns + flying + 1):
            return baseline
        return Repeat(candidate.program, "rerun")
    return None


def _least(research: Research) -> int:
    """Champion runs without which nothing is screened: of the start program as many as tell its
    noise; of a later champion those that got it kept will do.
    """
    return BASELINES_MIN if research.champion == research.start else 1


def _affordable(candidate: Candidate, swarm: Swarm) -> bool:
    """Whether a re-run stays within the share of what peers offered, if it is such a thing."""
    if candidate.strategy == REPLICATE:
        return swarm.affords_replication()
    if candidate.strategy != ADOPT:
        return True
    doubted = candidate.program in swarm.doubted
    return swarm.affords() and (not doubted or swarm.affords_doubted())


def _most_promising(research: Research) -> list[Candidate]:
    waiting = [c for c in research.candidates.values() if c.stage == "open"]
    return sorted(waiting, key=_expected)


def _expected(candidate: Candidate) -> float:
    if candidate.effect is not None:
        return candidate.effect
    return SCREEN_OPTIMISM * (candidate.delta or 0.0)


def _wants_more(research: Research, candidate: Candidate, flying: int, baselines: int) -> bool:
    """Whether one more re-run should start now, given those on their way."""
    rule = rule_of(candidate.strategy)
    if candidate.reruns + flying >= rule.reruns:
        # With all its re-runs and none missing, the champion changed: one more brings its scores.
        return not flying and not candidate.missing
    if flying == 0:
        return True
    threshold = math.log(research.threshold(candidate.strategy))
    foreseen = rule.log_e(
        _expected(candidate),
        research.noise,
        children=candidate.reruns + flying,
        parents=baselines,
    )
    return foreseen < threshold
