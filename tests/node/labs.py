"""Machines of a lab for tests: the shipped mesh, driver and door on loopback, and no research."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from msgspec.structs import replace

from gossip.driver import Doing
from gossip.identity import Identity
from gossip.invite import Invite, encode_invite
from gossip.ledger import Ledger
from gossip.params import Params
from gossip.transport import Transport
from node.config import Settings
from node.labs import allow, change_lab, enter_lab, revoke
from node.roster import invite_of
from node.swarm import SOFTWARE, Membership, NoResearch, place_of
from skep.events import Event, Said
from skep.records import Note, SignedRecord
from tests.gossip.scenes import TASK
from tests.gossip.swarms import LOOPBACK

PATIENCE_S = 15.0
QUICK = Params(
    compare_s=0.4, behind_s=0.2, presence_s=1.0, dial_s=0.1, dial_max_s=0.3, rotate_s=0.1
)
"""As `gossip.params.LAB`, but impatient."""


class Machine:
    """A running node of a lab, or of the public swarm."""

    def __init__(self, root: Path, membership: Membership, ledger: Ledger, said: list[str]) -> None:
        self.root = root
        self.me = Identity.load(root)
        self.membership = membership
        self.ledger = ledger
        self.said = said

    @property
    def peers(self) -> set[bytes]:
        """Public keys of whom it is connected to."""
        return set(self.membership.swarm.core.peers)

    @property
    def transport(self) -> Transport:
        """Its open mesh."""
        found = self.membership.swarm.transport
        assert found is not None
        return found

    @property
    def address(self) -> str:
        """Where it can be reached."""
        return self.transport.addresses[0]

    def told(self, *parts: str) -> bool:
        """Whether its owner was told a line with all of these in it."""
        return any(all(part in line for part in parts) for line in self.said)

    async def notes(self, text: str) -> SignedRecord:
        """Say something to the swarm."""
        return await self.ledger.publish(Note(role="finding", about=None, text=text), TASK)

    def knows(self, signed: SignedRecord) -> bool:
        """Whether a record has come here."""
        return self.ledger.knows(signed.id)


@asynccontextmanager
async def running(root: Path, *, bootstrap: tuple[str, ...] = ()) -> AsyncIterator[Machine]:
    """The node of a home, whatever swarm it belongs to, as `node.relay` runs it."""
    nobody = root.parent / "nobody.txt"
    nobody.touch()
    settings = Settings(
        home=root, listen=LOOPBACK, bootstrap=bootstrap or (str(nobody),), mdns=False
    )
    place = replace(place_of(settings), params=QUICK)
    said: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, Said):
            said.append(event.text)

    identity = Identity.load(root)
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000  # noqa: E731
    async with (
        Ledger.open(root, identity, swarm=place.swarm, clock=clock) as ledger,
        trio.open_nursery() as nursery,
    ):
        membership = Membership(
            home=root,
            place=place,
            identity=identity,
            ledger=ledger,
            research=NoResearch(),
            doing=lambda: Doing("relay", "", b"", SOFTWARE),
            emit=emit,
        )
        nursery.start_soon(membership.run)
        with trio.fail_after(PATIENCE_S):
            await membership.swarm.opened.wait()
        yield Machine(root, membership, ledger, said)
        nursery.cancel_scope.cancel()


def invited(founder: Machine, home: Path, **changes: object) -> Path:
    """Another machine's home of the lab, made from the founder's invite as it is now."""
    invite: Invite = replace(invite_of(founder.root), addresses=(founder.address,))
    return enter_lab(home, encode_invite(replace(invite, **changes)))


def let_in(founder: Machine, root: Path) -> None:
    """What `skep lab allow` does, for the machine of a home."""
    change_lab(founder.root, lambda lab: allow(lab, founder.me.public, Identity.load(root).peer_id))


def show_out(founder: Machine, root: Path) -> None:
    """What `skep lab revoke` does."""
    peer = Identity.load(root).peer_id
    change_lab(founder.root, lambda lab: revoke(lab, founder.me.public, peer))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is no event for everything
            await trio.sleep(0.02)
