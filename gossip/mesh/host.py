"""A libp2p host that can face strangers: TCP, Noise alone, Yamux, and one topic on top.

Built from the library's parts instead of by its `new_host`, which also offers plaintext, and
without what this mesh does not need: no transports (sockets are opened in `gossip.mesh.node`), no
dialling of its own accord, no address book, no identify of others. One `Host` lives until something
in the library fails; `gossip.mesh.node` then makes another.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.host.defaults import get_default_protocols
from libp2p.host.ping import ID as PING
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.io.trio import TrioTCPStream
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection import swarm_connection
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.security.pnet.protector import new_protected_conn
from libp2p.tools.anyio_service import Service
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from gossip.addresses import Place, multiaddr
from gossip.mesh import Degrees, muxer, topic
from gossip.mesh.containment import ContainedTasks, Failures
from gossip.mesh.frames import discard
from gossip.mesh.muxer import STREAMS_MAX, Connection, Muxing
from gossip.mesh.topic import Router, Topic, public_key

CONNECTIONS_MAX = 800
"""More than twice what any node wants: who has to go when it is full is decided above, and here
nobody would, so that whoever came first and stayed could close a meeting place to all others."""

CONNECTIONS_PER_PEER = 2
"""Two peers that dial each other at once have two; of a third one the oldest has to go."""

UPGRADE_TIMEOUT_S = 5.0
"""How long a stranger may take for Noise and Yamux together."""

NEGOTIATION_TIMEOUT_S = 5.0
"""How long a stream may be open without saying what it is for."""

StreamHandler = Callable[[bytes, INetStream], Any]


class Watch(Protocol):
    """What the owner of a host wants to know, and decides. Peers are public keys (32 bytes)."""

    def admits(self, peer: bytes) -> bool:
        """Whether this peer may be connected at all."""
        ...

    def turned_away(self, peer: bytes) -> None:
        """A peer came, proved its key, and was not admitted."""
        ...

    def connected(self, peer: bytes, address: str, *, inbound: bool) -> None:
        """There is a connection; may be called again for the same peer."""
        ...

    def disconnected(self, peer: bytes) -> None:
        """The last connection has gone."""
        ...

    def heard(self, peer: bytes, data: bytes) -> bool:
        """A new message of the topic; whether to pass it on."""
        ...

    def misbehaved(self, peer: bytes, what: str) -> None:
        """A peer broke a rule of these layers."""
        ...


class Unwanted(SwarmException):
    """The other side of a good handshake does not want the connection."""


class Wire(TrioTCPStream):
    """A TCP connection that knows where it leads, over IPv6 too, and can be cut at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        host, port = stream.socket.getpeername()[:2]
        self.place = Place(str(host).partition("%")[0], int(port))
        self._cached_remote_address = (self.place.host, self.place.port)

    def cut(self) -> None:
        """Close the socket without waiting for anything."""
        self.stream.socket.close()


class NoAutoConnector(AutoConnector):
    """Dials nobody: whom to dial is decided above."""

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        """Do not even look."""

    async def maybe_connect(self) -> None:
        """Connect to nobody."""


class GuardedSwarm(Swarm):
    """The library's swarm behind a gate, with bounded connections and nothing that grows."""

    def __init__(self, me: ID, store: PeerStore, upgrader: TransportUpgrader, **rest: Any) -> None:
        self._watch: Watch = rest.pop("watch")
        super().__init__(me, store, upgrader, [], **rest)
        self.auto_connector = NoAutoConnector(self)
        # The library's own notifees remember every peer there ever was.
        self.notifees.clear()

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """Take a connection whose peer Noise has verified, before it can carry any stream.

        Raises:
            SwarmException: the peer is not admitted, or there are too many.
        """
        key = public_key(muxed_conn.peer_id.to_bytes())
        if key is None or muxed_conn.peer_id == self.self_id or not self._watch.admits(key):
            cut(muxed_conn)
            if key is not None and not muxed_conn.is_initiator:
                self._watch.turned_away(key)
            raise SwarmException("this peer is not admitted")
        others = self.get_connections(muxed_conn.peer_id)
        for surplus in others[: max(0, len(others) + 1 - CONNECTIONS_PER_PEER)]:
            cut(surplus.muxed_conn)
        return await super().add_conn(muxed_conn, direction)

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """Refuse: the library would dial whatever address somebody once told it.

        Raises:
            SwarmException: always.
        """
        raise SwarmException("not connected")

    def arrived(self, conn: INetConn) -> None:
        """Tell that a peer is there, before anything of it can be heard."""
        wire = muxer.wire_under(conn.muxed_conn.secured_conn)  # type: ignore[attr-defined]
        key = _key(conn.muxed_conn.peer_id)
        inbound = not conn.muxed_conn.is_initiator
        self._watch.connected(key, multiaddr(wire.place, key), inbound=inbound)

    async def notify_connected(self, conn: INetConn) -> None:
        """Called by the library when a connection is ready on this side.

        Raises:
            Unwanted: the other side does not want it.
        """
        connection: Any = conn.muxed_conn
        with trio.move_on_after(UPGRADE_TIMEOUT_S):
            if await connection.wait_answered():
                self.arrived(conn)
                await super().notify_connected(conn)
                return
        raise Unwanted("it does not want this connection")

    async def notify_disconnected(self, conn: INetConn) -> None:
        """Called by the library when a connection has gone; it would remember when."""
        await self._notify("disconnected", conn)

    def remove_conn(self, swarm_conn: SwarmConn) -> None:
        """Called first of all when a connection ends."""
        super().remove_conn(swarm_conn)
        if not self.connections.get(swarm_conn.muxed_conn.peer_id):
            self._watch.disconnected(_key(swarm_conn.muxed_conn.peer_id))


class Host:
    """One life of the node in the library. Made anew after a failure."""

    def __init__(
        self,
        *,
        seed: bytes,
        name: str,
        degrees: Degrees,
        psk: bytes | None,
        watch: Watch,
        failures: Failures,
        services: Sequence[tuple[str, StreamHandler]],
        announced: Callable[[], list[str]],
    ) -> None:
        private = Ed25519PrivateKey.new(seed)
        key = KeyPair(private, private.get_public_key())
        self._watch = watch
        self._failures = failures
        self._psk = psk.hex() if psk else None
        self.swarm = self._make_swarm(key)
        self._host = BasicHost(
            self.swarm,
            negotiate_timeout=int(NEGOTIATION_TIMEOUT_S),
            addrs_factory=lambda _: [Multiaddr(address) for address in announced()],
            disable_identify_address_discovery=True,
        )
        self.swarm.notifees.clear()
        self._limit_protocols()
        for protocol, handler in services:
            self._host.set_stream_handler(TProtocol(protocol), self._served(handler))
        self.router = Router(degrees)
        self.topic = Topic(self._host, self.router, name, failures, self._heard, self._misbehaved)
        self.swarm.set_stream_handler(self._stream_arrived)
        self._selector = MultiselectClient()

    def _make_swarm(self, key: KeyPair) -> GuardedSwarm:
        me = ID.from_pubkey(key.public_key)
        store = PeerStore()
        store.add_key_pair(me, key)
        # The library's default also offers plaintext, where anybody can be anybody.
        noise = Noise(key, noise_privkey=new_noise_key().private_key)
        upgrader = TransportUpgrader({NOISE: noise}, {})
        upgrader.muxer_multistream = Muxing(self._failures, self._flooded)
        config = ConnectionConfig(
            max_connections=CONNECTIONS_MAX,
            high_watermark=CONNECTIONS_MAX,
            low_watermark=0,
            min_connections=0,
            max_connections_per_peer=CONNECTIONS_PER_PEER + 1,
            inbound_upgrade_timeout=UPGRADE_TIMEOUT_S,
            outbound_upgrade_timeout=UPGRADE_TIMEOUT_S,
            inbound_stream_protocol_negotiation_timeout=NEGOTIATION_TIMEOUT_S,
            outbound_stream_protocol_negotiation_timeout=NEGOTIATION_TIMEOUT_S,
        )
        return GuardedSwarm(
            me, store, upgrader, connection_config=config, psk=self._psk, watch=self._watch
        )

    def _limit_protocols(self) -> None:
        """Answer who this is and pings, as foreign tools expect; take no news about others."""
        wanted = {IDENTIFY, PING}
        for protocol in get_default_protocols(self._host):
            if protocol not in wanted:
                self._host.remove_stream_handler(protocol)

    async def run(self, started: Callable[[], None]) -> None:
        """Live until something fails.

        Raises:
            Exception: whatever it was; there is nothing to be learned from its type.
        """
        services: list[Service] = [self.swarm, self.topic, self.router]
        try:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                for service in services:
                    tasks = ContainedTasks(service, self._failures)
                    nursery.start_soon(_run_for_ever, tasks)
                    await tasks.wait_started()
                await self.swarm.event_background_nursery_created.wait()
                await self.topic.wait_until_ready()
                await self.topic.subscribe(self.topic.name)
                started()
                try:
                    await trio.sleep_forever()
                finally:
                    self.cut_all()
        finally:
            self.topic.close()

    def cut_all(self) -> None:
        """Close every connection's socket at once."""
        for conn in self.swarm.get_connections():
            cut(conn.muxed_conn)

    def cut_peer(self, peer: bytes) -> None:
        """Close every connection to a peer at once, and count it as gone."""
        for conn in self.swarm.get_connections(peer_id_of(peer)):
            cut(conn.muxed_conn)
            assert isinstance(conn, SwarmConn)  # noqa: S101 - there is no other
            self.swarm.remove_conn(conn)

    def hears(self, peer: bytes) -> bool:
        """Whether messages of the topic go both ways between this node and a peer."""
        return self.topic.complete(peer_id_of(peer))

    def forget(self, peer: bytes) -> None:
        """Drop what the topic knows of a peer that has gone."""
        self.topic.forget(peer_id_of(peer))

    async def receive(self, wire: Wire) -> None:
        """Make a connection of a socket that somebody else opened, if he can and may."""
        conn = RawConnection(wire, False)
        with self._failures.contained("incoming"):
            try:
                with trio.fail_after(2 * UPGRADE_TIMEOUT_S):
                    await self.swarm.upgrade_inbound_raw_conn(
                        conn, Multiaddr(multiaddr(wire.place))
                    )
            except BaseException:
                wire.cut()
                raise

    async def reach_out(self, wire: Wire, peer: bytes) -> None:
        """Make a connection of a socket that this node opened to a peer.

        Raises:
            Exception: it is somebody else, or no node of this kind.
        """
        conn: Any = RawConnection(wire, True)
        if self._psk:
            conn = new_protected_conn(conn, self._psk)
        try:
            await self.swarm.upgrade_outbound_raw_conn(conn, peer_id_of(peer))
        except BaseException:
            wire.cut()
            raise

    def connection(self, peer: bytes) -> INetConn | None:
        """A connection to a peer on which streams can be opened.

        Of two the one that spoke last: they may lead to two machines with one key, and what the one
        says it has is not to be asked of the other.
        """
        usable: list[Any] = [
            conn
            for conn in self.swarm.get_connections(peer_id_of(peer))
            if not conn.is_closed and not conn.muxed_conn.is_closed
        ]
        return max(usable, key=lambda conn: conn.muxed_conn.spoke_at, default=None)

    async def open_stream(self, conn: INetConn, protocol: str) -> INetStream:
        """Open a stream for a protocol; the caller ends it.

        Raises:
            Exception: the peer does not speak it, or has gone.
        """
        stream = await conn.new_stream()
        try:
            communicator = MultiselectCommunicator(stream)
            timeout = int(NEGOTIATION_TIMEOUT_S)
            await self._selector.select_one_of([TProtocol(protocol)], communicator, timeout)
        except BaseException:
            await discard(stream)
            raise
        return stream

    async def _stream_arrived(self, stream: INetStream) -> None:
        """Run a stream that a peer opened, whatever it does, and leave nothing of it behind."""
        conn: Any = stream.muxed_conn
        swarm_conn: Any = stream
        self.swarm.arrived(swarm_conn.swarm_conn)
        if conn.open_streams >= STREAMS_MAX:
            await discard(stream)
            return
        conn.open_streams += 1
        conn.spoke_at = trio.current_time()
        try:
            with self._failures.contained("stream"):
                await self._host._swarm_stream_handler(stream)
                return
            await discard(stream)
        finally:
            conn.open_streams -= 1

    def _served(self, handler: StreamHandler) -> StreamHandlerFn:
        async def served(stream: INetStream) -> None:
            await handler(_key(stream.muxed_conn.peer_id), stream)

        return served

    def _heard(self, peer: ID, data: bytes) -> bool:
        return self._watch.heard(_key(peer), data)

    def _misbehaved(self, peer: ID, what: str) -> None:
        self._watch.misbehaved(_key(peer), what)

    def _flooded(self, peer: ID) -> None:
        self._misbehaved(peer, "more data than its windows allow")


def cut(conn: IMuxedConn) -> None:
    """End a connection at once by closing its socket."""
    assert isinstance(conn, Connection)  # noqa: S101 - there is no other muxer
    conn.cut()


def peer_id_of(public: bytes) -> ID:
    """The library's form of a public key."""
    return ID(topic.ED25519_ID + public)


def install() -> None:
    """Replace what can be replaced only in the library's modules; once is enough."""
    muxer.install()
    topic.install()
    # It calls logging.debug(), which gives the root logger a handler if it has none.
    library: Any = swarm_connection
    library.logging = logging.getLogger(swarm_connection.__name__)


def _key(peer: ID) -> bytes:
    key = public_key(peer.to_bytes())
    assert key is not None  # noqa: S101 - no other peer gets past `add_conn`
    return key


async def _run_for_ever(tasks: ContainedTasks) -> None:
    await tasks.run()
    raise RuntimeError(f"{tasks} has ended")
