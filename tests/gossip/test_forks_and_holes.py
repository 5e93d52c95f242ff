"""Forked chains of which peers let go of something: every search ends, and proves what it can."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.fetches import FAILED_S
from gossip.holes import LEAP_S
from gossip.messages import Answer, Compare, Range, Records, Request, Rows, Want
from gossip.replica import FORKED, Row
from tests.gossip.sides import ANNA, KEY, Side, bodies, holes, side
from tests.gossip.swarm_scenes import author, branch, chain

TRUNK = chain(ANNA, 12)
PEERS = [author(number).public for number in range(10, 20)]
LATER = max(LEAP_S, FAILED_S) + 1.0


@pytest.mark.parametrize("at", [0, 1, 5, 10, 11])
@pytest.mark.parametrize("mine", [set(), {4}, {3, 4, 5, 6}, {0, 1}, {9, 10}])
@pytest.mark.parametrize("theirs", [set(), {5}, {2, 4, 6, 8}, {0, 10}])
def test_a_fork_is_found_past_holes_on_both_sides(
    at: int, mine: set[int], theirs: set[int]
) -> None:
    other = branch(TRUNK, at, 12 - at, 900)
    one = side([record for record in TRUNK if record.record.seq not in mine - {at, 11}])
    two = side(other, theirs - {at})
    asked = one.compare(two)
    assert len(asked) < 25
    found = one.replica.chain(KEY)
    assert found is not None
    assert found.fork is not None
    assert found.fork.seq == at
    two.archive._pruned.clear()
    two.compare(one)
    assert two.replica.digest() == one.replica.digest()


def fork_of(one: Side) -> int | None:
    """Where Anna's chain is forked."""
    found = one.replica.chain(KEY)
    return found.fork.seq if found and found.fork else None


def test_a_fork_is_found_before_a_hole_that_no_answer_reaches_over() -> None:
    long = chain(ANNA, 1200)
    mine = [record for record in long if not 20 <= record.record.seq < 1100]
    one = side(mine)
    one.compare(side(mine))
    one.compare(side(branch(long, 10, 1190, 9000)), now=LATER)
    assert fork_of(one) == 10


def test_what_only_fits_a_hole_does_not_mislead_the_search() -> None:
    long = chain(ANNA, 31)
    one = side([record for record in long if not 16 <= record.record.seq < 26])
    one.compare(side(branch(long, 14, 17, 900), {15, 16}))
    assert fork_of(one) == 14


def test_two_records_prove_a_fork_in_a_hole_that_neither_fits() -> None:
    one = side([record for record in TRUNK if record.record.seq != 5])
    others = [branch(TRUNK, 5, 1, seed)[5] for seed in (900, 950)]
    other = side([*TRUNK[:5], *others])
    one.compare(other)
    assert fork_of(one) == 5
    assert one.replica.digest() == other.replica.digest()
    assert {record.id for record in others} <= bodies(one)


def test_a_fork_whose_proof_nobody_has_ends_the_search_and_blames_nobody() -> None:
    one = side([record for record in TRUNK if record.record.seq != 5])
    two = side(branch(TRUNK, 5, 7, 900), {5})
    for step in range(40):
        assert len(one.compare(two, step * 15.0)) < 20
        assert len(two.compare(one, step * 15.0)) < 20
    assert one.blamed == two.blamed == []
    assert one.replica.digest() != two.replica.digest()
    third = side(TRUNK)
    two.compare(third, 1e4, PEERS[1])
    one.compare(two, 1e4)
    third = side([*TRUNK[:6], branch(TRUNK, 5, 1, 900)[5]])
    one.compare(third, 1e4, PEERS[1])
    two.compare(third, 1e4, PEERS[2])
    assert one.replica.digest() == two.replica.digest() == third.replica.digest()


def test_a_fork_is_proved_though_what_led_to_it_is_gone() -> None:
    forked = [*TRUNK[:6], branch(TRUNK, 5, 1, 900)[5]]
    for known in ([], TRUNK[:2], [*TRUNK[:2], *TRUNK[8:]], TRUNK[8:]):
        one, other = side(known), side(forked, {2, 3, 4})
        for peer in PEERS[:3]:
            one.compare(other, peer=peer)
        assert one.replica.digest() == other.replica.digest()
        assert holes(one) == [(2, 5)]


def test_what_fills_a_hole_of_another_branch_leads_to_the_fork() -> None:
    other = branch(TRUNK, 2, 10, 900)
    mixed = [*TRUNK[:5], *other[8:]]
    one, honest = side(mixed), side(other)
    one.compare(honest)
    found = one.replica.chain(KEY)
    assert found is not None
    assert found.fork is not None
    assert found.fork.seq == 2


@settings(max_examples=40)
@given(
    st.integers(0, 11),
    st.lists(st.sets(st.integers(0, 10)), min_size=4, max_size=4),
    st.booleans(),
)
def test_all_end_alike_whatever_each_of_them_has_let_go_of(
    at: int, gone: list[set[int]], forked: bool
) -> None:
    other = branch(TRUNK, at, 12 - at, 900) if forked else TRUNK
    sides = [
        side(records, without - {at})
        for records, without in zip([TRUNK, other, other, TRUNK], gone, strict=True)
    ]
    newcomer = side([])
    every = [*sides, newcomer]
    for step in range(8):
        for number, one in enumerate(every):
            for peer, two in enumerate(every):
                if one is not two:
                    one.compare(two, step * LATER + number, PEERS[peer])
    assert len({one.replica.digest() for one in every}) == 1
    fork = newcomer.replica.chain(KEY)
    assert fork is not None
    assert (fork.fork.seq if fork.fork else None) == (at if forked else None)
    end = at if forked else 12
    left = {
        record.record.seq
        for one, without in zip(sides, gone, strict=True)
        for record in TRUNK[:end]
        if record.record.seq not in without - {at}
    }
    assert [seq for seq in range(end) if fork.id(seq) is not None] == sorted(left)
    assert all(not one.blamed for one in every)


class Whimsical(Side):
    """Has several branches of one chain, and tells of them what it likes, in any order."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__([])
        other = branch(TRUNK, 4, 8, 900)
        trees = [TRUNK, other, branch(other, 8, 4, 930), branch(TRUNK, 7, 5, 960)]
        self.rng = rng
        self.records = list({record.id: record for tree in trees for record in tree}.values())

    def answer(self, request: Request) -> Answer:
        """Anything that breaks no rule."""
        if isinstance(request, Compare):
            one = self.rng.choice(self.records)
            end, forked = one.record.seq + self.rng.randint(0, 2), self.rng.random() < 0.3
            return Rows(Row(KEY, end, one.id[:16], forked=forked).packed(), more=False)
        stretches = request.ranges if isinstance(request, Want) else (Range(KEY, 0, FORKED),)
        fitting = [
            one
            for one in self.records
            if any(each.start <= one.record.seq < each.stop for each in stretches)
        ]
        some = self.rng.sample(fitting, self.rng.randint(0, len(fitting)))
        return Records(tuple(one.signature + one.body for one in some))


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whatever_a_peer_tells_of_a_forked_chain_every_comparison_ends(rng: random.Random) -> None:
    one, peers = side([]), [Whimsical(rng) for _ in range(4)]
    for step in range(30):
        peer = rng.randrange(4)
        assert len(one.compare(peers[peer], step * 10.0, PEERS[peer])) < 60
        again = Side([], archive=one.archive)
        assert again.replica.digest() == one.replica.digest()
        assert list(again.replica.holes()) == list(one.replica.holes())
        assert len(again.replica) == len(one.replica)
    assert one.blamed == []
