"""Try every way out of a backend for real, against targets laid out for it, and tell what came.

What `trainer.sandbox.selftest` asks in passing before every start, `skep doctor` and the tests ask
here in full. Nothing of the user's is touched: the home, keys and sockets are decoys.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from skep.errors import SandboxError
from trainer.sandbox import Backend, Mount

PROBES = Path(__file__).with_name("probes.py")
TIMEOUT_S = 60


class Tried(Struct, frozen=True):
    """One attempt: its name, whether it got out, what it found or why it did not."""

    name: str
    open: bool
    found: str


class Targets(Struct, frozen=True):
    """What is laid out for the attempts.

    Attributes:
        home: a home folder with an ssh key and a node's key in it.
        readable: a file that everybody may read.
        writable: a folder that everybody may write to.
        cache: a folder for compiled code.
        pid, address: a process of ours, and where it has readable memory.
        descriptor: of the readable file, which whoever starts the attempts forgot to close.
        port: of a service on 127.0.0.1.
        socket: path of a local socket that everybody may use.
        abstract: name of an abstract one.
    """

    home: str
    readable: str
    writable: str
    cache: str
    pid: int
    address: int
    descriptor: int
    port: int
    socket: str
    abstract: str


@contextmanager
def laid_out() -> Iterator[Targets]:
    """Decoys, as long as the block lasts."""
    secret = ctypes.create_string_buffer(b"to be hidden")
    abstract = f"skep-{os.getpid()}"
    with (
        tempfile.TemporaryDirectory(prefix="skep-", dir="/var/tmp") as name,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_UNIX) as nameless,
        ExitStack() as forgets,
    ):
        folder = Path(name)
        for inner in ("home/.ssh", "home/skep", "writable", "cache"):
            (folder / inner).mkdir(parents=True)
        for inner in ("home/.ssh/id_ed25519", "home/skep/identity.key", "readable"):
            (folder / inner).write_text("to be hidden")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)  # so that only the sandbox can keep anybody away
        local.bind(str(folder / "docker.sock"))
        (folder / "docker.sock").chmod(0o777)
        if sys.platform == "linux":
            nameless.bind(f"\0{abstract}")
            nameless.listen()
        local.listen()
        forgotten = forgets.enter_context((folder / "readable").open("rb"))
        yield Targets(
            home=str(folder / "home"),
            readable=str(folder / "readable"),
            writable=str(folder / "writable"),
            cache=str(folder / "cache"),
            pid=os.getpid(),
            address=ctypes.addressof(secret),
            descriptor=forgotten.fileno(),
            port=server.getsockname()[1],
            socket=str(folder / "docker.sock"),
            abstract=abstract,
        )


def try_all(backend: Backend) -> list[Tried]:
    """Every attempt inside a backend.

    Raises:
        SandboxError: the attempts could not be made.
    """
    with laid_out() as targets, tempfile.TemporaryDirectory(prefix="skep-") as scratch:
        here = Mount(PROBES, "/skep/probes.py")
        text = json.dumps({name: getattr(targets, name) for name in Targets.__struct_fields__})
        argv = [sys.executable, "-I", "-S", "-B", backend.path(here), text]
        command = backend.wrap(argv, {}, [here], slot=0, scratch=Path(scratch), devices=False)
        done = _run(command.argv, dict(command.env), targets.descriptor)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SandboxError(f"the escape probes did not run in {backend.name}: {lines[-1]}")
    report = json.loads(done.stdout)
    return [Tried(name, row["open"], row["found"]) for name, row in report.items()]


def _run(
    argv: tuple[str, ...], env: dict[str, str], leaking: int
) -> subprocess.CompletedProcess[str]:
    """Run to the end, in a thread that lives as long: what dies with its parent, dies with that."""
    found: list[subprocess.CompletedProcess[str]] = []

    def work() -> None:
        found.append(
            subprocess.run(  # noqa: S603
                argv,
                env=env,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                pass_fds=[leaking],
                timeout=TIMEOUT_S,
                check=False,
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if not found:
        raise SandboxError(f"the escape probes hung for {TIMEOUT_S} s")
    return found[0]
