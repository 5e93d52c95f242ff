"""The node's side of a warm worker: run one phase in it, collect what comes, or stop it."""

import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import trio

from skep.errors import TrainerFault
from trainer.channel import Channel
from trainer.collect import PIPE_BYTES, drain_log, open_pipe, read_messages
from trainer.launcher import CONTROL, Child, Launcher
from trainer.log import Log
from trainer.messages import Garbled, Report
from trainer.meter import Ended, Limits
from trainer.nursery import open_nursery
from trainer.sandbox import Backend, Mount

HERE = Path(__file__).parent
INSIDE = "/skep/trainer"
FILES = ("worker.py", "candidate.py", "frames.py", "processes.py", "probe.py", "enclose.py")
START_S = 120.0
"""A worker imports torch; on a loaded machine with a cold disk that can take a minute."""
STOP_S, OVERTIME_S = 5.0, 15.0

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "USER": "skep",  # else getpass looks for a name that the nameless user has not
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Else the order of a set of strings, and with it the weights, changes from worker to worker.
    "PYTHONHASHSEED": "0",
    # Keep freed memory: glibc would map and unmap every large tensor anew. Measured on the task
    # `stories`: 13 % less CPU per step, and its spread falls from 11 % to 3 %.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

Phase = Literal["facts", "calibrate", "train", "serve", "command"]


class WorkerDied(TrainerFault):
    """The worker is gone while a phase ran in it: by our fault, or the candidate's."""


class WarmWorker:
    """A worker process in its sandbox. One phase at a time.

    Attributes:
        alive: False once it died or was given up; it is of no use then.
    """

    def __init__(self, child: Child, channel: Channel, backend: Backend) -> None:
        self._child = child
        self._channel = channel
        self._backend = backend
        self._waiting: trio.CancelScope | None = None
        self._patience = math.inf
        self.alive = True

    def path(self, mount: Mount) -> str:
        """Where its phases find a mount."""
        return self._backend.path(mount)

    @classmethod
    async def start(
        cls,
        launcher: Launcher,
        backend: Backend,
        *,
        slot: int,
        scratch: Path,
        devices: bool,
        mounts: Sequence[Mount] = (),
        bare: bool = False,
    ) -> "WarmWorker":
        """Start a worker and wait until it is warm.

        Args:
            launcher: starts it.
            backend: the sandbox it lives in.
            slot: whose worker it is.
            scratch: a folder that a backend without private folders uses for them.
            devices: whether phases may use the GPU.
            mounts: what else they see.
            bare: without torch, for foreign commands.

        Raises:
            TrainerFault: it does not start.
        """
        own = [Mount(HERE / name, f"{INSIDE}/{name}") for name in FILES]
        shared = backend.name == "landlock"
        private = ["/tmp", "/dev/shm"] if backend.name == "bwrap" else [str(scratch)]  # noqa: S108
        options = private if not bare or shared else []  # what is used once need not be emptied
        options = [*(["--bare"] if bare else []), *(["--outside"] if shared else []), *options]
        argv = [sys.executable, "-s", "-P", "-B", backend.path(own[0]), *options]
        command = backend.wrap(
            argv, ENVIRONMENT, [*own, *mounts], slot=slot, scratch=scratch, devices=devices
        )
        ours, theirs = socket.socketpair()
        with theirs:
            child = await launcher.spawn(command.argv, command.env, {CONTROL: theirs.fileno()})
        worker = cls(child, Channel(ours), backend)
        ready = None
        try:
            with trio.move_on_after(START_S) as waiting:
                ready = await worker._channel.receive()
        finally:
            if ready is None:
                await worker.kill()
        if ready is None:
            late = f"it took more than {START_S:.0f} s" if waiting.cancelled_caught else ""
            raise TrainerFault(f"a worker did not start: {late or worker._last_words()}")
        return worker

    async def run(
        self,
        phase: Phase,
        work: Mapping[str, Any],
        descriptors: Sequence[int],
        *,
        limits: Limits,
        probe_s: float,
        handle: Callable[[Report | Garbled], None],
        log: Log,
    ) -> Ended:
        """Run a phase to its end. Cancelling stops it and leaves the worker usable.

        Args:
            phase: which.
            work: what the phase needs to know.
            descriptors: what it gets; they stay open here.
            limits: what it may use.
            probe_s: seconds between probes beside it, where its budget is CPU time; else 0.
            handle: is called with everything it reports.
            log: takes up what it prints.

        Raises:
            WorkerDied: the worker died or hangs; start another.
        """
        reports, report = open_pipe()
        printed, prints = open_pipe(PIPE_BYTES)
        order = {
            "phase": phase,
            "work": work,
            "limits": msgspec.to_builtins(limits),
            "probe_s": probe_s,
        }
        ended = trio.Event()
        async with open_nursery() as nursery:
            nursery.start_soon(read_messages, reports, handle, ended)
            nursery.start_soon(drain_log, printed, log, ended)
            try:
                await self._channel.send(order, [report, prints, *descriptors])
            except TrainerFault as fault:
                self.alive = False
                raise WorkerDied(fault.what) from None
            finally:
                os.close(report)
                os.close(prints)
            try:
                answer = await self._answer(limits.wall + OVERTIME_S)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await self._interrupt()
                raise
            ended.set()
        return msgspec.convert(answer["ended"], Ended)

    async def _answer(self, patience: float) -> dict[str, Any]:
        answer = None
        with trio.move_on_after(patience) as waiting:
            self._waiting, self._patience = waiting, patience
            answer = await self._channel.receive()
        self._waiting = None
        if answer is None:
            await self.kill()
            what = "hangs" if waiting.cancelled_caught else f"died: {self._last_words()}"
            raise WorkerDied(f"a worker {what}")
        return answer

    async def _interrupt(self) -> None:
        with trio.move_on_after(STOP_S):
            await self._channel.send({"stop": True})
            if await self._channel.receive() is not None:
                return
        await self.kill()

    async def pause(self) -> None:
        """Stop the worker and everything that it started; the patience with it waits, too."""
        if self._waiting is not None:
            self._waiting.deadline = math.inf
        await self._child.signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Let them go on. A phase that ran over its wall-clock meanwhile is ended by the worker."""
        await self._child.signal(signal.SIGCONT)
        if self._waiting is not None:
            self._waiting.deadline = trio.current_time() + self._patience

    async def kill(self) -> None:
        """Kill the worker and everything that it started."""
        self.alive = False
        with trio.CancelScope(shield=True):
            await self._child.signal(signal.SIGKILL)
            with trio.move_on_after(STOP_S):
                await self._child.drained.wait()
        self.close()

    def close(self) -> None:
        """Hang up, at which the worker leaves and takes along what it started."""
        self.alive = False
        self._channel.close()

    def _last_words(self) -> str:
        lines = self._child.log.tail.splitlines()
        return lines[-1] if lines else f"exit status {self._child.status}"
