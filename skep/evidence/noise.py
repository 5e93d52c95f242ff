"""The noise floor of one task on one hardware tier: how far the seed alone moves the metric.

It is the pooled standard deviation within programs, over seeds, drawn towards a prior by the task
pack. Not here: differences between machines, which never enter a comparison.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from statistics import median_high

from msgspec import Struct

VOICE_DOF = 20.0
"""The most degrees of freedom that one identity's runs are worth in a swarm's noise floor."""

VOICE_SPAN = 4.0
"""How far the variance of one identity may be from the middle of all, as a factor."""

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


def swarm_noise(voices: Collection[tuple[float, float]], prior: float) -> Noise:
    """Noise from what several identities report.

    No number of runs gives one of them more weight than the middle one has, and none can be further
    from the middle than honest machines of a tier are: a thousand runs that somebody makes up, all
    alike or all far apart, would else decide what everybody else's differences mean.

    Args:
        voices: of each identity the squared deviations and their degrees of freedom, both as in
            `noise_from`.
        prior: the task pack's sigma, in units of the metric.
    """
    known = [(squares / dof, dof) for squares, dof in voices if dof > 0]
    if not known:
        return noise_from(0.0, 0.0, prior)
    # Few runs mostly show too small a variance; of two the larger is the middle.
    middle = median_high(variance / _chi2_middle(dof) for variance, dof in known)
    low, high = middle / VOICE_SPAN, middle * VOICE_SPAN
    most = min(median_high(dof for _, dof in known), VOICE_DOF)
    weights = [min(dof, most) for _, dof in known]
    squares = [
        weight * min(max(variance, low), high)
        for weight, (variance, _) in zip(weights, known, strict=True)
    ]
    return noise_from(math.fsum(squares), math.fsum(weights), prior)


def _chi2_middle(dof: float) -> float:
    """Median of a variance that was estimated with so many degrees of freedom, as a part of it."""
    return (1 - 2 / (9 * dof)) ** 3


def _chi2_low(dof: float) -> float:
    """20 % quantile of chi-squared by Wilson and Hilferty (within 0.5 % for dof >= 10)."""
    spread = 2 / (9 * dof)
    return float(dof * (1 - spread - Z_80 * math.sqrt(spread)) ** 3)
