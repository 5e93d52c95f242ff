"""What an idle slot should do next: ordered rules over what the own runs support. Pure.

Two experiments in flight never wait for each other, so the rules count what is still running as
if it had come in. What a proposal looks like is the strategies' business; running it is
`node.loop`'s.
"""

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from skep.events import Purpose
from skep.evidence.evalue import log_e_value
from skep.evidence.research import (
    BASELINES_MIN,
    E_KEEP,
    RERUNS_MAX,
    Candidate,
    Research,
)

SCREEN_OPTIMISM = 0.5
"""Share of a selected screening result that is believed when planning re-runs (winner's curse)."""


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


class Wait(Struct, frozen=True):
    """Nothing to do until an experiment in flight ends."""


class Stop(Struct, frozen=True):
    """The asked number of proposals is judged."""


Action = Repeat | Propose | Wait | Stop


def next_action(
    research: Research,
    flights: Sequence[Flight],
    *,
    comparable: int,
    proposals: int | None = None,
) -> Action:
    """The first rule that matches decides.

    1. The champion has too few runs that anything can be compared with: a baseline run. As long
       as it has none at all, nothing else makes sense on any slot.
    2. A promising candidate still needs evidence that is not on its way: a re-run, or the
       champion run that it has to be compared with.
    3. Otherwise something new, as long as fewer than `proposals` were made.
    4. Otherwise wait for what is in flight, or stop.

    Args:
        research: what the own runs support.
        flights: everything queued or running on any slot.
        comparable: finished runs of the champion that can still be scored on a new draw.
        proposals: stop after this many judged proposals; None for no limit.
    """
    baseline = Repeat(research.champion, "baseline")
    flying_baselines = flights.count(Flight(research.champion, "baseline"))
    baselines = comparable + flying_baselines
    if comparable == 0 or baselines < BASELINES_MIN:
        return baseline
    for candidate in _most_promising(research):
        flying = flights.count(Flight(candidate.program, "rerun"))
        if candidate.missing and not flying and not flying_baselines:
            return baseline
        if not _wants_more(research, candidate, flying, baselines):
            continue
        if baselines < candidate.reruns + flying + 1:
            return baseline
        return Repeat(candidate.program, "rerun")
    screens = sum(flight.purpose == "screen" for flight in flights)
    if proposals is None or len(research.candidates) + screens < proposals:
        return Propose()
    if flights or any(c.stage == "open" for c in research.candidates.values()):
        return Wait()
    return Stop()


def _most_promising(research: Research) -> list[Candidate]:
    waiting = [c for c in research.candidates.values() if c.stage == "open"]
    return sorted(waiting, key=_expected)


def _expected(candidate: Candidate) -> float:
    if candidate.effect is not None:
        return candidate.effect
    return SCREEN_OPTIMISM * (candidate.delta or 0.0)


def _wants_more(research: Research, candidate: Candidate, flying: int, baselines: int) -> bool:
    """Whether one more re-run should start now, given those on their way."""
    if candidate.reruns + flying >= RERUNS_MAX:
        return False
    if flying == 0:
        return True
    threshold = math.log(E_KEEP * research.reopened / (len(research.kept) + 1))
    foreseen = log_e_value(
        _expected(candidate),
        research.noise.upper,
        children=candidate.reruns + flying,
        parents=baselines,
    )
    return foreseen < threshold
