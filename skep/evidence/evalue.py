"""The e-value of a paired comparison: how strongly runs speak for an improvement.

An e-value has expectation <= 1 when there is no improvement, so that reaching 20 by luck happens
at most once in 20 tries, whenever one stops looking.
"""

import math

EFFECTS_IN_SIGMA = (0.75, 1.5, 3.0)
"""Sizes of improvement the e-value bets on, in equal parts."""


def log_e_value(difference: float, sigma: float, *, children: int, parents: int) -> float:
    """Natural log of the e-value of `children` fresh runs against `parents` runs.

        e = mean over L in {0.75, 1.5, 3} sigma of exp((-L d - L^2/2) / v),
        v = sigma^2 (1/children + 1/parents)

    Leaving 1/parents out of v treats a noisy baseline as the truth: E[e] under the null is then
    3.1 instead of 1.

    Args:
        difference: mean(child) - mean(parent) on one draw; negative is better.
        sigma: noise floor in the same unit, > 0.
        children: number of child runs, >= 1.
        parents: number of parent runs, >= 1.
    """
    variance = sigma * sigma * (1 / children + 1 / parents)
    exponents = [
        (-size * difference - size * size / 2) / variance
        for size in (factor * sigma for factor in EFFECTS_IN_SIGMA)
    ]
    top = max(exponents)
    return top + math.log(sum(math.exp(x - top) for x in exponents) / len(exponents))
