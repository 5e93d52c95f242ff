"""Whole nodes within a test: driver, mesh and ledger as shipped, with short pauses, and enemies.

An enemy is a bare transport with handlers of its own: it can say anything to anybody.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio

from gossip.driver import Doing, Swarm
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.mesh import open_mesh
from gossip.params import Params
from gossip.transport import Handler, Service, Transport
from gossip.validate import Validator
from skep.records import SignedRecord
from tests.factories import content_id, make_run
from tests.gossip.swarm_scenes import SWARM
from tests.gossip.swarms import LOOPBACK, SYNC, TOPIC, seed_of, until

QUICK = Params(compare_s=0.4, behind_s=0.2, presence_s=2.0, dial_s=0.5)
TASK = content_id("task")


class Node:
    """A node: what it holds, and what it told the person watching."""

    def __init__(self, folder: Path, name: str, ledger: Ledger, bootstrap: Sequence[str]) -> None:
        self.name = name
        self.ledger = ledger
        self.notices: list[str] = []
        self.texts: dict[bytes, bytes] = {}
        self.swarm = Swarm(
            ledger=ledger,
            home=folder,
            swarm=SWARM,
            identity=Identity(seed_of(name)),
            params=QUICK,
            bootstrap=bootstrap,
            doing=lambda: Doing("relay", "", b"", "skep"),
            listener=self,
        )
        ledger.told = self.swarm.said

    def heard(self, records: Iterable[SignedRecord]) -> None:
        """They are in the ledger."""

    def arrived(self, texts: Mapping[bytes, bytes]) -> None:
        """Keep texts."""
        self.texts.update(texts)

    def notice(self, text: str) -> None:
        """Keep what the owner is told."""
        self.notices.append(text)

    @property
    def transport(self) -> Transport:
        """Its side of the mesh."""
        assert self.swarm.transport is not None
        return self.swarm.transport

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.transport.addresses[0]

    def authors(self) -> set[bytes]:
        """Whose records it holds."""
        return set(self.ledger.holdings())

    async def says(self, seed: int = 0) -> SignedRecord:
        """Publish a run."""
        return await self.ledger.publish(make_run("p", pinned=2.0, seed=seed), TASK)

    def open(
        self, handlers: Mapping[Service, Handler], validator: Validator
    ) -> AbstractAsyncContextManager[Transport]:
        """The mesh, as a node opens it."""
        return open_mesh(
            seed=seed_of(self.name),
            topic=TOPIC,
            handlers=handlers,
            listen=LOOPBACK,
            worth=lambda data: validator.message(data).answer == "accept",
        )


@asynccontextmanager
async def node(folder: Path, name: str, *bootstrap: str) -> AsyncIterator[Node]:
    """A node of this name, until the block is left."""
    home = folder / name
    async with Ledger.open(home, Identity(seed_of(name)), swarm=SWARM, clock=lambda: 1) as ledger:
        here = Node(home, name, ledger, bootstrap)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.swarm.run, here.open)
            await here.swarm.opened.wait()
            yield here
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def enemy(
    victim: Node, handlers: Mapping[Service, Handler] | None = None, name: str = "enemy"
) -> AsyncIterator[Transport]:
    """A transport that is connected to the victim and answers as these handlers say."""

    async def silence(peer: bytes, data: bytes) -> bytes:
        return b""

    async with open_mesh(
        seed=seed_of(name), topic=TOPIC, handlers=handlers or {SYNC: silence}
    ) as transport:
        await transport.dial(victim.address)
        await until(lambda: transport.me in victim.swarm.core.peers)
        yield transport


async def understand(one: Node, other: Node) -> None:
    """Check that what either says reaches the other."""
    for speaker, listener in ((one, other), (other, one)):
        said = await speaker.says()
        with trio.fail_after(20):
            while not listener.ledger.knows(said.id):  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.02)
