"""Budgets: from reference-seconds to steps, and back from what was metered. Pure arithmetic.

A reference-second is what the time of the probe kernel says a CPU second is worth: by definition
one in which the kernel runs 1 / `REFERENCE_PROBE_S` times. On one core of the machine that the
project was measured on (an AMD Zen 5 server at 2.6 GHz) it is a CPU second. On a GPU the budget is
wall-clock.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from skep.ports import Pace

REFERENCE_PROBE_S = 0.0075
"""CPU seconds of one probe kernel on the reference machine; defines the reference-second."""

OVERSHOOT = 0.06
"""Training beyond the budget that voids a run, as a part of the budget.

Measured on `stories` with two slots on two cores: honest runs come out at 0.99 of the budget with
sd 0.016, highest 1.04, even with three times as many busy processes as cores. Six percent more
steps are worth some 0.025 of val_bpb, less than four sd over seeds.
"""
BIAS, BIAS_WEIGHT = 0.97, 2
"""What calibrations are off by as long as nothing else is known: measured, worth so many runs."""

BIAS_MAX = 0.1
"""What one run may teach of the bias of calibrations, as a natural logarithm."""

MOST_STEPS = 2.0**40
ALLOWANCE_S = 0.2
"""Reference-seconds for what is no step: starting, saving the checkpoint."""


class Limits(Struct, frozen=True, kw_only=True):
    """What one phase may use.

    Attributes:
        cpu: CPU seconds of all its processes; infinite for no limit.
        wall: wall-clock seconds.
        memory: resident bytes of all its processes; 0 for no limit.
        file: bytes of any file it writes.
        processes: how many processes, and threads where the sandbox has a user for it; 0: no limit.
        descriptors: open files of one process.
    """

    cpu: float
    wall: float
    memory: int = 0
    file: int = 1 << 30
    processes: int = 0
    descriptors: int = 1024


class Ended(Struct, frozen=True, kw_only=True):
    """How a phase ended, as the worker saw it from outside.

    Attributes:
        status: exit status of the phase's first process, negative for a signal.
        stopped: which limit it ran into, `order` when we stopped it, else empty.
        cpu: CPU seconds of everything it started.
        wall: wall-clock seconds.
        peak: highest sum of resident bytes that was seen.
        probes: seconds of the probe kernel before, during and after.
    """

    status: int
    stopped: Literal["", "memory", "cpu", "wall", "processes", "folder", "order"]
    cpu: float
    wall: float
    peak: int
    probes: tuple[float, ...]


class Meter(Struct, frozen=True):
    """Converts between budget, steps and what was metered, for one device.

    Attributes:
        on_cpu: whether the budget is CPU time.
        speed: reference-seconds in a CPU second on the idle machine, 1 on a GPU.
    """

    on_cpu: bool
    speed: float

    def steps(
        self, budget_ms: float, step_s: float, setup_s: float, probes: Sequence[float]
    ) -> int:
        """How many optimiser steps a budget pays for by what a calibration found; at least one.

        Args:
            budget_ms: the budget.
            step_s: CPU seconds of a step, wall-clock on a GPU.
            setup_s: the same for everything before the first step; a GPU's is not charged.
            probes: seconds of the probe kernel meanwhile, on a CPU.
        """
        here_s = budget_ms / 1000
        if self.on_cpu:
            here_s = here_s * typical(probes) / REFERENCE_PROBE_S - setup_s
        return round(max(1.0, min(MOST_STEPS, here_s / step_s))) if step_s > 0 else 1

    def steps_at(self, budget_ms: int, pace: Pace) -> int:
        """The same by what an earlier run of the program cost."""
        return round(max(1.0, min(MOST_STEPS, pace.steps * budget_ms / max(1, pace.spent_ms))))

    def spent_ms(self, ended: Ended, trained_s: float) -> int:
        """What a training cost, in milliseconds of the budget's unit.

        Args:
            ended: what the worker metered.
            trained_s: wall-clock seconds since the first step, for a GPU.
        """
        if not self.on_cpu:
            return round(trained_s * 1000)
        return round(ended.cpu * REFERENCE_PROBE_S / typical(ended.probes) * 1000)

    def overshot(self, budget_ms: int, spent_ms: int) -> bool:
        """Whether more was spent than an honest run would."""
        return spent_ms > budget_ms * (1 + OVERSHOOT) + ALLOWANCE_S * 1000


class Bias:
    """By how much whole runs cost more than their calibrations foresaw, on this machine.

    A probe that is run ten times a second finds warmer caches than one a second does, so the two
    disagree by some percent, differently on every machine. What is common to all programs can be
    learned from all of them and favours none.
    """

    def __init__(self) -> None:
        self._sum = BIAS_WEIGHT * math.log(BIAS)
        self._weight = BIAS_WEIGHT

    @property
    def factor(self) -> float:
        """What to divide foreseen steps by."""
        return math.exp(self._sum / self._weight)

    def learn(self, factor: float, budget_ms: int, spent_ms: int) -> None:
        """A run whose steps had been divided by `factor` spent so much of its budget."""
        off = math.log(factor * max(1, spent_ms) / max(1, budget_ms))
        self._sum += max(-BIAS_MAX, min(BIAS_MAX, off))
        self._weight += 1


def typical(probes: Sequence[float]) -> float:
    """The probe's time over a phase: the mean of measurements without the outermost sixths.

    Training takes the mean of a machine's moods, so the median would be too low under load; single
    probes that lost their caches to other processes would spoil the plain mean.
    """
    outer = len(probes) // 6
    return statistics.mean(sorted(probes)[outer : len(probes) - outer])
