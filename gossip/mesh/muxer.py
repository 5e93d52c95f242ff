"""One connection: Yamux with limits, whole frames on the wire, and a heartbeat of its own.

Below it is Noise, in `gossip.mesh.host`; what runs on its streams is decided above. Also here is
the bounded reading of multistream-select's lines, which every layer begins with.
"""

import struct
from collections.abc import Callable
from typing import Any

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.custom_types import TProtocol
from libp2p.exceptions import ParseError
from libp2p.io.abc import Reader
from libp2p.io.exceptions import IncompleteReadError
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.protocol_muxer import multiselect_communicator
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

from gossip.mesh.containment import Failures

STREAM_WINDOW_MAX = 1 << 20
"""What a peer may send on one stream before it is read, at most; the library would let it grow to
16 MiB. An answer of the longest kind needs two of these."""

UNREAD_MAX = 8 << 20
"""Unread bytes of all streams of a connection. The windows that honest peers keep to add up to
less; the library only logs when somebody ignores them."""

STREAMS_MAX = 32
"""Streams that a peer may have open towards this node: a topic, four requests, and some air."""

WRITE_STALL_S = 10.0
"""A frame that the socket does not take for so long ends the connection."""

KEEPALIVE_S = 20.0
PONG_S = 15.0
"""How often a connection is probed, and how long the answer may take: a peer that fell asleep is
noticed after at most the sum."""

LINE_MAX_BYTES = 1024
"""A line of multistream-select; protocol names here have at most 20 characters."""


class Connection(Yamux):
    """A connection that no single frame, stream or pause can break or fill.

    Attributes:
        open_streams: streams that the peer opened and that still run.
        spoke_at: when it opened the last one.
        cut: closes the socket at once, from any task and without waiting. Everything that waits
            for the connection then ends with an error.
        flooded: called when the peer ignores its windows.
    """

    def __init__(
        self, conn: ISecureConn, peer: ID, failures: Failures, flooded: Callable[[ID], None]
    ) -> None:
        super().__init__(conn, peer, is_initiator=conn.is_initiator)
        self.open_streams = 0
        self.spoke_at = 0.0
        self._answered = trio.Event()
        self.cut: Callable[[], None] = wire_under(conn).cut
        self._failures = failures
        self._flooded = flooded

    async def start(self) -> None:
        """Run until the connection ends. Never raises: the library's swarm would end with it."""
        with self._failures.contained("connection"):
            await super().start()
        if not self.is_closed:
            with self._failures.contained("closing"):
                await self._cleanup_on_error()
        self.event_started.set()
        self._answered.set()

    async def wait_answered(self) -> bool:
        """Whether the peer has answered a probe, and so has taken this connection.

        Before, it may still be making up its mind: its gate comes after the handshake.
        """
        await self._answered.wait()
        return not self.event_shutting_down.is_set()

    async def open_stream(self) -> YamuxStream:
        """Open a stream; not to be cancelled half way, which would leave it behind."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + WRITE_STALL_S):
            return await super().open_stream()
        raise RawConnError("no stream could be opened")

    async def _write_frame(self, data: bytes) -> None:
        """Write a frame whole, whoever is cancelled: half of one would garble all that follow."""
        async with self._write_lock:
            with trio.CancelScope(shield=True) as scope:
                scope.deadline = trio.current_time() + WRITE_STALL_S
                await self.secured_conn.write(data)
            if scope.cancelled_caught:
                self.cut()
                raise RawConnError("connection closed: the peer does not read")

    async def _read_data_body(self, length: int) -> bytes:
        unread = sum(len(buffer) for buffer in self.stream_buffers.values())
        if unread + length > UNREAD_MAX or length > STREAM_WINDOW_MAX:
            self._flooded(self.peer_id)
            # Of all exceptions this is the one at which the library closes the connection.
            raise trio.TooSlowError
        with trio.fail_after(WRITE_STALL_S + PONG_S):
            body = bytearray()
            while len(body) < length:
                more = await self.secured_conn.read(length - len(body))
                if not more:
                    raise trio.TooSlowError
                body += more
        return bytes(body)

    async def _measure_rtt_loop(self) -> None:
        """Probe the peer; the library measures, and stays connected to one that is silent."""
        while not self.event_shutting_down.is_set():
            self._ping_id = (self._ping_id + 1) % 2**32
            self._ping_event = trio.Event()
            with trio.move_on_after(PONG_S) as scope:
                self._ping_sent_time = trio.current_time()
                await self._write_frame(_ping(self._ping_id))
                await self._ping_event.wait()
                self._answered.set()
            if scope.cancelled_caught:
                self.cut()
            await trio.sleep(KEEPALIVE_S)


class Muxing(MuxerMultistream):
    """Negotiates Yamux, and makes a `Connection` of it."""

    def __init__(self, failures: Failures, flooded: Callable[[ID], None]) -> None:
        super().__init__({TProtocol(yamux.PROTOCOL_ID): Yamux})
        self._failures = failures
        self._flooded = flooded

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Agree on the muxer with the other side.

        Raises:
            MultiselectError, MultiselectClientError: it does not speak Yamux.
        """
        await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return Connection(conn, peer_id, self._failures, self._flooded)


def wire_under(secured: ISecureConn) -> Any:
    """The `gossip.mesh.host.Wire` that a secured connection runs on."""
    layer: Any = secured
    layer = layer.conn.read_writer.read_write_closer
    layer = getattr(layer, "_conn", layer)  # the layer of a lab's key, if there is one
    return layer.stream


async def read_line(reader: Reader) -> bytes:
    """A line of multistream-select, without its end.

    The library's own would wait for 2⁶³ bytes if told so, and passes on what is no UTF-8, at which
    its callers end the node.

    Raises:
        ParseError: it is too long, or no text.
        IncompleteReadError: the other side has gone.
    """
    length = 0
    for place in range(2):
        byte = await _read_some(reader, 1)
        length |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            break
    else:
        raise ParseError("a line that is too long")
    if not 0 < length <= LINE_MAX_BYTES:
        raise ParseError(f"a line of {length} bytes")
    line = bytearray()
    while len(line) < length:
        line += await _read_some(reader, length - len(line))
    if not line.endswith(b"\n") or not line.isascii():
        raise ParseError("a line that is no text")
    return bytes(line[:-1])


def install() -> None:
    """Replace what can be replaced only in the library's modules."""
    multiselect_communicator.read_delim = read_line  # type: ignore[attr-defined]
    yamux.MAX_WINDOW_SIZE = STREAM_WINDOW_MAX


async def _read_some(reader: Reader, count: int) -> bytes:
    data = await reader.read(count)
    if not data:
        raise IncompleteReadError("the other side has gone")
    return data


def _ping(number: int) -> bytes:
    return struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, number)
