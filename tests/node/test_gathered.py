"""Verdicts that a running node keeps up: those of all records, made no oftener than needed."""

from pathlib import Path

from msgspec.structs import replace

from node.gathered import Gathered
from node.hearing import Hearing
from node.verdicts import verdicts
from skep.evidence import replication_seed
from skep.records import Claim, Rescore, Run, Score
from skep.tier import tier
from tests.factories import CPU, content_id, make_run
from tests.gossip.scenes import KEY
from tests.node.recorded import STORIES
from tests.node.strangers import BOB, EVE, Stranger, deliver
from tests.node.test_notebook import CHILD as BETTER
from tests.node.test_notebook import SEED_PROGRAM, START, baseline, child, ledger_with, notebook
from tests.skep.test_verdict import NODES, TASK, Swarm, swarm_of

ROOTS = frozenset(NODES)


def gathered(swarm: Swarm, runs_max: int = 250_000) -> Gathered:
    found = Gathered(TASK, tier(CPU), runs_max)
    for one in swarm.said:
        found.take(*one)
    return found


def confirmed_claim(swarm: Swarm) -> bytes:
    claim = swarm.claim(NODES[0])
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -20.0)
    return claim


def plain(number: int) -> Run:
    return make_run(f"idea {number}", parent="parent", strategy="tune", pinned=1.0)


def test_runs_that_say_nothing_of_a_claim_cost_no_new_verdict_and_a_replication_does() -> None:
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0])
    found = gathered(swarm)
    before = found.verdicts(ROOTS)
    found.take(content_id("later"), NODES[1], 1, plain(1))
    assert found.verdicts(ROOTS) is before
    heard = len(swarm.said)
    swarm.replicate(claim, NODES[1], -20.0)
    for one in swarm.said[heard:]:
        found.take(*one)
    after = found.verdicts(ROOTS)
    assert (len(before.claims[claim].voices), len(after.claims[claim].voices)) == (0, 1)
    assert after == swarm.judged(*NODES, said=[*swarm.said])


def test_other_roots_are_another_verdict() -> None:
    swarm = swarm_of(12)
    claim = confirmed_claim(swarm)
    found = gathered(swarm)
    assert found.verdicts(ROOTS).claims[claim].state == "confirmed"
    assert found.verdicts(frozenset(NODES[:1])).claims[claim].state == "open"
    assert found.verdicts(ROOTS).claims[claim].state == "confirmed"


def test_with_many_claims_a_verdict_may_be_one_change_in_a_hundred_behind() -> None:
    swarm = swarm_of(12)
    claims = [swarm.claim(NODES[0], f"child {number}") for number in range(100)]
    found = gathered(swarm)
    before = found.verdicts(ROOTS)
    children = [
        make_run("child 7", strategy="adopt", claim=claims[7], seed=seed, pinned=1.0)
        for seed in (1, 2)
    ]
    found.take(content_id("one"), NODES[1], 1, children[0])
    assert found.verdicts(ROOTS) is before
    found.take(content_id("two"), NODES[1], 1, children[1])
    assert found.verdicts(ROOTS) is not before


def test_a_flood_is_forgotten_and_nothing_that_claims_rest_on() -> None:
    swarm = swarm_of(12)
    claim = confirmed_claim(swarm)
    found = gathered(swarm, runs_max=100)
    before = found.verdicts(ROOTS)
    ideas = {number: plain(number) for number in range(300)}
    for number, run in ideas.items():
        found.take(content_id(f"flood {number}"), NODES[11], number, run)
    assert found.verdicts(ROOTS) == before
    for number in (0, 299):
        run = content_id(f"flood {number}")
        said = Claim(program=ideas[number].program, parent=START, run=run, effect=-1)
        found.take(content_id(f"claim {number}"), NODES[11], 400, said)
    known = found.verdicts(ROOTS).claims
    assert set(known) == {claim, content_id("claim 299")}, "the oldest of whoever has most go"


def test_whoever_floods_with_what_cannot_be_forgotten_is_not_listened_to() -> None:
    swarm = swarm_of(12)
    found = gathered(swarm, runs_max=100)
    for number in range(200):
        said = make_run("parent", seed=number, pinned=1.0)
        found.take(content_id(f"flood {number}"), NODES[11], number, said)
    late = Swarm()
    late.said = [(content_id("x"), NODES[11], 0, plain(0))] * 5
    confirmed = confirmed_claim(late)
    lies = late.claim(NODES[11], "lie")
    for one in late.said[5:]:
        found.take(*one)
    known = found.verdicts(ROOTS).claims
    assert known[confirmed].state == "confirmed"
    assert lies not in known


async def test_a_node_keeps_up_what_its_ledger_says(tmp_path: Path) -> None:
    bob, eve, roots = Stranger(BOB), Stranger(EVE), frozenset({KEY.public, EVE.public})
    own = [baseline(seed, 2.0) for seed in range(3)]
    async with ledger_with(tmp_path, *own, programs=(SEED_PROGRAM, BETTER)) as ledger:
        screen = child(BETTER, 1, 1.9)
        said = bob.says(screen)
        effect = Claim(program=screen.program, parent=START, run=said.id, effect=-100_000)
        claim = bob.says(effect)
        await deliver(ledger, said, claim, *(eve.says(baseline(seed)) for seed in (8, 9)))
        book = notebook(ledger, tmp_path)
        hearing = Hearing(ledger, book, None, wake=lambda: None, emit=print)
        while hearing.take_some():
            pass
        lines = [run_id for run_id, _ in ledger.runs(STORIES.id)]
        mine = replace(
            child(BETTER, replication_seed(claim.id, KEY.public, 0), 1.9, claim=claim.id),
            scores=(Score(5, "heldout", 1_900_000),),
            rescored=tuple(Rescore(run, 5, "heldout", 2_000_000) for run in lines),
        )
        signed = await ledger.publish(mine, STORIES.id)
        book.take_in(signed.id, mine, signed.record.time)
        kept_up = book.evidence.verdicts(roots)
        assert [len(one.voices) for one in kept_up.claims.values()] == [1]
        assert kept_up == verdicts(ledger, STORIES, tier(CPU), roots)
        again = notebook(ledger, tmp_path)
        later = Hearing(ledger, again, None, wake=lambda: None, emit=print)
        while later.take_some():
            pass
        assert again.evidence.verdicts(roots) == kept_up
