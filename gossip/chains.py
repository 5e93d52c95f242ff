"""One chain of records: which of its places are held, by what ids, and where it forks. Pure.

A chain is one session of one author. Each record names the one before, so records that stand next
to one another vouch for all before them. Between such stretches there can be *holes*: places whose
records nobody has given to this home. What fills a hole has to fit its neighbours, and a record
behind one is as good as any other. Holes take no memory: an author may sign records that are as far
apart as he likes.
"""

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Literal

from msgspec import Struct

from skep.records import NO_PREVIOUS, record_id

HEAD_BYTES = 16
"""Long enough that nobody finds two records with one head, as an author would who wants to tell
half of the swarm something else: of 8 bytes, 2^32 attempts find two."""

ID_BYTES = 32

Place = Literal["new", "known", "fork", "frozen", "gap", "diverged"]
"""Where a record belongs:

- `new`, `fork`: it is to be stored; the latter is one half of a proof;
- `known`: it is here;
- `frozen`: it stands behind a fork and is left out;
- `gap`: it stands behind the chain's end, and not right there: records before it are missing;
- `diverged`: it follows a record that is not the one here, or the one here behind it follows
  another: there is a fork, further back or in the hole that it would stand in.
"""


class Fork(Struct, frozen=True):
    """Where an author said two things at once.

    Attributes:
        seq: the place.
        low, high: ids of the two records.
        prev: what both name as the record before.
    """

    seq: int
    low: bytes
    high: bytes
    prev: bytes


class Stretch:
    """Records of a chain that stand next to one another.

    Attributes:
        start: place of the first.
        prev: what it names as the record before it.
        ids: of all of them.
    """

    __slots__ = ("ids", "prev", "start")

    def __init__(self, start: int, prev: bytes, ids: bytes) -> None:
        self.start = start
        self.prev = prev
        self.ids = bytearray(ids)

    @property
    def end(self) -> int:
        """Place behind the last."""
        return self.start + len(self.ids) // ID_BYTES

    def id(self, seq: int) -> bytes:
        """Id of the record at a place between `start` and `end`."""
        at = (seq - self.start) * ID_BYTES
        return bytes(self.ids[at : at + ID_BYTES])


class Chain:
    """What is here of one session of one author."""

    __slots__ = ("_stretches", "author", "fork", "session")

    def __init__(self, author: bytes, session: bytes) -> None:
        self.author = author
        self.session = session
        self.fork: Fork | None = None
        self._stretches: list[Stretch] = []

    @property
    def next(self) -> int:
        """Position behind the last record that counts; that of the fork where it is frozen."""
        if self.fork is not None:
            return self.fork.seq
        return self._stretches[-1].end if self._stretches else 0

    @property
    def head(self) -> bytes:
        """What a row says of the chain's end; of a chain that is not empty."""
        if self.fork is not None:
            return record_id(self.fork.low + self.fork.high)[:HEAD_BYTES]
        last = self._stretches[-1]
        return last.id(last.end - 1)[:HEAD_BYTES]

    @property
    def whole(self) -> bool:
        """Whether there is no hole in it."""
        return next(self.holes(), None) is None

    def id(self, seq: int) -> bytes | None:
        """Record id at a place; None where none is held that counts."""
        index = self._index(seq)
        if not index or seq >= self._stretches[index - 1].end:
            return None
        return self._stretches[index - 1].id(seq)

    def holes(self, start: int = 0) -> Iterator[tuple[int, int]]:
        """Holes behind a place as (first, end), in order; of one that it lies in, the rest."""
        behind = self._index(start)
        at = max(start, self._stretches[behind - 1].end if behind else 0)
        for index in range(behind, len(self._stretches)):
            stretch = self._stretches[index]
            if at < stretch.start:
                yield at, stretch.start
            at = stretch.end
        if at < self.next:
            yield at, self.next

    def nearest(self, seq: int, low: int, high: int) -> int | None:
        """The held place from `low` to `high` that is nearest to `seq`, which lies between them."""
        index = self._index(seq)
        before = min(seq, self._stretches[index - 1].end - 1) if index else -1
        behind = self._stretches[index].start if index < len(self._stretches) else high + 1
        near = [one for one in (before, behind) if low <= one <= high]
        return min(near, key=lambda one: abs(one - seq), default=None)

    def reach(self, start: int, stop: int, places: int) -> tuple[int, int]:
        """Where a range has to stop that may go through so many held places; through how many
        it goes."""
        seen = 0
        for index in range(max(self._index(start) - 1, 0), len(self._stretches)):
            stretch = self._stretches[index]
            if stretch.start >= stop:
                break
            first = max(start, stretch.start)
            here = max(min(stop, stretch.end) - first, 0)
            if seen + here > places:
                return first + places - seen, places
            seen += here
        return min(stop, self.next + 1), seen

    def place(self, seq: int, content_id: bytes, prev: bytes) -> Place:
        """Where a record belongs."""
        if seq > self.next:
            return "frozen" if self.fork else "gap"
        here = self._at(seq)
        if content_id in here:
            return "known"
        before, after = self.before(seq), self._named_after(seq)
        if before not in (None, prev) or (not here and after not in (None, content_id)):
            return "diverged"
        if not here:
            return "new"
        if self.fork is None or seq < self.fork.seq:
            return "fork"
        return "fork" if content_id < self.fork.high else "frozen"

    def put(self, seq: int, content_id: bytes, prev: bytes) -> int:
        """Take in a record whose place is `new` or `fork`, or `gap`: then the places that it leaves
        out are a hole.

        Returns:
            how many more records there are that count; fewer, if negative.
        """
        behind = self.fork is None and seq >= self.next
        if not behind and self._at(seq):
            return self.freeze(seq, prev, content_id)
        self._insert(seq, content_id, prev)
        return 1

    def may_fork(self, seq: int, prev: bytes) -> bool:
        """Whether two new records at a place that both name `prev` are the earliest fork, whatever
        is held there."""
        if self.fork is not None and seq >= self.fork.seq:
            return False
        return self.before(seq) in (None, prev)

    def freeze(self, seq: int, prev: bytes, *ids: bytes) -> int:
        """Let the chain end at a fork, whose records name `prev` and are what is held there and
        these. Of more than two the lowest count.

        Returns:
            the same as `put`.
        """
        low, high = sorted({*self._at(seq), *ids})[:2]
        self.fork = Fork(seq, low, high, prev)
        gone = 0
        while self._stretches and self._stretches[-1].end > seq:
            last = self._stretches[-1]
            kept = max(seq - last.start, 0) * ID_BYTES
            gone += (len(last.ids) - kept) // ID_BYTES
            del last.ids[kept:]
            if not last.ids:
                self._stretches.pop()
        return -gone

    def _insert(self, seq: int, content_id: bytes, prev: bytes) -> None:
        index = self._index(seq)
        stretch = self._stretches[index - 1] if index else None
        if stretch is not None and stretch.end == seq:
            stretch.ids += content_id
        else:
            stretch = Stretch(seq, prev, content_id)
            self._stretches.insert(index, stretch)
            index += 1
        if index < len(self._stretches) and self._stretches[index].start == seq + 1:
            stretch.ids += self._stretches.pop(index).ids

    def _index(self, seq: int) -> int:
        """How many stretches begin at a place or before it."""
        return bisect_right(self._stretches, seq, key=attrgetter("start"))

    def _at(self, seq: int) -> tuple[bytes, ...]:
        """Ids that are held at a place."""
        if self.fork is not None and seq == self.fork.seq:
            return (self.fork.low, self.fork.high)
        held = self.id(seq)
        return () if held is None else (held,)

    def before(self, seq: int) -> bytes | None:
        """What a record at a place has to name as the one before it; None if that is not known."""
        if not seq:
            return NO_PREVIOUS
        return self._named_after(seq - 1) or self.id(seq - 1)

    def _named_after(self, seq: int) -> bytes | None:
        """What the record behind a place names as the one at it; None if there is none."""
        if self.fork is not None and seq + 1 == self.fork.seq:
            return self.fork.prev
        index = self._index(seq + 1)
        if not index or seq + 1 >= self._stretches[index - 1].end:
            return None
        stretch = self._stretches[index - 1]
        return stretch.prev if stretch.start == seq + 1 else stretch.id(seq)
