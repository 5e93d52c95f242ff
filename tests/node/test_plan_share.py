"""How much run time what peers offer may take: as a table, and played out over many runs."""

import random

from msgspec.structs import replace

from node.plan import Action, Adopt, Flight, Propose, Repeat, Stop, Wait, next_action
from node.shares import ADOPTION_SHARE, DOUBTED_SHARE, Swarm
from skep.evidence import Candidate, Research
from tests.factories import content_id
from tests.node.test_plan import SEED, promising, state

X = content_id("x")


def decide(
    research: Research,
    swarm: Swarm,
    flights: tuple[Flight, ...] = (),
    *,
    ideas: bool = True,
    proposals: int | None = None,
) -> Action:
    return next_action(
        research,
        flights,
        comparable=max(len(research.baselines), 9),
        proposals=proposals,
        swarm=swarm,
        ideas=ideas,
    )


def swarm(total: float, spent: float, doubted: float = 0.0, **fields: object) -> Swarm:
    given = {"trusted": 1, "total_ms": total, "spent_ms": spent, "doubted_ms": doubted}
    return Swarm(**(given | {"run_ms": 10_000} | fields))  # type: ignore[arg-type]


def adopted(program: bytes = X, **fields: object) -> Candidate:
    return promising(program, -0.5, strategy="adopt", **fields)


def test_an_offer_is_tried_when_the_next_run_stays_within_a_quarter() -> None:
    assert decide(state(3), swarm(30_000, 0)) == Adopt(doubtful=False)
    assert decide(state(3), swarm(40_000, 10_000)) == Propose()
    assert decide(state(3), swarm(70_000, 10_000)) == Adopt(doubtful=False)


def test_without_offers_or_a_first_run_nothing_changes() -> None:
    assert decide(state(3), swarm(30_000, 0, trusted=0)) == Propose()
    assert decide(state(0), Swarm(trusted=5)) == Adopt(doubtful=False)
    assert next_action(state(0), [], comparable=0, swarm=Swarm(trusted=5)) == Repeat(
        SEED, "baseline"
    )


def test_reruns_of_what_was_offered_wait_for_their_share_and_own_ones_do_not() -> None:
    assert decide(state(3, adopted()), swarm(40_000, 10_000)) == Propose()
    assert decide(state(3, promising(X, -0.5)), swarm(40_000, 10_000)) == Repeat(X, "rerun")
    assert decide(state(3, adopted()), swarm(70_000, 10_000)) == Repeat(X, "rerun")


def test_without_own_ideas_all_time_is_for_offers() -> None:
    full = swarm(40_000, 40_000)
    assert decide(state(3), full, ideas=False) == Adopt(doubtful=False)
    assert decide(state(3, adopted()), full, ideas=False) == Repeat(X, "rerun")
    assert decide(state(3), Swarm(), ideas=False) == Wait()


def test_with_no_room_for_proposals_what_was_begun_is_finished_and_nothing_is_begun() -> None:
    full = swarm(40_000, 40_000)
    assert decide(state(3, adopted()), full, proposals=1) == Repeat(X, "rerun")
    discarded = adopted(stage="discarded")
    assert decide(state(3, discarded), full, proposals=1) == Stop()


def test_authors_whose_offers_failed_get_a_fifth_of_that_even_without_ideas() -> None:
    only = swarm(100_000, 20_000, trusted=0, doubtful=1)
    assert decide(state(3), only) == Propose()
    assert decide(state(3), only, ideas=False) == Wait()
    later = swarm(300_000, 50_000, trusted=0, doubtful=1)
    assert decide(state(3), later) == Adopt(doubtful=True)
    assert decide(state(3), swarm(300_000, 50_000, 10_000, trusted=0, doubtful=1)) == Propose()


def test_a_rerun_for_an_author_of_bad_standing_waits_while_there_is_anything_else() -> None:
    doubted = replace(swarm(300_000, 40_000, 10_000, trusted=0), doubted=frozenset({X}))
    assert decide(state(3, adopted()), doubted) == Propose()
    assert decide(state(3, adopted()), doubted, ideas=False) == Repeat(X, "rerun")


def test_over_a_long_time_offers_take_their_share_and_never_more() -> None:
    rng = random.Random(5)
    total, spent, doubted = 30_000.0, 0.0, 0.0
    runs, worst, worst_doubted = 3, 0.0, 0.0
    for _ in range(4000):
        run_ms = total / runs
        offers = Swarm(
            trusted=rng.random() < 0.5,
            doubtful=9,
            total_ms=total,
            spent_ms=spent,
            doubted_ms=doubted,
            run_ms=run_ms,
        )
        action = decide(state(3), offers)
        took = rng.uniform(8_000, 12_000)
        total, runs = total + took, runs + 1
        if isinstance(action, Adopt):
            spent += took
            doubted += took * action.doubtful
        worst = max(worst, (spent - 4_000) / total)
        worst_doubted = max(worst_doubted, (doubted - 4_000) / max(spent, 1))
    assert worst <= ADOPTION_SHARE
    assert spent / total > ADOPTION_SHARE - 0.01
    assert worst_doubted <= DOUBTED_SHARE
    assert doubted / spent > DOUBTED_SHARE - 0.01
