"""Trust-region Bayesian optimisation over unit coordinates, in numpy. Pure; lower is better.

A Gaussian process with an isotropic Matern-5/2 kernel models the scores of what was run. The next
points are those of greatest expected improvement among random moves of a few coordinates away
from the incumbent, no farther than a radius that follows from the history: success widens it,
failure narrows it. What a coordinate means is the business of `strategies.constants`.
"""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from strategies.constants import Axis

Array = NDArray[np.float64]

LENGTHS = (0.7, 1.5, 3.0, 6.0)
"""Length scales tried, in units of the coordinates; the likeliest is taken."""

CANDIDATES = 400
MOVED_SHARE = 0.2
"""Share of the coordinates that a candidate moves, at least one."""

STEP_MIN = 0.25
"""Least step of a move, in radii: smaller ones only make programs unreadable."""
PARSIMONY = 0.8
"""What every moved coordinate leaves of the expected gain: of equally good moves the simplest.
Costs nothing in the synthetic benchmark (regret alike from 0.7 to 1)."""

RADIUS_START, RADIUS_MIN, RADIUS_MAX = 0.8, 0.1, 1.6
RADIUS_STEP = 1.6
SUCCESSES_TO_WIDEN, FAILURES_TO_NARROW = 2, 8

SPREAD_MIN = 3.0
"""Scores are believed to differ by at least this many sigma, however alike the first ones are."""
CLIP_LOW, CLIP_HIGH = -5.0, 2.5
"""Standardised scores are clipped: how bad a bad point was says nothing about good ones."""
TINY = 1e-12
NOISE_MIN = 1e-3
"""Least variance of a standardised score; keeps the kernel matrix well-conditioned."""

ACTIVE_MAX = 250
"""Points that the model sees; the nearest to the best one where there are more."""

FAILURE_PENALTY, FAILURE_REACH = 1.5, 0.3
PENDING_REACH = 0.15
"""No proposal comes this near (in units) to one that is running."""


class Posterior:
    """What the scores at some points say about the score everywhere.

    Args:
        points: shape [n, d], in units.
        scores: shape [n], standardised.
        noise: variance of each score, shape [n].
    """

    def __init__(self, points: Array, scores: Array, noise: Array) -> None:
        self.points, self.scores, self.noise = points, scores, noise
        apart = distances(points, points)
        fits = [_Fit(apart, scores, noise, length) for length in LENGTHS]
        self._fit = max(fits, key=lambda fit: fit.log_likelihood)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the noiseless score at [m, d] points: shapes [m]."""
        cross = matern(distances(points, self.points), self._fit.length)
        spread = np.linalg.solve(self._fit.factor, cross.T)
        variance = np.maximum(1 - (spread**2).sum(0), 1e-9)
        return np.asarray(cross @ self._fit.weights), np.asarray(np.sqrt(variance))

    def believing(self, pending: Array) -> "Posterior":
        """The same with [m, d] more points, as if they had come out as expected."""
        if not len(pending):
            return self
        return Posterior(
            np.vstack([self.points, pending]),
            np.concatenate([self.scores, self.predict(pending)[0]]),
            np.concatenate([self.noise, np.full(len(pending), NOISE_MIN)]),
        )


class _Fit:
    """A Gaussian process of one length scale."""

    def __init__(self, distances: Array, scores: Array, noise: Array, length: float) -> None:
        self.length = length
        self.factor = np.linalg.cholesky(matern(distances, length) + np.diag(noise))
        self.weights = np.linalg.solve(self.factor.T, np.linalg.solve(self.factor, scores))
        misfit = 0.5 * float(scores @ self.weights)
        self.log_likelihood = -misfit - float(np.log(np.diag(self.factor)).sum())


def matern(distances: Array, length: float) -> Array:
    """Matern-5/2 correlation at given distances, element by element."""
    scaled = distances * (math.sqrt(5) / length)
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def distances(left: Array, right: Array) -> Array:
    """Euclidean distances between points of shapes [n, d] and [m, d]: shape [n, m]."""
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


class Belief(Struct, frozen=True):
    """The fitted history: where the incumbent is, and what is expected elsewhere.

    Attributes:
        posterior: fitted to the points near the best one.
        best: row of the incumbent (best posterior mean) in the history.
        radius: half-width of the trust region in units.
    """

    posterior: Posterior
    best: int
    radius: float


def believe(points: Array, scores: Array, runs: Array, sigma: float) -> Belief:
    """Fit what is known.

    Args:
        points: shape [n, d], in units, oldest first; n >= 1.
        scores: mean score of each, shape [n]; lower is better.
        runs: how many runs each mean is of, shape [n].
        sigma: noise of one run, in units of the scores.
    """
    scale = max(float(scores.std()), SPREAD_MIN * sigma, TINY)
    standard = np.clip((scores - np.median(scores)) / scale, CLIP_LOW, CLIP_HIGH)
    noise = np.maximum(sigma**2 / runs / scale**2, NOISE_MIN)
    nearest = distances(points, points[[int(np.argmin(standard))]])[:, 0]
    active = np.sort(np.argsort(nearest, kind="stable")[:ACTIVE_MAX])
    posterior = Posterior(points[active], standard[active], noise[active])
    mean, _ = posterior.predict(points[active])
    return Belief(posterior, int(active[np.argmin(mean)]), radius(scores))


def radius(scores: Sequence[float] | Array) -> float:
    """Half-width of the trust region after a history of scores, replayed from its start."""
    size, successes, failures, best = RADIUS_START, 0, 0, float(scores[0])
    for score in scores[1:]:
        if score < best:
            best, successes, failures = float(score), successes + 1, 0
        else:
            successes, failures = 0, failures + 1
        if successes >= SUCCESSES_TO_WIDEN:
            size, successes = min(size * RADIUS_STEP, RADIUS_MAX), 0
        if failures >= FAILURES_TO_NARROW:
            size, failures = max(size / RADIUS_STEP, RADIUS_MIN), 0
    return size


def suggest(
    belief: Belief,
    centre: Array,
    axes: Sequence[Axis],
    *,
    failed: Array,
    pending: Array,
    rng: np.random.Generator,
) -> Array:
    """Points worth running next, best first.

    Args:
        belief: the fitted history.
        centre: the incumbent, shape [d].
        axes: what may be tried of each coordinate.
        failed: points whose programs crash, shape [f, d].
        pending: points that are running, shape [p, d].
        rng: for the candidates.

    Returns:
        Shape [m, d], m <= CANDIDATES.
    """
    candidates = moves(centre, axes, belief.radius, rng)
    if len(pending):
        candidates = candidates[distances(candidates, pending).min(1) > PENDING_REACH]
    posterior = belief.posterior.believing(pending)
    target = float(posterior.predict(posterior.points)[0].min())
    mean, spread = posterior.predict(candidates)
    gain = expected_improvement(mean + penalty(candidates, failed), spread, target)
    gain *= PARSIMONY ** (candidates != centre).sum(1)
    return np.asarray(candidates[np.argsort(-gain, kind="stable")])


def expected_improvement(mean: Array, spread: Array, target: float) -> Array:
    """Expected amount by which each point falls below `target`; all of shape [m]."""
    z = (target - mean) / spread
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.array([math.erf(x / math.sqrt(2)) for x in z]))
    return np.asarray(spread * (z * below + density))


def moves(centre: Array, axes: Sequence[Axis], size: float, rng: np.random.Generator) -> Array:
    """Random moves of some coordinates away from a point, shape [m, d], all different from it."""
    dimensions = len(centre)
    moved = rng.random((CANDIDATES, dimensions)) < MOVED_SHARE
    surely = rng.integers(dimensions, size=CANDIDATES)
    steps = size * rng.uniform(STEP_MIN, 1, (CANDIDATES, dimensions))
    places = centre + steps * rng.choice([-1.0, 1.0], (CANDIDATES, dimensions))
    for column, axis in enumerate(axes):
        if axis.grid:
            grid = np.array(axis.grid)
            places[:, column] = _nearest(places[:, column], grid)
            # A small region holds no other place of a coarse grid; a single step is always a move.
            others = grid[grid != centre[column]]
            rows = (surely == column) & (places[:, column] == centre[column])
            if len(others) and rows.any():
                beyond = centre[column] + rng.uniform(-1, 1, int(rows.sum()))
                places[rows, column] = _nearest(beyond, others)
        else:
            places[:, column] = np.clip(places[:, column], axis.low, axis.high)
    moved[np.arange(CANDIDATES), surely] = True
    places = np.where(moved, places, centre)
    return np.asarray(places[(places != centre).any(1)])


def _nearest(places: Array, grid: Array) -> Array:
    """The place of a grid nearest to each of some places."""
    return np.asarray(grid[np.abs(places[:, None] - grid).argmin(1)])


def penalty(candidates: Array, failed: Array) -> Array:
    """What nearness to points that crashed adds to the expected score, shape [m]."""
    if not len(failed):
        return np.zeros(len(candidates))
    nearest = np.asarray(distances(candidates, failed).min(1))
    return np.asarray(FAILURE_PENALTY * np.exp(-(nearest**2) / FAILURE_REACH))
