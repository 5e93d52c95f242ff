"""Whether the records of one chain may be imported, by the rules of `gossip.replica`. Pure.

A chain that breaks them is refused as a whole; one with a fork is good up to the fork, as it is
when peers send it. Where records are missing, what stands behind them is good all the same: whoever
wrote the archive had let go of them, and peers may still have them.
"""

from gossip.replica import Places, Replica, chain_key
from skep.records import SignedRecord


class Incoming:
    """One author's chain, gone through in order of seq and id.

    Args:
        first: its first record.
        known: what the home has of it.

    Attributes:
        records: how many there were.
        good: how many of them may be kept.
        stop: seq from which on none may be kept; None if all may.
        fault: what is wrong with it, in a clause; empty if nothing is.
    """

    def __init__(self, first: SignedRecord, known: Places) -> None:
        record = first.record
        self.author, self.session = record.author, record.session
        self.records = self.good = 0
        self.stop: int | None = None
        self.fault = ""
        self._refused = False
        self._swarm = record.swarm
        self._replica = Replica(known)

    def follow(self, signed: SignedRecord, *, genuine: bool, here: bool = True) -> None:
        """Take the next record.

        Args:
            signed: the record; of this author and session, behind those before.
            genuine: whether its signature is right.
            here: whether it belongs to a swarm of the home that takes it.
        """
        self.records += 1
        if not genuine:
            self._refuse(signed, "has a wrong signature")
        elif not here:
            self._refuse(signed, "belongs to a swarm that this home is not in")
        elif signed.record.swarm != self._swarm:
            self._refuse(signed, "belongs to another swarm than those before it")
        elif self.stop is None:
            self._link(signed)
        if self.stop is None:
            self.good += 1

    def _link(self, signed: SignedRecord) -> None:
        match self._replica.place(signed):
            case "new" | "fork" | "gap":
                self._replica.put(signed)
            case "frozen" if signed.record.seq > self._next:
                forked = f"record {self._next} was said twice, and those behind count for nothing"
                self._end(self._next + 1, forked)
            case "diverged":
                self._refuse(signed, "does not continue the one before it")

    @property
    def _next(self) -> int:
        """Where the chain ends, or is forked."""
        chain = self._replica.chain(chain_key(self.author, self.session))
        return chain.next if chain else 0

    def _end(self, stop: int, fault: str) -> None:
        self.stop, self.fault = stop, fault

    def _refuse(self, signed: SignedRecord, why: str) -> None:
        """From now on nothing of the chain may be kept, what came before included."""
        if not self._refused:
            self._refused, self.good = True, 0
            self._end(0, f"record {signed.record.seq} {why}")
