"""Two sides of a comparison of feeds, without a network: what one asks, the other answers."""

from gossip.admission import Admission
from gossip.answers import answer
from gossip.messages import Answer, Compare, Have, Proof, Request, Same, Want
from gossip.params import NODE, Params
from gossip.replica import Replica
from gossip.simulate import MemoryArchive
from gossip.sync import Sync
from gossip.validate import Validator
from skep.records import SignedRecord
from tests.gossip.swarm_scenes import SWARM, author

PEER = author(2).public


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
