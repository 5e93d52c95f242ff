"""What a candidate has to show on one machine: one rule for edits, another for ablations.

An edit must be better than the champion. An ablation, the champion without one of its edits, is
simpler, so that it is enough if it is hardly worse: its e-value speaks against the edit that was
left out being worth `margin` sigma or more. Whoever makes ablations sees to it that they are
simpler; nothing here reads a program.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

from skep.evidence.evalue import EFFECTS_IN_SIGMA, log_e_value
from skep.evidence.noise import Noise
from skep.ports import ABLATE, FOREIGN

LOG_E_MAX = 700.0
"""Where exp still fits a float; far beyond any verdict."""

SCREEN_SIGMA = 1.0
"""A screening run must look at least this many sigma better to be re-run."""

RERUNS_MAX = 6
BASELINES_MIN = 3
"""Runs of the start program before anything is screened, and of any champion for an ablation."""

E_KEEP = 20.0
"""Keep at e >= 20 K/k (K edits re-run so far, k kept with this one): P(any of 100 nulls) 2.7 %."""

HOPE = 0.75
"""A candidate that could not be kept if it were so many standard deviations better is dropped."""

MARGIN_SIGMA = 1.0
"""An edit that is worth this many sigma is not to be left out."""

DOUBT_SIGMA = 0.5
"""An ablation may look this many sigma worse in its screening run and is re-run all the same."""

ABLATION_RERUNS_MAX = 24
ABLATION_HOPE = 1.5
E_ABLATE = 150.0
"""Leave an edit out at this e. By simulation (`scripts/bench/ablations.py`): of 100 ablations
of edits that are worth one sigma each, any is kept in at most 5 % of series.
"""


class Rule(Struct, frozen=True, kw_only=True):
    """Bounds in sigma; negative is better.

    Attributes:
        screen: a screening run at most this far from the champion sends a candidate to re-runs.
        reruns: how many of them it gets at most.
        margin: e-values speak against its being this much worse than the champion, or more.
        sizes: distances from the margin that they bet on, in equal parts.
        keep: e-value at which it is kept,
        family: times K/k, for K candidates that were re-run so far and k kept with this one.
        hope: standard deviations that it may be better than it looks, see `HOPE`.
        baselines: champion runs that it takes at least,
        ratio: and for each of its re-runs.
    """

    screen: float
    reruns: int
    margin: float
    sizes: tuple[float, ...]
    keep: float
    family: bool
    hope: float
    baselines: int
    ratio: float

    def parents(self, reruns: int) -> int:
        """Champion runs that so many re-runs are compared with, at least."""
        return max(self.baselines, math.ceil(self.ratio * reruns))

    def threshold(self, reopened: int, kept: int) -> float:
        """The e-value at which the next candidate is kept.

        Args:
            reopened: number of edits that were re-run so far, ablations aside.
            kept: how many of them were kept.
        """
        return self.keep * reopened / (kept + 1) if self.family else self.keep

    def log_e(self, difference: float, noise: Noise, *, children: int, parents: int) -> float:
        """Natural log of the e-value of re-runs.

        The upper limit of sigma says how uncertain a difference is. What the margin is in units
        of the metric goes by the best estimate: a wider margin would be the bolder one.

        Args:
            difference: mean(child) - mean(champion) on one draw; negative is better.
            noise: noise floor in the same unit.
            children: number of re-runs, >= 1.
            parents: number of champion runs, >= 1.
        """
        beyond = difference - self.margin * noise.sigma
        return log_e_value(
            beyond, noise.upper, children=children, parents=parents, sizes=self.sizes
        )


EDIT = Rule(
    screen=-SCREEN_SIGMA,
    reruns=RERUNS_MAX,
    margin=0.0,
    sizes=EFFECTS_IN_SIGMA,
    keep=E_KEEP,
    family=True,
    hope=HOPE,
    baselines=1,
    ratio=1.0,
)
OFFER = replace(EDIT, ratio=0.5)
"""Most of what peers offer is kept. Then its runs count on as the champion's, and those of the one
before it are of no further use: so one of these is made for two of its own.
"""
ABLATION = Rule(
    screen=DOUBT_SIGMA,
    reruns=ABLATION_RERUNS_MAX,
    margin=MARGIN_SIGMA,
    sizes=(MARGIN_SIGMA,),
    keep=E_ABLATE,
    family=False,
    hope=ABLATION_HOPE,
    baselines=BASELINES_MIN,
    ratio=1.0,
)


def rule_of(strategy: str) -> Rule:
    """The rule for what a strategy proposes."""
    if strategy == ABLATE:
        return ABLATION
    return OFFER if strategy in FOREIGN else EDIT


def best_e(rule: Rule, effect: float, noise: Noise, children: int, parents: int) -> float:
    """The e-value after all re-runs of a candidate that is better than it looks so far.

    Args:
        rule: by which it is judged.
        effect: as measured so far; it may be better by as much as the rule hopes.
        noise: noise floor.
        children, parents: runs behind it.
    """
    hoped = effect - rule.hope * noise.upper * math.sqrt(1 / children + 1 / parents)
    foreseen = max(rule.parents(rule.reruns), parents)
    log_e = rule.log_e(hoped, noise, children=rule.reruns, parents=foreseen)
    return math.exp(min(log_e, LOG_E_MAX))
