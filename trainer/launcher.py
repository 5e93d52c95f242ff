"""The node's side of the spawner: start helper processes, learn of their end, stop their trees."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from skep.errors import TrainerFault
from trainer.channel import Channel
from trainer.collect import drain_log, open_pipe
from trainer.frames import Message
from trainer.log import Log
from trainer.nursery import open_nursery

SPAWNER = Path(__file__).with_name("spawner.py")
LEAVE_S = 5.0
CONTROL = 3
"""The descriptor on which a process of ours finds its connection (see `spawner`)."""


class Child:
    """A process that the spawner started.

    Attributes:
        pid: its process id.
        ended: set when it is gone.
        status: exit status, negative for a signal; None while it runs or when nobody can tell.
        log: what it printed.
        drained: set when all of that has been read.
    """

    def __init__(self, launcher: "Launcher", pid: int) -> None:
        self._launcher = launcher
        self.pid = pid
        self.ended = trio.Event()
        self.status: int | None = None
        self.log = Log()
        self.drained = trio.Event()

    async def signal(self, number: int) -> None:
        """Signal it and everything below it."""
        if not self.ended.is_set():
            with suppress(TrainerFault):
                await self._launcher.signal(self.pid, number)

    async def kill(self) -> None:
        """Kill it and everything below it, and wait until it is gone."""
        await self.signal(signal.SIGKILL)
        await self.ended.wait()


class Launcher:
    """Starts processes through one spawner, which is started again when it died."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._lock = trio.Lock()
        self._channel: Channel | None = None
        self._answers: trio.MemoryReceiveChannel[Child | str]

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Launcher"]:
        """A launcher; leaving the block ends everything that it started."""
        async with open_nursery() as nursery:
            yield cls(nursery)
            nursery.cancel_scope.cancel()

    async def spawn(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        descriptors: Mapping[int, int],
        folder: Path = Path("/"),
    ) -> Child:
        """Start a process.

        Args:
            argv: program (an absolute path) and arguments.
            env: its whole environment.
            descriptors: which of our descriptors it gets, by the number they have there (from 3).
            folder: where it starts.

        Raises:
            TrainerFault: it cannot be started.
        """
        printed, prints = open_pipe()
        given = {**descriptors, 1: prints, 2: prints}
        try:
            child = await self._ask(
                {
                    "op": "spawn",
                    "argv": list(argv),
                    "env": dict(env),
                    "cwd": str(folder),
                    "targets": list(given),
                },
                list(given.values()),
            )
        except BaseException:
            os.close(printed)
            raise
        finally:
            os.close(prints)
        self._nursery.start_soon(_drain, printed, child)
        return child

    async def _ask(self, request: Message, descriptors: Sequence[int]) -> Child:
        async with self._lock:
            channel = self._channel or self._start()
            # Once asked, the answer must be read, or the next caller would take it for its own.
            with trio.CancelScope(shield=True):
                await channel.send(request, descriptors)
                try:
                    answer = await self._answers.receive()
                except trio.EndOfChannel:
                    raise TrainerFault("the spawner died") from None
        if isinstance(answer, str):
            raise TrainerFault(f"cannot start {answer}")
        return answer

    async def signal(self, pid: int, number: int) -> None:
        """Signal a child and everything below it.

        Raises:
            TrainerFault: the spawner is gone, and with it all children.
        """
        async with self._lock:
            if self._channel is None:
                raise TrainerFault("the spawner died")
            await self._channel.send({"op": "signal", "pid": pid, "signal": number})

    def _start(self) -> Channel:
        ours, theirs = socket.socketpair()
        with theirs:
            # Not trio.lowlevel.open_process: it forks in a worker thread, and with that thread the
            # spawner would die (it asks for that to happen when its parent ends).
            process = subprocess.Popen(  # noqa: S603 - our own file, nothing of a user's
                [sys.executable, "-I", "-B", str(SPAWNER)],
                env={},
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                close_fds=True,
                start_new_session=True,
            )
        channel = self._channel = Channel(ours)
        sender, self._answers = trio.open_memory_channel[Child | str](1)
        self._nursery.start_soon(self._listen, channel, process, sender)
        return channel

    async def _listen(
        self,
        channel: Channel,
        process: subprocess.Popen[bytes],
        answers: trio.MemorySendChannel[Child | str],
    ) -> None:
        children: dict[int, Child] = {}
        try:
            async with answers:
                while (message := await channel.receive()) is not None:
                    if "exited" in message:
                        child = children.pop(message["exited"])
                        child.status = message["status"]
                        child.ended.set()
                    elif "pid" in message:
                        child = children[message["pid"]] = Child(self, message["pid"])
                        await answers.send(child)
                    else:
                        await answers.send(message["error"])
        finally:
            if self._channel is channel:
                self._channel = None
            channel.close()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_see_off, process)
            for child in children.values():
                child.ended.set()


async def _drain(printed: int, child: Child) -> None:
    await drain_log(printed, child.log, child.ended)
    child.drained.set()


def _see_off(process: subprocess.Popen[bytes]) -> None:
    """Wait for a spawner that was hung up on: it first kills everything that it started."""
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
