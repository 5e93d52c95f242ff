"""Bubblewrap: namespaces, read-only mounts, no network, no privileges (Linux).

The command sees the system folders, this Python installation and its mounts, all read-only, and a
private /tmp. It is process 1 of its own process namespace: whatever it started dies with it.

As an ordinary user bubblewrap makes a user namespace. As root it must not: the namespace would map
to the host's root, which could then write /proc/sys/kernel/core_pattern and escape RLIMIT_NPROC.
So as root the mounts are made without one and `setpriv` drops to a nameless user inside, once they
stand. (Nested user namespaces can only be forbidden in the first case.)
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from skep.errors import SandboxError
from trainer.enclose import Spec
from trainer.sandbox import (
    ENCLOSE,
    GPU_FACTS,
    Command,
    Guarantees,
    Mount,
    enclosed,
    gpu_devices,
    python_prefixes,
    system_paths,
)
from trainer.sandbox.selftest import attempt

NAMELESS = range(65520, 65534)
"""User ids that systemd's allocation leaves unused (docs/UIDS-GIDS): one for each slot."""
TMP = "/tmp"  # noqa: S108 - a mount point inside
SCRATCH_BYTES = 256 * 1024 * 1024
INSIDE = Mount(ENCLOSE, "/skep/enclose.py")
SOCKETS = (1, 2, 10, 16)
"""Local, internet and routing sockets: they end in a network that has nothing but loopback."""


class Bubblewrap:
    """Seals commands off with bwrap."""

    name = "bwrap"

    def __init__(self) -> None:
        self._bwrap = shutil.which("bwrap")
        self._setpriv = shutil.which("setpriv", path="/usr/bin:/bin")
        self._as_root = os.geteuid() == 0

    def path(self, mount: Mount) -> str:
        """Where it is mounted."""
        return mount.inside

    def wrap(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        mounts: Sequence[Mount],
        *,
        slot: int,
        scratch: Path,
        devices: bool,
    ) -> Command:
        """The command inside a new set of namespaces; see `Backend.wrap`."""
        identity, drop = self._identity(NAMELESS[slot % len(NAMELESS)])
        parts = [
            *(str(self._bwrap), *identity),
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
            *("--unshare-cgroup-try", "--hostname", "skep"),
            *("--die-with-parent", "--new-session", "--as-pid-1"),
            *_system(),
            *_devices(devices),
            *_private(TMP),
            *_python(),  # may lie below /tmp, which has to be there first
            *_mounts([INSIDE, *mounts]),
            *("--remount-ro", "/", "--chdir", TMP, "--", *drop),
            *enclosed(Spec(SOCKETS, hidden_memory=devices), INSIDE.inside, argv),
        ]
        inside = {**env, "HOME": TMP, "TMPDIR": TMP}
        return Command(tuple(parts), inside)

    def _identity(self, user: int) -> tuple[list[str], list[str]]:
        """Options of bwrap, and what stands before the command, to become that user."""
        if not self._as_root:
            names = ["--uid", str(user), "--gid", str(user)]
            return ["--unshare-user", "--disable-userns", *names], []
        drop = [f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
        nothing = ["--inh-caps=-all", "--bounding-set=-all"]
        return [], [str(self._setpriv), *drop, *nothing, "--"]

    def probe(self) -> Guarantees:
        """Try to get out of it; see `Backend.probe`."""
        if self._bwrap is None:
            raise SandboxError("bubblewrap is not installed", "Install the package bubblewrap.")
        if self._as_root and self._setpriv is None:
            raise SandboxError("setpriv is not installed", "Install the package util-linux.")
        seen = attempt(self)
        escaped = sorted(name for name, closed in seen.items() if not closed)
        if escaped:
            raise SandboxError(f"bubblewrap does not seal off {', '.join(escaped)} here")
        return msgspec.convert({"backend": self.name, **seen}, Guarantees)


def _system() -> Iterator[str]:
    for path in system_paths():
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        else:
            yield from _bind(path, str(path), writable=False)


def _python() -> Iterator[str]:
    for prefix in python_prefixes():
        if not prefix.is_relative_to("/usr"):
            yield from _bind(prefix, str(prefix), writable=False)


def _devices(gpu: bool) -> Iterator[str]:
    yield from ("--proc", "/proc", "--dev", "/dev")
    # It reads the same, but makes no shared memory, which would belong to no process.
    yield from ("--dev-bind", "/dev/full", "/dev/zero")
    if gpu:
        for device in gpu_devices():
            yield from ("--dev-bind-try", device, device)
        for folder in GPU_FACTS:
            yield from ("--ro-bind-try", folder, folder)
    yield from _private("/dev/shm")  # noqa: S108
    yield from ("--remount-ro", "/dev")


def _private(path: str) -> Iterator[str]:
    """An empty folder in memory that anybody inside may write to."""
    yield from ("--perms", "1777", "--size", str(SCRATCH_BYTES), "--tmpfs", path)


def _mounts(mounts: Sequence[Mount]) -> Iterator[str]:
    for mount in mounts:
        yield from _bind(mount.source, mount.inside, mount.writable)


def _bind(source: Path, inside: str, writable: bool) -> Iterator[str]:
    # bwrap would make missing parents with mode 0700, closed to the user it drops to.
    for parent in reversed(PurePosixPath(inside).parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))
    yield from ("--bind" if writable else "--ro-bind", str(source), inside)
