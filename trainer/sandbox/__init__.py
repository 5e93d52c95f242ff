"""Where candidates run: one interface, several backends, chosen by trying and never by name.

A backend turns a command into one that runs sealed off. What it really keeps from the command is
found out by running a probe inside it (`Guarantees`); a backend whose probe gets out is not used.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from skep.errors import SandboxError


class Guarantees(Struct, frozen=True):
    """What a backend was seen to keep from the code inside.

    Attributes:
        backend: its name.
        files: other files than the mounted ones can neither be read nor written.
        network: there is no network, not even this machine's own.
        processes: other processes can neither be seen nor signalled.
        environment: the node's environment cannot be read.
        privileges: an ordinary user without capabilities, and none to be gained by exec.
        note: one clause for people, empty when all of it holds.
    """

    backend: str
    files: bool
    network: bool
    processes: bool
    environment: bool
    privileges: bool
    note: str = ""

    @property
    def strong(self) -> bool:
        """Whether code of strangers may run there."""
        return (
            self.files and self.network and self.processes and self.environment and self.privileges
        )


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


def python_prefixes() -> tuple[Path, ...]:
    """The folders of this Python installation: the environment and what it was made from."""
    return tuple(dict.fromkeys((Path(sys.prefix), Path(sys.base_prefix))))


def choose() -> tuple[Backend, Guarantees]:
    """The strongest backend that passes its self-test here; the last resort is none at all."""
    from trainer.sandbox.bwrap import Bubblewrap
    from trainer.sandbox.none import NoSandbox

    bubblewrap = Bubblewrap()
    try:
        return bubblewrap, bubblewrap.probe()
    except SandboxError as error:
        none = NoSandbox(because=error.what)
        return none, none.probe()
