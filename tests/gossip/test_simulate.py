"""Whole meshes in virtual time: what is said reaches everybody, whatever happens in between."""

import hashlib
from functools import partial

import pytest

from gossip.params import NODE
from gossip.simulate import World
from tests.factories import make_run
from tests.gossip.swarm_scenes import author, branch, chain

NOBODY = author(9)
"""An author that is none of the nodes."""


def chatter(world: World, records: int, seconds: float) -> None:
    """Let random living nodes say something at random moments."""
    for number in range(records):

        def say(number: int = number) -> None:
            node = world.rng.choice(world.alive())
            world.say(node, make_run("p", pinned=2.0, seed=number))

        world.at(world.rng.uniform(0.0, seconds), say)


def test_everything_said_reaches_everybody() -> None:
    world = World(20, seed=1)
    world.run(15)
    assert all(len(node.links) >= 8 for node in world.nodes), "peer exchange found company"
    chatter(world, 60, 10.0)
    world.run(12)
    assert len(world.digests()) == 1
    assert {len(node.core.replica) for node in world.nodes if node.core} == {60}


def test_partition_loss_and_churn_heal_within_two_rounds() -> None:
    """Twenty nodes in three parts, a fifth of everything lost, nodes dying all the time."""
    world = World(20, seed=2, loss=0.2)
    world.run(20)
    world.split(range(7), range(7, 14), range(14, 20))
    chatter(world, 120, 60.0)
    for _ in range(12):
        victim = world.rng.choice(world.nodes[1:])
        world.at(world.rng.uniform(0.0, 50.0), partial(world.kill, victim))
        world.at(world.rng.uniform(50.0, 60.0), partial(world.start, victim))
    world.run(62)
    assert len(world.digests()) > 1, "the parts have heard different things"
    said = {signed for node in world.nodes for *_, signed, _ in node.archive.positions()}
    assert len(said) >= 100
    world.split()
    world.loss = 0.0
    # Dead addresses are tried again after a pause; then two rounds of comparison are enough.
    world.run(60 + 2 * 1.5 * NODE.compare_s)
    assert len(world.digests()) == 1
    assert {len(node.core.replica) for node in world.alive() if node.core} == {len(said)}


def test_a_node_that_joins_late_gets_everything_at_once() -> None:
    world = World(6, seed=3)
    late = world.nodes[5]
    world.run(10)
    world.kill(late)
    chatter(world, 1500, 20.0)
    world.run(40)
    world.start(late)
    world.run(10)
    assert late.core is not None
    assert len(late.core.replica) == 1500
    assert len(world.digests()) == 1


@pytest.mark.parametrize("parts", [2, 3])
def test_a_forked_feed_is_frozen_the_same_way_everywhere(parts: int) -> None:
    """Branches of one author are known in different places, some of them deep behind the fork."""
    world = World(9, seed=4)
    trunk = chain(NOBODY, 300)
    branches = [trunk, branch(trunk, 20, 290, 5000), branch(trunk, 25, 4, 9000)][:parts]
    for node in world.nodes:
        node.archive.keep(branches[node.number % parts])
    world.run(90)
    assert len(world.digests()) == 1
    for node in world.nodes:
        assert node.core is not None
        (found,) = [c for c in node.core.replica.chains if c.author == NOBODY.public]
        assert found.fork is not None
        assert found.fork.seq == 20
        assert found.next == 20


def test_the_same_seed_gives_the_same_course() -> None:
    def course(seed: int) -> str:
        world = World(12, seed=seed, loss=0.1)
        world.run(10)
        chatter(world, 30, 10.0)
        world.run(30)
        return hashlib.sha256(repr((world.counts, sorted(world.digests()))).encode()).hexdigest()

    assert course(5) == course(5)
    assert course(5) != course(6)


def test_a_node_meets_itself_and_says_so() -> None:
    world = World(4, seed=6)
    twin, original = world.nodes[2], world.nodes[3]
    twin.identity = original.identity
    world.run(90)
    world.say(world.nodes[3], make_run("p", pinned=2.0))
    world.run(30)
    notices = [*twin.notices, *original.notices]
    assert any("its home was copied" in one for one in notices)


def test_records_lost_from_a_restored_home_come_back() -> None:
    world = World(4, seed=7)
    node = world.nodes[1]
    world.run(10)
    for seed in range(5):
        world.say(node, make_run("p", pinned=2.0, seed=seed))
    world.run(200)
    world.kill(node)
    node.archive = type(node.archive)()
    world.start(node)
    world.run(20)
    assert node.core is not None
    assert len(node.core.replica) == 5
    assert [one for one in node.notices if "gave back" in one]
    world.say(node, make_run("p", pinned=2.0, seed=99))
    world.run(5)
    assert len(world.digests()) == 1
    assert all(c.fork is None for n in world.alive() if n.core for c in n.core.replica.chains)


def test_what_everybody_let_go_of_keeps_no_newcomer_from_the_rest_and_comes_back() -> None:
    """Five homes have pruned the same; a newcomer joins them, and much later who has it all."""
    world = World(7, seed=8)
    others = [chain(author(number), 120) for number in range(40, 44)]
    others[3] = [*others[3], branch(others[3], 60, 1, 5000)[60]]
    everything = [one for records in others for one in records]
    gone = [one for one in everything if one.record.seq % 5 in (0, 1) and one.record.seq != 60]
    for node in [*world.nodes[:5], world.nodes[6]]:
        node.archive.keep(everything)
    for node in world.nodes[:5]:
        node.archive.prune(gone)
    world.split(range(5), [5], [6])
    world.run(20)
    newcomer, old = world.nodes[5], world.nodes[6]
    world.split(range(6), [6])
    world.run(120)
    assert newcomer.core is not None
    assert world.nodes[0].core is not None
    assert newcomer.core.replica.digest() == world.nodes[0].core.replica.digest()
    assert len(list(newcomer.core.replica.holes())) == 3 * 24 + 12
    assert len(newcomer.core.replica) < len(world.nodes[0].core.replica)
    world.split()
    world.run(120)
    assert newcomer.links & {old.number}
    assert list(newcomer.core.replica.holes()) == []
    assert len(newcomer.archive.positions()) == 3 * 120 + 62
    assert len(world.digests()) == 1


def test_a_swarm_with_holes_that_nobody_can_fill_is_quiet_and_survives_a_restart() -> None:
    def requests(full: bool) -> int:
        world = World(6, seed=9, presence=False)
        records = chain(NOBODY, 150)
        for node in world.nodes[:5]:
            node.archive.keep(records)
            if not full:
                node.archive.prune(records[1:140:3])
        world.run(200)
        world.kill(world.nodes[5])
        world.run(5)
        world.start(world.nodes[5])
        world.run(95)
        assert len(world.digests()) == 1
        before = world.counts["requests"]
        world.run(3600)
        held = world.nodes[5].core
        assert held is not None
        assert len(list(held.replica.holes())) == (0 if full else 47)
        return world.counts["requests"] - before

    # One node has the holes: a few rounds with each of its peers in an hour, and nothing else.
    assert requests(full=False) - requests(full=True) < 60
