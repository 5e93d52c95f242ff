"""Records under way between simulated machines: late, in order, and never lost.

The protocol itself is simulated elsewhere (`gossip.simulate`); what it comes to is a delay. An
author's records arrive in its order, for one that overtakes another waits for it. A machine that
is away takes in what it missed when it is back; what is said across a partition arrives when that
is over.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from node.simulation.scenario import Scenario
from skep.records import Payload


class Said(Struct, frozen=True):
    """A record.

    Attributes:
        number: of the machine that said it.
        id: of the record.
        author: its key.
        time: milliseconds by its clock.
        payload: what it says.
    """

    number: int
    id: bytes
    author: bytes
    time: int
    payload: Payload


class Network:
    """What is under way to whom.

    Args:
        scenario: latency, and when it is cut in two.
        rng: for the latency.
    """

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self._scenario = scenario
        self._rng = rng
        self._inboxes: list[list[tuple[float, int, Said]]] = [[] for _ in range(scenario.nodes)]
        self._last: defaultdict[tuple[int, int], float] = defaultdict(float)
        self._count = 0

    def send(self, said: Said, now: float) -> None:
        """Let everybody else have a record, sooner or later."""
        others = [one for one in range(self._scenario.nodes) if one != said.number]
        delays = self._rng.exponential(self._scenario.jitter_s, len(others))
        for other, jitter in zip(others, delays.tolist(), strict=True):
            self._count += 1
            begun = self._reachable(said.number, other, now)
            arrival = begun + self._scenario.latency_s + jitter
            arrival = self._last[said.number, other] = max(arrival, self._last[said.number, other])
            heapq.heappush(self._inboxes[other], (arrival, self._count, said))

    def arrived(self, number: int, now: float) -> Iterator[Said]:
        """What has reached a machine since it was last asked for."""
        inbox = self._inboxes[number]
        while inbox and inbox[0][0] <= now:
            yield heapq.heappop(inbox)[2]

    def _reachable(self, one: int, other: int, now: float) -> float:
        """When the way between two machines is open: every other one may be cut off."""
        begin, end = self._scenario.partition_s or (0.0, 0.0)
        apart = one % 2 != other % 2
        return end if apart and begin <= now < end else now
