"""How a search is doing: shares, times, the held-out gap, and a plateau when there is one."""

import pytest
from msgspec.structs import replace

from node.health import PLATEAU, Health, health
from skep.records import Run, Score
from tests.factories import make_run
from tests.skep.test_verdict import NODES, Swarm, swarm_of


def look(swarm: Swarm) -> Health:
    runs = [(author, it) for _, author, _, it in swarm.said if isinstance(it, Run)]
    return health(runs, swarm.judged(), 1)


def idea(swarm: Swarm, name: str, strategy: str = "tune", total_ms: int = 1000) -> None:
    run = make_run(name, parent="parent", strategy=strategy, pinned=1.0, total_ms=total_ms)
    swarm.say(NODES[0], run)


def test_a_search_without_runs_says_nothing() -> None:
    empty = Health(
        ideas=0, claimed=None, states={}, confirmed_ms=None, gap=None, time={}, since=0,
        plateau=False,
    )  # fmt: skip
    assert look(Swarm()) == empty


def test_ideas_are_counted_once_and_claims_by_their_verdict() -> None:
    swarm = swarm_of(12)
    good, bad = swarm.claim(NODES[0], "good"), swarm.claim(NODES[0], "bad")
    for node in NODES[1:4]:
        swarm.replicate(good, node, -20.0, program="good")
        swarm.replicate(bad, node, 3.0, program="bad")
    for name in ("dull", "dull", "duller"):
        idea(swarm, name)
    found = look(swarm)
    assert (found.ideas, found.claimed) == (4, 0.5)
    assert found.states == {"confirmed": 1, "refuted": 1}
    assert (found.since, found.plateau) == (2, False)


def test_the_time_to_be_confirmed_ends_with_the_last_voice() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -20.0)
    said = {content_id: time for content_id, _, time, _ in swarm.said}
    assert look(swarm).confirmed_ms == max(said.values()) - said[claim]


def test_run_time_is_shared_out_by_strategy() -> None:
    swarm = Swarm()
    idea(swarm, "a", total_ms=3000)
    idea(swarm, "b", strategy="recombine", total_ms=1000)
    assert look(swarm).time == {"tune": 0.75, "recombine": 0.25}


def test_many_ideas_without_one_that_looks_good_are_a_plateau() -> None:
    swarm = swarm_of(12)
    swarm.claim(NODES[0])
    for number in range(PLATEAU - 1):
        idea(swarm, f"idea {number}")
    assert (look(swarm).since, look(swarm).plateau) == (PLATEAU - 1, False)
    idea(swarm, "one more")
    assert (look(swarm).since, look(swarm).plateau) == (PLATEAU, True)


def test_what_looks_better_on_the_text_of_searches_than_elsewhere_shows_as_a_gap() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -20.0)
    for number, (content_id, author, time, it) in enumerate(swarm.said):
        if isinstance(it, Run) and it.claim:
            # 0.70 where searches look, 0.80 elsewhere; the parent has 1.0 on both.
            scores = (Score(0, "dev", 700_000), *it.scores)
            swarm.said[number] = (content_id, author, time, replace(it, scores=scores))
    assert look(swarm).gap == pytest.approx(0.1)
