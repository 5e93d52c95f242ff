"""Where records stand, and how many there are: what is known of them unread. Pure values."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct


class Position(Struct, frozen=True, gc=False):
    """A record's place in its author's feed.

    Attributes:
        author: public key (32 bytes).
        session: which of the author's hash chains (8 bytes).
        seq: place in that chain, from 0. Two positions with one seq prove an equivocation.
        id: content id of the record (32 bytes).
        time: milliseconds since the epoch by the author's clock; for display only.
        prev: content id of the record before, where that one's place is a hole; else None.
    """

    author: bytes
    session: bytes
    seq: int
    id: bytes
    time: int
    prev: bytes | None = None


class Stock(Struct, frozen=True, gc=False):
    """What a home holds of one chain.

    Attributes:
        author: public key (32 bytes).
        session: which of the author's chains (8 bytes).
        records: how many, those behind a fork included.
        pruned: how many more there were, of which only the place is left.
        size: their signatures and bodies, in bytes.
        forked: whether two records share a place: the author said two things at once.
        newest: latest time in them, milliseconds since the epoch by the author's clock.
    """

    author: bytes
    session: bytes
    records: int
    pruned: int
    size: int
    forked: bool
    newest: int


class Holding(Struct, frozen=True):
    """What a home holds of one author.

    Attributes:
        records: how many.
        size: their signatures and bodies, in bytes.
    """

    records: int
    size: int


def linked(
    rows: Iterable[tuple[Any, ...]], named_by: Callable[[bytes], bytes]
) -> Iterator[tuple[Any, ...]]:
    """Rows with one more column: what the record names as the one before it, where that one is not
    among them, else None.

    Args:
        rows: each begins with author, session, seq, id; in that order.
        named_by: what a record, given by its id, names as the one before it.
    """
    chain, end = (b"", b""), 0
    for row in rows:
        if row[:2] != chain:
            chain, end = row[:2], 0
        yield (*row, named_by(row[3]) if row[2] > end else None)
        end = row[2] + 1
