"""The protocol on a real transport, a real ledger and a real clock: the trio shell around the core.

Everything the core wants to happen happens here, and nothing is decided here. What came in is on
the medium before anybody hears of it: events are taken as many as are waiting, their records are
stored in one go, and only then answers go out. Whatever fails here, the research goes on: the core
is built anew from the ledger. While the disk takes nothing, no records of others are taken; peers
still find a node that is there and answers.
"""

import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import trio
from msgspec import Struct

from gossip.effects import (
    Announce,
    Answered,
    Arrived,
    Ask,
    Asked,
    Dial,
    Dialled,
    Drop,
    Effect,
    Event,
    Found,
    Keep,
    Listening,
    Missing,
    Notice,
    Publish,
    Reply,
    Said,
    Unanswered,
    Woke,
)
from gossip.identity import Identity
from gossip.ledger import ADMIT_MAX_RECORDS, Ledger
from gossip.messages import RECORDS_MAX, RECORDS_MAX_BYTES, Presence, pack
from gossip.params import Params
from gossip.protocol import Core
from gossip.remembered import remember_peers, remembered_peers
from gossip.replica import Replica
from gossip.transport import (
    SERVICES,
    Connected,
    Handler,
    Service,
    Transport,
    TransportEvent,
)
from gossip.validate import PRESENCE, Validator
from skep.errors import HomeError, NoHandshake, Refused, TransportError
from skep.records import Role, SignedRecord

REMEMBER_S = 120.0

PUBLISH_MAX = 4096
"""Messages that wait to be published; of more than that, peers hear by comparing feeds."""

EVENTS_MAX = 1024
AT_ONCE = 256
"""Events that are handled before what they brought is stored."""

RETRY_S = 5.0
RETRY_MAX_S = 300.0


class Doing(Struct, frozen=True):
    """What a node tells of itself when it announces itself.

    Attributes:
        role, tier, task, software: as in `Presence`.
        running: programs in training.
    """

    role: Role
    tier: str
    task: bytes
    software: str
    running: tuple[bytes, ...] = ()


class Listener(Protocol):
    """Who is told what came from the swarm."""

    def heard(self, records: Iterable[SignedRecord]) -> None:
        """Records are in the ledger now; returns at once."""
        ...

    def arrived(self, texts: Mapping[bytes, bytes]) -> None:
        """Texts of programs that were missing, by content id; returns at once."""
        ...

    def notice(self, text: str) -> None:
        """Something that the person watching should know."""
        ...


Opener = Callable[[Mapping[Service, Handler], Validator], AbstractAsyncContextManager[Transport]]
"""Opens the transport, given what answers requests and what checks messages of the topic."""


class Swarm:
    """This node's part in a swarm, as long as `run` runs.

    Args:
        ledger: open ledger of this node, of the swarm's id.
        home: where known peers are remembered.
        swarm: id of the swarm.
        identity: signs announcements.
        params: how often, how many, how much.
        bootstrap: addresses to meet others at.
        doing: asked for what to announce.
        listener: told what came.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        home: Path,
        swarm: bytes,
        identity: Identity,
        params: Params,
        bootstrap: Sequence[str],
        doing: Callable[[], Doing],
        listener: Listener,
    ) -> None:
        self._ledger = ledger
        self._home = home
        self._swarm = swarm
        self._identity = identity
        self._params = params
        self._bootstrap = bootstrap
        self._doing = doing
        self._listener = listener
        self._events, self._inbox = trio.open_memory_channel[Event](math.inf)
        self._room = trio.Semaphore(EVENTS_MAX)
        self._outgoing, self._outbox = trio.open_memory_channel[bytes](PUBLISH_MAX)
        self._listening: tuple[str, ...] = ()
        self._validator = Validator(swarm)
        self._first: list[Event] = []
        self._missing = Missing(frozenset())
        self._replies: dict[int, Callable[[bytes], None]] = {}
        self._asked = 0
        self._announced = 0
        self._instance = secrets.token_bytes(8)
        self.transport: Transport | None = None
        self.opened = trio.Event()
        """Set once the transport is open."""
        self.no_handshakes = 0
        """Attempts since the last success at which somebody answered without a handshake."""
        self.core = self._new_core()

    def _new_core(self, closed_s: float = 0.0) -> Core:
        positions = self._ledger.positions(self._swarm)
        core = Core(
            me=self._identity.public,
            swarm=self._swarm,
            replica=Replica((p.author, p.session, p.seq, p.id, p.prev) for p in positions),
            archive=_Stored(self._ledger),
            shelf=_Stored(self._ledger),
            known={one: held.size for one, held in self._ledger.holdings().items()},
            params=self._params,
            instance=self._instance,
            now=trio.current_time(),
            wall_ms=time.time_ns() // 1_000_000,
            seed=secrets.randbits(64),
            validator=self._validator,
            closed_s=closed_s,
        )
        core.rendezvous.add(self._bootstrap, "bootstrap")
        core.rendezvous.add(remembered_peers(self._home), "remembered")
        return core

    # What the node tells

    def said(self, signed: SignedRecord) -> None:
        """This node has said something, and it is in the ledger. Returns at once."""
        self._events.send_nowait(Said(signed))

    def missing(self, programs: Iterable[bytes]) -> None:
        """Texts of programs that would be welcome. Returns at once."""
        self._missing = Missing(frozenset(programs))
        self._events.send_nowait(self._missing)

    def found(self, addresses: Iterable[str]) -> None:
        """Addresses from elsewhere, the local network for one. Returns at once."""
        self._events.send_nowait(Found(tuple(addresses)))

    # Running

    async def run(self, open_transport: Opener) -> None:
        """Take part, for ever.

        Raises:
            ConfigError: the transport cannot be opened as it was asked for.
            SkepError: the transport lacks something it needs.
        """
        handlers: dict[Service, Handler] = {
            service: partial(self._answer, service) for service in SERVICES
        }
        async with open_transport(handlers, self._validator) as transport:
            self.transport = transport
            if self.opened.is_set():
                self._forget_transport()
                self._start_over(transport)
            self.opened.set()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, transport)
                    nursery.start_soon(self._publish, transport)
                    nursery.start_soon(self._remember_now_and_then)
                    await self._live(transport, nursery)
            finally:
                self._remember()

    async def _live(self, transport: Transport, nursery: trio.Nursery) -> None:
        failures = 0
        while True:
            try:
                if await self._step(transport, nursery):
                    failures = 0
            except Exception as error:
                pause = min(RETRY_S * 2**failures, RETRY_MAX_S)
                failures += 1
                await self._recover(transport, error, pause)

    async def _recover(self, transport: Transport, error: Exception, pause: float) -> None:
        """Go on after a failure: at once if it is the disk, which only keeps from storing."""
        while True:
            if isinstance(error, HomeError):
                self._listener.notice(f"records of peers cannot be stored: {error}")
            else:
                self._listener.notice(f"the mesh stumbled and starts over: {error!r}")
                await trio.sleep(RETRY_S)
            try:
                self._start_over(transport, closed_s=pause)
                return
            except HomeError as again:
                error = again
                await trio.sleep(pause)

    def _forget_transport(self) -> None:
        """Drop what another transport has told and nobody has looked at: its peers are gone."""
        for _ in range(self._inbox.statistics().current_buffer_used):
            event = self._taken(self._inbox.receive_nowait())
            if not isinstance(event, TransportEvent):
                self._events.send_nowait(event)

    def _start_over(self, transport: Transport, closed_s: float = 0.0) -> None:
        """Build the core anew from what is stored, tell it who is there and what is wanted, refuse
        what was asked."""
        before = self.core.peers
        self.core = self._new_core(closed_s)
        self._listening = ()
        self._first = [
            self._missing,
            *(
                Connected(peer, address, peer in before and before[peer].inbound)
                for peer, address in transport.peers.items()
            ),
        ]
        for number in list(self._replies):
            self._reply(Reply(number, b""))

    async def _step(self, transport: Transport, nursery: trio.Nursery) -> bool:
        """Wait for events, handle those that are there, store, and carry out.

        Returns:
            whether there was anything to store.
        """
        events, self._first = self._first, []
        delay = 0.0 if events else max(self.core.wake_at - trio.current_time(), 0.0)
        with trio.move_on_after(delay):
            events.append(self._taken(await self._inbox.receive()))
        while len(events) < AT_ONCE:
            try:
                events.append(self._taken(self._inbox.receive_nowait()))
            except trio.WouldBlock:
                break
        if transport.addresses != self._listening:
            self._listening = transport.addresses
            events.insert(0, Listening(self._listening))
        effects: list[Effect] = []
        for event in events or [Woke()]:
            effects += self.core.handle(trio.current_time(), event)
        stored = await self._store(effects)
        for effect in effects:
            self._carry_out(effect, transport, nursery)
        return stored

    def _taken(self, event: Event) -> Event:
        if isinstance(event, TransportEvent):
            self._room.release()
        return event

    async def _store(self, effects: list[Effect]) -> bool:
        records = [one for effect in effects if isinstance(effect, Keep) for one in effect.records]
        for start in range(0, len(records), ADMIT_MAX_RECORDS):
            some = records[start : start + ADMIT_MAX_RECORDS]
            await self._ledger.admit(some)
            self._listener.heard(some)
        return bool(records)

    def _carry_out(self, effect: Effect, transport: Transport, nursery: trio.Nursery) -> None:
        match effect:
            case Publish():
                self._send(effect.data)
            case Ask():
                nursery.start_soon(self._ask, transport, effect)
            case Reply():
                if effect.delay_s:
                    nursery.start_soon(self._reply_later, effect)
                else:
                    self._reply(effect)
            case Dial():
                nursery.start_soon(self._dial, transport, effect.address)
            case Drop():
                nursery.start_soon(transport.drop, effect.peer, effect.refuse_s)
            case Announce():
                self._send(self._presence(effect.lasts_s))
            case Arrived():
                self._listener.arrived(effect.texts)
            case Notice():
                self._listener.notice(effect.text)
            case _:
                pass

    def _send(self, data: bytes) -> None:
        with suppress(trio.WouldBlock):
            self._outgoing.send_nowait(data)

    async def _publish(self, transport: Transport) -> None:
        """Publish in order: a record that overtakes another has to be asked for again."""
        async for data in self._outbox:
            await transport.publish(data)

    def _reply(self, reply: Reply) -> None:
        """Answer, unless whoever asked has given up."""
        answered = self._replies.pop(reply.number, None)
        if answered is not None:
            answered(reply.data)

    async def _reply_later(self, reply: Reply) -> None:
        await trio.sleep(reply.delay_s)
        self._reply(reply)

    async def _pump(self, transport: Transport) -> None:
        async for event in transport.events:
            await self._room.acquire()
            self._events.send_nowait(event)

    async def _ask(self, transport: Transport, ask: Ask) -> None:
        outcome: Event = Unanswered(ask.number)
        try:
            answer = await transport.request(ask.peer, ask.service, ask.data)
            outcome = Answered(ask.number, answer)
        except Refused:
            outcome = Unanswered(ask.number, refused=True)
        except TransportError:
            pass
        self._events.send_nowait(outcome)

    async def _dial(self, transport: Transport, address: str) -> None:
        reached = False
        try:
            await transport.dial(address)
            reached = True
            self.no_handshakes = 0
        except NoHandshake:
            self.no_handshakes += 1
        except TransportError:
            pass
        self._events.send_nowait(Dialled(address, reached))

    async def _answer(self, service: Service, peer: bytes, data: bytes) -> bytes:
        """Answer a request of a peer, when its turn comes."""
        self._asked += 1
        answered = trio.Event()
        answer: list[bytes] = []

        def reply(data: bytes) -> None:
            answer.append(data)
            answered.set()

        number = self._asked
        self._replies[number] = reply
        try:
            self._events.send_nowait(Asked(peer, service, data, number))
            await answered.wait()
        finally:
            self._replies.pop(number, None)
        return answer[0]

    def _presence(self, lasts_s: int) -> bytes:
        doing = self._doing()
        self._announced += 1
        body = pack(
            Presence(
                swarm=self._swarm,
                author=self._identity.public,
                instance=self._instance,
                number=self._announced,
                time=time.time_ns() // 1_000_000,
                lasts_s=lasts_s,
                role=doing.role,
                tier=doing.tier,
                task=doing.task,
                records=len(self.core.replica),
                running=doing.running,
                software=doing.software,
            )
        )
        return PRESENCE + self._identity.sign_presence(body) + body

    # Peers of earlier days

    async def _remember_now_and_then(self) -> None:
        while True:
            await trio.sleep(REMEMBER_S)
            self._remember()

    def _remember(self) -> None:
        remember_peers(self._home, self.core.rendezvous.good())


class _Stored:
    """The ledger as the protocol reads it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def chain(self, author: bytes, session: bytes, start: int, stop: int) -> list[bytes]:
        """Records of a chain, as many as one message may carry."""
        return self._ledger.chain(author, session, start, stop, RECORDS_MAX_BYTES, RECORDS_MAX)

    def text(self, program: bytes) -> str | None:
        """Source of a program."""
        found = self._ledger.programs().get(program)
        return found.source if found else None
