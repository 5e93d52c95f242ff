"""What an idle slot should do next: ordered rules over what the own runs support. Pure.

Two experiments in flight never wait for each other, so the rules count what is still running as
if it had come in. What a proposal looks like is the strategies' business; running it is
`node.loop`'s.

The share of run time that goes to what peers offer is decided here, too. It is counted over all
own runs, with those in flight and the next one at the usual length, and holds as long as the node
has ideas of its own.
"""

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from skep.events import Purpose
from skep.evidence.research import BASELINES_MIN, Candidate, Research
from skep.evidence.rules import rule_of
from skep.ports import ADOPT

ADOPTION_SHARE = 0.25
"""Part of this node's run time that may go to offers of peers while it has ideas of its own."""

DOUBTED_SHARE = 0.2
"""Part of that which may go to authors of whose offers more failed here than held."""

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


class Wait(Struct, frozen=True):
    """Nothing to do until an experiment in flight ends."""


class Stop(Struct, frozen=True):
    """The asked number of proposals is judged."""


Action = Repeat | Propose | Adopt | Wait | Stop


class Swarm(Struct, frozen=True, kw_only=True):
    """What peers offer, and what their offers have cost so far.

    Attributes:
        trusted, doubtful: how many offers are left to try, by their authors' standing here.
        doubted: programs that were tried although their author's earlier offers had failed.
        total_ms: time of all own runs; those in flight count as `run_ms` each.
        spent_ms: of that, runs of what peers offered.
        doubted_ms: of that, runs of `doubted`.
        run_ms: what a run usually takes.
    """

    trusted: int = 0
    doubtful: int = 0
    doubted: frozenset[bytes] = frozenset()
    total_ms: float = 0.0
    spent_ms: float = 0.0
    doubted_ms: float = 0.0
    run_ms: float = 0.0

    def affords(self) -> bool:
        """Whether one more run of something a peer offered stays within its share."""
        return self.spent_ms + self.run_ms <= ADOPTION_SHARE * (self.total_ms + self.run_ms) + 1

    def affords_doubted(self) -> bool:
        """Whether one more run for an author of bad standing stays within that part."""
        return self.doubted_ms + self.run_ms <= DOUBTED_SHARE * (self.spent_ms + self.run_ms) + 1


NOBODY = Swarm()


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
    4. Otherwise something new, as long as fewer than `proposals` were made.
    5. Otherwise wait for what is in flight or for peers, or stop.

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
    flying_baselines = flights.count(Flight(research.champion, "baseline"))
    baselines = comparable + flying_baselines
    if comparable == 0 or baselines < BASELINES_MIN:
        return baseline
    for candidate in _most_promising(research):
        if ideas and candidate.strategy == ADOPT and not _affordable(candidate, swarm):
            continue
        flying = flights.count(Flight(candidate.program, "rerun"))
        if candidate.missing and not flying and not flying_baselines:
            return baseline
        if not _wants_more(research, candidate, flying, baselines):
            continue
        if baselines < candidate.reruns + flying + 1:
            return baseline
        return Repeat(candidate.program, "rerun")
    if room and swarm.trusted and (not ideas or swarm.affords()):
        return Adopt(doubtful=False)
    if room and swarm.doubtful and swarm.affords_doubted() and (not ideas or swarm.affords()):
        return Adopt(doubtful=True)
    if ideas:
        return Propose()
    if room or flights or any(c.stage == "open" for c in research.candidates.values()):
        return Wait()
    return Stop()


def _affordable(candidate: Candidate, swarm: Swarm) -> bool:
    """Whether a re-run of something a peer offered stays within its share."""
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
