"""Bytes on a stream: whole frames with a length limit, written as fast as the peer takes them.

The library's own helpers give up after 101 partial reads and after five seconds without window,
and answer every single read with a packet of its own. No deadlines here: callers have one around.
"""

from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.network.stream.net_stream import NetStream

CHUNK_BYTES = 64 * 1024
"""What is read or written at once; a longer write would be split by the muxer anyway."""

WINDOW_POLL_S = 0.01
LENGTH_BYTES = 4
VARINT_MAX_BYTES = 5


class Malformed(Exception):
    """A peer sent what no honest one sends. The text says what, for `Misbehaved`."""


class CutOff(Exception):
    """A stream ended within a frame, as it does when somebody gives up or a network fails."""


class Frames:
    """Reads frames off a stream."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def wait(self) -> bool:
        """Wait for the first byte of a frame; False at the end of the stream."""
        if not self._buffer:
            try:
                self._buffer += await self._stream.read(CHUNK_BYTES)
            except StreamEOF:
                return False
        return bool(self._buffer)

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes.

        Raises:
            CutOff: the stream ends before.
            Exception: whatever a broken stream raises.
        """
        while len(self._buffer) < count:
            try:
                more = await self._stream.read(CHUNK_BYTES)
            except StreamEOF:
                more = b""
            if not more:
                raise CutOff(f"a frame ended after {len(self._buffer)} of {count} bytes")
            self._buffer += more
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def sized(self, longest: int) -> bytes:
        """A frame behind its length in four bytes, as requests and answers are."""
        length = int.from_bytes(await self.exactly(LENGTH_BYTES), "big")
        return await self._body(length, longest)

    async def varint(self, longest: int) -> bytes:
        """A frame behind its length as a varint, as messages of the topic are."""
        length = 0
        for place in range(VARINT_MAX_BYTES):
            byte = (await self.exactly(1))[0]
            length |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return await self._body(length, longest)
        raise Malformed("a length that does not end")

    async def _body(self, length: int, longest: int) -> bytes:
        if length > longest:
            raise Malformed(f"a frame of {length} bytes, {longest} are allowed")
        return await self.exactly(length)


def sized(data: bytes) -> bytes:
    """A request or an answer as a frame."""
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def varint(data: bytes) -> bytes:
    """A message of the topic as a frame."""
    length, prefix = len(data), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data


async def write(stream: INetStream, data: bytes) -> None:
    """Write everything, waiting for the peer's window as long as the caller lets it.

    The library's own wait for window ends after five seconds in an error that does not tell how
    much was sent; so it is never let into that.
    """
    muxed = yamux_stream(stream)
    sent = 0
    while sent < len(data):
        window = min(muxed.send_window, CHUNK_BYTES)
        if window <= 0 and not muxed.closed:
            await trio.sleep(WINDOW_POLL_S)
            continue
        chunk = data[sent : sent + max(window, 1)]
        await stream.write(chunk)
        sent += len(chunk)


async def end(stream: INetStream) -> None:
    """Say that nothing more will be written."""
    assert isinstance(stream, NetStream)  # noqa: S101 - there is no other
    await stream.close_write()


async def discard(stream: INetStream) -> None:
    """Reset a stream and drop what was received on it. Never raises, hardly waits."""
    muxed = yamux_stream(stream)
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        await stream.reset()
    # What nobody will read any more would otherwise be kept for another minute.
    left = muxed.conn.stream_buffers.get(muxed.stream_id)
    if left is not None:
        left.clear()


async def finish(stream: INetStream, patience_s: float) -> None:
    """End a stream that was written to: no more from here, and wait until the peer says the same.

    Resetting at once would throw away what the peer has not read yet.
    """
    await end(stream)
    with trio.move_on_after(patience_s):
        while await Frames(stream).wait():
            pass
    if yamux_stream(stream).recv_closed:
        await stream.close()
    else:
        await discard(stream)


def yamux_stream(stream: INetStream) -> Any:
    """The muxer's side of a stream: its windows and what has ended."""
    assert isinstance(stream, NetStream)  # noqa: S101 - there is no other
    return stream.muxed_stream
