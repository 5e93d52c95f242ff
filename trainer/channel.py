"""The node's end of `frames`: the same messages, under trio."""

import array
import json
import socket
from collections.abc import Sequence

import trio

from skep.errors import TrainerFault
from trainer import frames

READ_BYTES = 64 * 1024


class Channel:
    """One connection to a process of ours. One task sends, one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = trio.socket.from_stdlib_socket(end)
        self._buffer = bytearray()

    async def send(self, message: frames.Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message; the other end gets copies of the descriptors.

        Raises:
            TrainerFault: the other end is gone.
        """
        frame = memoryview(frames.pack(message))
        rights = array.array("i", descriptors).tobytes()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        try:
            sent = await self._socket.sendmsg([frame], ancillary if descriptors else [])
            while sent < len(frame):
                sent += await self._socket.send(frame[sent:])
        except OSError as error:
            raise TrainerFault(f"a helper process is gone ({error})") from None

    async def receive(self) -> frames.Message | None:
        """The next message; None when the other end has closed or died. Safe to cancel."""
        size = frames.HEADER.size
        try:
            await self._fill(size)
            size += frames.HEADER.unpack_from(self._buffer)[0]
            await self._fill(size)
        except OSError:
            return None
        message: frames.Message = json.loads(self._buffer[frames.HEADER.size : size])
        del self._buffer[:size]
        return message

    async def _fill(self, size: int) -> None:
        """Have at least so many bytes in the buffer."""
        while len(self._buffer) < size:
            part = await self._socket.recv(READ_BYTES)
            if not part:
                raise ConnectionResetError
            self._buffer += part

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
