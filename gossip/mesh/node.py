"""The transport over libp2p: sockets, requests and who is connected, through all its failures.

libp2p itself is `gossip.mesh.host`, one of which lives until something in the library fails. This
module goes on: it listens on the same ports, says that everybody has gone, and starts another.
Whom to dial, and when, is decided above.
"""

import errno
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import trio
from libp2p.abc import INetStream

from gossip.addresses import Place, listenable, multiaddr
from gossip.asking import asked, not_connected
from gossip.identity import peer_id
from gossip.inbox import Inbox
from gossip.limits import REQUESTS_MAX, REQUESTS_PER_PEER, Slots
from gossip.mesh import Degrees
from gossip.mesh.addresses import dialable, reachable
from gossip.mesh.containment import Failures
from gossip.mesh.frames import CutOff, Frames, Malformed, discard, end, finish, sized, write
from gossip.mesh.host import Host, Unwanted, Wire
from gossip.transport import (
    ANSWER_MAX_BYTES,
    DIAL_TIMEOUT_S,
    PUBLISHED_MAX_BYTES,
    REQUEST_MAX_BYTES,
    REQUEST_TIMEOUT_S,
    Connected,
    Disconnected,
    Handler,
    Heard,
    Misbehaved,
    Service,
)
from skep.errors import ConfigError, NoHandshake, TransportError

log = logging.getLogger("skep.mesh")

HANDSHAKES_PER_HOST = 16
HANDSHAKES_MAX = 64
"""Incoming connections whose peer is not yet known, of one address and in all."""

MISBEHAVIOUR_MAX = 20
MISBEHAVIOUR_REFUSE_S = 600.0
"""After so many breaches, over several connections too, a peer is disconnected and refused for a
while, whoever reads events. Breaches are forgotten as often."""

DEAF_S = 15.0
"""A connection over which messages do not go both ways for so long is closed; dialling again helps
where waiting does not."""

PULSE_S = 1.0
ADDRESSES_S = 30.0
CLOCK_JUMP_S = 20.0
"""The machine slept, if the clock on the wall has moved by this much more than the one of trio."""

LINGER_S = 5.0
RESTART_FIRST_S = 0.5
RESTART_MAX_S = 60.0
STEADY_S = 60.0
"""A host that lived for so long did not fail at once; the next pause is the first again."""

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Mesh:
    """A `Transport` over TCP. Made and closed by `gossip.mesh.open_mesh`."""

    def __init__(
        self,
        *,
        seed: bytes,
        public: bytes,
        topic: str,
        handlers: Mapping[Service, Handler],
        announce: Sequence[str],
        degrees: Degrees,
        gate: Callable[[bytes], bool],
        knocked: Callable[[bytes], None],
        psk: bytes | None,
        worth: Callable[[bytes], bool],
    ) -> None:
        self.me = public
        self._worth = worth
        self._inbox = Inbox()
        self.events = self._inbox.events
        self.failures = Failures()
        self.beats = 0
        self.restarts = 0
        """How often the library has failed as a whole."""
        self._seed, self._psk = seed, psk
        self._topic, self._degrees = topic, degrees
        self._handlers = handlers
        self._announce = tuple(announce)
        self._gate = gate
        self._knocked = knocked
        self._host: Host | None = None
        self._listeners: list[trio.SocketListener] = []
        self._addresses: tuple[str, ...] = ()
        self._peers: dict[bytes, str] = {}
        self._since: dict[bytes, float] = {}
        self._faults: dict[bytes, int] = {}
        self._refused: dict[bytes, float] = {}
        self._dialling: dict[bytes, trio.Lock] = {}
        self._requests: set[trio.CancelScope] = set()
        self._answering = Slots(REQUESTS_PER_PEER, REQUESTS_MAX)
        self._handshakes = Slots(HANDSHAKES_PER_HOST, HANDSHAKES_MAX)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others can reach this node, with its peer id; empty if it does not listen."""
        return self._addresses

    @property
    def peers(self) -> Mapping[bytes, str]:
        """Peers connected now, with the address of each."""
        return dict(self._peers)

    # Living

    async def listen(self, addresses: Sequence[str]) -> None:
        """Bind the ports, which are kept until the end.

        Raises:
            ConfigError: an address makes no sense, or cannot be used.
        """
        for address in addresses:
            place = listenable(address)
            try:
                found = await trio.open_tcp_listeners(place.port, host=place.host)
            except OSError as error:
                self.close()
                raise ConfigError(
                    f"cannot listen on {address}: {error.strerror or error}",
                    "Is another node running? Choose another port with --listen",
                ) from None
            self._listeners += found
        self._update_addresses()

    async def run(self, started: Callable[[], None]) -> None:
        """Live for ever, one host after the other. Raises nothing but cancellation."""
        async with trio.open_nursery() as nursery:
            for listener in self._listeners:
                nursery.start_soon(self._accept, listener)
            pause = RESTART_FIRST_S
            while True:
                began = trio.current_time()
                with self.failures.contained("host"):
                    await self._live(started)
                self.restarts += 1
                lived = trio.current_time() - began
                log.warning("the mesh starts anew after %.0f s (%s)", lived, self.failures.last)
                pause = RESTART_FIRST_S if lived > STEADY_S else min(2 * pause, RESTART_MAX_S)
                await trio.sleep(pause)

    async def _live(self, started: Callable[[], None]) -> None:
        host = Host(
            seed=self._seed,
            name=self._topic,
            degrees=self._degrees,
            psk=self._psk,
            watch=self,
            failures=self.failures,
            services=[
                (service, partial(self._serve, handler))
                for service, handler in self._handlers.items()
            ],
            announced=lambda: list(self._addresses),
        )

        def ready() -> None:
            self._host = host
            host.nursery.start_soon(self._pulse, host)
            started()

        try:
            await host.run(ready)
        finally:
            self._host = None
            for scope in self._requests:
                scope.cancel()
            for peer in list(self._peers):
                self.disconnected(peer)

    def close(self) -> None:
        """Close all sockets at once; what waits for them ends by itself."""
        if self._host:
            self._host.cut_all()
        for listener in self._listeners:
            listener.socket.close()
        self._listeners.clear()

    def end(self) -> None:
        """No more events will come."""
        self._inbox.close()

    async def _pulse(self, host: Host) -> None:
        offset = time.time() - trio.current_time()
        while True:
            await trio.sleep(PULSE_S)
            before, offset = offset, time.time() - trio.current_time()
            with self.failures.contained("pulse"):
                if abs(offset - before) > CLOCK_JUMP_S:
                    host.cut_all()
                self._end_deaf(host)
                if self.beats % int(ADDRESSES_S / PULSE_S) == 0:
                    self._update_addresses()
                    host.router.forget_old_back_offs()
                    now = trio.current_time()
                    self._refused = {k: until for k, until in self._refused.items() if until > now}
                if self.beats % int(MISBEHAVIOUR_REFUSE_S / PULSE_S) == 0:
                    self._faults.clear()
            self.beats += 1

    def _end_deaf(self, host: Host) -> None:
        now = trio.current_time()
        for peer in list(self._peers):
            if host.hears(peer):
                self._since[peer] = now
            elif now - self._since[peer] > DEAF_S:
                host.cut_peer(peer)
                self._since[peer] = now

    def _update_addresses(self) -> None:
        if self._announce:
            bare = (address.partition("/p2p/")[0] for address in self._announce)
            self._addresses = tuple(f"{address}/p2p/{peer_id(self.me)}" for address in bare)
        else:
            bound = [Place(*each.socket.getsockname()[:2]) for each in self._listeners]
            self._addresses = tuple(multiaddr(place, self.me) for place in reachable(bound))

    # Incoming connections

    async def _accept(self, listener: trio.SocketListener) -> None:
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            except OSError as error:
                await trio.sleep(0.1 if error.errno in _NO_ROOM else 0)
                continue
            if self._host is None:
                stream.socket.close()
            else:
                self._host.nursery.start_soon(self._receive, self._host, stream)

    async def _receive(self, host: Host, stream: trio.SocketStream) -> None:
        with self.failures.contained("incoming"):
            try:
                wire = Wire(stream)
                source = wire.place.host
            except OSError:  # gone already
                stream.socket.close()
                return
            if not self._handshakes.take(source):
                wire.cut()
                return
            try:
                await host.receive(wire)
            finally:
                self._handshakes.give_back(source)

    # What the host tells and asks

    def admits(self, peer: bytes) -> bool:
        """Whether this peer may be connected at all."""
        return self._refused.get(peer, 0.0) <= trio.current_time() and self._gate(peer)

    def turned_away(self, peer: bytes) -> None:
        """A peer that came was not admitted."""
        if not self._gate(peer):
            self._knocked(peer)

    def connected(self, peer: bytes, address: str, *, inbound: bool) -> None:
        """There is a connection; the gate may have closed while it was made."""
        if not self._gate(peer):
            self._drop(peer, 0.0)
        elif peer not in self._peers:
            self._peers[peer] = address
            self._since[peer] = trio.current_time()
            self._inbox.put(Connected(peer, address, inbound))

    def disconnected(self, peer: bytes) -> None:
        """The last connection has gone."""
        if self._peers.pop(peer, None) is not None:
            del self._since[peer]
            self._inbox.put(Disconnected(peer))
        if self._host:
            self._host.forget(peer)

    def heard(self, peer: bytes, data: bytes) -> bool:
        """A new message of the topic; whether to pass it on."""
        self._inbox.put(Heard(peer, data))
        return self._worth(data)

    def misbehaved(self, peer: bytes, what: str) -> None:
        """A peer broke a rule; after too many it is shown the door."""
        self._inbox.put(Misbehaved(peer, what))
        self._faults[peer] = self._faults.get(peer, 0) + 1
        if self._faults[peer] >= MISBEHAVIOUR_MAX:
            self._drop(peer, MISBEHAVIOUR_REFUSE_S)

    # What is asked of a transport

    async def publish(self, data: bytes) -> None:
        """Give a message to the topic. Never raises; what is too long goes nowhere."""
        host = self._host
        if host and 0 < len(data) <= PUBLISHED_MAX_BYTES:
            with self.failures.contained("publishing"):
                await host.topic.publish(self._topic, data)

    async def request(self, peer: bytes, service: Service, data: bytes) -> bytes:
        """Ask a connected peer and return its answer.

        Raises:
            Refused: it does not want to answer.
            TransportError: not connected, too long, or no answer in time.
        """
        return await asked(peer, data, self._requests, lambda: self._ask(peer, service, data))

    async def _ask(self, peer: bytes, service: Service, data: bytes) -> bytes:
        host = self._host
        conn = host.connection(peer) if host else None
        if host is None or conn is None:
            raise not_connected(peer)
        try:
            stream = await host.open_stream(conn, service)
            try:
                await write(stream, sized(data))
                await end(stream)
                return await Frames(stream).sized(ANSWER_MAX_BYTES)
            finally:
                await discard(stream)
        except Malformed as fault:
            raise TransportError(f"{peer_id(peer)} sent {fault}") from None
        except Exception as error:  # whatever a stream raises when it breaks
            why = str(error) or type(error).__name__
            raise TransportError(f"{peer_id(peer)} did not answer: {why}") from error

    async def dial(self, address: str) -> bytes:
        """Connect to a peer; its public key.

        Raises:
            TransportError: no such address, not answered in time, or not the peer it should be.
        """
        place, peer = dialable(address)
        if peer == self.me:
            raise TransportError(f"{address} is this node itself")
        if not self.admits(peer):
            raise TransportError(f"{peer_id(peer)} is not admitted by this node")
        lock = self._dialling.setdefault(peer, trio.Lock())
        try:
            async with lock:
                if peer not in self._peers:
                    await self._connect(address, place, peer)
        finally:
            if not lock.statistics().tasks_waiting:
                self._dialling.pop(peer, None)
        return peer

    async def _connect(self, address: str, place: Place, peer: bytes) -> None:
        host = self._host
        if host is None:
            raise TransportError("the mesh is just starting anew")
        reached = TransportError
        try:
            with trio.fail_after(DIAL_TIMEOUT_S):
                stream = await trio.open_tcp_stream(place.host, place.port)
                reached = NoHandshake
                await host.reach_out(Wire(stream), peer)
        except trio.TooSlowError:
            raise reached(f"{address} did not answer in time") from None
        except OSError as error:
            raise reached(f"{address} cannot be reached: {error}") from None
        except Unwanted as error:
            raise TransportError(f"{address} refused: {error}") from None
        except Exception as error:  # the library has dozens of ways to say so
            raise reached(f"{address} is not that peer, or refused: {error}") from error

    async def drop(self, peer: bytes, refuse_s: float = 0.0) -> None:
        """Close all connections to a peer, and refuse new ones for a while. Never raises."""
        self._drop(peer, refuse_s)

    def _drop(self, peer: bytes, refuse_s: float) -> None:
        if refuse_s > 0:
            until = trio.current_time() + refuse_s
            self._refused[peer] = max(until, self._refused.get(peer, 0.0))
        if self._host:
            self._host.cut_peer(peer)

    # Answering

    async def _serve(self, handler: Handler, peer: bytes, stream: INetStream) -> None:
        """Answer one request, or refuse it at once if too many are being answered."""
        if not self._answering.take(peer):
            await self._reply(stream, b"")
            return
        try:
            with trio.move_on_after(REQUEST_TIMEOUT_S):
                request = await Frames(stream).sized(REQUEST_MAX_BYTES)
                answer = b""
                with self.failures.contained("handler"):
                    answer = await handler(peer, request)
                await self._reply(stream, answer if len(answer) <= ANSWER_MAX_BYTES else b"")
                return
            await discard(stream)
        except Malformed as fault:
            self.misbehaved(peer, f"in a request: {fault}")
            await discard(stream)
        except CutOff:
            await discard(stream)
        finally:
            self._answering.give_back(peer)

    async def _reply(self, stream: INetStream, answer: bytes) -> None:
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            await write(stream, sized(answer))
            await finish(stream, LINGER_S)
