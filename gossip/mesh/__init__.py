"""The mesh: a transport over libp2p, opened by `open_mesh`. Nothing else of it is for others.

Importing this package does not import libp2p, which takes seconds; opening a mesh does, in a
thread. What the library does wrong, and what is done about it, is said where it is done:

    node         sockets, requests, who is connected; starts a new host when one has failed
    host         libp2p behind a gate, without what is not needed
    topic        GossipSub: checks every message, bounds everything
    muxer        one connection: whole frames, limits, a heartbeat
    frames       bytes on a stream
    containment  a failure stays where it happened
    addresses    where to connect to, and what is announced

No relays, no hole punching, no port mapping, no DHT: a node behind a router reaches out, and the
messages come back the same way.
"""

import importlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING

import trio
from msgspec import Struct
from nacl.signing import SigningKey

from gossip.transport import Handler, Service, Transport
from skep.errors import SkepError, lone_error

if TYPE_CHECKING:
    from gossip.mesh.node import Mesh

LIBP2P_VERSION = "0.8.1"
"""Parts of the library are replaced, which is right for one version only."""

PSK_BYTES = 32

START_S = 5.0
"""How long to wait for the first host. If it cannot start, a later one may: the node goes on."""


class Degrees(Struct, frozen=True):
    """How many peers of the topic a node sends every message to.

    Attributes:
        low, target, high: it looks for more below `low` and lets go above `high`, in both cases
            until there are `target`.
    """

    low: int = 4
    target: int = 6
    high: int = 12


LEAF = Degrees()
BOOTSTRAP = Degrees(low=48, target=64, high=160)
"""A node that everybody connects to must not let go of most of them: who only knows this one would
get nothing any more."""


def anybody(_: bytes) -> bool:
    """The gate of a public swarm."""
    return True


def unnoticed(_: bytes) -> None:
    """Does nothing about whom the gate turned away."""


def anything(_: bytes) -> bool:
    """Passes every message on."""
    return True


@asynccontextmanager
async def open_mesh(
    *,
    seed: bytes,
    topic: str,
    handlers: Mapping[Service, Handler],
    listen: Sequence[str] = (),
    announce: Sequence[str] = (),
    degrees: Degrees = LEAF,
    gate: Callable[[bytes], bool] = anybody,
    knocked: Callable[[bytes], None] = unnoticed,
    psk: bytes | None = None,
    worth: Callable[[bytes], bool] = anything,
) -> AsyncIterator[Transport]:
    """A transport over TCP, Noise, Yamux and GossipSub, until the block is left.

    It survives whatever peers send. If libp2p itself fails, it is started anew in the background:
    all peers are reported as disconnected, and requests raise `TransportError` meanwhile.

    Args:
        seed: 32-byte Ed25519 seed of the node's identity.
        topic: name of the one topic.
        handlers: what answers requests, by service. At most 4 run for one peer at once, and 64 in
            all; more are refused.
        listen: `/ip4/HOST/tcp/PORT` or `/ip6/...`; none for a node that only reaches out.
        announce: addresses to tell others, with or without peer id; else those of the machine's
            interfaces.
        degrees: `BOOTSTRAP` for a node that many others know and connect to.
        gate: whether a peer (32-byte public key) may be connected, asked before anything but the
            handshake was said, and again when the connection is ready.
        knocked: told of who came, proved its key, and was turned away by the gate.
        worth: whether a message of the topic may be passed on; what is not is reported as heard all
            the same. It is called for each, and must be quick and never raise.
        psk: 32-byte key that all nodes of a lab have; others cannot even begin a handshake.

    Raises:
        ConfigError: it cannot listen on one of the addresses.
        SkepError: another version of libp2p is installed.
    """
    if psk is not None and len(psk) != PSK_BYTES:
        raise SkepError(f"the key of a lab has {PSK_BYTES} bytes, not {len(psk)}")
    node = await trio.to_thread.run_sync(_load)
    mesh = node.Mesh(
        seed=seed,
        public=bytes(SigningKey(seed).verify_key),
        topic=topic,
        handlers=handlers,
        announce=announce,
        degrees=degrees,
        gate=gate,
        knocked=knocked,
        psk=psk,
        worth=worth,
    )
    await mesh.listen(listen)
    async with _running(mesh):
        yield mesh


@asynccontextmanager
async def _running(mesh: "Mesh") -> AsyncIterator[None]:
    """Let it live beside the block, and raise nothing but what the block raises."""
    try:
        with lone_error():
            async with trio.open_nursery() as nursery:
                started = trio.Event()
                nursery.start_soon(mesh.run, started.set)
                try:
                    with trio.move_on_after(START_S):
                        await started.wait()
                    yield
                finally:
                    mesh.close()
                    nursery.cancel_scope.cancel()
    finally:
        mesh.close()
        mesh.end()


def _load() -> ModuleType:
    """Import what needs libp2p, and prepare the library, once."""
    found = version("libp2p")
    if found != LIBP2P_VERSION:
        raise SkepError(
            f"libp2p {found} is installed, and this version needs {LIBP2P_VERSION}",
            f"pip install libp2p=={LIBP2P_VERSION}",
        )
    node = importlib.import_module("gossip.mesh.node")
    # It has much to say about everything that strangers do.
    logging.getLogger("libp2p").addHandler(logging.NullHandler())
    importlib.import_module("gossip.mesh.host").install()
    return node
