"""A node of the mesh under attack, a friend of it, and what shows that it is well."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.crypto.keys import KeyPair
from msgspec import Struct

from gossip.mesh.host import Host
from gossip.mesh.node import Mesh
from gossip.transport import Heard, Misbehaved
from tests.gossip.intruder import Intruder
from tests.gossip.swarms import PATIENCE_S, SYNC, connect, event_of, over_mesh


class Scene(Struct):
    """A node under attack, and a friend who was connected before."""

    victim: Mesh
    friend: Mesh

    @property
    def address(self) -> str:
        """Where the victim listens."""
        return self.victim.addresses[0]

    @property
    def host(self) -> Host:
        """The victim's insides."""
        return host_of(self.victim)

    def intruder(self, key: KeyPair | None = None) -> Intruder:
        """Somebody who knows the address."""
        return Intruder(self.address, key)

    async def well(self) -> None:
        """Check that the victim lives its first life, and answers."""
        assert self.victim.restarts == 0
        assert await self.friend.request(self.victim.me, SYNC, b"ab") == b"ba"

    async def blamed(self, intruder: Intruder) -> str:
        """What the victim says that this peer did."""
        with trio.fail_after(PATIENCE_S):
            while True:
                event = await event_of(self.victim, Misbehaved)
                if event.peer == intruder.public:
                    return event.what

    async def event_about(self, intruder: Intruder, kind: Any) -> Any:
        """The next event of a kind about this peer, at the victim."""
        while True:
            event: Any = await event_of(self.victim, kind)
            if event.peer == intruder.public:
                return event


def host_of(node: Mesh) -> Host:
    """What of a node is libp2p at the moment."""
    assert node._host is not None
    return node._host


@asynccontextmanager
async def siege() -> AsyncIterator[Scene]:
    """A scene whose victim has to be well at the end."""
    opens: Any = over_mesh()
    async with opens("victim") as victim, opens("friend", listens=False) as friend:
        await connect(friend, victim)
        yield Scene(victim, friend)
        assert victim.restarts == friend.restarts == 0
        await exchange(victim, friend)
        async with opens("newcomer", listens=False) as newcomer:
            await connect(newcomer, victim)
            await exchange(victim, newcomer)


async def exchange(one: Mesh, other: Mesh) -> None:
    """Requests and messages, both ways."""
    assert await one.request(other.me, SYNC, b"ab") == b"ba"
    assert await other.request(one.me, SYNC, b"ab") == b"ba"
    for speaker, listener in ((one, other), (other, one)):
        word = b"word of " + speaker.me
        await speaker.publish(word)
        while (await event_of(listener, Heard)).data != word:
            pass


async def hears_again(speaker: Mesh, listener: Mesh) -> None:
    """Publish until a message arrives: what falls into a gap is not sent again."""
    with trio.fail_after(PATIENCE_S):
        while True:
            await speaker.publish(b"do you hear me?")
            with trio.move_on_after(0.1):
                await event_of(listener, Heard)
                return
