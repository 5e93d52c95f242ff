"""What an ablation must show: it need not be better, and drops nothing that is worth one sigma.

The error rates are measured by playing series through the shipped fold; the full table is made by
`scripts/bench/ablations.py`.
"""

import random
from typing import Any

import pytest
from msgspec.structs import replace

from skep.evidence import Noise, Research, research
from skep.evidence.rules import ABLATION, EDIT, rule_of
from skep.records import Run
from tests.benches import bench
from tests.factories import content_id, make_run

START = content_id("seed")
NOISE = Noise(sigma=1.0, dof=1e6, upper=1.0)


def spread(value: float, count: int, first: int = 0) -> list[dict[str, Any]]:
    """Scores around a value, 0.02 above and below in turn: sigma is 0.02."""
    values = [value + (0.02 if seed % 2 else -0.02) for seed in range(first, first + count)]
    return [{"seed": n, "pinned": one, "scores": [(7, one)]} for n, one in enumerate(values, first)]


def baselines(program: str = "seed", value: float = 2.0, count: int = 24) -> list[Run]:
    return [make_run(program, **made) for made in spread(value, count, 100)]


def trial(
    program: str, screen: float, value: float = 0.0, count: int = 0, **fields: Any
) -> list[Run]:
    """A screen and re-runs."""
    first = {"seed": 0, "pinned": screen, "scores": [(7, screen)]}
    every = [first, *spread(value, count, 1)]
    return [
        make_run(program, **{"parent": "seed", "strategy": "tune", **fields, **made})
        for made in every
    ]


def without(screen: float, value: float = 0.0, count: int = 0, parent: str = "seed") -> list[Run]:
    return trial("without", screen, value, count, parent=parent, strategy="ablate")


def folded(history: list[Run]) -> Research:
    named = [(n.to_bytes(32, "big"), run) for n, run in enumerate(history)]
    return research(named, start=START, direction="min", sigma_prior=0.01)


def test_only_ablations_may_be_a_little_worse() -> None:
    assert rule_of("ablate") is ABLATION
    assert [rule_of(name) for name in ("tune", "llm", "recombine")] == [EDIT] * 3
    assert rule_of("adopt") == rule_of("replicate") == replace(EDIT, ratio=0.5)
    counts = {"children": 24, "parents": 24}
    assert ABLATION.log_e(0.0, NOISE, **counts) == pytest.approx(6.0)
    assert ABLATION.log_e(0.5, NOISE, **counts) == pytest.approx(0.0)
    assert ABLATION.log_e(1.0, NOISE, **counts) == pytest.approx(-6.0)
    assert EDIT.log_e(0.0, NOISE, **counts) < 0.0


def test_the_margin_does_not_grow_with_what_is_not_known_of_sigma() -> None:
    unsure = Noise(sigma=1.0, dof=10.0, upper=1.5)
    assert ABLATION.log_e(1.0, unsure, children=8, parents=8) < 0.0


def test_an_equal_score_with_one_edit_less_is_kept_and_a_worse_one_is_not() -> None:
    equal = folded([*baselines(count=40), *without(2.0, 2.0, 24)])
    assert equal.champion == content_id("without")
    assert equal.kept[0].strategy == "ablate"
    assert folded([*baselines(count=40), *without(2.0, 2.0, 12)]).champion == START, (
        "too few to say"
    )
    edit = trial("edit", 1.97, 2.0, 24)
    assert folded([*baselines(count=40), *edit]).champion == START
    worse = folded([*baselines(), *without(2.0, 2.02, 24)]).candidates[content_id("without")]
    assert worse.stage == "discarded"


def test_an_ablation_that_is_better_needs_fewer_runs() -> None:
    assert folded([*baselines(), *without(1.95, 1.95, 4)]).champion == content_id("without")


def test_the_screen_of_an_ablation_may_look_half_a_sigma_worse_and_no_more() -> None:
    for value, stage in ((2.009, "open"), (2.011, "discarded")):
        found = folded([*baselines(), *without(value)])
        assert found.candidates[content_id("without")].stage == stage


def test_ablations_do_not_count_among_the_edits_that_were_rerun_or_kept() -> None:
    found = folded([*baselines(count=40), *without(2.0, 2.0, 24)])
    assert (found.reopened, len(found.kept)) == (0, 1)
    both = folded(
        [*baselines(count=40), *without(2.0, 2.0, 24), *trial("edit", 1.9, parent="without")]
    )
    assert (both.reopened, both.threshold("tune"), both.threshold("ablate")) == (1, 20.0, 150.0)


def test_runs_that_got_the_champion_kept_do_not_count_against_its_ablations() -> None:
    better = trial("better", 1.7, 1.7, 3)
    history = [*baselines(count=3), *better, *without(1.7, 1.7, 2, parent="better")]
    found = folded(history)
    assert found.champion == content_id("better")
    at_first = found.kept[0].reruns + 1
    assert found.baselines[0] == (3).to_bytes(32, "big"), "its screen"
    assert len(found.baselines) > at_first
    assert found.candidates[content_id("without")].missing == 3 - (len(found.baselines) - at_first)
    fresh = folded([*history, *baselines("better", 1.72, 4)]).candidates[content_id("without")]
    assert fresh.missing == 0
    assert fresh.effect is not None
    assert fresh.effect < 0.0


def test_an_ablation_ends_with_the_champion_that_it_was_made_from() -> None:
    history = [*baselines(count=3), *without(2.0, 2.0, 2)]
    assert folded(history).candidates[content_id("without")].stage == "open"
    ended = folded([*history, *trial("better", 1.7, 1.7, 2)]).candidates[content_id("without")]
    assert ended.stage == "discarded"
    assert ended.reason == "it is the former champion without an edit"


def test_of_a_hundred_edits_worth_one_sigma_hardly_ever_any_is_dropped() -> None:
    ablations = bench("ablations")
    row = ablations.table_row([1.0], 150, random.Random(7))
    assert row["p_useful_dropped_upper_95"] <= 0.08
    assert row["p_useful_dropped"] <= 0.05


def test_edits_that_do_nothing_are_dropped_with_a_fair_chance_and_harmful_ones_mostly() -> None:
    ablations = bench("ablations")
    assert ablations.table_row([0.0], 5, random.Random(7))["dropped"] >= 0.15
    assert ablations.table_row([-1.0], 3, random.Random(7))["dropped"] >= 0.6
