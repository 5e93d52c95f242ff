"""Whether the records of one chain belong together: the rules of importing them. Pure.

A chain that breaks them is refused as a whole; one that has a gap is good up to the gap.
"""

from collections.abc import Callable, Collection

from skep.records import SignedRecord

FORKS_MAX = 16
"""Records of one place that are looked at; two prove the equivocation."""

Known = Callable[[bytes, bytes, int], Collection[bytes]]
"""Ids that are known already at a place (author, session, seq)."""


class Chain:
    """One author's chain, gone through in order of seq and id.

    Attributes:
        records: how many there were.
        good: how many of them may be kept.
        stop: seq from which on none may be kept; None if all may.
        fault: what is wrong with it, in a clause; empty if nothing is.
    """

    def __init__(self, first: SignedRecord, known: Known) -> None:
        record = first.record
        self.author, self.session = record.author, record.session
        self.records = self.good = 0
        self.stop: int | None = None
        self.fault = ""
        self._swarm = record.swarm
        self._known = known
        self._seq = -1
        self._before: set[bytes] = set()
        self._here: set[bytes] = set()

    def follow(self, signed: SignedRecord, *, genuine: bool) -> None:
        """Take the next record.

        Args:
            signed: the record; of this author and session, behind those before.
            genuine: whether its signature is right.
        """
        self.records += 1
        if not genuine:
            self._refuse(signed, "has a wrong signature")
        elif signed.record.swarm != self._swarm:
            self._refuse(signed, "belongs to another swarm than those before it")
        elif self.stop is None:
            self._link(signed)
        if self.stop is None:
            self.good += 1

    def _link(self, signed: SignedRecord) -> None:
        record = signed.record
        if record.seq != self._seq:
            self._before = self._here if record.seq == self._seq + 1 else set()
            self._seq, self._here = record.seq, set()
            if record.seq and not self._before:
                self._before = set(self._known(self.author, self.session, record.seq - 1))
        if record.seq and not self._before:
            self.stop = record.seq
            self.fault = f"record {record.seq - 1} is missing, and so is what leads to those behind"
        elif record.seq and record.prev not in self._before:
            if record.prev not in self._known(self.author, self.session, record.seq - 1):
                self._refuse(signed, "does not continue the one before it")
        elif len(self._here) == FORKS_MAX:
            self._refuse(signed, f"shares its place with {FORKS_MAX} others")
        self._here.add(signed.id)

    def _refuse(self, signed: SignedRecord, why: str) -> None:
        """From now on nothing of the chain may be kept, what came before included."""
        if self.stop != 0:
            self.stop, self.good = 0, 0
            self.fault = f"record {signed.record.seq} {why}"
