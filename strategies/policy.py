"""Which strategy is asked first for an idea: Thompson sampling of what each brings a second. Pure.

An arm is worth the gain of what was kept of it, in noise floors, over the time that all it proposed
has taken, a model's thinking included. What it costs when it fails is charged, what it gains when
it helps counts, and harm counts as nothing. From what is known of each a rate is drawn; the largest
goes first, so that a good arm gets most of the time and an unknown one is tried. What peers offer
has its shares of time elsewhere (`node.shares`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from skep.ports import Arm, Strategy

FLOOR = 0.05
"""Part of the decisions in which one arm is asked first whatever is known of it."""

PRIOR_GAIN = 0.15
"""What an experiment brings, in noise floors, where nothing is known: one in 13 helps, by 2."""

PRIOR_WEIGHT = 6.0
"""Experiments that this is worth."""

SPREAD = 0.7
"""Standard deviation of what one experiment brings, in noise floors: mostly nothing, seldom 2."""

UNKNOWN = Arm()


def in_order(
    strategies: Sequence[Strategy], arms: Mapping[str, Arm], run_s: float, seed: int
) -> list[Strategy]:
    """Strategies in the order in which they are asked.

    Args:
        strategies: all that have ideas of their own; where nothing is known their order counts
            for nothing.
        arms: what is known of each, by name.
        run_s: seconds that an experiment usually takes.
        seed: same seed, same order.
    """
    rng = np.random.default_rng(seed)
    rates = {one.name: _drawn(arms.get(one.name, UNKNOWN), run_s, rng) for one in strategies}
    ordered = sorted(strategies, key=lambda one: -rates[one.name])
    if ordered and rng.random() < FLOOR * len(ordered):
        first = ordered[int(rng.integers(len(ordered)))]
        ordered = [first, *(one for one in ordered if one is not first)]
    return ordered


def _drawn(arm: Arm, run_s: float, rng: np.random.Generator) -> float:
    """Noise floors a second that an arm may bring."""
    weight = arm.tried + PRIOR_WEIGHT
    mean = (arm.gained + PRIOR_GAIN * PRIOR_WEIGHT) / weight
    seconds = (arm.seconds + max(run_s, 1e-3) * PRIOR_WEIGHT) / weight
    gain = rng.normal(mean, SPREAD / math.sqrt(weight))
    return max(float(gain), 0.0) / seconds
