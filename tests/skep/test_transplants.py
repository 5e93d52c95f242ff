"""A claim's edit on another program is evidence for it, and nothing else on it is."""

import random

from msgspec.structs import replace

from skep.evidence import Replication, replication_seed
from skep.patch import change_of
from skep.records import Edit, Hunk, Rescore, Run, Score, SetConstant
from tests.factories import content_id, make_run
from tests.skep.test_verdict import NODES, Swarm, swarm_of

HOTTER = (SetConstant("LR", 0.02),)
COLDER = (SetConstant("LR", 0.005),)
ANN, BOB = NODES[0], NODES[1]


def claim_of(swarm: Swarm, edits: tuple[Edit, ...] = HOTTER) -> bytes:
    """Ann's claim, whose own run says what was changed."""
    said = len(swarm.said)
    claim = swarm.claim(ANN)
    run_id, author, time, run = swarm.said[said]
    assert isinstance(run, Run)
    swarm.said[said] = run_id, author, time, replace(run, edits=edits)
    return claim


def elsewhere(
    swarm: Swarm,
    claim: bytes,
    edits: tuple[Edit, ...],
    sigmas: float,
    *,
    base: str = "elsewhere",
    number: int = 0,
    seed: int | None = None,
) -> None:
    """Bob runs edits of another program, which he has run twice before."""
    parents = [
        swarm.say(BOB, make_run(base, seed=seed, pinned=1.0, strategy="baseline"))
        for seed in (70, 71)
    ]
    run = make_run(f"{base} and {edits}", parent=base, strategy="replicate", claim=claim)
    swarm.say(
        BOB,
        replace(
            run,
            edits=edits,
            seed=replication_seed(claim, BOB, number) if seed is None else seed,
            scores=(Score(7, "heldout", round((1.0 + 0.01 * sigmas) * 1e6)),),
            rescored=tuple(Rescore(one, 7, "heldout", 1_000_000) for one in parents),
        ),
    )


def replication(swarm: Swarm, claim: bytes) -> Replication | None:
    voices = swarm.judged().claims[claim].voices
    return voices[0].replication if voices else None


def test_the_same_edit_of_another_program_is_a_replication() -> None:
    swarm = swarm_of(3)
    claim = claim_of(swarm)
    elsewhere(swarm, claim, HOTTER, -3.0)
    made = replication(swarm, claim)
    assert made is not None
    assert (made.author, made.parent) == (BOB, content_id("elsewhere"))
    assert round(made.difference, 6) == -0.03
    assert (made.children, made.parents) == (1, 2)


def test_another_edit_that_names_the_claim_is_none() -> None:
    swarm = swarm_of(3)
    claim = claim_of(swarm)
    elsewhere(swarm, claim, COLDER, -20.0)
    assert replication(swarm, claim) is None


def test_another_edit_of_the_same_program_does_not_come_in_with_the_claimed_one() -> None:
    swarm = swarm_of(3)
    claim = claim_of(swarm)
    elsewhere(swarm, claim, HOTTER, 0.0)
    elsewhere(swarm, claim, COLDER, -20.0, number=1)
    made = replication(swarm, claim)
    assert made is not None
    assert (made.children, made.difference) == (1, 0.0)


def test_a_lucky_seed_cannot_be_chosen_elsewhere_either() -> None:
    swarm = swarm_of(3)
    claim = claim_of(swarm)
    elsewhere(swarm, claim, HOTTER, -20.0, seed=12345)
    assert replication(swarm, claim) is None


def test_without_edits_nothing_is_the_same() -> None:
    swarm = swarm_of(3)
    claim = claim_of(swarm, ())
    elsewhere(swarm, claim, (), -20.0)
    assert replication(swarm, claim) is None


def test_of_comparisons_on_several_programs_that_with_most_runs_counts() -> None:
    swarm = swarm_of(3)
    claim = claim_of(swarm)
    elsewhere(swarm, claim, HOTTER, -9.0, base="first")
    for number in (0, 1):
        elsewhere(swarm, claim, HOTTER, -1.0, base="second", number=number)
    made = replication(swarm, claim)
    assert made is not None
    assert (made.parent, made.children) == (content_id("second"), 2)


def test_in_whatever_order_records_come_the_verdict_is_the_same() -> None:
    swarm = swarm_of(3)
    claim = claim_of(swarm)
    elsewhere(swarm, claim, HOTTER, -3.0, base="first")
    elsewhere(swarm, claim, HOTTER, -2.0, base="second")
    swarm.replicate(claim, NODES[2], -4.0)
    expected = swarm.judged().claims[claim]
    for seed in range(20):
        said = swarm.said.copy()
        random.Random(seed).shuffle(said)
        assert swarm.judged(said=said).claims[claim] == expected


def test_a_change_has_one_name_wherever_it_stands_and_in_whatever_order_it_is_said() -> None:
    settings = (SetConstant("A", 1), SetConstant("B", 2.0))
    assert change_of(settings) == change_of(settings[::-1])
    assert change_of((Hunk(3, "x\n", "y\n"),)) == change_of((Hunk(30, "x\n", "y\n"),))
    assert change_of((SetConstant("A", 1),)) != change_of((SetConstant("A", 1.0),))
    assert change_of((Hunk(3, "x\n", "y\n"),)) != change_of((Hunk(3, "x\n", "z\n"),))
