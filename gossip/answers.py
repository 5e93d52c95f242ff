"""What peers get when they compare feeds with this node and ask for records. Pure.

Answers come from the index and what is stored, and depend on nothing else. Places that were pruned,
and holes, are left out: whoever asks sees from the record behind that there was something.
"""

from collections.abc import Iterator
from typing import Protocol

from gossip.messages import (
    RECORDS_MAX,
    RECORDS_MAX_BYTES,
    ROWS_MAX,
    Answer,
    Compare,
    Proof,
    Records,
    Rows,
    Same,
    Want,
)
from gossip.replica import ROW_BYTES, Replica

PLACES_MAX = 65_536
"""Places that are gone through for one request: an index passes over pruned ones quickly, but not
in no time."""


class Archive(Protocol):
    """Where stored records are read from."""

    def chain(self, author: bytes, session: bytes, start: int, stop: int) -> list[bytes]:
        """Records `signature ‖ body` of a chain in order of position, within a message's limits;
        both where two share a position."""
        ...


def answer(request: Compare | Want | Proof, replica: Replica, archive: Archive) -> Answer:
    """Answer a peer."""
    if isinstance(request, Compare):
        if request.digest == replica.digest():
            return Same()
        packed = replica.packed(request.after, ROWS_MAX)
        return Rows(packed, len(packed) == ROWS_MAX * ROW_BYTES)
    if isinstance(request, Want):
        return Records(tuple(_wanted(request, replica, archive)))
    chain = replica.chain(request.key)
    if chain is None or chain.fork is None:
        return Records(())
    both = archive.chain(chain.author, chain.session, chain.fork.seq, chain.fork.seq + 1)
    return Records(tuple(both[:RECORDS_MAX]))


def _wanted(want: Want, replica: Replica, archive: Archive) -> Iterator[bytes]:
    size, count, places = RECORDS_MAX_BYTES, RECORDS_MAX, PLACES_MAX
    for one in want.ranges:
        chain = replica.chain(one.key)
        if chain is None or size <= 0 or count <= 0:
            continue
        stop, passed = chain.reach(one.start, one.stop, places)
        places -= passed
        if one.start >= stop:
            continue
        for signed in archive.chain(chain.author, chain.session, one.start, stop):
            if size <= 0 or count <= 0:
                break
            size -= len(signed)
            count -= 1
            yield signed
