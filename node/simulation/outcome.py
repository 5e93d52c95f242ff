"""What a simulated swarm came to, by the truth that only the simulation knows. Pure.

Effects are in sigma; a *large* edit truly gains at least 1, a *great* one at least 2.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev

from msgspec import Struct

from node.simulation.landscape import Landscape
from skep.evidence import Evidence, verdict

LARGE, GREAT = -1.0, -2.0


class Mark(Struct, frozen=True):
    """How far the swarm was at some time: true gain of its champions, in sigma."""

    hours: float
    best: float
    mean: float


class Found(Struct, frozen=True, kw_only=True):
    """How often something was found to be better, and how much of what is better.

    Attributes:
        decided: number of kept steps, or of confirmed claims.
        false: how many of them truly gain nothing.
        large, great: of the large and great edits that were tried, the share that is in them.
    """

    decided: float
    false: float
    large: float
    great: float

    @property
    def false_share(self) -> float:
        """Share of false ones among them; 0 without any."""
        return self.false / self.decided if self.decided else 0.0


class Outcome(Struct, frozen=True, kw_only=True):
    """What one simulation came to. Liars' own runs, keeps and champions are left out.

    Attributes:
        seed: replays it.
        runs, hours: finished runs, and virtual hours until then.
        proposed: edits that were tried; large, great: how many of them were.
        kept: steps of all machines' champions; what one adopted is a step of its own, and what
            an ablation left out is none, for it is kept at an equal score.
        adopted: how many of them brought in what a peer had found.
        confirmed: claims that are confirmed at the end, on average over the machines' roots.
        invented: steps that brought a liar's edit into a champion.
        wasted: share of run time that went to trying what has a liar's edit in it.
        best, mean: true gain of the best champion, and of all on average.
        purposes: share of runs by what they were for.
        strategies: share of runs by who proposed the program.
        replications: share of runs that name a claim.
        records, bytes: what all machines said, liars included.
        course: how the gain grew.
    """

    seed: int
    runs: int
    hours: float
    proposed: int
    large: int
    great: int
    kept: Found
    adopted: int
    confirmed: Found
    invented: int
    wasted: float
    best: float
    mean: float
    purposes: Mapping[str, float]
    strategies: Mapping[str, float]
    replications: float
    records: int
    bytes: int
    course: tuple[Mark, ...]


def kept_of(landscape: Landscape, steps: Sequence[tuple[bytes, bytes]], tried: set[int]) -> Found:
    """What was kept, and whether it deserved it.

    Args:
        landscape: knows the truth.
        steps: (program, champion before it) of every machine.
        tried: numbers of the edits that were tried.
    """
    return Found(
        decided=len(steps),
        false=sum(landscape.level(new) >= landscape.level(old) for new, old in steps),
        **_power(landscape, {one for new, _ in steps for one in landscape.edits(new)}, tried),
    )


def confirmed_of(
    landscape: Landscape, evidence: Evidence, roots: Collection[bytes], tried: set[int]
) -> Found:
    """What the shipped verdict confirms at the end, and whether it deserves it."""
    claims = [
        one.claim.claim
        for one in verdict(evidence, roots).claims.values()
        if one.state == "confirmed"
    ]
    edits = [landscape.edits(one.program) - landscape.edits(one.parent) for one in claims]
    return Found(
        decided=len(claims),
        false=sum(landscape.level(one.program) >= landscape.level(one.parent) for one in claims),
        **_power(landscape, {number for found in edits for number in found}, tried),
    )


def average(found: Sequence[Found]) -> Found:
    """Means of several, as different machines or seeds see it."""
    count = max(len(found), 1)
    return Found(
        decided=sum(one.decided for one in found) / count,
        false=sum(one.false for one in found) / count,
        large=sum(one.large for one in found) / count,
        great=sum(one.great for one in found) / count,
    )


class Summary(Struct, frozen=True, kw_only=True):
    """Several outcomes in one, as shares and means.

    Attributes:
        kept, confirmed: sums of what was decided, as means over the seeds; shares of all there was.
        best, mean, mean_error: true gain in sigma, and the standard error of the mean over seeds.
        adopted, hours, proposed, records, bytes, replications, purposes, strategies, wasted: means
            over the seeds.
        invented: in all.
        alone, alone_hours: gain and hours of one machine with as many runs; None without one.
        efficiency: mean gain as a part of that.
        speed_up: mean over seeds of `speed_up`; None where there was nothing to reach.
    """

    seeds: int
    kept: Found
    adopted: float
    confirmed: Found
    best: float
    mean: float
    mean_error: float | None
    hours: float
    proposed: float
    records: float
    bytes: float
    replications: float
    purposes: Mapping[str, float]
    strategies: Mapping[str, float]
    invented: int
    wasted: float
    alone: float | None = None
    alone_hours: float | None = None
    efficiency: float | None = None
    speed_up: float | None = None


def summary(outcomes: Sequence[Outcome], alone: Sequence[Outcome] = ()) -> Summary:
    """What several seeds come to.

    Args:
        outcomes: of one scenario, with different seeds.
        alone: of one machine with the same seeds, if it was simulated, too.
    """
    gain = fmean(one.mean for one in outcomes)
    seeds, solo = len(outcomes), [one.mean for one in alone]
    faster = [speed_up(one, many) for one, many in zip(alone, outcomes, strict=False)]
    known = [one for one in faster if one is not None]
    return Summary(
        seeds=seeds,
        kept=_pooled([(one.kept, one) for one in outcomes]),
        adopted=fmean(one.adopted for one in outcomes),
        confirmed=_pooled([(one.confirmed, one) for one in outcomes]),
        best=fmean(one.best for one in outcomes),
        mean=gain,
        mean_error=stdev(one.mean for one in outcomes) / math.sqrt(seeds) if seeds > 1 else None,
        hours=fmean(one.hours for one in outcomes),
        proposed=fmean(one.proposed for one in outcomes),
        records=fmean(one.records for one in outcomes),
        bytes=fmean(one.bytes for one in outcomes),
        replications=fmean(one.replications for one in outcomes),
        purposes=_mean_shares([one.purposes for one in outcomes]),
        strategies=_mean_shares([one.strategies for one in outcomes]),
        invented=sum(one.invented for one in outcomes),
        wasted=fmean(one.wasted for one in outcomes),
        alone=fmean(solo) if solo else None,
        alone_hours=fmean(one.hours for one in alone) if alone else None,
        efficiency=gain / fmean(solo) if solo and fmean(solo) > 0 else None,
        speed_up=fmean(known) if known else None,
    )


def _pooled(found: Sequence[tuple[Found, Outcome]]) -> Found:
    """Means of what was decided; shares of all the edits that there were in all seeds."""
    large, great = (sum(getattr(one, name) for _, one in found) for name in ("large", "great"))
    return Found(
        decided=fmean(one.decided for one, _ in found),
        false=fmean(one.false for one, _ in found),
        large=sum(one.large * of.large for one, of in found) / max(large, 1),
        great=sum(one.great * of.great for one, of in found) / max(great, 1),
    )


def _mean_shares(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for one in shares for name in one})
    return {name: fmean(one.get(name, 0.0) for one in shares) for name in names}


def speed_up(alone: Outcome, swarm: Outcome) -> float | None:
    """How much sooner a swarm's machines had, on average, what one machine gained as well.

    Both had as many runs in all; compared is when each reached the lower of the two final gains.
    None where there is no gain to reach.
    """
    gain = min(alone.mean, swarm.mean)
    slow, fast = _reached(alone, gain), _reached(swarm, gain)
    return slow / fast if gain > 0.0 and slow is not None and fast else None


def _reached(outcome: Outcome, gain: float) -> float | None:
    return next((mark.hours for mark in outcome.course if mark.mean >= gain - 1e-9), None)


def _power(landscape: Landscape, held: set[int], tried: set[int]) -> dict[str, float]:
    shares = {}
    for name, limit in (("large", LARGE), ("great", GREAT)):
        all_such = {one for one in tried if landscape.changes[one].effect <= limit}
        shares[name] = len(all_such & held) / len(all_such) if all_such else 0.0
    return shares
