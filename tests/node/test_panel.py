"""The shipped verdict in worlds with a known truth: hardly ever fooled, and it misses little."""

from collections.abc import Iterable

from node.simulation.panel import Panel, Simulation
from node.simulation.worlds import WORLDS


def panels(world: str, seeds: Iterable[int], *, runs: int = 1500, liars: int = 0) -> list[Panel]:
    return [Simulation(WORLDS[world], seed, runs, liars).run() for seed in seeds]


def test_what_is_confirmed_is_true_and_most_that_is_large_is_found() -> None:
    worlds = [panels("A", range(3), runs=700)]
    worlds += [panels("F", range(2), runs=700), panels("C", (2, 3), runs=700)]
    found = [one for world in worlds for one in world]
    # None false of 59 or more: with 95 % certainty less than 5 % are.
    assert sum(one.confirmed for one in found) >= 59
    assert sum(one.false for one in found) == 0
    for world in worlds:
        large = sum(one.large_confirmed for one in world) / sum(one.large for one in world)
        great = sum(one.great_confirmed for one in world) / sum(one.great for one in world)
        assert large >= 0.55
        assert great >= 0.85


def test_where_nothing_works_nothing_is_confirmed() -> None:
    found = panels("H", range(4), runs=400)
    assert sum(one.proposed for one in found) > 250
    assert [one.confirmed for one in found] == [0, 0, 0, 0]


def test_three_liars_of_twelve_get_nothing_through() -> None:
    (found,) = panels("A", [0], runs=700, liars=3)
    assert found.confirmed > 5
    assert found.false == 0


def test_the_same_seed_is_the_same_course() -> None:
    assert panels("A", [5], runs=150) == panels("A", [5], runs=150)
    assert panels("A", [5], runs=150) != panels("A", [6], runs=150)
