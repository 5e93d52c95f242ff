"""Whose replications count: roots, and identities whose results have agreed with them. Pure.

A key costs nothing, so nobody counts for being there. An identity earns *standing* by re-running
claims that somebody who counts has re-run too, and getting the same result within the noise; a
thousand keys that agree with one another have earned nothing. It loses it when its numbers keep
being outliers. Roots (myself; in a lab all members) need not earn it; against them an outlier
speaks only where two others disagree with it, for of two who differ either may be wrong.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from skep.evidence.claims import Claimed
from skep.evidence.evalue import variance_of

AGREEMENTS_MIN = 4
"""Claims on which an identity has to agree with those that count."""

AGREES_Z2 = 4.0
"""A result agrees within two standard deviations."""

OUTLIER_Z2 = 4.0
"""Mean squared deviation, in variances, at which standing is lost."""

OUTLIER_MIN = 4
OUTLIER_LAST = 12

MEDIAN_VARIANCE = 1.57
"""Variance of a median of n normal values, times n (pi/2)."""

CLAIM_RUNS = (1, 3)
"""Child and parent runs behind what an author claims: its screen."""

ROOT_OTHERS = 2
"""Others that have to disagree with a root; with anybody else one that counts is enough."""

ROUNDS_MAX = 16


class Standing(Struct, frozen=True, kw_only=True):
    """What an identity's replications, and its own claims, came to beside those that count.

    Attributes:
        agreed: claims on which it agreed.
        compared: claims on which it could be compared.
        deviation: mean z² of its last replications; None for fewer than four.
        overclaimed: the same of the numbers in its own claims.
        counts: whether its replications count.
    """

    agreed: int = 0
    compared: int = 0
    deviation: float | None = None
    overclaimed: float | None = None
    counts: bool = False

    @property
    def worst(self) -> float:
        """The larger of the two deviations; 0 where neither is known."""
        return max(self.deviation or 0.0, self.overclaimed or 0.0)


class Deviation(Struct, frozen=True, order=True):
    """How far one number was from those of others, in variances; ordered by its author's clock."""

    time: int
    claim: bytes
    z2: float
    others: int


def standings(
    claims: Collection[Claimed], roots: Collection[bytes], sigma: float
) -> dict[bytes, Standing]:
    """Standing of everybody who has replicated or claimed anything, and of the roots.

    Whoever comes to count can vouch for others, so this goes on until nothing changes.

    Args:
        claims: of one tier, with their replications.
        roots: identities that count without having earned it.
        sigma: noise floor of the tier.
    """
    everybody = {one for claim in claims for one in (claim.author, *claim.replications)}
    counted, lost = frozenset(roots), set[bytes]()
    found: dict[bytes, Standing] = {}
    for _ in range(ROUNDS_MAX + len(everybody)):
        replicated, claimed = _deviations(claims, counted, sigma)
        found = {
            one: _standing(
                ROOT_OTHERS if one in roots else 1, replicated.get(one, []), claimed.get(one, [])
            )
            for one in sorted(everybody | set(roots))
        }
        outliers = [one for one in counted if not found[one].counts]
        if outliers:
            # Only the worst: those it was compared with may look bad because of it.
            lost.add(max(outliers, key=lambda one: (found[one].worst, one)))
        now = frozenset(one for one, standing in found.items() if standing.counts)
        now = (now | frozenset(outliers)) - lost
        if now == counted:
            break
        counted = now
    return {one: replace(found[one], counts=one in counted) for one in found}


def _standing(others: int, replicated: list[Deviation], claimed: list[Deviation]) -> Standing:
    """What deviations come to; `others` is 2 for a root, which counts until it is an outlier."""
    agreed = sum(one.z2 <= AGREES_Z2 for one in replicated)
    deviation, overclaimed = _mean_of_last(replicated, others), _mean_of_last(claimed, others)
    honest = all(mean is None or mean <= OUTLIER_Z2 for mean in (deviation, overclaimed))
    earned = others == ROOT_OTHERS or agreed >= AGREEMENTS_MIN
    return Standing(
        agreed=agreed,
        compared=len(replicated),
        deviation=deviation,
        overclaimed=overclaimed,
        counts=honest and earned,
    )


def _mean_of_last(deviations: list[Deviation], others: int) -> float | None:
    last = sorted(one for one in deviations if one.others >= others)[-OUTLIER_LAST:]
    return sum(one.z2 for one in last) / len(last) if len(last) >= OUTLIER_MIN else None


def _deviations(
    claims: Iterable[Claimed], counted: Collection[bytes], sigma: float
) -> tuple[Mapping[bytes, list[Deviation]], Mapping[bytes, list[Deviation]]]:
    """Of every identity's replications, and of every author's claims, from those that count."""
    replicated: defaultdict[bytes, list[Deviation]] = defaultdict(list)
    claimed: defaultdict[bytes, list[Deviation]] = defaultdict(list)
    told = _variance(*CLAIM_RUNS, sigma)
    for claim in claims:
        found = {
            one: (it.difference, _variance(it.children, it.parents, sigma))
            for one, it in claim.replications.items()
        }
        counting = {one: found[one] for one in found if one in counted}
        if not counting:
            continue
        for one, mine in found.items():
            others = [other for author, other in counting.items() if author != one]
            if others:
                time = claim.replications[one].time
                z2 = _z2(mine, others)
                replicated[one].append(Deviation(time, claim.id, z2, len(others)))
        # One that looked good was claimed because it did; what it lost since is no lie.
        z2 = _z2((min(0.0, claim.effect + sigma), told), list(counting.values()))
        claimed[claim.author].append(Deviation(claim.time, claim.id, z2, len(counting)))
    return replicated, claimed


def _z2(mine: tuple[float, float], others: list[tuple[float, float]]) -> float:
    """Squared distance from the median of others, in variances; each a value and its variance."""
    value, variance = mine
    middle = median(one for one, _ in others)
    spread = sum(its for _, its in others) / len(others)
    return (value - middle) ** 2 / (variance + MEDIAN_VARIANCE * spread / len(others))


def _variance(children: int, parents: int, sigma: float) -> float:
    return max(variance_of(sigma, children=children, parents=parents), math.ulp(1.0) ** 2)
