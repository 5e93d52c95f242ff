"""What each strategy has brought on this machine, what it took, and whether all are stuck. Pure.

Every experiment counts a little less with each that comes after it: what worked on the start
program need not work any more.
"""

from collections.abc import Iterable, Mapping

from skep.evidence import Research
from skep.evidence.research import SETTLED
from skep.ports import ABLATE, FOREIGN, Arm
from skep.records import Run
from strategies.policy import PRIOR_WEIGHT

DECAY = 0.97
"""Weight of an experiment against that of the one after it."""

HOPED_SHARE, STUCK_SHARE = 1 / 13, 0.01
"""Part of one's ideas that are kept: as is believed where nothing is known, and where one is stuck:
after 41 failures in a row."""

SERVING = frozenset({*FOREIGN, ABLATE})
"""Strategies that are not about better programs, or not about own ideas of them."""


def arms(
    research: Research,
    runs: Iterable[tuple[bytes, Run]],
    thought_s: Mapping[str, float] | None = None,
) -> dict[str, Arm]:
    """What is known of every strategy with an experiment that is settled.

    Args:
        research: what the own runs support.
        runs: all own runs.
        thought_s: seconds that a strategy spent on thinking, by its name; spread over what it
            has proposed.
    """
    spent: dict[bytes, float] = {}
    for _, run in runs:
        spent[run.program] = spent.get(run.program, 0.0) + run.total_ms / 1000
    gains = {kept.program: -kept.effect / research.noise.sigma for kept in research.kept}
    found: dict[str, Arm] = {}
    counts: dict[str, int] = {}
    for candidate in research.candidates.values():
        if candidate.stage not in SETTLED:
            continue
        found = {name: _older(arm) for name, arm in found.items()}
        arm = found.get(candidate.strategy, Arm())
        counts[candidate.strategy] = counts.get(candidate.strategy, 0) + 1
        found[candidate.strategy] = Arm(
            tried=arm.tried + 1.0,
            gained=arm.gained + max(gains.get(candidate.program, 0.0), 0.0),
            seconds=arm.seconds + spent.get(candidate.program, 0.0),
        )
    return {
        name: Arm(
            tried=arm.tried,
            gained=arm.gained,
            seconds=arm.seconds + (thought_s or {}).get(name, 0.0) * arm.tried / counts[name],
        )
        for name, arm in found.items()
    }


def is_stuck(research: Research) -> bool:
    """Whether hardly anything can be expected of ideas like the latest.

    That is where of the next hundred not one would be kept, by what is believed at the start of
    one idea in 13, and has failed since the last that was kept.
    """
    failed = 0
    for one in research.candidates.values():
        if one.stage in SETTLED and one.strategy not in SERVING:
            failed = 0 if one.stage == "kept" else failed + 1
    return HOPED_SHARE * PRIOR_WEIGHT / (PRIOR_WEIGHT + failed) < STUCK_SHARE


def _older(arm: Arm) -> Arm:
    return Arm(tried=arm.tried * DECAY, gained=arm.gained * DECAY, seconds=arm.seconds * DECAY)
