"""Bubblewrap: namespaces, read-only mounts, no network, no privileges (Linux).

The command sees the system folders, this Python installation and its mounts, all read-only, and a
private /tmp. It is process 1 of its own process namespace: whatever it started dies with it.

As an ordinary user bubblewrap makes a user namespace. As root it must not: the namespace would map
to the host's root, which could then write /proc/sys/kernel/core_pattern and escape RLIMIT_NPROC.
So as root the mounts are made without one and `setpriv` drops to a nameless user inside, once they
stand. (Nested user namespaces can only be forbidden in the first case.)
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from skep.errors import SandboxError
from trainer.sandbox import Command, Guarantees, Mount, python_prefixes

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives")
NAMELESS = range(65520, 65534)
"""User ids that systemd's allocation leaves unused (docs/UIDS-GIDS): one for each slot."""
TMP = "/tmp"  # noqa: S108 - a mount point inside
SCRATCH_BYTES = 256 * 1024 * 1024
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
GPU_FACTS = ("/sys/bus/pci", "/sys/devices", "/sys/class/drm", "/sys/module/nvidia")
PROBE = Path(__file__).with_name("escape.py")
PROBE_TIMEOUT_S = 20


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
            *_mounts(mounts),
            *("--remount-ro", "/", "--chdir", TMP, "--", *drop, *argv),
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
        seen = self._attempt()
        escaped = sorted(name for name, closed in seen.items() if not closed)
        if escaped:
            raise SandboxError(f"bubblewrap does not seal off {', '.join(escaped)} here")
        return msgspec.convert({"backend": self.name, **seen}, Guarantees)

    def _attempt(self) -> dict[str, bool]:
        """Run the escape probe inside; what it was kept from."""
        with (
            tempfile.NamedTemporaryFile(prefix="skep-", suffix=".probe") as secret,
            socket.create_server(("127.0.0.1", 0)) as server,
        ):
            secret.write(b"to be hidden")
            secret.flush()
            os.chmod(secret.name, 0o666)  # noqa: S103 - so that only the sandbox can hide it
            here = Mount(PROBE, "/skep/escape.py")
            target = [secret.name, str(server.getsockname()[1]), str(os.getpid())]
            argv = [sys.executable, "-I", "-S", "-B", here.inside, *target]
            scratch = Path(secret.name).parent
            command = self.wrap(argv, {}, [here], slot=0, scratch=scratch, devices=False)
            try:
                done = subprocess.run(  # noqa: S603
                    command.argv,
                    env=dict(command.env),
                    capture_output=True,
                    stdin=subprocess.DEVNULL,
                    timeout=PROBE_TIMEOUT_S,
                    check=True,
                )
                return dict(json.loads(done.stdout))
            except subprocess.CalledProcessError as error:
                lines = error.stderr.decode(errors="replace").strip().splitlines()
                why = lines[-1] if lines else f"exit status {error.returncode}"
            except (OSError, subprocess.TimeoutExpired, ValueError) as error:
                why = str(error)
        raise SandboxError(f"bubblewrap does not start here: {why}")


def _system() -> Iterator[str]:
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), name)
        elif path.is_dir():
            yield from ("--ro-bind", name, name)
    for name in SETTINGS:
        if Path(name).exists():
            yield from _bind(Path(name), name, writable=False)


def _python() -> Iterator[str]:
    for prefix in python_prefixes():
        if not prefix.is_relative_to("/usr"):
            yield from _bind(prefix, str(prefix), writable=False)


def _devices(gpu: bool) -> Iterator[str]:
    yield from ("--proc", "/proc", "--dev", "/dev")
    if gpu:
        cards = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
        for device in (*GPU_DEVICES, *cards):
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
