"""The index of feeds: order, forks, and that equal sets have equal digests whatever the order."""

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.replica import Replica, Row, chain_key, unpack_rows
from skep.records import SignedRecord
from tests.gossip.swarm_scenes import archive_of, author, branch, chain

ANNA, BERT = author(1), author(2)
TRUNK = chain(ANNA, 12)
KEY = chain_key(ANNA.public, b"session1")


def taken(replica: Replica, records: list[SignedRecord]) -> list[str]:
    """Offer records; where each belonged."""
    places: list[str] = []
    for one in records:
        places.append(replica.place(one))
        if places[-1] in ("new", "fork"):
            replica.put(one)
    return places


def test_records_are_taken_in_order_only() -> None:
    replica = Replica()
    assert taken(replica, [TRUNK[1], TRUNK[0], TRUNK[2], TRUNK[1], TRUNK[0]]) == [
        "gap",
        "new",
        "gap",
        "new",
        "known",
    ]
    assert replica.row(KEY) == Row(KEY, 2, TRUNK[1].id[:16], forked=False)
    assert len(replica) == 2


def test_a_fork_freezes_the_chain_where_it_begins() -> None:
    replica = Replica()
    other = branch(TRUNK, at=5, length=4, seed=900)
    taken(replica, TRUNK)
    assert taken(replica, other[6:8]) == ["diverged", "diverged"]
    assert taken(replica, [other[5]]) == ["fork"]
    low, high = sorted((TRUNK[5].id, other[5].id))
    found = replica.chain(KEY)
    assert found is not None
    assert found.fork is not None
    assert (found.fork.seq, found.fork.low, found.fork.high) == (5, low, high)
    assert taken(replica, [TRUNK[5], other[5], TRUNK[6], TRUNK[4]]) == [
        "known",
        "known",
        "frozen",
        "known",
    ]
    assert len(replica) == 5


def test_an_earlier_fork_wins_and_of_three_records_the_two_lowest() -> None:
    branches = [branch(TRUNK, at=5, length=3, seed=100 * n) for n in range(1, 4)]
    early = branch(TRUNK, at=2, length=3, seed=900)
    rows = set()
    for order in range(20):
        replica = Replica()
        taken(replica, TRUNK)
        rivals = [one[5] for one in branches]
        random.Random(order).shuffle(rivals)
        taken(replica, rivals)
        rows.add(replica.row(KEY))
    assert len(rows) == 1
    before = next(iter(rows))
    taken(replica, [early[2]])
    after = replica.row(KEY)
    assert before is not None
    assert after is not None
    assert (before.next, after.next) == (5, 2)


def test_one_record_with_another_swarm_of_sessions_is_another_chain() -> None:
    replica = Replica()
    again = chain(ANNA, 3, session=b"session2")
    assert taken(replica, TRUNK[:3] + again) == ["new"] * 6
    assert replica.size == 2


@given(st.randoms(use_true_random=False))
def test_whatever_the_order_equal_sets_end_equal(rng: random.Random) -> None:
    """Forked, branching chains of two authors, offered in any order until nothing moves."""
    fork = branch(TRUNK, at=4, length=5, seed=500)
    third = branch(fork, at=6, length=2, seed=700)
    everything = [*TRUNK, *fork[4:], *third[6:], *chain(BERT, 5)]
    digests = set()
    for _ in range(3):
        replica = Replica()
        moved = True
        while moved:
            rng.shuffle(everything)
            moved = any(place in ("new", "fork") for place in taken(replica, everything))
        digests.add(replica.digest())
        found = replica.chain(KEY)
        assert found is not None
        assert found.fork is not None
        assert found.fork.seq == 4
    assert len(digests) == 1


@given(st.randoms(use_true_random=False))
def test_an_index_built_from_what_was_stored_is_the_same(rng: random.Random) -> None:
    everything = [*TRUNK, *branch(TRUNK, at=4, length=5, seed=500)[4:], *chain(BERT, 5)]
    replica, stored = Replica(), archive_of()
    for _ in range(4):
        rng.shuffle(everything)
        for one in everything:
            if replica.place(one) in ("new", "fork"):
                replica.put(one)
                stored.keep([one])
    assert Replica(stored.positions()).digest() == replica.digest()


def test_rows_survive_the_wire_and_pages_cover_everything() -> None:
    replica = Replica()
    for number in range(1, 30):
        taken(replica, chain(author(number), 1 + number % 3))
    taken(replica, [branch(chain(author(5), 3), at=1, length=1, seed=77)[1]])
    rows = replica.rows()
    assert unpack_rows(b"".join(row.packed() for row in rows)) == rows
    assert any(row.forked for row in rows)
    paged: list[Row] = []
    while page := unpack_rows(replica.packed(paged[-1].key if paged else b"", 7)):
        assert list(replica.between(paged[-1].key if paged else b"", page[-1].key)) == page
        paged += page
    assert paged == rows


@pytest.mark.parametrize("packed", [b"x", bytes(35), bytes(36) * 2, b"\1" * 36 + bytes(36)])
def test_rows_that_are_none_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"length|order"):
        unpack_rows(packed)


def test_the_digest_and_the_pages_follow_every_record() -> None:
    replica, fork = Replica(), branch(TRUNK, at=5, length=1, seed=900)[5]
    for one in [*TRUNK[:8], *chain(BERT, 3), fork]:
        replica.digest()
        taken(replica, [one])
        rows = replica.rows()
        assert replica.digest() == sha256(b"".join(row.packed() for row in rows)).digest()
        following = [unpack_rows(replica.packed(row.key, 1)) for row in rows]
        assert following == [*([two] for two in rows[1:]), []]
