"""Process trees: what runs below a process, what it uses, and how to stop all of it.

Standard library only: the spawner and the worker import it, and it is mounted into the sandbox.
Reads /proc where there is one and asks `ps` elsewhere (macOS).
"""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import NamedTuple

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = os.path.isdir("/proc/self")


class Process(NamedTuple):
    """One process as the kernel shows it.

    Attributes:
        pid: its id.
        parent: its parent's.
        cpu: CPU seconds, its reaped children's included.
        rss: resident memory in bytes, shared pages included.
    """

    pid: int
    parent: int
    cpu: float
    rss: int


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel signal this process when the thread that forked it ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Make whatever loses its parent below this process a child of it (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def allow_inspection(allowed: bool) -> None:
    """Whether others of this user may read this process's memory and descriptors (Linux)."""
    _prctl(_PR_SET_DUMPABLE, int(allowed))


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def descendants(root: int) -> list[Process]:
    """Every process below `root`, parents before children."""
    children: dict[int, list[Process]] = {}
    for process in _everything():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = list(children.get(root, []))
    for process in found:  # grows while it is walked
        found += children.get(process.pid, [])
    return found


def page_tables(pid: int) -> int:
    """Bytes of a process's page tables (Linux): who reads here and there maps nothing but those."""
    with suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"VmPTE:"):
                return int(line.split()[1]) << 10
    return 0


def memory(process: Process) -> int:
    """Bytes of a process where pages that several share are divided among them; dear to find out.

    The plain sum over a program and its forks counts everything they inherited once for each.
    """
    with suppress(OSError), open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return (int(line.split()[1]) << 10) + page_tables(process.pid)
    return process.rss + page_tables(process.pid)


def signal_descendants(root: int, number: int) -> None:
    """Send a signal to everything below `root`, also to what is being forked meanwhile."""
    reached: set[int] = set()
    while new := {process.pid for process in descendants(root)} - reached:
        for pid in new:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        reached |= new


def _everything() -> list[Process]:
    return _from_proc() if _PROC else _from_ps()


def _from_proc() -> list[Process]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                found.append(_parse_stat(int(name), file.read()))
    return found


def _parse_stat(pid: int, line: bytes) -> Process:
    # The name stands in brackets and may itself hold brackets and blanks.
    fields = line[line.rindex(b")") + 2 :].split()
    cpu = sum(int(ticks) for ticks in fields[11:15]) / _TICK
    return Process(pid, int(fields[1]), cpu, int(fields[21]) * _PAGE)


def _from_ps() -> list[Process]:
    listing = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid=,rss=,time="], capture_output=True, text=True, check=True
    )
    found = []
    for line in listing.stdout.splitlines():
        pid, parent, kib, clock = line.split()
        cpu = 0.0
        for part in clock.replace("-", ":").split(":"):
            cpu = cpu * 60 + float(part)
        found.append(Process(int(pid), int(parent), cpu, int(kib) * 1024))
    return found
