"""The spawner: the one process that starts and reaps all the others for the node.

    python -I -B spawner.py          with a socket to the node as its standard input

Why it exists: trio starts processes from worker threads, and what is started with "die with your
parent" dies with the *thread*; a process that holds keys, locks and a database should not fork;
and one single-threaded parent can reap, meter and stop whole process trees. It holds no secrets,
starts with an empty environment, imports nothing but the standard library, and when the node goes
away it takes everything it started along.

Requests, answered in order:
    {"op": "spawn", "argv", "env", "cwd", "targets"} + descriptors   -> {"pid"} or {"error"}
    {"op": "signal", "pid", "signal"}    to the process and everything below it, no answer
Told at any time: {"exited": pid, "status": exit status, negative for a signal}
"""

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainer import frames, processes

_FIRST, _HIGH = 3, 64
"""Descriptors are moved to here and above before they take their final numbers."""


class Spawner:
    """Serves one node until it hangs up."""

    def __init__(self, node: socket.socket) -> None:
        self.node = node
        self.started: set[int] = set()
        self.leaving = False
        self.wakeup, self.wake = socket.socketpair()
        for end in (self.wakeup, self.wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._leave)
        processes.die_with_parent(signal.SIGTERM)

    def _leave(self, *_: object) -> None:
        self.leaving = True  # not by raising: that could cut short the killing at the end

    def serve(self) -> None:
        """Obey until the node has closed its end, or died."""
        while not self.leaving:
            ready, _, _ = select([self.node, self.wakeup], [], [])
            if self.wakeup in ready:
                with suppress(BlockingIOError):
                    self.wakeup.recv(4096)
                self._reap()
            if self.node in ready:
                request = frames.receive(self.node)
                if request is None:
                    return
                self._obey(*request)

    def _obey(self, request: frames.Message, descriptors: list[int]) -> None:
        if request["op"] == "spawn":
            answer = self._spawn(request, descriptors)
            frames.send(self.node, answer)
        elif request["pid"] in self.started:  # else it has gone, and the number may be another's
            processes.signal_descendants(request["pid"], request["signal"])
            os.kill(request["pid"], request["signal"])

    def _spawn(self, request: frames.Message, descriptors: list[int]) -> frames.Message:
        reader, low = os.pipe()
        writer = _move_up(low)
        os.close(low)
        pid = os.fork()
        if pid == 0:
            try:
                _become(request, descriptors)
            except BaseException as error:
                os.write(writer, f"{request['argv'][0]}: {error}".encode())
            finally:
                os._exit(127)
        for descriptor in (*descriptors, writer):
            os.close(descriptor)
        with os.fdopen(reader, "rb") as pipe:  # closed by a successful exec
            failure = pipe.read().decode(errors="replace")
        if failure:
            os.waitpid(pid, 0)
            return {"error": failure}
        self.started.add(pid)
        return {"pid": pid}

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid in self.started:
                    self.started.discard(pid)
                    code = os.waitstatus_to_exitcode(status)
                    frames.send(self.node, {"exited": pid, "status": code})
        # A process that lost its parent came to us; nobody is left who could want it.
        for process in processes.descendants(os.getpid()):
            if process.parent == os.getpid() and process.pid not in self.started:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)


def _move_up(descriptor: int) -> int:
    """A copy out of the way of the numbers that are given out, closed by exec."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)


def _become(request: frames.Message, descriptors: Sequence[int]) -> NoReturn:
    """In the new process: take up the ordered descriptors and turn into the ordered program."""
    os.setsid()
    processes.die_with_parent()
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # what Python ignores would stay ignored
    moved = [_move_up(descriptor) for descriptor in descriptors]
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    for descriptor, target in zip(moved, request["targets"], strict=True):
        os.dup2(descriptor, target)
    for descriptor in range(_FIRST, _HIGH):
        if descriptor not in request["targets"]:
            with suppress(OSError):
                os.close(descriptor)
    os.chdir(request["cwd"])
    os.execve(request["argv"][0], request["argv"], request["env"])  # noqa: S606


def main() -> None:
    spawner = Spawner(socket.socket(fileno=0))
    processes.adopt_orphans()
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # the node hung up while we spoke
            spawner.serve()
    finally:
        processes.signal_descendants(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
