"""Where candidates run: one interface, several backends, chosen by trying and never by name.

A backend turns a command into one that runs sealed off. What it really keeps from the command is
found out by running a probe inside it (`Guarantees`); a backend whose probe gets out is not used.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from skep.errors import SandboxError
from trainer.enclose import Spec

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/etc/ld.so.cache", "/etc/alternatives"),
)
PARTS = ("bin", "include", "lib", "lib64")
ENCLOSE = Path(__file__).parents[1] / "enclose.py"
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
GPU_FACTS = ("/sys/bus/pci", "/sys/devices", "/sys/class/drm", "/sys/module/nvidia")

Strength = Literal["strong", "reduced", "none"]


class Guarantees(Struct, frozen=True):
    """What a backend was seen to keep from the code inside.

    Attributes:
        backend: its name.
        files: other files than the mounted ones can neither be read nor written.
        network: there is no network, not even this machine's own.
        processes: other processes can neither be seen nor signalled.
        environment: the node's environment cannot be read.
        privileges: an ordinary user without capabilities, and none to be gained by exec.
        kernel: system calls that experiments do not need and attacks do are refused.
        note: one clause for people, empty when all of it holds.
    """

    backend: str
    files: bool
    network: bool
    processes: bool
    environment: bool
    privileges: bool
    kernel: bool
    note: str = ""

    @property
    def strength(self) -> Strength:
        """`strong` where all of it holds; `reduced` where other processes can at least be seen."""
        if not (self.files and self.network and self.environment and self.kernel):
            return "none"
        return "strong" if self.processes and self.privileges else "reduced"


class Mount(Struct, frozen=True):
    """A file or folder of this machine that is seen inside.

    Attributes:
        source: where it is here.
        inside: where the code inside finds it, in a backend that can say so.
        writable: whether it may be changed.
    """

    source: Path
    inside: str
    writable: bool = False


class Command(Struct, frozen=True):
    """What to execute: program and arguments, and the whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


class Backend(Protocol):
    """One way of sealing a command off."""

    name: str

    def probe(self) -> Guarantees:
        """Run the self-test; blocks for some 50 ms.

        Raises:
            SandboxError: it cannot be started here, or something got out.
        """
        ...

    def path(self, mount: Mount) -> str:
        """Where the code inside finds a mount."""
        ...

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
        """The command, sealed off.

        Args:
            argv: an interpreter or tool of this Python installation, and its arguments.
            env: environment inside.
            mounts: what it sees besides the system and this Python installation.
            slot: slots get different identities, where the backend has identities to give.
            scratch: an empty folder that serves as HOME where the backend has no private /tmp.
            devices: whether it may use the GPU.
        """
        ...


def system_paths() -> tuple[Path, ...]:
    """What any program needs of the system: libraries, tools, how to find them."""
    return tuple(path for path in map(Path, SYSTEM) if path.exists())


def python_prefixes() -> tuple[Path, ...]:
    """The folders of this Python installation: the environment and what it was made from."""
    prefixes = dict.fromkeys((Path(sys.prefix), Path(sys.base_prefix)))
    return tuple(folder for prefix in prefixes for folder in installation(prefix))


def installation(prefix: Path) -> list[Path]:
    """What belongs to a Python installation below a prefix: all of it, where it has it to itself.

    One that was built into `~/.local`, or into the home, shares that with everything of the user's.
    """
    if not (Path.home() / ".local" / "share").is_relative_to(prefix):
        return [prefix]
    return [prefix / part for part in PARTS if (prefix / part).exists()]


def gpu_devices() -> tuple[str, ...]:
    """Device files of the GPUs and of what manages them."""
    cards = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    return (*GPU_DEVICES, *cards)


def enclosed(spec: Spec, place: str, argv: Sequence[str]) -> list[str]:
    """A command that gives up what a spec says before it becomes `argv`.

    Args:
        spec: what to give up.
        place: where `enclose.py` is found inside.
        argv: the command.
    """
    text = json.dumps(spec._asdict())
    return [sys.executable, "-I", "-S", "-B", place, text, "--", *argv]


def choose() -> tuple[Backend, Guarantees]:
    """The strongest backend that passes its self-test here; the last resort is none at all."""
    from trainer.sandbox.bwrap import Bubblewrap
    from trainer.sandbox.landlock import Landlock
    from trainer.sandbox.none import NoSandbox

    because = []
    for backend in (Bubblewrap(), Landlock()):
        try:
            found = backend.probe()
        except SandboxError as error:
            because.append(error.what)
        else:
            note = "; ".join([*filter(None, [found.note]), *because])
            return backend, replace(found, note=note)
    none = NoSandbox(because="; ".join(because))
    return none, none.probe()
