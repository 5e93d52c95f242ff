"""Nodes of one swarm, over either transport, and ways to wait for what they do.

Waiting polls with a deadline: how long a machine takes is not what any test is about.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import trio
from nacl.signing import SigningKey

from gossip.memory import Hub
from gossip.mesh import open_mesh
from gossip.transport import Handler, Service, Transport, TransportEvent
from skep.errors import TransportError

PATIENCE_S = 10.0
SYNC: Service = "/skep/sync/1"
PROGRAM: Service = "/skep/program/1"
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
TOPIC = "/skep/1/swarm/task"

Event = TypeVar("Event", bound=TransportEvent)


def seed_of(name: str) -> bytes:
    """The seed of a node's identity, from its name."""
    return hashlib.sha256(name.encode()).digest()


def public_of(name: str) -> bytes:
    """The public key of the node of this name."""
    return bytes(SigningKey(seed_of(name)).verify_key)


async def reverse(peer: bytes, request: bytes) -> bytes:
    """A handler whose answer shows what was asked."""
    return request[::-1]


ECHO: Mapping[Service, Handler] = {SYNC: reverse}


class Opens(Protocol):
    """Opens the node of a name."""

    def __call__(
        self,
        name: str,
        handlers: Mapping[Service, Handler] = ECHO,
        *,
        listens: bool = True,
        gate: Callable[[bytes], bool] = ...,
    ) -> AbstractAsyncContextManager[Transport]: ...


def over_memory() -> Opens:
    """Nodes of one hub."""
    hub = Hub()

    def opens(
        name: str, handlers: Mapping[Service, Handler] = ECHO, **options: Any
    ) -> AbstractAsyncContextManager[Transport]:
        return hub.open(public_of(name), handlers, **options)

    return opens


def over_mesh() -> Opens:
    """Nodes on this machine's loopback interface."""

    def opens(
        name: str,
        handlers: Mapping[Service, Handler] = ECHO,
        *,
        listens: bool = True,
        gate: Callable[[bytes], bool] = lambda _: True,
    ) -> AbstractAsyncContextManager[Transport]:
        return open_mesh(
            seed=seed_of(name),
            topic=TOPIC,
            handlers=handlers,
            listen=LOOPBACK if listens else (),
            gate=gate,
        )

    return opens


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a transport has no event for everything
            await trio.sleep(0.005)


async def event_of(transport: Transport, kind: type[Event]) -> Event:
    """The next event of a kind; others before it are dropped."""
    with trio.fail_after(PATIENCE_S):
        while True:
            event = await transport.events.receive()
            if isinstance(event, kind):
                return event


async def refusal(attempt: Callable[[], Awaitable[object]]) -> str:
    """What the `TransportError` says that an attempt has to end in."""
    try:
        with trio.fail_after(PATIENCE_S):
            await attempt()
    except TransportError as error:
        return str(error)
    raise AssertionError("nothing was refused")


async def connect(one: Transport, other: Transport) -> None:
    """Connect two nodes, and wait until both know."""
    with trio.fail_after(PATIENCE_S):
        await one.dial(other.addresses[0])
        await until(lambda: one.me in other.peers)


async def chain(stack: AsyncExitStack, opens: Opens, names: str) -> list[Transport]:
    """Nodes, each connected to the one before."""
    nodes = [await stack.enter_async_context(opens(name)) for name in names]
    for left, right in pairwise(nodes):
        await connect(left, right)
    return nodes
