"""A connected peer: where it was met, and how much of this node's attention it may have. Pure.

Who asks more than that is slowed down, not refused: its answers are held back until the rates are
kept. That way a node that fetches all there is gets on as fast as it may, without being told so.
"""

from gossip.addresses import Scope, scope_of_connection
from gossip.limits import Bucket

REQUESTS = 120.0
REQUESTS_S = 10.0
"""Requests of one peer: at once, and per second."""

SERVED = 32 * 2.0**20
SERVED_S = 2 * 2.0**20
"""Bytes answered to one peer: at once, and per second."""

PATIENCE_S = 10.0
"""The longest time that an answer is held back."""

ANSWERED_S = 60.0
"""A peer that has answered lately is busy and not silent."""


class Peer:
    """A connected peer.

    Attributes:
        since: when it came.
        address: the other end of the connection.
        inbound: whether it came by itself.
        answered: when it last answered a request, or else when it came.
        listens: where it says that it can be reached.
    """

    def __init__(self, now: float, address: str, *, inbound: bool) -> None:
        self.since = now
        self.address = address
        self.inbound = inbound
        self.answered = now
        self.listens: tuple[str, ...] = ()
        self._requests = Bucket(REQUESTS, REQUESTS_S, now)
        self._served = Bucket(SERVED, SERVED_S, now)

    @property
    def scope(self) -> Scope:
        """How far away it is."""
        return scope_of_connection(self.address)

    def is_silent(self, now: float) -> bool:
        """Whether it has answered nothing for long."""
        return now - self.answered > ANSWERED_S

    def wait(self, now: float) -> float | None:
        """Count a request; seconds to hold its answer back, None to refuse it."""
        wait = max(self._requests.wait(now, 1.0), self._served.wait(now, 1.0))
        if wait > PATIENCE_S:
            return None
        self._requests.take(1.0)
        return wait

    def serve(self, size: int) -> None:
        """Count the bytes of an answer."""
        self._served.take(float(size))
