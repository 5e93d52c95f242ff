"""Drain what comes out of a sandbox: a log of any size, and messages that may be anything.

Both are bounded in memory and in the node's time: who writes more than a few messages, or prints
more than a screenful at a time, waits.
"""

import fcntl
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress

import trio

from trainer.log import Log
from trainer.messages import Garbled, Reader, Report

PIPE_BYTES = 1 << 20
"""Pipes of the log are as large as Linux lets an ordinary user make them: few, long reads."""
LOG_PAUSE_S = 0.02
MESSAGE_READ_BYTES = 16 * 1024
MESSAGE_PAUSE_S = 0.05
LAST_WORDS_S = 0.5
_F_SETPIPE_SZ = 1031


def open_pipe(size: int = 0) -> tuple[int, int]:
    """A pipe (read end, write end), of a certain capacity where the system lets one choose."""
    reader, writer = os.pipe()
    if size and sys.platform == "linux":
        with suppress(OSError):  # past the user's quota 64 KiB must do, and are only slower
            fcntl.fcntl(writer, _F_SETPIPE_SZ, size)
    return reader, writer


async def drain_log(reader: int, log: Log, ended: trio.Event) -> None:
    """Read a log pipe to its end; who writes much waits, until `ended` says that all are dead."""
    async with trio.lowlevel.FdStream(reader) as stream:
        while data := await _some(stream, PIPE_BYTES, ended):
            log.add(data)
            await _pause(LOG_PAUSE_S, ended)


async def read_messages(
    reader: int, handle: Callable[[Report | Garbled], None], ended: trio.Event
) -> None:
    """Read a message pipe to its end, or to the first thing that is no message."""
    messages = Reader()
    async with trio.lowlevel.FdStream(reader) as stream:
        while data := await _some(stream, MESSAGE_READ_BYTES, ended):
            for message in messages.feed(data):
                handle(message)
            if messages.garbled:
                return
            await _pause(MESSAGE_PAUSE_S, ended)


async def _some(stream: trio.lowlevel.FdStream, size: int, ended: trio.Event) -> bytes:
    """The next bytes; none at the end, or when all writers should be dead and yet one is silent."""
    deadline = LAST_WORDS_S if ended.is_set() else math.inf
    with trio.move_on_after(deadline):
        return await stream.receive_some(size)
    return b""


async def _pause(seconds: float, ended: trio.Event) -> None:
    with trio.move_on_after(seconds):
        await ended.wait()
