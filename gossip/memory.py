"""A transport within one process: a `Hub` that nodes join. For tests, demonstrations, simulations.

It keeps the promises of `gossip.transport`, and the limits of the mesh, without sockets, keys or
libp2p. Messages of the topic are passed from neighbour to neighbour as in the mesh, so that a
partition is one here too. It proves nobody's identity: whoever joins says who he is.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from gossip.asking import asked, not_connected
from gossip.identity import peer_id
from gossip.inbox import Inbox
from gossip.limits import REQUESTS_MAX, REQUESTS_PER_PEER, Slots
from gossip.transport import (
    ANSWER_MAX_BYTES,
    PUBLISHED_MAX_BYTES,
    Connected,
    Disconnected,
    Handler,
    Heard,
    Service,
    Transport,
)
from skep.errors import TransportError, lone_error

SEEN_MAX = 10_000
"""Messages of the topic that a node recognises when they come back."""


class Hub:
    """What stands for the network.

    Args:
        latency_s: how long anything takes from one node to another, in seconds of trio's clock.
        loss: share of the messages of the topic that are lost on each hop; streams lose nothing.
        seed: of the chance behind `loss`.
    """

    def __init__(self, latency_s: float = 0.0, loss: float = 0.0, seed: int = 0) -> None:
        self.latency_s = latency_s
        self._loss = loss
        self._random = random.Random(seed)  # noqa: S311 - it is a simulation
        self._nodes: dict[str, MemoryNode] = {}
        self._numbers = 0

    @asynccontextmanager
    async def open(
        self,
        public: bytes,
        handlers: Mapping[Service, Handler],
        *,
        listens: bool = True,
        gate: Callable[[bytes], bool] = lambda _: True,
    ) -> AsyncIterator[Transport]:
        """A node in this hub, until the block is left.

        Args:
            public: 32-byte key that names it.
            handlers: what answers requests, by service.
            listens: whether others can dial it.
            gate: whether a peer may be connected.
        """
        place = ""
        with lone_error():
            async with trio.open_nursery() as nursery:
                node = MemoryNode(self, nursery, public, handlers, gate)
                if listens:
                    place = f"/memory/{self.number()}"
                    node.address = f"{place}/p2p/{peer_id(public)}"
                    self._nodes[place] = node
                try:
                    yield node
                finally:
                    self._nodes.pop(place, None)
                    node.leave()
                    nursery.cancel_scope.cancel()

    def listening(self, place: str) -> "MemoryNode | None":
        """The node that listens at an address, which is given without its peer id."""
        return self._nodes.get(place)

    def number(self) -> int:
        """A number that nothing else in this hub has."""
        self._numbers += 1
        return self._numbers

    def loses(self) -> bool:
        """Whether the next message is lost."""
        return self._random.random() < self._loss


class MemoryNode:
    """One node's side of a hub: a `Transport`."""

    def __init__(
        self,
        hub: Hub,
        nursery: trio.Nursery,
        public: bytes,
        handlers: Mapping[Service, Handler],
        gate: Callable[[bytes], bool],
    ) -> None:
        self.me = public
        self.address = ""
        self._hub = hub
        self._nursery = nursery
        self._handlers = handlers
        self._gate = gate
        self._inbox = Inbox()
        self.events = self._inbox.events
        self._links: dict[bytes, MemoryNode] = {}
        self._places: dict[bytes, str] = {}
        self._refused: dict[bytes, float] = {}
        self._seen: dict[tuple[bytes, int], None] = {}
        self._answering = Slots(REQUESTS_PER_PEER, REQUESTS_MAX)
        self._cut: dict[bytes, set[trio.CancelScope]] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others can reach this node; empty if it does not listen."""
        return (self.address,) if self.address else ()

    @property
    def peers(self) -> Mapping[bytes, str]:
        """Peers connected now, with the address of each."""
        return dict(self._places)

    async def publish(self, data: bytes) -> None:
        """Give a message to the topic. Never raises; what is too long goes nowhere."""
        if 0 < len(data) <= PUBLISHED_MAX_BYTES:
            name = (self.me, self._hub.number())
            self._seen[name] = None
            self._pass_on(name, data, {self.me})
        await trio.lowlevel.checkpoint()

    async def request(self, peer: bytes, service: Service, data: bytes) -> bytes:
        """Ask a connected peer and return its answer.

        Raises:
            Refused: it does not want to answer.
            TransportError: not connected, too long, or no answer in time.
        """

        async def ask() -> bytes:
            other = self._links.get(peer)
            if other is None:
                raise not_connected(peer)
            await trio.sleep(self._hub.latency_s)
            answer = await other.answer(self.me, service, data)
            await trio.sleep(self._hub.latency_s)
            return answer

        return await asked(peer, data, self._cut.setdefault(peer, set()), ask)

    async def answer(self, peer: bytes, service: Service, data: bytes) -> bytes:
        """What a peer's request comes to; empty for a refusal. Never raises."""
        handler = self._handlers.get(service)
        if handler is None or not self._answering.take(peer):
            return b""
        try:
            answer = await handler(peer, data)
        except Exception:
            return b""
        finally:
            self._answering.give_back(peer)
        return answer if len(answer) <= ANSWER_MAX_BYTES else b""

    async def dial(self, address: str) -> bytes:
        """Connect to a peer; its public key.

        Raises:
            TransportError: no such address, or not the peer it should be.
        """
        await trio.sleep(2 * self._hub.latency_s)
        other = self._hub.listening(address.partition("/p2p/")[0])
        if other is None:
            raise TransportError(f"nobody listens at {address[:80]!r}")
        if other is self or other.address != address:
            raise TransportError(f"{address[:80]!r} is not that peer")
        if not self.admits(other.me) or not other.admits(self.me):
            raise TransportError(f"{address[:80]!r} refused")
        if other.me not in self._links:
            self.connect(other, address, inbound=False)
            other.connect(self, f"/memory/0/p2p/{peer_id(self.me)}", inbound=True)
        return other.me

    async def drop(self, peer: bytes, refuse_s: float = 0.0) -> None:
        """Close the connection to a peer, and refuse new ones for a while. Never raises."""
        if refuse_s > 0:
            until = trio.current_time() + refuse_s
            self._refused[peer] = max(until, self._refused.get(peer, 0.0))
        other = self._links.get(peer)
        if other is not None:
            self.disconnect(peer)
            other.disconnect(self.me)
        await trio.lowlevel.checkpoint()

    def admits(self, peer: bytes) -> bool:
        """Whether this peer may be connected."""
        return self._refused.get(peer, 0.0) <= trio.current_time() and self._gate(peer)

    def connect(self, other: "MemoryNode", address: str, *, inbound: bool) -> None:
        """Take note of a connection."""
        self._links[other.me] = other
        self._places[other.me] = address
        self._inbox.put(Connected(other.me, address, inbound))

    def disconnect(self, peer: bytes) -> None:
        """Take note that a connection has gone, and end what waits for it."""
        if self._links.pop(peer, None) is not None:
            del self._places[peer]
            self._inbox.put(Disconnected(peer))
        for scope in self._cut.pop(peer, set()):
            scope.cancel()

    def leave(self) -> None:
        """Close all connections, and the stream of events."""
        for peer, other in list(self._links.items()):
            self.disconnect(peer)
            other.disconnect(self.me)
        self._inbox.close()

    def hear(self, name: tuple[bytes, int], data: bytes, forwarder: bytes) -> None:
        """Take in a message from a neighbour, and pass it on if it is new."""
        if name in self._seen or forwarder not in self._links:
            return
        self._seen[name] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        self._inbox.put(Heard(forwarder, data))
        self._pass_on(name, data, {name[0], forwarder})

    def _pass_on(self, name: tuple[bytes, int], data: bytes, known: set[bytes]) -> None:
        for peer in list(self._links):
            if peer not in known and not self._hub.loses():
                self._nursery.start_soon(self._deliver, peer, name, data)

    async def _deliver(self, peer: bytes, name: tuple[bytes, int], data: bytes) -> None:
        await trio.sleep(self._hub.latency_s)
        other = self._links.get(peer)
        if other is not None:
            other.hear(name, data, self.me)
