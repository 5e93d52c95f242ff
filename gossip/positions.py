"""Where records stand: the little that is kept in memory of each record of a swarm. Pure values."""

from msgspec import Struct


class Position(Struct, frozen=True, gc=False):
    """A record's place in its author's feed.

    Attributes:
        author: public key (32 bytes).
        session: which of the author's hash chains (8 bytes).
        seq: place in that chain, from 0. Two positions with one seq prove an equivocation.
        id: content id of the record (32 bytes).
        time: milliseconds since the epoch by the author's clock; for display only.
    """

    author: bytes
    session: bytes
    seq: int
    id: bytes
    time: int


class Holding(Struct, frozen=True):
    """What a home holds of one author.

    Attributes:
        records: how many.
        size: their signatures and bodies, in bytes.
    """

    records: int
    size: int
