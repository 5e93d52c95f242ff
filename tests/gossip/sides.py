"""Two sides of a comparison of feeds, without a network: what one asks, the other answers."""

from collections.abc import Collection

from gossip.admission import Admission
from gossip.answers import answer
from gossip.messages import Answer, Compare, Have, Proof, Request, Same, Want
from gossip.params import NODE, Params
from gossip.replica import FORKED, Replica, chain_key
from gossip.simulate import MemoryArchive
from gossip.sync import Sync
from gossip.validate import Validator
from gossip.wire import decode
from skep.records import SignedRecord
from tests.gossip.swarm_scenes import SWARM, author

PEER = author(2).public
ANNA = author(1)
KEY = chain_key(ANNA.public, b"session1")


class Side:
    """One side of a comparison."""

    def __init__(
        self,
        records: list[SignedRecord],
        params: Params = NODE,
        archive: MemoryArchive | None = None,
        known: dict[bytes, int] | None = None,
    ) -> None:
        self.archive = archive or MemoryArchive()
        self.archive.keep(records)
        self.blamed: list[tuple[float, str]] = []
        self.replica = Replica(self.archive.positions())
        self.sync = Sync(
            swarm=SWARM,
            params=params,
            replica=self.replica,
            validator=Validator(SWARM),
            admission=Admission(params, known or {}, 0.0),
            blame=lambda _, points, why: self.blamed.append((points, why)),
        )

    def answer(self, request: Request) -> Answer:
        """What a peer gets."""
        if isinstance(request, Compare | Want | Proof):
            return answer(request, self.replica, self.archive)
        return Same()

    def compare(self, other: "Side", now: float = 0.0, peer: bytes = PEER) -> list[Request]:
        """One comparison to its end; what was asked."""
        asked: list[Request] = []
        first = self.sync.compare(peer)
        waiting = [first] if first else []
        while waiting:
            request = waiting.pop()
            asked.append(request)
            if not isinstance(request, Have):
                waiting += self.sync.answered(now, peer, request, other.answer(request))
            self.archive.keep(self.sync.taken)
            self.sync.taken.clear()
        return asked


def side(records: list[SignedRecord], without: Collection[int] = ()) -> Side:
    """A side that holds records, and has let go of those at some places."""
    one = Side(records)
    one.archive.prune(record for record in records if record.record.seq in without)
    return one


def holes(one: Side) -> list[tuple[int, int]]:
    """The holes of Anna's chain."""
    found = one.replica.chain(KEY)
    assert found is not None
    return list(found.holes())


def length(one: Side) -> int:
    """How far Anna's chain goes."""
    found = one.replica.chain(KEY)
    return found.next if found else 0


def bodies(one: Side) -> set[bytes]:
    """Ids of the records of Anna that a side can give to others."""
    stored = one.archive.chain(ANNA.public, b"session1", 0, FORKED)
    return {decode(signed).id for signed in stored}
