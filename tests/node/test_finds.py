"""Which edits are worth recombining: those that helped and are not what the node builds on."""

import pytest

from node.finds import FINDS_MAX, finds
from skep.evidence import Research, research
from skep.records import Run
from tests.factories import content_id, make_run

START = content_id("seed")


def folded(history: list[tuple[str, Run]]) -> Research:
    runs = [(content_id(name), run) for name, run in history]
    return research(runs, start=START, direction="min", sigma_prior=0.01)


def runs(program: str, *values: float, parent: str = "seed") -> list[tuple[str, Run]]:
    """A screen and re-runs of a program."""
    made = (
        make_run(program, parent=parent, strategy="tune", seed=n, pinned=v, scores=[(7, v)])
        for n, v in enumerate(values)
    )
    return [(f"{program}{n}", run) for n, run in enumerate(made)]


def baselines(count: int = 6) -> list[tuple[str, Run]]:
    made = (make_run("seed", seed=n, pinned=2.0, scores=[(7, 2.0)]) for n in range(count))
    return [(f"base{n}", run) for n, run in enumerate(made)]


def listed(history: list[tuple[str, Run]], **unknown: None) -> list[tuple[bytes, float, float]]:
    def text(program: bytes) -> str | None:
        return None if program.decode().rstrip(".") in unknown else program.decode()

    def parent(program: bytes) -> bytes | None:
        return START

    found = finds(folded(history), text, parent)
    assert all(one.base == START.decode() for one in found)
    assert all(one.source == one.program.decode() for one in found)
    return [(one.program, one.effect, one.chance) for one in found]


def test_what_was_too_small_to_be_kept_is_a_find_with_its_measured_effect() -> None:
    history = [*baselines(), *runs("small", 1.97, *[1.975] * 6), *runs("worse", 2.1)]
    ((program, effect, chance),) = listed(history)
    assert program == content_id("small")
    assert effect == pytest.approx(-0.025)
    assert 0.95 < chance < 1.0


def test_a_screen_alone_is_believed_by_half() -> None:
    history = [*baselines(), *runs("hardly", 1.99)]
    ((_, effect, chance),) = listed(history)
    assert effect == pytest.approx(-0.005)
    assert 0.5 < chance < 0.8


def test_what_was_kept_and_is_built_upon_is_listed_the_champion_is_not() -> None:
    history = [*baselines(), *runs("first", *[1.7] * 4), *runs("second", 1.4, 1.4, parent="first")]
    assert [program for program, *_ in listed(history)] == [content_id("first")]


def test_what_failed_or_whose_text_is_not_here_is_none() -> None:
    crash = make_run("crash", parent="seed", strategy="tune", status="crash")
    history = [*baselines(), ("crash", crash), *runs("lost", 1.97, *[1.975] * 6)]
    assert listed(history, lost=None) == []


def test_the_best_come_first_and_not_too_many() -> None:
    history = baselines()
    for n in range(FINDS_MAX + 3):
        history += runs(f"edit {n}", 1.999 - n / 2000)
    found = [effect for _, effect, _ in listed(history)]
    assert len(found) == FINDS_MAX
    assert found == sorted(found)
    assert found[0] == pytest.approx(-0.5 * (0.001 + (FINDS_MAX + 2) / 2000))
