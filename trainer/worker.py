"""The warm worker: waits in the sandbox with torch imported and forks one child per phase.

    python -s -P -B worker.py [--bare] [--outside] SCRATCH...

It has a socket to the node as descriptor 3.

The candidate's code runs in the forked children only. The worker meters a phase from outside,
holds it to its limits, and before it answers has killed whatever the phase left running and
emptied the scratch folders: nothing passes from one phase to the next but what the node hands on.
It is single-threaded and never touches a GPU, so that forking is safe. With `--bare` it imports no
torch: it then supervises foreign commands. With `--outside` it is told that it has no namespaces of
its own, only Landlock. It is a file of its own: the standard library, torch
and its neighbours `candidate`, `enclose`, `frames`, `probe`, `processes`; nothing else of ours.

Requests: {"phase", "work", "limits", "probe_s"} + descriptors [messages, log, ...], answered by
{"ended": ...} (`trainer.phases.Ended`); {"stop": true} ends the phase that runs.
"""

import ctypes
import gc
import os
import re
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

if __name__ == "__main__":  # the package, without the folder above it, which is out of reach
    sys.modules["trainer"] = ModuleType("trainer")
    sys.modules["trainer"].__path__ = [str(Path(__file__).resolve().parent)]

from trainer import enclose, frames, processes

if TYPE_CHECKING:
    from trainer.probe import Probe

CONTROL = 3
WATCH_S = 0.1
"""How often memory and CPU of a phase are looked at: 0.2 % of a core, and ~0.5 GB of headroom."""
HONEST_PROCESSES = 16
"""For so few, memory that they share is told apart; for more it would take too long."""
_IPC_RMID = 0
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
SCRATCH_BYTES, LOOK_S = 512 << 20, 0.5
"""What a scratch folder may hold, and how often that is looked at. Mounts of limited size are full
at half of it, but nothing else limits how many empty files they hold, which is kernel memory."""
REAP_S = 3.0
"""How long killed processes may take to go (they may hang in a driver) before we give up."""


class Worker:
    """Serves phases, one at a time, until the node hangs up."""

    def __init__(
        self, node: socket.socket, scratch: list[str], *, bare: bool, outside: bool
    ) -> None:
        self.node = node
        self.scratch = scratch
        self.outside = outside
        self.mounted = _mount_points()
        self.probe = None if bare else _warm_up()
        self.is_init = os.getpid() == 1
        self.wakeup, self.wake = socket.socketpair()
        for end in (self.wakeup, self.wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.next_look = 0.0
        self.group = 0
        self.cpu = 0.0
        self.peak = 0
        self.stopped = ""

    def serve(self) -> None:
        """Answer requests until the node has closed its end."""
        frames.send(self.node, {"ready": True})
        while (request := frames.receive(self.node)) is not None:
            order, descriptors = request
            if "phase" in order:  # else a stop that came too late
                frames.send(self.node, {"ended": self._run(order, descriptors)})

    def _run(self, order: frames.Message, descriptors: list[int]) -> frames.Message:
        probe_s = order["probe_s"]
        metered = self.probe if probe_s else None
        probes = [metered.measure()] if metered else []
        self.cpu, self.peak, self.stopped = 0.0, 0, ""
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            self._become_candidate(order, descriptors)
        if self.outside:
            self.group = child
            with suppress(OSError):  # it has ended, or is a group already
                os.setpgid(child, child)
        for descriptor in descriptors:
            os.close(descriptor)
        status = self._watch(child, order["limits"], start, probes, probe_s)
        wall = time.monotonic() - start
        self._clear()
        if metered:
            probes.append(metered.measure())
        return {
            "status": status,
            "stopped": self.stopped,
            "cpu": self.cpu,
            "wall": wall,
            "peak": self.peak,
            "probes": probes,
        }

    def _become_candidate(self, order: frames.Message, descriptors: list[int]) -> NoReturn:
        """In the child: shed what is the worker's, take up the limits, run the phase."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.node.close()
            self.wakeup.close()
            self.wake.close()
            _limit(order["limits"])
            processes.die_with_parent()
            processes.allow_inspection(True)
            if self.outside:
                os.setpgid(0, 0)
            enclose.enclose_candidate(
                metered=order["limits"]["cpu"] < float("inf"),
                internet=order["phase"] == "command" or not self.is_init,
                outside=self.outside,
            )
            from trainer import candidate

            candidate.perform(order["phase"], order["work"], descriptors)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)

    def _watch(
        self,
        child: int,
        limits: frames.Message,
        start: float,
        probes: list[float],
        probe_s: float,
    ) -> int:
        """Wait for the phase's child, enforcing the limits; its exit status."""
        poll = select.poll()
        for end in (self.node, self.wakeup):
            poll.register(end, select.POLLIN)
        next_probe = start + probe_s
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(WATCH_S * 1000)}
            if self.wakeup.fileno() in ready:
                with suppress(BlockingIOError):
                    self.wakeup.recv(4096)
                status = self._reap(child)
                if status is not None:
                    return status
            if self.node.fileno() in ready and not self.stopped:
                if frames.receive(self.node) is None:
                    self._clear()
                    os._exit(0)
                self._stop("order")
            elif not self.stopped:
                self._enforce(limits, start)
            if self.probe and probe_s and time.monotonic() >= next_probe:
                probes.append(self.probe.warm())
                next_probe = time.monotonic() + probe_s

    def _enforce(self, limits: frames.Message, start: float) -> None:
        running = processes.descendants(os.getpid())
        rss = sum(process.rss + processes.page_tables(process.pid) for process in running)
        if limits["memory"] and rss > limits["memory"] and len(running) <= HONEST_PROCESSES:
            rss = sum(processes.memory(process) for process in running)
        self.peak = max(self.peak, rss)
        if limits["processes"] and len(running) > limits["processes"]:
            self._stop("processes")  # where several share a user, the kernel's limit is no help
        elif limits["memory"] and rss > limits["memory"]:
            self._stop("memory")
        elif self.cpu + sum(process.cpu for process in running) > limits["cpu"]:
            self._stop("cpu")
        elif time.monotonic() - start > limits["wall"]:
            self._stop("wall")
        elif time.monotonic() > self.next_look:
            self.next_look = time.monotonic() + LOOK_S
            if any(usage(folder, self.mounted) > SCRATCH_BYTES for folder in self.scratch):
                self._stop("folder")

    def _stop(self, why: str) -> None:
        self.stopped = why
        self._kill()

    def _kill(self) -> None:
        if self.is_init:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # everything in our namespace but us, in one go
        else:
            if self.group:  # in one go as well: who forks for ever is not outrun by a search
                with suppress(ProcessLookupError):
                    os.killpg(self.group, signal.SIGKILL)
            processes.signal_descendants(os.getpid(), signal.SIGKILL)

    def _reap(self, child: int) -> int | None:
        """Collect what has ended, with its CPU time; the child's exit status if it was among it."""
        status = None
        with suppress(ChildProcessError):
            while True:
                pid, ended, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                self.cpu += usage.ru_utime + usage.ru_stime
                self.peak = max(self.peak, usage.ru_maxrss * _MAXRSS_UNIT)
                if pid == child:
                    status = os.waitstatus_to_exitcode(ended)
        return status

    def _clear(self) -> None:
        """Leave nothing behind: processes, files, shared memory."""
        deadline = time.monotonic() + REAP_S
        while True:
            self._kill()
            self._reap(0)
            if not processes.descendants(os.getpid()):
                break
            if time.monotonic() > deadline:
                os._exit(1)  # the node starts another worker, in another namespace
            time.sleep(0.001)
        self.group = 0
        for folder in self.scratch:
            with suppress(PermissionError):  # it may be root's
                os.chmod(folder, 0o700 if self.outside else 0o1777)
            _empty(folder, self.mounted)
        if self.is_init:  # else the segments in sight are everybody's
            _drop_shared_memory()


def _warm_up() -> "Probe":
    """Import and touch everything that phases need, so that each finds it done."""
    import torch
    import torch._dynamo  # every optimiser imports it: 1.1 s

    from trainer import candidate
    from trainer.probe import Probe

    torch.set_num_threads(1)
    candidate.rehearse()
    probe = Probe()
    probe.measure()
    gc.collect()
    gc.freeze()  # else the first collection in each child copies every page
    return probe


def _limit(limits: frames.Message) -> None:
    """Limits that the kernel enforces on each process; memory and time are the watch's."""
    numbers = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits["file"],
        resource.RLIMIT_NOFILE: limits["descriptors"],
    }
    if limits["cpu"] < float("inf"):
        numbers[resource.RLIMIT_CPU] = int(limits["cpu"]) + 5
    if limits["processes"]:
        numbers[resource.RLIMIT_NPROC] = limits["processes"]
    if sys.platform == "linux":
        numbers[resource.RLIMIT_MSGQUEUE] = 0
    for which, number in numbers.items():
        resource.setrlimit(which, (number, number))


def _empty(folder: str, mounted: frozenset[str]) -> None:
    """Delete everything in a folder but mounts and the folders that lead to one."""
    for entry in list(os.scandir(folder)):
        if entry.path in mounted:
            continue
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
        elif any(mount.startswith(f"{entry.path}/") for mount in mounted):
            _empty(entry.path, mounted)
        else:
            _remove(entry.path)


def _remove(folder: str) -> None:
    """Delete a folder, going down into it: paths may be longer than the kernel takes."""
    here = os.getcwd()
    _enter(folder)
    inside: list[str] = []
    waiting = [_clear_files()]
    while waiting:
        if waiting[-1]:
            inside.append(waiting[-1].pop())
            _enter(inside[-1])
            waiting.append(_clear_files())
        else:
            waiting.pop()
            os.chdir("..")
            if inside:
                os.rmdir(inside.pop())
    os.rmdir(folder)
    os.chdir(here)


def _enter(folder: str) -> None:
    os.chmod(folder, 0o700)  # it is of our user, whatever its mode forbids
    os.chdir(folder)


def _clear_files() -> list[str]:
    """Delete the files where we are; the names of the folders."""
    folders = []
    for entry in list(os.scandir(".")):
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name)
    return folders


def usage(folder: str, mounted: frozenset[str]) -> int:
    """Bytes of a folder without what is mounted in it, or more than may be; entries take a page."""
    total, waiting = 0, [folder]
    while waiting and total <= SCRATCH_BYTES:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.path in mounted:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    blocks = entry.stat(follow_symlinks=False).st_blocks
                    total += resource.getpagesize() + blocks * 512
                    if total > SCRATCH_BYTES:
                        break
        except (FileNotFoundError, NotADirectoryError):
            continue  # it has gone meanwhile
        except OSError:
            return SCRATCH_BYTES + 1  # too deep, or closed to us: it could hold anything
    return total


def _mount_points() -> frozenset[str]:
    """Where something is mounted in our namespace; a checkout may lie below /tmp itself."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            escaped = [line.split(" ")[4] for line in table]
    except FileNotFoundError:
        return frozenset()  # no Linux, no mounts of ours
    return frozenset(
        re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path) for path in escaped
    )


def _drop_shared_memory() -> None:
    """Remove System V segments, queues and semaphores: they outlive their processes."""
    libc = ctypes.CDLL(None)
    removers: dict[str, Callable[[int], int]] = {
        "shm": lambda key: libc.shmctl(key, _IPC_RMID, None),
        "msg": lambda key: libc.msgctl(key, _IPC_RMID, None),
        "sem": lambda key: libc.semctl(key, 0, _IPC_RMID),
    }
    for kind, remove in removers.items():
        with suppress(FileNotFoundError), open(f"/proc/sysvipc/{kind}", encoding="ascii") as table:
            for line in table.readlines()[1:]:
                remove(int(line.split()[1]))


def main(arguments: list[str]) -> None:
    scratch = [argument for argument in arguments if not argument.startswith("--")]
    bare, outside = "--bare" in arguments, "--outside" in arguments
    processes.allow_inspection(False)
    processes.die_with_parent()
    processes.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as process 1 we are then deaf to it
    Worker(socket.socket(fileno=CONTROL), scratch, bare=bare, outside=outside).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
