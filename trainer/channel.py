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
        """The next message; None when the other end has closed, died or talks nonsense.

        Safe to cancel.
        """
        start = frames.HEADER.size
        try:
            await self._fill(start)
            (length,) = frames.HEADER.unpack_from(self._buffer)
            if length > frames.MAX_BYTES:
                return None
            await self._fill(start + length)
            message: frames.Message = json.loads(self._buffer[start : start + length])
        except (OSError, ValueError, RecursionError):
            return None
        del self._buffer[: start + length]
        return message if isinstance(message, dict) else None

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
