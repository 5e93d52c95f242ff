"""Which records of others go first when they take more room than this home gives them. Pure.

What goes are the oldest runs that led to nothing, and records of kinds that mean nothing here. What
stays, whatever happens: the own records; every run of a program that anything was built on or that
anybody claims; claims, notes, profiles and retractions; the last record of each chain and the
proofs of forks, without which nobody could learn of what stood before. Old is what came here first:
what an author says of the time may be anything.
"""

from collections.abc import Callable, Iterable

from skep.records import Claim, Run, SignedRecord, Unknown

ROW_BYTES = 500
"""What a record takes on the disk beside its signature and body: columns and indices."""

PLACE_BYTES = 380
"""What the place takes that a pruned record leaves."""

KEPT_KINDS = ("claim", "note", "profile", "retract", "members")


def cost(signed: SignedRecord) -> int:
    """Bytes that a record counts for. Places of pruned ones are counted apart."""
    return len(signed.body) + len(signed.signature) + ROW_BYTES


def built_on(signed: SignedRecord) -> frozenset[bytes]:
    """Programs whose runs a record makes worth keeping."""
    match signed.record.payload:
        case Run(parent=bytes(parent), program=program) if parent != program:
            return frozenset((parent,))
        case Claim(program=program, parent=parent):
            return frozenset((program, parent))
    return frozenset()


def to_prune(
    oldest_first: Iterable[SignedRecord], me: bytes, kept: Callable[[bytes], bool], excess: int
) -> list[SignedRecord]:
    """The records to prune.

    Args:
        oldest_first: records in order of arrival.
        me: public key of this node.
        kept: whether runs of a program are worth keeping; see `built_on`.
        excess: bytes to set free.

    Returns:
        as many as it takes, or all that may go.
    """
    going: list[SignedRecord] = []
    for signed in oldest_first:
        if excess <= 0:
            break
        if signed.record.author != me and _led_to_nothing(signed, kept):
            going.append(signed)
            excess -= cost(signed)
    return going


def _led_to_nothing(signed: SignedRecord, kept: Callable[[bytes], bool]) -> bool:
    match signed.record.payload:
        case Run(program=program):
            return not kept(program)
        case Unknown():
            return True
    return False
