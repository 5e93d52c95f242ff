"""Trust-region Bayesian optimisation over unit coordinates, in numpy. Pure; lower is better.

A Gaussian process with an isotropic Matern-5/2 kernel models the scores of what was run; the next
points are those of greatest expected improvement among small random moves away from the best
point. How small follows from the history: success widens the region, failure narrows it. Against
Optuna's TPE: `scripts/bench/search.py` (real runs) and `synthetic_search.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.7, 1.5, 3.0, 6.0)
"""Length scales tried, in units of the coordinates; the likeliest is taken."""

CANDIDATES = 400
MOVED_SHARE = 0.2
"""Share of the coordinates that a candidate moves, at least one."""

RADIUS_START, RADIUS_MIN, RADIUS_MAX = 0.8, 0.1, 1.6
RADIUS_STEP = 1.6
SUCCESSES_TO_WIDEN, FAILURES_TO_NARROW = 2, 8
CLIP_LOW, CLIP_HIGH = -5.0, 2.5
"""Standardised scores are clipped here: how bad a bad point was says nothing about good ones."""

FAILURE_PENALTY, FAILURE_REACH = 1.5, 0.3
ACTIVE_MAX = 250
"""Points that the model sees: the nearest to the best one, when there are more."""


class Observation(Struct, frozen=True):
    """A program that was run: where it lies, its mean score, and over how many seeds."""

    point: tuple[float, ...]
    score: float
    runs: int


class Posterior:
    """A Gaussian process fitted to standardised scores.

    Args:
        points: shape [n, d].
        scores: shape [n], standardised.
        noise: variance of each score, shape [n].
    """

    def __init__(self, points: Array, scores: Array, noise: Array) -> None:
        self._points = points
        self._scores = scores
        self._noise = noise
        self.length = max(LENGTHS, key=self._log_likelihood)
        self._factor = self._cholesky(self.length)
        self._weights = self._solve(scores)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the score without noise, each of shape [m]."""
        cross = matern(points, self._points, self.length)
        spread = np.linalg.solve(self._factor, cross.T)
        variance = np.maximum(1 - (spread**2).sum(0), 1e-9)
        return np.asarray(cross @ self._weights), np.asarray(np.sqrt(variance))

    def _cholesky(self, length: float) -> Array:
        kernel = matern(self._points, self._points, length)
        return np.linalg.cholesky(kernel + np.diag(self._noise))

    def _solve(self, scores: Array) -> Array:
        solved = np.linalg.solve(self._factor.T, np.linalg.solve(self._factor, scores))
        return np.asarray(solved)

    def _log_likelihood(self, length: float) -> float:
        self._factor = self._cholesky(length)
        fit = -0.5 * float(self._scores @ self._solve(self._scores))
        return fit - float(np.log(np.diag(self._factor)).sum())


def matern(left: Array, right: Array, length: float) -> Array:
    """Matern-5/2 kernel between points of shape [n, d] and [m, d]: shape [n, m]."""
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    scaled = np.sqrt(np.maximum(squares, 0.0)) * math.sqrt(5) / length
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def suggest(
    seen: Sequence[Observation],
    *,
    sigma: float,
    failed: Sequence[Sequence[float]],
    pending: Sequence[Sequence[float]],
    rng: np.random.Generator,
) -> list[list[float]]:
    """Points worth running next, best first.

    Args:
        seen: what was run, in order; at least one.
        sigma: noise of one run, in units of the score.
        failed: points where programs crash.
        pending: points that are running; taken to come out as the model expects.
        rng: for the candidates.
    """
    points = np.array([one.point for one in seen], dtype=np.float64)
    raw = np.array([one.score for one in seen], dtype=np.float64)
    runs = np.array([one.runs for one in seen], dtype=np.float64)
    scale = max(float(raw.std()), sigma)
    scores = np.clip((raw - np.median(raw)) / scale, CLIP_LOW, CLIP_HIGH)
    noise = np.maximum(sigma**2 / runs / scale**2, 1e-3)
    best = points[int(np.argmin(_smoothed(points, scores, noise)))]
    active = np.argsort(((points - best) ** 2).sum(1), kind="stable")[:ACTIVE_MAX]
    points, scores, noise = points[active], scores[active], noise[active]
    if pending:
        waiting = np.array(pending, dtype=np.float64)
        believed, _ = Posterior(points, scores, noise).predict(waiting)
        points = np.vstack([points, waiting])
        scores = np.concatenate([scores, believed])
        noise = np.concatenate([noise, np.full(len(waiting), 1e-3)])
    model = Posterior(points, scores, noise)
    target = float(model.predict(points)[0].min())
    candidates = _moves(best, radius(seen), rng)
    mean, spread = model.predict(candidates)
    gain = expected_improvement(mean + _penalty(candidates, failed), spread, target)
    return [list(map(float, candidates[i])) for i in np.argsort(-gain, kind="stable")]


def radius(seen: Sequence[Observation]) -> float:
    """Half-width of the trust region after a history, replayed from its start."""
    size, successes, failures = RADIUS_START, 0, 0
    best = math.inf
    for one in seen:
        if one.score < best:
            best = one.score
            successes, failures = successes + 1, 0
        else:
            successes, failures = 0, failures + 1
        if successes >= SUCCESSES_TO_WIDEN:
            size, successes = min(size * RADIUS_STEP, RADIUS_MAX), 0
        if failures >= FAILURES_TO_NARROW:
            size, failures = max(size / RADIUS_STEP, RADIUS_MIN), 0
    return size


def expected_improvement(mean: Array, spread: Array, target: float) -> Array:
    """Expected amount by which each point falls below `target`; all of shape [m]."""
    z = (target - mean) / spread
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.array([math.erf(x / math.sqrt(2)) for x in z]))
    return np.asarray(spread * (z * below + density))


def _smoothed(points: Array, scores: Array, noise: Array) -> Array:
    """Posterior mean at the points themselves, so that one lucky run is no incumbent."""
    recent = slice(-2 * ACTIVE_MAX, None)
    mean, _ = Posterior(points[recent], scores[recent], noise[recent]).predict(points)
    return mean


def _moves(best: Array, size: float, rng: np.random.Generator) -> Array:
    """Random moves of some coordinates away from the best point, shape [CANDIDATES, d]."""
    dimensions = len(best)
    share = max(MOVED_SHARE, 1 / dimensions)
    moved = rng.random((CANDIDATES, dimensions)) < share
    moved[np.arange(CANDIDATES), rng.integers(dimensions, size=CANDIDATES)] = True
    steps = rng.uniform(-size, size, (CANDIDATES, dimensions))
    return np.asarray(best + steps * moved)


def _penalty(candidates: Array, failed: Sequence[Sequence[float]]) -> Array:
    if not failed:
        return np.zeros(len(candidates))
    crashes = np.array(failed, dtype=np.float64)
    squares = ((candidates[:, None, :] - crashes[None, :, :]) ** 2).sum(-1).min(1)
    return np.asarray(FAILURE_PENALTY * np.exp(-squares / FAILURE_REACH))
