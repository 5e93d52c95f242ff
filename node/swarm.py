"""The node's part in a swarm: opens mesh and driver, and stands between them and the research.

Which swarm that is, and where to meet others, is decided here from the settings. Protocol and
transport are `gossip`'s; what becomes of what is heard is `node.hearing`'s.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio
from msgspec import Struct
from msgspec.structs import replace

import skep
from gossip.addresses import parse_address
from gossip.driver import Doing, Swarm
from gossip.identity import Identity, friendly_name
from gossip.lan import announced
from gossip.ledger import Ledger
from gossip.mesh import BOOTSTRAP, LEAF, Degrees, open_mesh
from gossip.params import LAB, MEETING_PLACE, NODE, Params
from gossip.swarms import PUBLIC_SWARM
from gossip.transport import Handler, Service, Transport
from gossip.validate import Validator
from node.company import Company
from node.config import Settings
from node.door import Door
from node.labs import Lab, read_lab
from skep.errors import ConfigError, SkepError
from skep.events import Event, Met, Said
from skep.records import SignedRecord

SOFTWARE = f"skep {skep.__version__}"
TOPIC = "/skep/1/{swarm}"
SHIPPED = "bootstrap_peers.txt"
ALONE_S = 10.0
"""After so long without a peer the node says that it is alone."""

LOOK_S = 1.0
BACK_OFF_S = 5.0
BACK_OFF_MAX_S = 300.0


class Place(Struct, frozen=True, kw_only=True):
    """Where a node meets others.

    Attributes:
        swarm: id of the swarm.
        name: what people call it.
        bootstrap: addresses to meet others at.
        listen, announce: as for `gossip.mesh.open_mesh`.
        params, degrees: how wide the node is.
        mdns: whether to look for others on the local network.
        lab: whose members alone are met; None in the public swarm.
    """

    swarm: bytes
    name: str
    bootstrap: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    announce: tuple[str, ...] = ()
    params: Params = NODE
    degrees: Degrees = LEAF
    mdns: bool = False
    lab: Lab | None = None

    def wide(self) -> "Place":
        """The same for a node that many others meet at."""
        wide = replace(MEETING_PLACE, dial_max_s=self.params.dial_max_s)
        return replace(self, params=wide, degrees=BOOTSTRAP)


def place_of(settings: Settings) -> Place:
    """Where the node of a home meets others: its lab, if it is the home of one.

    Raises:
        ConfigError: an address makes no sense, or a file of them cannot be read.
        HomeError: what the home says of its lab does not read back.
    """
    lab = read_lab(settings.home)
    return lab_place(lab, settings) if lab else public_place(settings)


def lab_place(lab: Lab, settings: Settings) -> Place:
    """A lab: its own swarm, key and addresses, and nothing of the public swarm's.

    Raises:
        ConfigError: an address makes no sense, or a file of them cannot be read.
    """
    given = bootstrap_addresses(settings.bootstrap) if settings.bootstrap else ()
    return Place(
        swarm=lab.swarm,
        name=f"the lab {lab.name}",
        bootstrap=tuple(dict.fromkeys([*given, *lab.addresses])),
        listen=settings.listen,
        announce=settings.announce,
        params=LAB,
        mdns=settings.mdns is True,
        lab=lab,
    )


def public_place(settings: Settings) -> Place:
    """The public swarm, as the settings want to take part in it.

    Raises:
        ConfigError: an address makes no sense, or a file of them cannot be read.
    """
    return Place(
        swarm=PUBLIC_SWARM,
        name="the public swarm",
        bootstrap=bootstrap_addresses(settings.bootstrap or ()),
        listen=settings.listen,
        announce=settings.announce,
        mdns=settings.mdns is not False,
    )


class Research(Protocol):
    """What the swarm tells the research and asks of it; `node.loop.Researcher` is one."""

    def heard(self) -> None:
        """Records of others are in the ledger."""
        ...

    async def take_program(self, content_id: bytes, source: str) -> bool:
        """A text that was wanted; whether it is known now."""
        ...

    def wanted_programs(self) -> tuple[bytes, ...]:
        """Texts that are wanted."""
        ...


class NoResearch:
    """For a node that only passes on and keeps."""

    def heard(self) -> None:
        """They are kept already."""

    async def take_program(self, content_id: bytes, source: str) -> bool:
        """Nothing is wanted."""
        return False

    def wanted_programs(self) -> tuple[bytes, ...]:
        """None."""
        return ()


class Membership:
    """A node in its swarm, as long as `run` runs.

    Args:
        home: folder of the node.
        place: where to meet others.
        identity: who this node is.
        ledger: open, of the place's swarm.
        research: told what comes.
        doing: asked for what to announce.
        emit: called with what the person watching should know.
    """

    def __init__(
        self,
        *,
        home: Path,
        place: Place,
        identity: Identity,
        ledger: Ledger,
        research: Research,
        doing: Callable[[], Doing],
        emit: Callable[[Event], None],
    ) -> None:
        self._place = place
        self._identity = identity
        self._research = research
        self._emit = emit
        self._texts, self._arriving = trio.open_memory_channel[tuple[bytes, bytes]](64)
        self.swarm = Swarm(
            ledger=ledger,
            home=home,
            swarm=place.swarm,
            identity=identity,
            params=place.params,
            bootstrap=place.bootstrap,
            doing=doing,
            listener=self,
        )
        self._company = Company(self.swarm, place.name, place.swarm)
        ledger.told = self.swarm.said
        self.door = (
            Door(
                home=home,
                lab=place.lab,
                identity=identity,
                ledger=ledger,
                swarm=self.swarm,
                emit=emit,
            )
            if place.lab
            else None
        )

    # What the driver tells

    def heard(self, records: Iterable[SignedRecord]) -> None:
        """Records are in the ledger now."""
        if self.door:
            self.door.heard(records)
        self._research.heard()

    def arrived(self, texts: Mapping[bytes, bytes]) -> None:
        """Texts of programs; those that find no room are asked for again."""
        for content_id, text in texts.items():
            with contextlib.suppress(trio.WouldBlock):
                self._texts.send_nowait((content_id, text))

    def notice(self, text: str) -> None:
        """Something the person watching should know."""
        self._emit(Said(text, alarm=True))

    # Running

    async def run(self) -> None:
        """Take part, for ever; whatever fails is tried again, and the research goes on.

        Raises:
            ConfigError: an address to listen on cannot be used.
        """
        beside = [self._look_after_texts, self._tell_company]
        if self._place.mdns:
            beside.append(self._look_around)
        if self.door:
            beside.append(self.door.watch)
        async with trio.open_nursery() as nursery:
            for duty in beside:
                nursery.start_soon(self._keep_up, duty, "the swarm stumbled and goes on: {!r}")
            await self._keep_up(partial(self.swarm.run, self._open), "no mesh: {}")

    async def _keep_up(self, duty: Callable[[], Awaitable[None]], stumbled: str) -> None:
        """Do something for ever; what fails in a swarm must not end the research.

        Raises:
            ConfigError: as the duty does; trying again would not help.
        """
        pause = BACK_OFF_S
        while True:
            began = trio.current_time()
            try:
                await duty()
            except ConfigError:
                raise
            except Exception as error:
                self._emit(Said(stumbled.format(error), alarm=True))
            if trio.current_time() - began > BACK_OFF_MAX_S:
                pause = BACK_OFF_S  # It went well for long.
            await trio.sleep(pause)
            pause = min(2 * pause, BACK_OFF_MAX_S)

    def _open(
        self, handlers: Mapping[Service, Handler], validator: Validator
    ) -> AbstractAsyncContextManager[Transport]:
        place, door = self._place, self.door
        optional: dict[str, Any] = {}
        if door and place.lab:
            optional = {"psk": place.lab.key, "gate": door.admits, "knocked": door.knocked}
        return open_mesh(
            seed=self._identity.seed,
            topic=TOPIC.format(swarm=place.swarm.hex()),
            handlers=handlers,
            listen=place.listen,
            announce=place.announce,
            degrees=place.degrees,
            worth=lambda data: validator.message(data).answer == "accept",
            **optional,
        )

    async def _look_around(self) -> None:
        """Find nodes of the local network; a machine without one does without."""
        await self.swarm.opened.wait()
        addresses = self.swarm.transport.addresses if self.swarm.transport else ()
        with contextlib.suppress(OSError):
            async with announced(self._place.swarm, addresses, self.swarm.found):
                await trio.sleep_forever()

    async def _look_after_texts(self) -> None:
        """Ask for what is wanted, and hand over what has come."""
        asked: tuple[bytes, ...] = ()
        while True:
            wanted = self._research.wanted_programs()
            if wanted != asked:
                asked = wanted
                self.swarm.missing(wanted)
            with trio.move_on_after(LOOK_S):
                await self._take(*await self._arriving.receive())

    async def _take(self, content_id: bytes, text: bytes) -> None:
        try:
            await self._research.take_program(content_id, text.decode())
        except (SkepError, ValueError) as error:
            self._emit(Said(f"a program of a peer cannot be taken: {error}"))

    async def _tell_company(self) -> None:
        """Say how many peers there are, when the first is met, and when this node is alone."""
        alone: bool | None = None
        met = 0
        since = trio.current_time()
        while True:
            await trio.sleep(LOOK_S)
            peers = self.swarm.core.peers
            self._company.sample(trio.current_time())
            if len(peers) != met:
                met = len(peers)
                self._emit(Met(met))
            if peers and alone is not False:
                alone = False
                names = ", ".join(friendly_name(peer) for peer in list(peers)[:3])
                self._emit(Said(f"peers    {len(peers)} met in {self._place.name}: {names}"))
            elif not peers and alone is not True and trio.current_time() - since > ALONE_S:
                alone = True
                self._emit(
                    Said("peers    none reachable: this node goes on alone, and keeps trying")
                )
            if peers:
                since = trio.current_time()

    # Being looked at

    def answer(self) -> dict[str, Any]:
        """Swarm and peers as plain JSON values."""
        answer = self._company.document(trio.current_time())
        return {**answer, "lab": self.door.answer() if self.door else None}

    def announced(self) -> frozenset[bytes]:
        """Programs that others say are in training there; an announcement expires by itself."""
        present = self.swarm.core.present(trio.current_time())
        return frozenset(program for one in present.values() for program in one.running)

    def glance(self) -> dict[str, Any]:
        """The little of it that is shown all the time."""
        return self._company.glance(trio.current_time())


def bootstrap_addresses(given: Sequence[str]) -> tuple[str, ...]:
    """Addresses to meet others at: those given, else those of the file that comes with Skep.

    Args:
        given: addresses, or paths of files with one on each line.

    Raises:
        ConfigError: one is no address, or a file cannot be read.
    """
    found: list[str] = []
    for one in given or (str(shipped()),):
        if one.startswith("/") and "/p2p/" in one:
            parse_address(one)
            found.append(one)
        else:
            found += read_addresses(Path(one))
    return tuple(dict.fromkeys(found))


def read_addresses(path: Path) -> list[str]:
    """Addresses of a file: one a line; empty lines and what follows a # are skipped.

    Raises:
        ConfigError: it cannot be read, or a line is no address.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "Check --bootstrap.") from error
    found = []
    for number, line in enumerate(lines, 1):
        address = line.partition("#")[0].strip()
        if address:
            try:
                parse_address(address)
            except ConfigError as error:
                raise ConfigError(f"{path}, line {number}: {error.what}", error.advice) from None
            found.append(address)
    return found


def shipped() -> Path:
    """The file of public peers that comes with Skep."""
    beside = Path(skep.__file__).parent.parent / SHIPPED
    return beside if beside.exists() else Path(__file__).with_name(SHIPPED)
