"""The index of a swarm's feeds: what of every chain is here, and which chains are forked. Pure.

A *chain* is one session of one author. Its records are only ever taken in order, each naming the
one before, so a position says everything: whoever holds a chain up to `next` with the same head
holds the same records. Two records of one author at one position are a *fork*: the chain is frozen
there for good, what came before stays, and the two records are the proof that everybody keeps.
Forks are merged so that all nodes end with the same one: the earliest known, and among several
records at its position the two of lowest id.

Bytes are not kept here and nothing is verified here: records come in checked and are stored by the
ledger.
"""

import hashlib
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from skep.records import NO_PREVIOUS, SignedRecord, record_id

KEY_BYTES = 16
HEAD_BYTES = 16
"""Long enough that nobody finds two records with one head, as an author would who wants to tell
half of the swarm something else: of 8 bytes, 2^32 attempts find two."""

ID_BYTES = 32
ROW_BYTES = KEY_BYTES + 4 + HEAD_BYTES
FORKED = 1 << 31
"""Set in a row's position where the chain is frozen; so positions end before it."""

Place = Literal["new", "known", "fork", "frozen", "gap", "diverged"]
"""Where a record belongs:

- `new`, `fork`: it is to be stored; the latter is one half of a proof;
- `known`: it is here;
- `frozen`: it stands behind a fork and is left out;
- `gap`: records before it are missing;
- `diverged`: it follows a record that is not the one here, so there is a fork further back.
"""


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


class Fork(Struct, frozen=True):
    """Where an author said two things at once: the position, and the ids of the two records."""

    seq: int
    low: bytes
    high: bytes


class Chain:
    """What is here of one session of one author."""

    __slots__ = ("author", "fork", "ids", "session")

    def __init__(self, author: bytes, session: bytes) -> None:
        self.author = author
        self.session = session
        self.ids = bytearray()
        self.fork: Fork | None = None

    @property
    def next(self) -> int:
        """Position behind the last record that counts."""
        return len(self.ids) // ID_BYTES

    def id(self, seq: int) -> bytes:
        """Record id at a position below `next`."""
        return bytes(self.ids[seq * ID_BYTES : (seq + 1) * ID_BYTES])

    @property
    def head(self) -> bytes:
        """What a row says of the chain's end."""
        if self.fork is not None:
            return record_id(self.fork.low + self.fork.high)[:HEAD_BYTES]
        return self.id(self.next - 1)[:HEAD_BYTES]

    def place(self, seq: int, content_id: bytes, prev: bytes) -> Place:
        """Where a record belongs."""
        if seq > self.next:
            return "frozen" if self.fork else "gap"
        if content_id in self._at(seq):
            return "known"
        if prev != self.before(seq):
            return "diverged"
        if seq < self.next:
            return "fork"
        if self.fork is None:
            return "new"
        return "fork" if content_id < self.fork.high else "frozen"

    def put(self, seq: int, content_id: bytes) -> None:
        """Take in a record whose place is `new` or `fork`."""
        if seq == self.next and self.fork is None:
            self.ids += content_id
            return
        other = self.fork.low if self.fork and seq == self.fork.seq else self.id(seq)
        low, high = sorted((other, content_id))
        self.fork = Fork(seq, low, high)
        del self.ids[seq * ID_BYTES :]

    def _at(self, seq: int) -> tuple[bytes, ...]:
        """Ids that are held at a position up to `next`."""
        if seq < self.next:
            return (self.id(seq),)
        return (self.fork.low, self.fork.high) if self.fork else ()

    def before(self, seq: int) -> bytes:
        """What a record at a position up to `next` has to name as the one before it."""
        return self.id(seq - 1) if seq else NO_PREVIOUS


class Replica:
    """All chains of one swarm that are here.

    Args:
        positions: (author, session, seq, record id) of what is stored, in that order.
    """

    def __init__(self, positions: Iterable[tuple[bytes, bytes, int, bytes]] = ()) -> None:
        self._chains: dict[bytes, Chain] = {}
        self._order: list[bytes] = []
        self._packed: dict[bytes, bytes] = {}
        self._digest: bytes | None = None
        self._records = 0
        for author, session, seq, content_id in positions:
            key = chain_key(author, session)
            chain = self._chains.setdefault(key, Chain(author, session))
            if chain.place(seq, content_id, chain.before(min(seq, chain.next))) in ("new", "fork"):
                self._put(chain, seq, content_id)
        self._order = sorted(self._chains)

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
        """Take in a record whose place is `new` or `fork`."""
        record = signed.record
        key = chain_key(record.author, record.session)
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = Chain(record.author, record.session)
            insort(self._order, key)
        self._put(chain, record.seq, signed.id)
        self._packed.pop(key, None)
        self._digest = None

    def _put(self, chain: Chain, seq: int, content_id: bytes) -> None:
        before = chain.next
        chain.put(seq, content_id)
        self._records += chain.next - before

    def row(self, key: bytes) -> Row | None:
        """How a chain stands."""
        chain = self._chains.get(key)
        if chain is None or (not chain.next and chain.fork is None):
            return None
        return Row(key, chain.next, chain.head, chain.fork is not None)

    def rows(self, after: bytes = b"", limit: int | None = None) -> list[Row]:
        """How all chains stand, in order of their names; a page of them, if a limit is given."""
        start = bisect_right(self._order, after)
        keys = self._order[start : None if limit is None else start + limit]
        return [row for row in map(self.row, keys) if row is not None]

    def digest(self) -> bytes:
        """SHA-256 of all rows: equal where, and only where, the same records are."""
        if self._digest is None:
            packed = (self._packed.get(key) or self._pack(key) for key in self._order)
            self._digest = hashlib.sha256(b"".join(packed)).digest()
        return self._digest

    def _pack(self, key: bytes) -> bytes:
        """A row as the digest takes it. It is kept, for most do not change from one to the next."""
        row = self.row(key)
        self._packed[key] = packed = row.packed() if row else b""
        return packed
