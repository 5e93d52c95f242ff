"""A chain with holes: what fits where, next to a model that looks at one record at a time."""

from collections.abc import Sequence
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from gossip.chains import Chain
from gossip.replica import Hole, Replica, chain_key
from skep.records import NO_PREVIOUS
from tests.gossip.swarm_scenes import author, chain

AUTHOR, SESSION = b"a" * 32, b"session1"
KEY = chain_key(AUTHOR, SESSION)
FAR = 2**31 - 2
"""The last place that a message can name."""


class Said(Struct, frozen=True):
    """A record, as far as a chain looks at it."""

    seq: int
    id: bytes
    prev: bytes


def said(length: int, name: str, trunk: Sequence[Said] = ()) -> list[Said]:
    """A chain, from the end of another one on."""
    found = list(trunk)
    while len(found) < length:
        content = sha256(f"{name} {len(found)}".encode()).digest()
        found.append(Said(len(found), content, found[-1].id if found else NO_PREVIOUS))
    return found


TRUNK = said(14, "trunk")
LEFT = said(12, "left", TRUNK[:4])
RIGHT = said(12, "right", TRUNK[:4])
LATE = said(13, "late", LEFT[:8])
EVERYTHING = sorted({*TRUNK, *LEFT, *RIGHT, *LATE}, key=lambda one: (one.seq, one.id))


class Model:
    """A chain as a table of its records."""

    def __init__(self) -> None:
        self.held: dict[int, Said] = {}
        self.fork: tuple[int, bytes, bytes, bytes] | None = None

    @property
    def next(self) -> int:
        """Place behind the last record that counts."""
        return self.fork[0] if self.fork else max(self.held, default=-1) + 1

    def place(self, one: Said) -> str:
        """Where a record belongs."""
        before, after = self.held.get(one.seq - 1), self.held.get(one.seq + 1)
        if one.seq > self.next:
            return "frozen" if self.fork else "gap"
        if self.fork and one.seq == self.fork[0]:
            _, low, high, prev = self.fork
            if one.id in (low, high):
                return "known"
            return "diverged" if one.prev != prev else "fork" if one.id < high else "frozen"
        if here := self.held.get(one.seq):
            same = "known" if here.id == one.id else "fork"
            return same if here.prev == one.prev else "diverged"
        named = self.fork[3] if self.fork and one.seq + 1 == self.fork[0] else None
        named = after.prev if after else named
        if (before and before.id != one.prev) or named not in (None, one.id):
            return "diverged"
        return "new"

    def put(self, one: Said) -> None:
        """Take in a record."""
        here = self.held.get(one.seq)
        ids = {one.id, *([here.id] if here else [])}
        if self.fork and self.fork[0] == one.seq:
            ids |= {*self.fork[1:3]}
        if len(ids) == 1:
            self.held[one.seq] = one
        else:
            low, high = sorted(ids)[:2]
            self.fork = (one.seq, low, high, one.prev)
            self.held = {seq: other for seq, other in self.held.items() if seq < one.seq}


def agree(chain: Chain, model: Model) -> None:
    """A chain says of itself what its table says."""
    missing = [seq for seq in range(model.next) if seq not in model.held]
    assert chain.next == model.next
    assert [chain.id(seq) for seq in sorted(model.held)] == [
        model.held[seq].id for seq in sorted(model.held)
    ]
    assert [chain.id(seq) for seq in missing] == [None] * len(missing)
    assert [seq for hole in chain.holes() for seq in range(*hole)] == missing
    assert chain.whole == (not missing)
    fork = chain.fork and (chain.fork.seq, chain.fork.low, chain.fork.high, chain.fork.prev)
    assert fork == model.fork


@given(st.lists(st.sampled_from(EVERYTHING), max_size=60))
def test_a_chain_with_holes_is_the_table_of_its_records(offered: list[Said]) -> None:
    chain, model, count = Chain(AUTHOR, SESSION), Model(), 0
    stored: set[Said] = set()
    for one in offered:
        place = chain.place(one.seq, one.id, one.prev)
        assert place == model.place(one)
        if place in ("new", "fork", "gap"):
            count += chain.put(one.seq, one.id, one.prev)
            model.put(one)
            stored.add(one)
        agree(chain, model)
        assert count == len(model.held)
    # The index is built anew from what was stored, what an earlier fork left behind included.
    again = Replica(
        (AUTHOR, SESSION, one.seq, one.id, one.prev)
        for one in sorted(stored, key=lambda one: (one.seq, one.id))
    )
    found = again.chain(KEY)
    assert (found is None) == (not stored)
    if found is not None:
        agree(found, model)
        assert len(again) == count


@given(st.permutations(TRUNK))
def test_one_branch_in_any_order_ends_whole(offered: list[Said]) -> None:
    chain = Chain(AUTHOR, SESSION)
    for one in offered:
        assert chain.place(one.seq, one.id, one.prev) in ("new", "gap")
        chain.put(one.seq, one.id, one.prev)
    assert chain.whole
    assert [chain.id(seq) for seq in range(14)] == [one.id for one in TRUNK]
    assert len(chain._stretches) == 1


@given(st.sets(st.integers(0, 13), min_size=1), st.integers(0, 14), st.integers(0, 14))
def test_the_nearest_held_place_and_how_far_a_range_reaches(
    held: set[int], low: int, high: int
) -> None:
    chain = Chain(AUTHOR, SESSION)
    for seq in held:
        chain.put(seq, TRUNK[seq].id, TRUNK[seq].prev)
    for seq in range(low, high + 1):
        found = chain.nearest(seq, low, high)
        near = [one for one in held if low <= one <= high]
        assert (found is None) == (not near)
        if found is not None:
            assert found in near
            assert abs(found - seq) == min(abs(one - seq) for one in near)
    for places in range(1, 6):
        stop, seen = chain.reach(low, high + 1, places)
        assert seen == sum(low <= one < stop for one in held) <= places
        further = [one for one in held if max(low, stop) <= one <= high]
        assert not further or seen == places


def test_two_records_that_were_not_here_prove_a_fork_in_a_hole() -> None:
    for records in ([*TRUNK[:3], *TRUNK[9:]], TRUNK[9:], [*TRUNK[:4], *TRUNK[5:]]):
        chain = Chain(AUTHOR, SESSION)
        for one in records:
            chain.put(one.seq, one.id, one.prev)
        left, right = LEFT[4], RIGHT[4]
        assert chain.may_fork(4, left.prev)
        chain.freeze(4, left.prev, left.id, right.id)
        assert (chain.next, chain.fork and chain.fork.seq) == (4, 4)
        assert not chain.may_fork(4, left.prev)
        assert chain.place(8, TRUNK[8].id, TRUNK[8].prev) == "frozen"
        assert chain.place(3, LEFT[5].id, TRUNK[2].id) != "new"


def test_a_leap_over_two_thousand_million_places_takes_no_memory() -> None:
    replica = Replica([(AUTHOR, SESSION, 0, TRUNK[0].id, None)])
    far = Replica(
        [(AUTHOR, SESSION, 0, TRUNK[0].id, None), (AUTHOR, SESSION, FAR, b"i" * 32, b"p" * 32)]
    )
    assert len(replica) + 1 == len(far) == 2
    row = far.row(KEY)
    assert row is not None
    assert (row.next, row.forked) == (FAR + 1, False)
    assert list(far.holes()) == [Hole(KEY, 1, FAR)]
    assert len(row.packed()) == 36


def test_holes_are_gone_through_in_order_and_from_anywhere() -> None:
    anna, bert = chain(author(1), 9), chain(author(2), 9)
    replica = Replica()
    for one in [*anna[2:4], anna[6], *bert[:3], bert[5], *chain(author(3), 4)]:
        replica.put(one)
    keys = sorted(chain_key(author(number).public, SESSION) for number in (1, 2))
    spans = {
        chain_key(author(1).public, SESSION): [(0, 2), (4, 6)],
        chain_key(author(2).public, SESSION): [(3, 5)],
    }
    expected = [Hole(key, *span) for key in keys for span in spans[key]]
    assert list(replica.holes()) == expected
    for number, hole in enumerate(expected):
        assert list(replica.holes(hole.key, hole.start)) == expected[number:]
        rest = [Hole(hole.key, hole.stop - 1, hole.stop), *expected[number + 1 :]]
        assert list(replica.holes(hole.key, hole.stop - 1)) == rest
        assert list(replica.holes(hole.key, hole.stop)) == expected[number + 1 :]
    for one in [*anna[:2], *anna[4:6]]:
        assert replica.place(one) == "new"
        replica.put(one)
    assert [hole.key for hole in replica.holes()] == [chain_key(author(2).public, SESSION)]
