"""The one-machine rule: e-values that cannot be talked up, and a fold that keeps what is real."""

import math
import random
import statistics

import pytest
from msgspec.structs import replace

from skep.evidence import Fold, Research, log_e_value, pooled_noise, research
from skep.evidence.research import BASELINES_MIN
from skep.ports import ADOPT
from skep.records import Run
from tests.factories import content_id, make_run

START = content_id("seed")


def fold(history: list[tuple[str, Run]], **options: object) -> Research:
    arguments: dict[str, object] = {"start": START, "direction": "min", "sigma_prior": 0.01}
    return research([(content_id(name), run) for name, run in history], **(arguments | options))  # type: ignore[arg-type]


def baselines(*values: float, draw: int = 7) -> list[tuple[str, Run]]:
    return [
        (f"base{i}", make_run("seed", seed=i, pinned=value, scores=[(draw, value)]))
        for i, value in enumerate(values)
    ]


def child(name: str, seed: int, value: float, **fields: object) -> Run:
    given = {"strategy": "tune", "parent": "seed", "pinned": value, "scores": [(7, value)]}
    return make_run(name, seed=seed, **(given | fields))


@pytest.mark.parametrize(("children", "parents"), [(1, 1), (1, 3), (2, 3), (6, 6)])
def test_e_value_has_expectation_one_when_nothing_improved(children: int, parents: int) -> None:
    spread = math.sqrt(1 / children + 1 / parents)
    expectation = expected_e(spread, children=children, parents=parents)
    assert expectation == pytest.approx(1.0, abs=0.01)


def test_taking_a_noisy_baseline_for_the_truth_would_break_it() -> None:
    spread = math.sqrt(1 + 1 / 3)
    assert expected_e(spread, children=1, parents=10**9) > 2.0


def expected_e(spread: float, *, children: int, parents: int) -> float:
    """E[e] for a null difference of standard deviation `spread`, by the trapezoid rule."""
    step = 0.02
    grid = [i * step for i in range(-1_000, 1_001)]
    return sum(
        step
        * statistics.NormalDist(0, spread).pdf(difference)
        * math.exp(log_e_value(difference, 1.0, children=children, parents=parents))
        for difference in grid
    )


@pytest.mark.parametrize(
    ("children", "parents", "expected"), [(1, 3, 3.21843), (2, 3, 6.61804), (6, 6, 135.335)]
)
def test_e_value_of_a_two_sigma_gain(children: int, parents: int, expected: float) -> None:
    got = math.exp(log_e_value(-2.0, 1.0, children=children, parents=parents))
    assert got == pytest.approx(expected, rel=1e-3)


def test_noise_without_runs_is_the_prior_and_its_upper_limit_is_wider() -> None:
    noise = pooled_noise([], prior=0.012)
    assert noise.sigma == pytest.approx(0.012)
    assert noise.upper == pytest.approx(0.012 * math.sqrt(10 / 6.179), rel=0.01)


def test_noise_pools_within_programs_and_ignores_differences_between_them() -> None:
    noise = pooled_noise([[1.0, 1.2], [9.0, 9.2]] * 50, prior=0.1)
    assert noise.sigma == pytest.approx(math.sqrt((100 * 0.02 + 10 * 0.01) / 110))


def test_a_big_gain_is_kept_after_one_rerun_and_the_screen_is_no_evidence_for_it() -> None:
    history = baselines(2.0, 2.01, 1.99)
    history.append(("screen", child("better", 0, 1.70)))
    screened = fold(history)
    assert screened.champion == START
    assert screened.candidates[content_id("better")].stage == "open"
    history.append(("rerun", child("better", 1, 1.75)))
    kept = fold(history)
    assert kept.champion == content_id("better")
    assert kept.kept[0].effect == pytest.approx(-0.25)
    assert (kept.kept[0].reruns, kept.kept[0].baselines) == (1, 3)
    assert kept.baselines == (content_id("screen"), content_id("rerun"))
    assert kept.judged == 1


def test_the_screen_of_a_champion_speaks_against_what_comes_after_it() -> None:
    history = baselines(2.0, 2.01, 1.99)
    history += [("s1", child("good", 0, 1.60)), ("r1", child("good", 1, 1.70))]
    history.append(("s2", child("next", 0, 1.50, parent="good")))
    assert fold(history).candidates[content_id("next")].delta == pytest.approx(1.5 - 1.65)
    history.append(("r2", child("next", 1, 1.50, parent="good")))
    assert fold(history).kept[1].effect == pytest.approx(1.5 - 1.65)
    assert fold(history).kept[1].baselines == 2


def test_a_lucky_screen_alone_keeps_nothing() -> None:
    history = baselines(2.0, 2.01, 1.99)
    history.append(("screen", child("lucky", 0, 1.90)))
    history += [(f"rerun{i}", child("lucky", i, 2.03)) for i in range(1, 4)]
    result = fold(history)
    assert result.champion == START
    assert result.candidates[content_id("lucky")].stage == "discarded"


def test_a_candidate_that_can_hardly_be_kept_any_more_gets_no_more_reruns() -> None:
    history = baselines(2.0, 2.0, 2.0)
    history.append(("screen", child("meek", 0, 1.90)))
    history.append(("rerun1", child("meek", 1, 1.98)))
    open_still = fold(history).candidates[content_id("meek")]
    assert (open_still.stage, open_still.reruns) == ("open", 1)
    history.append(("rerun2", child("meek", 2, 1.99)))
    dropped = fold(history).candidates[content_id("meek")]
    assert (dropped.stage, dropped.reruns) == ("discarded", 2)
    assert dropped.reason.endswith("e = 0.763, will hardly reach 20")


def test_a_screen_within_one_sigma_is_discarded_at_once() -> None:
    result = fold([*baselines(2.0, 2.01, 1.99), ("screen", child("same", 0, 1.99))])
    assert result.candidates[content_id("same")].stage == "discarded"
    assert result.judged == 1
    assert result.reopened == 0


def test_evidence_waits_for_as_many_baselines_as_reruns() -> None:
    history = baselines(2.0)
    history += [("screen", child("x", 0, 1.94)), ("rerun1", child("x", 1, 1.94))]
    alone = fold(history).candidates[content_id("x")]
    assert (alone.missing, alone.stage, alone.effect) == (0, "open", pytest.approx(-0.06))
    history.append(("rerun2", child("x", 2, 1.92)))
    waiting = fold(history)
    assert waiting.candidates[content_id("x")].missing == 1
    assert waiting.champion == START
    history.append(("base9", make_run("seed", seed=9, pinned=1.99, scores=[(7, 1.99)])))
    assert fold(history).champion == content_id("x")


def test_the_first_run_of_an_offer_is_evidence_because_no_run_here_selected_it() -> None:
    history = [*baselines(2.0, 2.01, 1.99), ("first", child("theirs", 0, 1.70, strategy="adopt"))]
    kept = fold(history)
    assert kept.champion == content_id("theirs")
    assert (kept.kept[0].reruns, kept.kept[0].baselines, kept.reopened) == (1, 3, 1)
    assert kept.kept[0].run == content_id("first")
    assert kept.baselines == (content_id("first"),), "it is there once"


def test_an_offer_that_looks_like_nothing_is_dropped_after_its_first_run_and_counts() -> None:
    history = baselines(2.0, 2.01, 1.99)
    history.append(("worse", child("worse", 0, 2.02, strategy="adopt")))
    history.append(("hardly", child("hardly", 0, 2.0, strategy="adopt")))
    result = fold(history)
    assert {one.stage for one in result.candidates.values()} == {"discarded"}
    assert {one.reruns for one in result.candidates.values()} == {1}
    assert (result.reopened, result.threshold("adopt")) == (2, 40.0)


def test_a_parent_rescored_in_the_childs_record_counts_as_its_score() -> None:
    history = [(f"base{i}", make_run("seed", seed=i, pinned=2.0 + i / 100)) for i in range(3)]
    rescored = [(f"base{i}", 99, 2.1) for i in range(3)]
    fresh = {"scores": [(99, 1.8)], "rescored": rescored}
    history.append(("screen", child("x", 0, 1.8, **fresh)))
    assert fold(history).candidates[content_id("x")].delta == pytest.approx(-0.3)


def test_a_higher_number_wins_where_the_task_says_so() -> None:
    history = baselines(0.80, 0.81, 0.79)
    history += [("screen", child("x", 0, 0.95)), ("rerun", child("x", 1, 0.95))]
    assert fold(history, direction="max").champion == content_id("x")
    assert fold(history).champion == START


def test_crashes_fail_a_candidate_and_void_runs_only_when_repeated() -> None:
    history = baselines(2.0, 2.0, 2.0)
    history.append(("c", make_run("crash", parent="seed", status="crash", note="boom")))
    history.append(("v1", make_run("slow", parent="seed", status="void")))
    result = fold(history)
    assert result.candidates[content_id("crash")].reason == "boom"
    assert content_id("slow") not in result.candidates
    history.append(("v2", make_run("slow", parent="seed", status="void")))
    assert fold(history).candidates[content_id("slow")].stage == "failed"


def test_an_open_rival_of_an_old_champion_must_beat_the_new_one() -> None:
    history = baselines(2.0, 2.01, 1.99)
    history.append(("s1", child("good", 0, 1.7)))
    history.append(("s2", child("weak", 0, 1.9)))
    history.append(("s3", child("best", 0, 1.5)))
    history.append(("r1", child("good", 1, 1.7)))
    result = fold(history)
    assert result.champion == content_id("good")
    assert result.candidates[content_id("weak")].stage == "discarded"
    assert result.candidates[content_id("best")].stage == "open"
    history.append(("r3", child("best", 1, 1.5, parent="good")))
    best = fold(history)
    assert best.champion == content_id("best")
    assert best.kept[1].parent == content_id("good")
    assert best.kept[1].effect == pytest.approx(-0.2)
    assert best.kept[1].baselines == 2, "its screen and its re-run"


def test_a_program_that_keeps_being_killed_fails() -> None:
    history = baselines(2.0, 2.01, 1.99)
    history += [("s", child("x", 0, 1.7)), ("k", child("x", 1, 1.7, status="killed"))]
    assert fold(history).candidates[content_id("x")].stage == "failed"


def test_runs_of_a_search_that_began_with_another_program_are_left_out() -> None:
    history = baselines(2.0, 2.01, 1.99)
    history.append(("o", make_run("other start", pinned=1.0, scores=[(7, 1.0)])))
    history.append(("c", child("its child", 0, 0.5, parent="other start")))
    result = fold(history)
    assert result.champion == START
    assert result.candidates == {}


def test_a_metric_near_zero_takes_its_noise_in_its_own_units() -> None:
    assert fold([]).noise.sigma < 1e-5
    assert fold([], noise_prior=0.05).noise.sigma == pytest.approx(0.05)


def test_the_prior_follows_the_mean_of_the_start_program_not_its_first_run() -> None:
    low = fold(baselines(0.0, 2.0, 1.0), sigma_prior=0.5).noise
    assert low == fold(baselines(2.0, 1.0, 0.0), sigma_prior=0.5).noise


def test_of_a_hundred_null_edits_rarely_any_is_kept() -> None:
    """The whole rule on simulated nulls: P(any kept of 100) stays under 5 %."""
    series, hits = 300, 0
    for number in range(series):
        hits += bool(simulate([0.0] * 100, random.Random(number)).kept)
    assert hits / series <= 0.05


@pytest.mark.parametrize("parents", [1, 2, 3])
def test_of_a_hundred_null_offers_rarely_any_is_kept_although_first_runs_are_evidence(
    parents: int,
) -> None:
    series, hits = 150, 0
    for number in range(series):
        found = simulate([0.0] * 100, random.Random(number), parents=parents, strategy=ADOPT)
        hits += bool(found.kept)
    assert hits / series <= 0.05


@pytest.mark.parametrize("parents", [1, 2, 3])
def test_the_e_value_with_which_a_null_offer_ends_is_one_at_most_on_average(parents: int) -> None:
    ends = []
    for number in range(3000):
        found = simulate([0.0], random.Random(number), parents=parents, strategy=ADOPT)
        (candidate,) = found.candidates.values()
        assert candidate.e is not None
        ends.append(candidate.e)
    assert 0.1 < statistics.mean(ends) <= 1.0


def test_real_gains_of_three_sigma_are_found() -> None:
    found = sum(bool(simulate([-3.0], random.Random(n)).kept) for n in range(100))
    assert found >= 85


def simulate(
    effects: list[float],
    rng: random.Random,
    *,
    parents: int = BASELINES_MIN,
    strategy: str = "tune",
) -> Research:
    """Drive the shipped fold with gaussian runs (sigma = 0.02 at a level of 2.0), one at a time.

    It begins with so many runs of the start program, and gets more as the fold asks for them.
    """
    sigma, level = 0.02, 2.0

    def draw(effect: float) -> float:
        return level + sigma * (effect + rng.gauss(0, 1))

    def add_baseline(number: int) -> None:
        value = draw(0.0)
        run = make_run("seed", seed=number, pinned=value, scores=[(7, value)])
        state.add(content_id(f"base{number}"), run)

    state = Fold(start=START, direction="min", sigma_prior=0.01)
    for number in range(parents):
        add_baseline(number)
    for number, effect in enumerate(effects):
        name, seed = f"edit{number}", 0
        while seed == 0 or state.candidates[content_id(name)].stage == "open":
            if seed and state.candidates[content_id(name)].missing:
                add_baseline(len(state.evidence[START]))
                continue
            run = child(name, seed, draw(effect), strategy=strategy)
            state.add(content_id(f"{name}/{seed}"), run)
            seed += 1
        if state.kept:
            break
    return state.snapshot()


def kept_then(*statuses: str) -> Research:
    """A search that kept x, whose runs then end so."""
    history = [*baselines(2.0, 2.0, 2.0), ("s", child("x", 1, 1.5)), ("r", child("x", 2, 1.5))]
    for number, status in enumerate(statuses):
        done = {"scores": [(7, 1.5)]} if status == "done" else {"scores": []}
        run = make_run("x", seed=number + 9, strategy="baseline", parent="seed", **done)
        history.append((f"later {number}", replace(run, status=status)))
    return fold(history)


def test_a_champion_that_fails_three_times_in_a_row_gives_way_to_the_one_before() -> None:
    assert kept_then("crash", "crash").champion == content_id("x")
    assert kept_then("crash", "crash", "void", "done", "crash").champion == content_id("x")
    fallen = kept_then("crash", "void", "oom", "crash")
    assert (fallen.champion, fallen.kept) == (START, ())
    assert fallen.candidates[content_id("x")].stage == "failed"
    assert kept_then("crash", "crash", "crash", "done").champion == START


def test_a_finished_run_without_a_score_says_nothing() -> None:
    empty = replace(child("x", 1, 1.5), scores=())
    assert fold([*baselines(2.0, 2.0), ("x", empty)]).candidates == {}
