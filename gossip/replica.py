"""The index of a swarm's feeds: what of every chain is here, and which chains are forked. Pure.

A *chain* is one session of one author. Its records are taken in order, each naming the one before,
so a position says everything: whoever has a chain up to `next` with the same head knows the same
records. What nobody gives away any more can be left out, and is a *hole*; see `gossip.chains`. Rows
do not show holes. Two records of one author at one position are a *fork*: the chain is frozen
there for good, what came before stays, and the two records are the proof that everybody keeps.
Forks are merged so that all nodes end with the same one: the earliest known, and among several
records at its position the two of lowest id.

Bytes are not kept here and nothing is verified here: records come in checked and are stored by the
ledger.
"""

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import pairwise

from msgspec import Struct

from gossip.chains import HEAD_BYTES, Chain, Place
from skep.records import SignedRecord

KEY_BYTES = 16
ROW_BYTES = KEY_BYTES + 4 + HEAD_BYTES
FORKED = 1 << 31
"""Set in a row's position where the chain is frozen; so positions end before it."""


class Row(Struct, frozen=True):
    """A chain as it is compared with others.

    Attributes:
        key: names the chain (16 bytes).
        next: position behind its last record; that of the fork where it is frozen.
        head: first 16 bytes of the last record's id, or of a hash of both records of a fork.
        forked: whether it is frozen.
    """

    key: bytes
    next: int
    head: bytes
    forked: bool

    def packed(self) -> bytes:
        """The row as 36 bytes of a message."""
        position = self.next | (FORKED if self.forked else 0)
        return self.key + position.to_bytes(4, "big") + self.head

    def is_news_to(self, mine: "Row | None") -> bool:
        """Whether somebody with this row has anything that whoever has the other one lacks."""
        if mine is None:
            return True
        if mine.forked:
            # Only an earlier fork, or another one in the same place, is news.
            return self.forked and self.next <= mine.next and self != mine
        return self.forked or self.next > mine.next or (self.next == mine.next and self != mine)

    def is_ahead_of(self, theirs: "Row | None") -> bool:
        """Whether it says more of the chain, of whichever branch."""
        longer = theirs is None or self.next > theirs.next
        return longer or (self.forked and not (theirs and theirs.forked))


def unpack_rows(packed: bytes) -> list[Row]:
    """Rows of a message.

    Raises:
        ValueError: not a whole number of them, or not in order of their names.
    """
    if len(packed) % ROW_BYTES:
        raise ValueError("rows of another length")
    rows = []
    for start in range(0, len(packed), ROW_BYTES):
        one = packed[start : start + ROW_BYTES]
        position = int.from_bytes(one[KEY_BYTES : KEY_BYTES + 4], "big")
        forked = bool(position & FORKED)
        rows.append(Row(one[:KEY_BYTES], position & ~FORKED, one[KEY_BYTES + 4 :], forked))
    if any(row.key >= following.key for row, following in pairwise(rows)):
        raise ValueError("rows out of order")
    return rows


def chain_key(author: bytes, session: bytes) -> bytes:
    """Short name of a chain: 16 bytes of SHA-256(author ‖ session)."""
    return hashlib.sha256(author + session).digest()[:KEY_BYTES]


Places = Iterable[tuple[bytes, bytes, int, bytes, bytes | None]]
"""(author, session, seq, record id, id of the record before) of what is stored, in that order. The
last is needed only where the record before is not among them."""


class Hole(Struct, frozen=True):
    """Places of a chain, from `start` up to but without `stop`, whose records are not here."""

    key: bytes
    start: int
    stop: int


class Replica:
    """All chains of one swarm that are here.

    Args:
        stored: places of what is stored, pruned or not.
    """

    def __init__(self, stored: Places = ()) -> None:
        self._chains: dict[bytes, Chain] = {}
        self._order: list[bytes] = []
        self._packed: dict[bytes, bytes] = {}
        self._digest: bytes | None = None
        self._records = 0
        for author, session, seq, content_id, prev in stored:
            key = chain_key(author, session)
            chain = self._chains.setdefault(key, Chain(author, session))
            # It was checked before it was stored: here it only finds its place again.
            if chain.fork is None and seq >= chain.next:
                self._records += chain.put(seq, content_id, prev or chain.before(seq) or b"")
            elif chain.place(seq, content_id, before := chain.before(seq) or b"") == "fork":
                self._records += chain.put(seq, content_id, before)
        self._order = sorted(self._chains)
        self._holed = [key for key in self._order if not self._chains[key].whole]

    def __len__(self) -> int:
        """How many records there are that count."""
        return self._records

    @property
    def size(self) -> int:
        """How many chains there are."""
        return len(self._chains)

    @property
    def chains(self) -> Iterator[Chain]:
        """Every chain, in no order."""
        return iter(self._chains.values())

    def chain(self, key: bytes) -> Chain | None:
        """A chain by its short name."""
        return self._chains.get(key)

    def place(self, signed: SignedRecord) -> Place:
        """Where a checked record belongs."""
        record = signed.record
        key = chain_key(record.author, record.session)
        chain = self._chains.get(key) or Chain(record.author, record.session)
        return chain.place(record.seq, signed.id, record.prev)

    def put(self, signed: SignedRecord) -> None:
        """Take in a record whose place is `new` or `fork`, or `gap`: what it leaves out is a hole
        then."""
        record = signed.record
        chain = self._opened(record.author, record.session)
        self._changed(chain, chain.put(record.seq, signed.id, record.prev))

    def may_fork(self, signed: SignedRecord) -> bool:
        """Whether this record and another one that names the same one before it, at a place that is
        not behind the chain's end, are the earliest fork of the chain."""
        record = signed.record
        chain = self._chains.get(chain_key(record.author, record.session))
        if chain is None or record.seq > chain.next:
            return False
        return chain.may_fork(record.seq, record.prev)

    def freeze(self, one: SignedRecord, other: SignedRecord) -> None:
        """Take in two records that are a fork."""
        record = one.record
        chain = self._opened(record.author, record.session)
        self._changed(chain, chain.freeze(record.seq, record.prev, one.id, other.id))

    def _opened(self, author: bytes, session: bytes) -> Chain:
        key = chain_key(author, session)
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = Chain(author, session)
            insort(self._order, key)
        return chain

    def _changed(self, chain: Chain, more: int) -> None:
        key = chain_key(chain.author, chain.session)
        self._records += more
        self._packed.pop(key, None)
        self._digest = None
        at = bisect_left(self._holed, key)
        noted = self._holed[at : at + 1] == [key]
        if chain.whole and noted:
            del self._holed[at]
        elif not (chain.whole or noted):
            self._holed.insert(at, key)

    def holes(self, key: bytes = b"", seq: int = 0) -> Iterator[Hole]:
        """Holes of all chains in order, from a place in a chain on."""
        for index in range(bisect_left(self._holed, key), len(self._holed)):
            other = self._holed[index]
            holes = self._chains[other].holes(seq if other == key else 0)
            yield from (Hole(other, *hole) for hole in holes)

    def row(self, key: bytes) -> Row | None:
        """How a chain stands."""
        chain = self._chains.get(key)
        if chain is None or (not chain.next and chain.fork is None):
            return None
        return Row(key, chain.next, chain.head, chain.fork is not None)

    def rows(self) -> list[Row]:
        """How all chains stand, in order of their names."""
        return list(self.between(b"", None))

    def between(self, after: bytes, last: bytes | None) -> Iterator[Row]:
        """How the chains behind one name stand, up to and with another, in order of their names."""
        start = bisect_right(self._order, after)
        stop = len(self._order) if last is None else bisect_right(self._order, last)
        found = (self.row(self._order[place]) for place in range(start, stop))
        return (row for row in found if row is not None)

    def packed(self, after: bytes, limit: int) -> bytes:
        """The first rows behind a name, as bytes of a message."""
        start = bisect_right(self._order, after)
        keys = self._order[start : start + limit]
        return b"".join(self._packed.get(key) or self._pack(key) for key in keys)

    def digest(self) -> bytes:
        """SHA-256 of all rows: equal where, and only where, chains end alike, holes or not."""
        if self._digest is None:
            packed = (self._packed.get(key) or self._pack(key) for key in self._order)
            self._digest = hashlib.sha256(b"".join(packed)).digest()
        return self._digest

    def _pack(self, key: bytes) -> bytes:
        """A row as the digest takes it. It is kept, for most do not change from one to the next."""
        row = self.row(key)
        self._packed[key] = packed = row.packed() if row else b""
        return packed
