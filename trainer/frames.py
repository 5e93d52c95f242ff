"""Messages between our own processes: length-prefixed JSON over a socket, with descriptors.

This is the blocking side, for the spawner, the worker and the scorer; the node's is `channel`.
Standard library only. Both ends are ours: what a *candidate* writes goes through `collect`, which
believes nothing.
"""

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

HEADER = struct.Struct(">I")
MAX_BYTES = 1 << 20
MAX_DESCRIPTORS = 8

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """A message as it stands on the wire."""
    body = json.dumps(message, ensure_ascii=False).encode()
    if len(body) > MAX_BYTES:
        raise ValueError(f"message of {len(body)} bytes")
    return HEADER.pack(len(body)) + body


def send(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send one message; the receiver gets copies of the descriptors.

    Raises:
        OSError: the other end is gone.
    """
    frame = pack(message)
    sent = socket.send_fds(channel, [frame], list(descriptors))
    channel.sendall(frame[sent:])


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """Wait for one message; None when the other end has closed.

    Raises:
        OSError: the connection broke.
    """
    head, descriptors, _, _ = socket.recv_fds(channel, HEADER.size, MAX_DESCRIPTORS)
    if not head:
        return None
    head += _exactly(channel, HEADER.size - len(head))
    body = _exactly(channel, HEADER.unpack(head)[0])
    return json.loads(body), descriptors


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("closed in the middle of a message")
        parts += part
    return bytes(parts)
