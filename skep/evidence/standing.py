"""Whose replications count: roots, and identities whose results have agreed with them. Pure.

A key costs nothing, so nobody counts for being there. An identity earns *standing* by re-running
claims that somebody who counts has re-run too, and getting the same result within the noise; a
thousand keys that agree with one another have earned nothing. It loses it when its numbers keep
being outliers. Roots (myself; in a lab all members) need not earn it; against them an outlier
speaks only where two others disagree with it, for of two who differ either may be wrong.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable
from statistics import median, median_low
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from skep.evidence.claims import Claimed, Replication
from skep.evidence.evalue import variance_of

Number = TypeVar("Number", int, float)

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

HOPS_MAX = 16
"""So often may those who have come to count vouch for others. Nobody honest is so far from a root,
and a row of keys of which each agrees with the one before has no end."""

AT_ONCE = 4
"""Of the outliers of a round every fourth is dropped, the worst first."""


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
    """How far one number was from those of others, in variances.

    Attributes:
        time: when the claim was re-run by those others, by the clock of the one in their middle:
            by its own clock everybody could have re-run last what it is proud of.
        claim: the claim.
        z2: squared distance from their median, in variances.
        others: how many they are.
    """

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
    return _Standings(claims, frozenset(roots), sigma).settled()


class _Standings:
    """Standings as they come to be, round by round.

    In each only those are looked at anew whom the one before can have changed. A thousand keys
    that contradict one another would else take a thousand times all that was ever said.
    """

    def __init__(self, claims: Collection[Claimed], roots: frozenset[bytes], sigma: float) -> None:
        self._claims = {claim.id: claim for claim in claims}
        self._roots = roots
        self._sigma = sigma
        self._of: defaultdict[bytes, list[Claimed]] = defaultdict(list)
        """Claims that an identity has replicated."""
        for claim in claims:
            for one in claim.replications:
                self._of[one].append(claim)
        self._replicated: defaultdict[bytes, dict[bytes, Deviation]] = defaultdict(dict)
        self._claimed: defaultdict[bytes, dict[bytes, Deviation]] = defaultdict(dict)
        authors = {claim.author for claim in claims}
        self._found = {
            one: _standing(self._others(one), [], []) for one in {*self._of, *authors, *roots}
        }
        self._counted = set(roots)
        self._earned = set(roots)
        self._lost: set[bytes] = set()

    def settled(self) -> dict[bytes, Standing]:
        """Standing of everybody once nothing changes any more."""
        changed, hops = set(self._roots), 0
        while changed:
            self._look_at(changed)
            outliers = sorted(self._counted - self._earned, key=self._how_bad, reverse=True)
            # Only the worst: those they were compared with may look bad because of them.
            self._lost.update(outliers[: math.ceil(len(outliers) / AT_ONCE)])
            now = (self._earned | set(outliers)) - self._lost
            hops += not now <= self._counted
            if hops > HOPS_MAX:
                now &= self._counted
            changed, self._counted = now ^ self._counted, now
        return {
            one: replace(standing, counts=one in self._counted)
            for one, standing in sorted(self._found.items())
        }

    def _others(self, one: bytes) -> int:
        return ROOT_OTHERS if one in self._roots else 1

    def _how_bad(self, one: bytes) -> tuple[float, bytes]:
        return self._found[one].worst, one

    def _look_at(self, changed: Iterable[bytes]) -> None:
        """Take in that these have come to count, or no longer do."""
        touched = {claim.id for one in changed for claim in self._of[one]}
        stale: set[bytes] = set()
        for content_id in touched:
            claim = self._claims[content_id]
            self._compare(claim)
            stale.update(claim.replications, (claim.author,))
        for one in stale:
            found = self._found[one] = _standing(
                self._others(one), self._replicated[one].values(), self._claimed[one].values()
            )
            (self._earned.add if found.counts else self._earned.discard)(one)

    def _compare(self, claim: Claimed) -> None:
        """Compare everybody's replication of a claim, and its author's number, with those of
        others that count."""
        counting = {one: it for one, it in claim.replications.items() if one in self._counted}
        all_of_them = _Others(
            claim=claim.id,
            values=sorted(it.difference for it in counting.values()),
            times=sorted(it.time for it in counting.values()),
            variance=math.fsum(self._variance(it) for it in counting.values()),
        )
        for one, it in claim.replications.items():
            mine = it.difference, self._variance(it)
            others = all_of_them.without(it, mine[1]) if one in counting else all_of_them
            _note(self._replicated[one], claim.id, others.deviation(*mine))
        # One that looked good was claimed because it did; what it lost since is no lie.
        told = min(0.0, claim.effect + self._sigma), _variance(*CLAIM_RUNS, self._sigma)
        _note(self._claimed[claim.author], claim.id, all_of_them.deviation(*told))

    def _variance(self, it: Replication) -> float:
        return _variance(it.children, it.parents, self._sigma)


class _Others(Struct, frozen=True, kw_only=True):
    """What those who count say of a claim.

    Attributes:
        claim: its id.
        values, times: their differences and clocks, each in order.
        variance: sum of the variances of the differences.
    """

    claim: bytes
    values: list[float]
    times: list[int]
    variance: float

    def without(self, it: Replication, variance: float) -> "_Others":
        """The others of one of them."""
        return _Others(
            claim=self.claim,
            values=_without(self.values, it.difference),
            times=_without(self.times, it.time),
            variance=self.variance - variance,
        )

    def deviation(self, value: float, variance: float) -> Deviation | None:
        """How far a number is from theirs; None if there are none."""
        count = len(self.values)
        if not count:
            return None
        of_median = MEDIAN_VARIANCE * max(self.variance, 0.0) / count**2
        z2 = (value - median(self.values)) ** 2 / (variance + of_median)
        return Deviation(median_low(self.times), self.claim, z2, count)


def _standing(
    others: int, replicated: Collection[Deviation], claimed: Collection[Deviation]
) -> Standing:
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


def _mean_of_last(deviations: Iterable[Deviation], others: int) -> float | None:
    last = sorted(one for one in deviations if one.others >= others)[-OUTLIER_LAST:]
    return sum(one.z2 for one in last) / len(last) if len(last) >= OUTLIER_MIN else None


def _note(known: dict[bytes, Deviation], claim: bytes, found: Deviation | None) -> None:
    if found is None:
        known.pop(claim, None)
    else:
        known[claim] = found


def _without(ordered: list[Number], one: Number) -> list[Number]:
    place = bisect_left(ordered, one)
    return ordered[:place] + ordered[place + 1 :]


def _variance(children: int, parents: int, sigma: float) -> float:
    return max(variance_of(sigma, children=children, parents=parents), math.ulp(1.0) ** 2)
