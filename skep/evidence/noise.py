"""The noise floor of one task on one hardware tier: how far the seed alone moves the metric.

It is the pooled standard deviation within programs, over seeds, drawn towards a prior by the task
pack. Not here: differences between machines, which never enter a comparison.
"""

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct

PRIOR_DOF = 10.0
"""How many degrees of freedom the task pack's own estimate of sigma is worth."""

Z_80 = 0.8416212335729143
"""80 % quantile of the standard normal."""


class Noise(Struct, frozen=True):
    """Standard deviation between seeds, in units of the metric.

    Attributes:
        sigma: best estimate.
        dof: degrees of freedom behind it, those of the prior included.
        upper: upper 80 % confidence limit of sigma; decisions use this one.
    """

    sigma: float
    dof: float
    upper: float


def noise_from(squares: float, dof: float, prior: float) -> Noise:
    """Noise from a pooled sum of squared deviations.

    Args:
        squares: sum over programs of squared deviations from the program's mean.
        dof: its degrees of freedom (runs minus programs).
        prior: the task pack's sigma, in units of the metric.
    """
    total = dof + PRIOR_DOF
    sigma = math.sqrt((squares + PRIOR_DOF * prior * prior) / total)
    return Noise(sigma=sigma, dof=total, upper=sigma * math.sqrt(total / _chi2_low(total)))


def pooled_noise(groups: Iterable[Sequence[float]], prior: float) -> Noise:
    """Noise from scores grouped by program: each group holds one program's scores over seeds."""
    squares = dof = 0.0
    for group in groups:
        mean = sum(group) / len(group) if group else 0.0
        squares += sum((value - mean) ** 2 for value in group)
        dof += max(len(group) - 1, 0)
    return noise_from(squares, dof, prior)


def _chi2_low(dof: float) -> float:
    """20 % quantile of chi-squared by Wilson and Hilferty (within 0.5 % for dof >= 10)."""
    spread = 2 / (9 * dof)
    return float(dof * (1 - spread - Z_80 * math.sqrt(spread)) ** 3)
