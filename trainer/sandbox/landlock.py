"""Landlock and seccomp: for Linux machines that let nobody make namespaces (many containers).

The command keeps the user's name and sees the machine's processes, but opens no file besides the
system's, this Python installation's and its mounts, writes only to its scratch folder, and has no
sockets at all. As root it loses every capability first. There is no private /tmp and no limit to
the folder but what the worker watches.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from skep.errors import SandboxError
from trainer.enclose import Spec, landlock_abi
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

REQUIRED = ("files", "network", "environment", "kernel")
WRITABLE_DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")
"""Not /dev/zero: it makes shared memory, which belongs to no process."""
SYMLINKS_ABI = 2
"""Before the second version nothing could be renamed or linked across folders."""


class Landlock:
    """Seals commands off with what an ordinary user may give up."""

    name = "landlock"

    def path(self, mount: Mount) -> str:
        """Its own place: nothing is mounted."""
        return str(mount.source)

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
        """The command without most of its rights; see `Backend.wrap`."""
        system = [*system_paths(), *python_prefixes(), ENCLOSE, Path("/proc")]
        facts = map(Path, GPU_FACTS) if devices else ()
        read = [*system, *facts, *(mount.source for mount in mounts if not mount.writable)]
        write = [scratch, *(mount.source for mount in mounts if mount.writable)]
        write += map(Path, (*WRITABLE_DEVICES, *(gpu_devices() if devices else ())))
        spec = Spec(
            sockets=(),
            hidden_memory=devices,
            landlock=((str(ENCLOSE.parent),), _existing(read), _existing(write)),
            drop=os.geteuid() == 0,
        )
        home = {"HOME": str(scratch), "TMPDIR": str(scratch)}
        return Command(tuple(enclosed(spec, str(ENCLOSE), argv)), {**env, **home})

    def probe(self) -> Guarantees:
        """Try to get out of it; see `Backend.probe`."""
        if sys.platform != "linux" or landlock_abi() < SYMLINKS_ABI:
            raise SandboxError("the kernel has no Landlock", "Linux has it since 5.19.")
        seen = attempt(self)
        escaped = [name for name in REQUIRED if not seen[name]]
        if escaped:
            raise SandboxError(f"Landlock does not seal off {', '.join(escaped)} here")
        note = "reduced: other processes can be seen"
        if os.geteuid() == 0:
            note += ", and programs run as root, though without its powers"
        return msgspec.convert({"backend": self.name, **seen, "note": note}, Guarantees)


def _existing(paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(str(path) for path in paths if path.exists())
