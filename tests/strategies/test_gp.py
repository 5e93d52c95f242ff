"""The model predicts what it saw, proposes where gain is likely, and finds valleys."""

import math

import numpy as np
import pytest

from strategies.constants import Axis
from strategies.gp import (
    RADIUS_START,
    Array,
    Posterior,
    believe,
    expected_improvement,
    moves,
    penalty,
    radius,
    suggest,
)

WIDE = Axis(-4.0, 4.0)


def noise(count: int) -> Array:
    return np.full(count, 1e-3)


def line(*places: float) -> Array:
    return np.array(places)[:, None]


def test_the_posterior_passes_near_what_was_seen_and_returns_to_zero_far_away() -> None:
    posterior = Posterior(line(-1, 0, 1), np.array([1.0, -1.0, 1.0]), noise(3))
    mean, spread = posterior.predict(line(-1, 0, 1, 100))
    assert mean == pytest.approx([1, -1, 1, 0], abs=0.02)
    assert spread[:3] == pytest.approx([0.03] * 3, abs=0.01)
    assert spread[3] == pytest.approx(1)


def test_a_noisy_score_is_believed_less() -> None:
    posterior = Posterior(line(0), np.array([2.0]), np.array([1.0]))
    mean, spread = posterior.predict(line(0))
    assert mean == pytest.approx([1.0])
    assert spread == pytest.approx([math.sqrt(0.5)])


def test_neither_the_order_of_points_nor_that_of_coordinates_matters_to_the_model() -> None:
    rng = np.random.default_rng(0)
    points, scores, where = rng.normal(size=(20, 3)), rng.normal(size=20), rng.normal(size=(5, 3))
    mean, spread = Posterior(points, scores, noise(20)).predict(where)
    order, columns = rng.permutation(20), [2, 0, 1]
    again = Posterior(points[order][:, columns], scores[order], noise(20))
    assert again.predict(where[:, columns])[0] == pytest.approx(mean)
    assert again.predict(where[:, columns])[1] == pytest.approx(spread)


def test_the_incumbent_is_the_best_expected_not_the_luckiest() -> None:
    points = line(0.0, 0.1, 0.2, 3.0, 6.0, 6.1)
    scores = np.array([-1.0, -1.0, -1.0, -1.2, 1.0, 1.0])
    runs = np.array([4.0, 4.0, 4.0, 1.0, 1.0, 1.0])
    assert believe(points, scores, runs, sigma=1.0).best in (0, 1, 2)
    assert believe(points, scores, runs, sigma=0.01).best == 3


def test_what_is_pending_is_taken_to_come_out_as_expected() -> None:
    posterior = Posterior(line(0, 1), np.array([0.0, -1.0]), noise(2))
    believing = posterior.believing(line(2.0))
    assert believing.predict(line(2.0))[0] == pytest.approx(
        posterior.predict(line(2.0))[0], abs=0.02
    )
    assert believing.predict(line(2.0))[1] < 0.1 < posterior.predict(line(2.0))[1]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0], RADIUS_START),
        ([1.0, 0.9], RADIUS_START),
        ([1.0, 0.9, 0.8], RADIUS_START * 1.6),
        ([1.0, 0.9, 1.1, 0.8], RADIUS_START),
        ([1.0] * 9, RADIUS_START / 1.6),
        ([1.0] * 1000, 0.1),
        (list(range(1000, 0, -1)), 1.6),
    ],
)
def test_two_successes_widen_the_region_and_eight_failures_narrow_it(
    scores: list[float], expected: float
) -> None:
    assert radius(scores) == pytest.approx(expected)


def test_expected_improvement_has_its_textbook_values() -> None:
    gain = expected_improvement(np.array([0.0, 1.0, -1.0]), np.array([1.0, 1e-4, 1e-4]), 0.0)
    assert gain == pytest.approx([1 / math.sqrt(2 * math.pi), 0.0, 1.0])


def test_moves_stay_within_axes_and_region_and_on_their_grids() -> None:
    axes = [Axis(-0.1, 0.2), WIDE, Axis(0.0, 2.0, (0.0, 1.0, 2.0)), Axis(3.0, 3.0, (3.0,))]
    centre = np.array([0.0, 0.0, 1.0, 3.0])
    found = moves(centre, axes, 0.3, np.random.default_rng(0))
    assert len(found) > 250
    assert (found != centre).any(1).all()
    assert (found[:, 0].min(), found[:, 0].max()) == (-0.1, 0.2)
    assert -0.3 <= found[:, 1].min() < -0.2 < 0.2 < found[:, 1].max() <= 0.3
    assert set(found[:, 2]) == {0.0, 1.0, 2.0}
    assert set(found[:, 3]) == {3.0}


def test_points_that_crashed_repel() -> None:
    near, far = penalty(np.array([[0.1, 0.0], [5.0, 5.0]]), np.zeros((1, 2)))
    assert near > 1.4
    assert far < 1e-6


def test_a_proposal_keeps_away_from_what_is_running() -> None:
    points, scores = np.zeros((1, 2)), np.zeros(1)
    belief = believe(points, scores, np.ones(1), 0.1)
    pending: list[Array] = []
    for number in range(6):
        found = suggest(
            belief,
            points[0],
            [WIDE, WIDE],
            failed=np.zeros((0, 2)),
            pending=np.array(pending).reshape(-1, 2),
            rng=np.random.default_rng(number),
        )
        pending.append(found[0])
    gaps = [np.linalg.norm(a - b) for i, a in enumerate(pending) for b in pending[:i]]
    assert min(gaps) > 0.3


def share_of_regret_left(seed: int, trials: int) -> float:
    """What a search leaves of the default's regret in a random noisy valley of 8 dimensions."""
    world, rng = np.random.default_rng(seed), np.random.default_rng(seed + 100)
    floor, steepness = world.normal(0, 1.0, 8), np.exp(world.normal(0.4, 1.0, 8))

    def regret(point: Array) -> float:
        return float(steepness @ (point - floor) ** 2)

    points, scores, empty = [np.zeros(8)], [regret(np.zeros(8))], np.zeros((0, 8))
    best = points[0]
    for _ in range(trials):
        belief = believe(np.array(points), np.array(scores), np.ones(len(points)), 0.5)
        best = points[belief.best]
        axes = [Axis(x - 2, x + 2) for x in best]
        found = suggest(belief, best, axes, failed=empty, pending=empty, rng=rng)[0]
        points.append(found)
        scores.append(regret(found) + 0.5 * float(rng.standard_normal()))
    return regret(best) / regret(points[0])


def test_forty_noisy_trials_find_most_of_the_way_down_a_valley() -> None:
    # Keep-if-lower over the same moves leaves 0.32; proposing any candidate instead of the one
    # with the greatest expected gain, 0.40.
    assert np.mean([share_of_regret_left(seed, trials=40) for seed in range(8)]) < 0.16


def test_thousands_of_points_are_seen_through_the_nearest() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-2, 2, (2000, 3))
    scores = (points**2).sum(1)
    belief = believe(points, scores, np.ones(2000), 0.05)
    assert len(belief.posterior.points) == 250
    assert (points[belief.best] ** 2).sum() < 0.1
