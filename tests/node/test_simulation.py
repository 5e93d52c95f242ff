"""A simulated swarm decides as a real one does, and the same seed is the same course."""

from typing import Any

import pytest
from msgspec.structs import replace

from node.simulation.landscape import START, Landscape
from node.simulation.outcome import Mark, Outcome, speed_up, summary
from node.simulation.scenario import Scenario, Tier, lone
from node.simulation.swarm import Swarm
from node.simulation.worlds import WORLDS, Nature, World
from skep.merge import merge
from skep.patch import apply
from skep.records import program_id

GENEROUS = World(gains=0.3, nulls=0.0, mean_gain=4.0)
"""A world in which a search of a hundred runs finds something."""


def swarm(nodes: int, runs: int, **fields: Any) -> Outcome:
    return Swarm(Scenario(**{"tiers": (Tier("cpu", nodes),), "runs": runs, **fields})).run()


@pytest.fixture(scope="module")
def alone() -> Outcome:
    return swarm(1, 120, world=GENEROUS)


def test_the_same_seed_is_the_same_course_and_another_one_is_not() -> None:
    fields: dict[str, Any] = {"world": GENEROUS, "churn": 0.2, "away_s": 300.0}
    first = swarm(3, 60, seed=4, **fields)
    assert first == swarm(3, 60, seed=4, **fields)
    assert first != swarm(3, 60, seed=5, **fields)


def test_one_machine_screens_repeats_and_keeps_by_the_rule_of_one_machine(alone: Outcome) -> None:
    assert alone.runs == 120
    assert alone.kept.decided >= 3
    assert alone.kept.false == 0
    assert alone.best == alone.mean > 10
    assert set(alone.purposes) == {"baseline", "screen", "rerun"}
    assert set(alone.strategies) == {"baseline", "idea", "ablate"}
    assert alone.adopted == 0
    assert "adopt" not in alone.strategies
    assert alone.replications == 0
    assert alone.confirmed.decided == 0, "a node that is alone confirms nothing"


def test_slots_work_side_by_side(alone: Outcome) -> None:
    both = swarm(1, 120, world=GENEROUS, slots=2)
    assert both.hours == pytest.approx(alone.hours / 2, rel=0.05)
    assert both.kept.decided >= 3


def test_machines_adopt_what_others_found_and_come_to_share_it() -> None:
    found = swarm(3, 160, world=GENEROUS)
    assert found.strategies["adopt"] > 0
    assert found.strategies["replicate"] > 0.05
    assert 0 < found.adopted < found.kept.decided
    assert found.mean > 0.8 * found.best > 40
    apart = swarm(3, 160, world=GENEROUS, latency_s=1e6)
    assert not {"adopt", "replicate"} & apart.strategies.keys()
    assert found.mean > 1.2 * apart.mean, "each has the finds of all"


def test_with_roots_for_all_claims_are_confirmed_and_they_are_true() -> None:
    found = swarm(6, 200, world=GENEROUS, roots="all")
    assert found.confirmed.decided >= 2
    assert found.confirmed.false == 0


def test_tasks_whose_programs_score_themselves_are_simulated_too() -> None:
    found = swarm(2, 80, world=GENEROUS, scored_by="program")
    assert found.kept.decided >= 3
    assert found.kept.false == 0
    assert found != swarm(2, 80, world=GENEROUS)


def test_where_nothing_works_nothing_is_kept() -> None:
    nothing = World(gains=0.0, nulls=1.0, between=0.0)
    found = swarm(3, 150, world=nothing)
    assert found.proposed > 90
    assert (found.kept.decided, found.best, found.confirmed.decided) == (0, 0, 0)
    assert swarm(3, 60, world=nothing, rule="keep-if-lower").kept.decided > 3


def test_what_liars_invent_is_adopted_by_nobody() -> None:
    found = swarm(4, 150, world=GENEROUS, liars=2, roots="all")
    assert found.runs == 150, "of the honest ones"
    assert found.records > 220
    assert found.wasted > 0, "they were tried"
    assert found.invented == 0
    assert found.kept.decided > 0
    assert found.confirmed.false == 0


def test_a_liar_takes_little_time_of_the_others_and_never_comes_along_in_a_stack() -> None:
    found = swarm(4, 120, world=GENEROUS, liars=1, seed=0)
    assert 0 < found.wasted <= 0.05, "a fifth of a quarter, once the first offers have failed"
    assert found.invented == 0
    assert found.mean > 25
    assert swarm(4, 40, world=GENEROUS, seed=0).wasted == 0


def test_absences_and_a_partition_delay_the_swarm_and_do_not_stop_it() -> None:
    fields: dict[str, Any] = {"world": GENEROUS, "partition_s": (0.0, 1200.0)}
    steady = swarm(4, 120, world=GENEROUS)
    found = swarm(4, 120, churn=0.4, away_s=600.0, **fields)
    assert found.runs == steady.runs == 120
    assert found.hours > 1.2 * steady.hours
    assert found.kept.decided > 0
    apart = swarm(2, 60, world=GENEROUS, partition_s=(0.0, 1e6))
    assert "adopt" not in apart.strategies, "neither ever hears of the other"


def test_slow_machines_adopt_what_fast_ones_found_and_nobodys_claims_cross_over() -> None:
    tiers = (Tier("slow", 1, 1.0), Tier("fast", 1, 4.0))
    found = swarm(1, 160, tiers=tiers, world=GENEROUS)
    apart = swarm(1, 160, tiers=tiers, world=GENEROUS, latency_s=1e6)
    assert found.strategies["adopt"] > 0
    assert "replicate" not in found.strategies
    assert 2 * found.mean - found.best > 2 * (2 * apart.mean - apart.best) > 0, "the slow one's"


def test_a_program_is_worth_the_sum_of_its_edits_also_when_they_are_merged() -> None:
    landscape = Landscape(Nature(WORLDS["A"], 0))
    one, edit = landscape.edited(START, honest=True)
    other, _ = landscape.edited(START, honest=True)
    assert apply(START, [edit]) == one
    both = merge(START, one, other)
    for source in (one, other, both):
        landscape.take(source)
    effects = [change.effect for change in landscape.changes]
    assert landscape.level(program_id(both)) == effects[1] + effects[2]
    assert landscape.edits_of(both) == {1, 2}


def test_speed_up_compares_when_both_had_what_both_gained(alone: Outcome) -> None:
    marks = (Mark(1.0, 2.0, 2.0), Mark(6.0, 8.0, 8.0), Mark(9.0, 20.0, 20.0))
    slow = replace(alone, course=marks, mean=20.0)
    fast = replace(alone, course=(Mark(1.5, 9.0, 3.0), Mark(2.0, 9.0, 7.0)), mean=7.0)
    assert speed_up(slow, fast) == 3, "7 sigma: after 6 hours and after 2"
    assert speed_up(slow, replace(fast, mean=0.0)) is None
    both = summary([fast, replace(fast, mean=9.0)], [slow, slow])
    assert (both.mean, both.mean_error, both.alone, both.efficiency) == (8, 1, 20, 0.4)
    assert lone(Scenario(tiers=(Tier("cpu", 4),), liars=2)) == Scenario(tiers=(Tier("cpu", 1),))
