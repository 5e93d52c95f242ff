"""The port between the protocol and whatever carries its bytes. Types only; nothing here connects.

A transport knows peers, connections and bytes, and nothing of records: what they mean is decided
by `gossip.protocol`, and `gossip.driver` stands between the two. `gossip.mesh` is the transport
over libp2p, `gossip.memory` the one within a process; both pass the same tests.

Peers are named by their 32-byte Ed25519 public keys, which a transport has verified before it
speaks of a peer. Addresses are multiaddrs as text, ending in `/p2p/<peer id>`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol

import trio
from msgspec import Struct

PUBLISHED_MAX_BYTES = 48 * 1024
"""Longest message of the topic: a record with its signature is at most 32 KiB and 64 bytes."""

REQUEST_MAX_BYTES = 1 << 20
ANSWER_MAX_BYTES = (1 << 20) + (256 << 10)
"""Longest answer: a mebibyte of records, and the last one that no longer fitted."""

REQUEST_TIMEOUT_S = 20.0
DIAL_TIMEOUT_S = 8.0

Service = Literal["/skep/sync/1", "/skep/program/1", "/skep/peers/1"]
SERVICES: tuple[Service, ...] = ("/skep/sync/1", "/skep/program/1", "/skep/peers/1")

Handler = Callable[[bytes, bytes], Awaitable[bytes]]
"""Answers a request: (peer, request) to answer. An empty answer, or an exception, is a refusal."""


class Connected(Struct, frozen=True):
    """A peer is there: its key was verified, and requests can be sent.

    Attributes:
        peer: public key (32 bytes).
        address: where it was reached, or came from, as a multiaddr.
        inbound: whether it dialled this node.
    """

    peer: bytes
    address: str
    inbound: bool


class Disconnected(Struct, frozen=True):
    """The last connection to a peer is gone."""

    peer: bytes


class Heard(Struct, frozen=True):
    """A message of the topic arrived. `peer` handed it on; who wrote it the message must say."""

    peer: bytes
    data: bytes


class Misbehaved(Struct, frozen=True):
    """A peer broke the rules of the layers below: a malformed frame, a flood, a bad signature."""

    peer: bytes
    what: str


TransportEvent = Connected | Disconnected | Heard | Misbehaved


class Transport(Protocol):
    """Bytes to and from peers of one swarm.

    Opened as an asynchronous context manager by each implementation. Events are put into a channel
    that never blocks the transport for long: what cannot be put is counted and dropped, which the
    protocol survives by comparing feeds.
    """

    me: bytes
    events: trio.MemoryReceiveChannel[TransportEvent]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others can reach this node; empty if it does not listen."""
        ...

    @property
    def peers(self) -> Mapping[bytes, str]:
        """Peers connected now, with the address of each."""
        ...

    async def publish(self, data: bytes) -> None:
        """Give a message to the topic. Delivery is a hope, not a promise; it never raises."""
        ...

    async def request(self, peer: bytes, service: Service, data: bytes) -> bytes:
        """Ask a connected peer and return its answer, at most `ANSWER_MAX_BYTES`.

        Raises:
            Refused: it does not want to answer.
            TransportError: not connected, too long, or no answer in time.
        """
        ...

    async def dial(self, address: str) -> bytes:
        """Connect to a peer; its public key. One that is connected already is left as it is.

        Raises:
            TransportError: no such address, not answered in time, or not the peer it should be.
        """
        ...

    async def drop(self, peer: bytes, refuse_s: float = 0.0) -> None:
        """Close all connections to a peer, and refuse new ones for a while. Never raises."""
        ...
