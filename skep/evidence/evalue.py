"""The e-value of a paired comparison: how strongly runs speak for an improvement.

An e-value has expectation <= 1 when there is no improvement, so that reaching 20 by luck happens
at most once in 20 tries, whenever one stops looking.
"""

import math
from collections.abc import Sequence

EFFECTS_IN_SIGMA = (0.75, 1.5, 3.0)
"""Sizes of improvement the e-value bets on, in equal parts."""


BETWEEN_SIGMA = 0.3
"""How far the effect of one edit differs from machine to machine of a tier, in sigma."""


def variance_of(
    sigma: float, *, children: int, parents: int, between: float = BETWEEN_SIGMA
) -> float:
    """Variance of mean(child) - mean(parent) on one machine as a measurement for all of its tier.

    Args:
        sigma: noise floor, > 0.
        children, parents: number of runs, >= 1.
        between: see `BETWEEN_SIGMA`; 0 where only this machine matters.
    """
    return sigma * sigma * (1 / children + 1 / parents + between * between)


def log_e_value(
    difference: float,
    sigma: float,
    *,
    children: int,
    parents: int,
    between: float = 0.0,
    sizes: Sequence[float] = EFFECTS_IN_SIGMA,
) -> float:
    """Natural log of the e-value of `children` fresh runs against `parents` runs.

        e = mean over L in {0.75, 1.5, 3} sigma of exp((-L d - L^2/2) / v),
        v = sigma^2 (1/children + 1/parents + between^2)

    Leaving 1/parents out of v treats a noisy baseline as the truth: E[e] under the null is then
    3.1 instead of 1.

    Args:
        difference: mean(child) - mean(parent) on one draw; negative is better.
        sigma: noise floor in the same unit, > 0.
        children: number of child runs, >= 1.
        parents: number of parent runs, >= 1.
        between: see `variance_of`; 0 for what a machine finds for itself.
        sizes: of improvement in sigma, to bet on in equal parts.
    """
    variance = variance_of(sigma, children=children, parents=parents, between=between)
    exponents = [
        (-size * difference - size * size / 2) / variance
        for size in (factor * sigma for factor in sizes)
    ]
    top = max(exponents)
    return top + math.log(sum(math.exp(x - top) for x in exponents) / len(exponents))
