"""Which list of members counts: the same for everybody, in whatever order records came."""

from itertools import permutations

import pytest

from gossip.feeds import Link
from gossip.identity import Identity
from gossip.wire import decode, encode
from skep.members import forks, latest, listed, roots, says_members
from skep.records import NO_PREVIOUS, NO_TASK, Members, SignedRecord
from tests.gossip.scenes import SWARM, TASK, make_record

FOUNDER, ANN, BOB = (Identity(bytes([number]) * 32) for number in (1, 2, 3))
SESSION, LATER = b"session1", b"session2"


def a_list(
    *members: Identity,
    by: Identity = FOUNDER,
    time: int = 1,
    session: bytes = SESSION,
    seq: int = 0,
    task: bytes = NO_TASK,
    swarm: bytes = SWARM,
) -> SignedRecord:
    payload = Members(tuple(sorted(one.public for one in members)))
    link = Link(session, seq, b"p" * 32 if seq else NO_PREVIOUS)
    body = encode(
        make_record(
            link=link,
            author=by.public,
            swarm=swarm,
            task=task,
            kind="members",
            payload=payload,
            time=time,
        )
    )
    return decode(by.sign(body) + body)


def members_of(*records: SignedRecord, forked: dict[bytes, int] | None = None) -> frozenset[bytes]:
    found = latest(FOUNDER.public, SWARM, records, forked or {})
    return listed(FOUNDER.public, found)


def test_without_a_list_the_founder_is_the_only_member() -> None:
    assert members_of() == {FOUNDER.public}


def test_the_founder_is_a_member_of_every_list() -> None:
    assert members_of(a_list(ANN)) == {FOUNDER.public, ANN.public}


def test_the_latest_list_counts_in_whatever_order_they_came() -> None:
    lists = [
        a_list(FOUNDER, ANN, BOB, time=5),
        a_list(FOUNDER, ANN, time=9, seq=1),
        a_list(FOUNDER, BOB, time=7, session=LATER),
    ]
    for order in permutations(lists):
        assert members_of(*order) == {FOUNDER.public, ANN.public}


def test_of_two_lists_of_one_moment_the_one_of_the_higher_id_counts() -> None:
    pair = [a_list(FOUNDER, ANN, time=5), a_list(FOUNDER, BOB, time=5, session=LATER)]
    high = max(pair, key=lambda one: one.id)
    for order in permutations(pair):
        assert latest(FOUNDER.public, SWARM, order, {}) is high


@pytest.mark.parametrize(
    "stranger",
    [
        a_list(BOB, by=BOB, time=99),
        a_list(BOB, time=99, swarm=b"x" * 32),
        a_list(BOB, time=99, task=TASK),
    ],
    ids=["another author", "another swarm", "under a task"],
)
def test_what_others_say_or_elsewhere_or_otherwise_counts_not(stranger: SignedRecord) -> None:
    assert not says_members(stranger, FOUNDER.public, SWARM)
    assert members_of(a_list(FOUNDER, ANN), stranger) == {FOUNDER.public, ANN.public}


def test_what_stands_at_a_fork_or_behind_it_counts_not() -> None:
    before = a_list(FOUNDER, ANN, time=1, seq=3)
    at, behind = (a_list(FOUNDER, BOB, time=9, seq=seq) for seq in (4, 5))
    for late in (at, behind):
        assert members_of(before, late, forked={SESSION: 4}) == {FOUNDER.public, ANN.public}
        assert members_of(before, late, forked={LATER: 0}) == {FOUNDER.public, BOB.public}


def test_a_fork_is_the_earliest_place_with_two_records() -> None:
    places = [
        (SESSION, 0, b"a"),
        (SESSION, 5, b"b"),
        (SESSION, 5, b"c"),
        (SESSION, 3, b"d"),
        (SESSION, 3, b"e"),
        (SESSION, 3, b"e"),
        (LATER, 0, b"f"),
        (LATER, 0, b"f"),
    ]
    for order in (places, places[::-1]):
        assert forks(order) == {SESSION: 3}


def test_members_of_a_lab_are_each_others_roots_and_nobody_else_is_anybodys() -> None:
    assert roots(ANN.public) == {ANN.public}
    assert roots(ANN.public, members_of(a_list(FOUNDER, ANN, BOB))) == {
        FOUNDER.public,
        ANN.public,
        BOB.public,
    }
    assert roots(ANN.public, members_of()) == {ANN.public, FOUNDER.public}
