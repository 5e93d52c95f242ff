"""Who belongs to a lab: its founder's latest list, and whose word counts there. Pure.

The list is a record like any other, so every node finds the same one whatever way it came. Here is
only which of several counts; who acts on it, and how a node comes to hear of it, is `node.door`'s.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TypeGuard

from skep.records import NO_TASK, Members, SignedRecord


def says_members(signed: SignedRecord, founder: bytes, swarm: bytes) -> bool:
    """Whether a record is a list of members by the founder of the lab with this swarm id."""
    record = signed.record
    return (record.author, record.swarm, record.task) == (founder, swarm, NO_TASK) and _is_list(
        record.payload
    )


def forks(places: Iterable[tuple[bytes, int, bytes]]) -> dict[bytes, int]:
    """Where each session of one author is forked: its earliest place with two records.

    Args:
        places: session, seq and id of the author's records, in any order.
    """
    seen: dict[tuple[bytes, int], bytes] = {}
    found: dict[bytes, int] = {}
    for session, seq, content_id in places:
        if seen.setdefault((session, seq), content_id) != content_id:
            found[session] = min(seq, found.get(session, seq))
    return found


def latest(
    founder: bytes,
    swarm: bytes,
    records: Iterable[SignedRecord],
    forked: Mapping[bytes, int],
) -> SignedRecord | None:
    """The list that counts; None if there is none.

    Args:
        founder: public key of whom the list is to be.
        swarm: id of the lab's swarm.
        records: verified records, in any order; those that are no list of this founder's are
            passed over.
        forked: where the founder's sessions are forked; what stands there or behind counts not.
    """
    lists = [
        signed
        for signed in records
        if says_members(signed, founder, swarm)
        and signed.record.seq < forked.get(signed.record.session, signed.record.seq + 1)
    ]
    return max(lists, key=lambda signed: (signed.record.time, signed.id), default=None)


def listed(founder: bytes, latest_list: SignedRecord | None) -> frozenset[bytes]:
    """Public keys of the members. The founder is one, whatever the list says, or without any."""
    if latest_list is None or not _is_list(latest_list.record.payload):
        return frozenset({founder})
    return frozenset({founder, *latest_list.record.payload.listed})


def roots(me: bytes, members: Collection[bytes] = ()) -> frozenset[bytes]:
    """Whose replications count for a node without having earned it.

    Args:
        me: public key of the node, which always believes itself.
        members: of the lab it is in; none in the public swarm, where others have to earn it.
    """
    return frozenset({me, *members})


def _is_list(payload: object) -> TypeGuard[Members]:
    return isinstance(payload, Members)
