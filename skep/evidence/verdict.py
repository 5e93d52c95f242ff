"""The swarm's verdict on claims: open, confirmed, refuted or overturned. Pure; nothing is stored.

`verdict(evidence, roots)` looks at every claim of a tier at once: with thousands of claims some
would reach any fixed threshold by luck. The rule is e-BH, which holds the expected share of false
ones among the confirmed at 5 % whatever hangs together with what. No identity can speak louder
than the cap allows, so that it takes several. Nodes with the same records and roots agree.
"""

import math
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from skep.evidence.claims import Claimed, Evidence, Replication
from skep.evidence.evalue import BETWEEN_SIGMA, log_e_value, variance_of
from skep.evidence.noise import Noise
from skep.evidence.standing import Standing, standings

FALSE_SHARE = 0.05
"""Expected share of false ones among the confirmed that is never exceeded."""

E_FLOOR = 0.25
"""No identity can speak louder against a claim than this."""

E_REFUTED = 0.1
VOICES = 3
"""Identities it takes to confirm, where there are so many."""

IDENTITIES_MAX = 8
"""Counted replications after which a claim that is not confirmed is refuted."""

ROUNDING = 1e-9
"""Comparisons are in logarithms: (T^(1/3))^3 < T in floating point."""

State = Literal["open", "confirmed", "refuted", "overturned"]


class Voice(Struct, frozen=True, kw_only=True):
    """What one identity's replication says of a claim.

    Attributes:
        replication: the comparison.
        log_e: natural log of its e-value.
        clipped: the same as far as one identity is heard; 0 if it does not count.
        counts: whether its author counts.
    """

    replication: Replication
    log_e: float
    clipped: float
    counts: bool


class Verdict(Struct, frozen=True, kw_only=True):
    """Where a claim stands, with the numbers that say so.

    Attributes:
        claim: the claim.
        state: `open`; `confirmed`; `refuted`; `overturned` if those who adopted it found nothing.
        voices: what each identity says, those that count first.
        log_e: sum over those that count.
        effect, spread: child - parent by counted replications, drawn towards zero, and its standard
            deviation; metric units, negative is better. None without any.
        measured: the same effect as it was measured.
    """

    claim: Claimed
    state: State
    voices: tuple[Voice, ...]
    log_e: float
    effect: float | None = None
    spread: float | None = None
    measured: float | None = None

    @property
    def counted(self) -> int:
        """How many identities count."""
        return sum(voice.counts for voice in self.voices)


class Verdicts(Struct, frozen=True, kw_only=True):
    """All claims of one tier.

    Attributes:
        claims: verdict by id of the claim.
        standings: of every identity.
        noise: noise floor of the tier, by the runs of those that count.
        sigma: what the e-values were made with: the upper limit while fewer than three others
            can be heard.
        identities: how many count and have runs on this tier (n).
        replicated: claims with a counted replication (K).
        confirmed: how many of them are confirmed (k).
        log_threshold: natural log of what a claim has to reach: 20 K/k.
        log_cap: natural log of the most that one identity can add.
    """

    claims: Mapping[bytes, Verdict]
    standings: Mapping[bytes, Standing]
    noise: Noise
    sigma: float
    identities: int
    replicated: int
    confirmed: int
    log_threshold: float
    log_cap: float


class Heard(Struct, frozen=True):
    """A claim, and what everybody's replication says of it.

    Attributes:
        claim: the claim.
        log_e: log e-value by identity, whether it counts or not.
        counted: those of identities that count, no lower than the floor.
        measured, variance: mean difference by those that count, weighted by precision, and its
            variance; None and infinite without any.
    """

    claim: Claimed
    log_e: Mapping[bytes, float]
    counted: Mapping[bytes, float]
    measured: float | None
    variance: float

    def total(self, log_cap: float) -> float:
        """Sum of what each is heard with."""
        return sum(min(one, log_cap) for one in self.counted.values())

    def reaches(self, log_t: float, voices: int) -> bool:
        """Whether that is enough where so many voices have to make up a threshold."""
        return self.total(log_t / voices) >= log_t - ROUNDING

    def span(self, log_ts: Sequence[float], voices: int) -> range:
        """Places of the thresholds that are reached, of some that fall.

        What is left above a threshold is a concave function of it, with its peak at `voices` times
        the loudest voice but so many. So they lie together, and both ends are found by halving.
        """
        loudest = sorted(self.counted.values(), reverse=True)[voices - 1 : voices]
        peak = voices * loudest[0] if loudest else 0.0
        above = bisect_right(log_ts, -peak, key=operator.neg)

        def reached(place: int) -> bool:
            return self.reaches(log_ts[place], voices)

        first = bisect_left(range(above), True, key=reached)
        last = bisect_left(range(above, len(log_ts)), True, key=lambda place: not reached(place))
        return range(first, above + last)


def verdict(evidence: Evidence, roots: Collection[bytes]) -> Verdicts:
    """Judge all claims of a tier.

    Args:
        evidence: all records.
        roots: identities that count without having earned it.
    """
    claims = sorted(evidence.claims(), key=_id_of)
    known = standings(claims, roots, evidence.noise(roots).sigma)
    counted = frozenset(one for one, standing in known.items() if standing.counts)
    noise = evidence.noise(counted)
    identities = sum(one in counted for one in evidence.authors)
    voices = min(VOICES, identities - 1)
    sigma = noise.sigma if voices == VOICES else noise.upper
    heard = [_heard(claim, counted, sigma) for claim in claims]
    replicated = [one for one in heard if one.counted]
    log_t, confirmed = confirmed_among(replicated, voices)
    log_cap = log_t / max(voices, 1)
    scale = _effect_variance(replicated, sigma)
    judged = [_judged(one, one.claim.id in confirmed, log_cap, scale) for one in heard]
    most = math.log(1 / FALSE_SHARE) / max(voices, 1)
    return Verdicts(
        claims={one.claim.id: _audited(one, evidence, counted, sigma, most) for one in judged},
        standings=known,
        noise=noise,
        sigma=sigma,
        identities=identities,
        replicated=len(replicated),
        confirmed=len(confirmed),
        log_threshold=log_t,
        log_cap=log_cap,
    )


def confirmed_among(heard: Collection[Heard], voices: int) -> tuple[float, frozenset[bytes]]:
    """e-BH: the largest k so that k claims reach 20 K/k; log of that threshold, and which do.

    A node that is alone, or hears nobody, confirms nothing: its own rule is another.
    """
    total = len(heard)
    first = math.log(max(total, 1) / FALSE_SHARE)
    if voices < 1 or not total:
        return first, frozenset()
    # The cap only takes away from what speaks for a claim: most are out before it is known.
    lowest = math.log(1 / FALSE_SHARE) - ROUNDING
    hopeful = [one for one in heard if one.total(math.inf) >= lowest]
    log_ts = [math.log(total / (FALSE_SHARE * k)) for k in range(1, len(hopeful) + 1)]
    changes = [0] * (len(hopeful) + 1)
    for one in hopeful:
        span = one.span(log_ts, voices)
        changes[span.start] += 1
        changes[span.stop] -= 1
    reaching = list(accumulate(changes))
    for k in range(len(hopeful), 0, -1):
        if reaching[k - 1] >= k:
            log_t = log_ts[k - 1]
            return log_t, frozenset(o.claim.id for o in hopeful if o.reaches(log_t, voices))
    return first, frozenset()


def _heard(claim: Claimed, counted: Collection[bytes], sigma: float) -> Heard:
    log_e, heard = {}, {}
    summed = weights = 0.0
    for one, made in sorted(claim.replications.items()):
        log_e[one] = log_e_value(
            made.difference,
            sigma,
            children=made.children,
            parents=made.parents,
            between=BETWEEN_SIGMA,
        )
        if one in counted:
            heard[one] = max(log_e[one], math.log(E_FLOOR))
            weight = 1 / variance_of(sigma, children=made.children, parents=made.parents)
            summed, weights = summed + weight * made.difference, weights + weight
    measured = summed / weights if weights else None
    return Heard(claim, log_e, heard, measured, 1 / weights if weights else math.inf)


def _judged(heard: Heard, confirmed: bool, log_cap: float, scale: float) -> Verdict:
    total = heard.total(log_cap)
    state: State = "open"
    if confirmed:
        state = "confirmed"
    elif total < math.log(E_REFUTED) or len(heard.counted) >= IDENTITIES_MAX:
        state = "refuted"
    voices = [
        Voice(
            replication=heard.claim.replications[one],
            log_e=log_e,
            clipped=min(heard.counted[one], log_cap) if one in heard.counted else 0.0,
            counts=one in heard.counted,
        )
        for one, log_e in heard.log_e.items()
    ]
    measured = heard.measured
    shrink = scale / (scale + heard.variance)
    return Verdict(
        claim=heard.claim,
        state=state,
        voices=tuple(sorted(voices, key=lambda voice: not voice.counts)),
        log_e=total,
        effect=None if measured is None else measured * shrink,
        spread=None if measured is None else math.sqrt(heard.variance * shrink),
        measured=measured,
    )


def _audited(
    one: Verdict, evidence: Evidence, counted: Collection[bytes], sigma: float, log_cap: float
) -> Verdict:
    """Overturn a confirmed claim if the runs of those who adopted it speak 20 to 1 against it."""
    if one.state != "confirmed" or one.effect is None or one.effect >= 0.0:
        return one
    against = sum(
        min(_log_nothing(adopted, one.effect, sigma), log_cap)
        for adopted in evidence.adoptions(one.claim)
        if adopted.author in counted
    )
    return replace(one, state="overturned") if against >= math.log(1 / FALSE_SHARE) else one


def _log_nothing(adopted: Replication, effect: float, sigma: float) -> float:
    """Log likelihood ratio of no effect at all against the effect that was confirmed."""
    variance = variance_of(sigma, children=adopted.children, parents=adopted.parents)
    return (effect * effect - 2 * adopted.difference * effect) / (2 * variance)


def _effect_variance(replicated: Iterable[Heard], sigma: float) -> float:
    """How much true effects of replicated claims differ from zero: by moments, at least sigma²."""
    spare = [one.measured**2 - one.variance for one in replicated if one.measured is not None]
    return max(sigma * sigma, sum(spare) / len(spare) if spare else 0.0)


def _id_of(claim: Claimed) -> bytes:
    return claim.id
