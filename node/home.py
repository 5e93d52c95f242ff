"""The home folder: where everything durable of a node lies, and the lock that only one node holds.

Not here: what the files contain. The feed and the database belong to `gossip`, whose sessions
also notice a home that was copied; `config.toml` belongs to `node.config`.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from gossip.disk import home_error, make_folder, sync
from skep.errors import HomeError, HomeInUse
from skep.ports import TaskFacts

FREE_MIN_BYTES = 256 * 2**20
"""A node does not start with less: a database page or a checkpoint must always fit."""

FACTS_FILE = "facts.json"


class Home(Struct, frozen=True):
    """Names of everything inside a home folder; making one touches nothing."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held (flock) by the running node; contains its process id."""
        return self.root / "lock"

    @property
    def identity(self) -> Path:
        """The node's private key, 0600."""
        return self.root / "identity.key"

    @property
    def database(self) -> Path:
        """SQLite copy of the ledger."""
        return self.root / "skep.db"

    @property
    def feed(self) -> Path:
        """Folder of the own feed, the authority for own records."""
        return self.root / "feed"

    @property
    def runs(self) -> Path:
        """One folder per job: program, log, curve, checkpoint."""
        return self.root / "runs"

    @property
    def tasks(self) -> Path:
        """One folder per task: its facts and prepared data."""
        return self.root / "tasks"

    @property
    def cache(self) -> Path:
        """What may be deleted at any time."""
        return self.root / "cache"

    @property
    def control(self) -> Path:
        """Socket on which the running node listens to `skep pause` and the like."""
        return self.root / "control.sock"

    @property
    def machine(self) -> Path:
        """What was measured of this machine."""
        return self.root / "machine.json"

    @property
    def results(self) -> Path:
        """results.tsv, rewritten after every judged experiment."""
        return self.root / "results.tsv"

    @property
    def program_md(self) -> Path:
        """The user's own words for who thinks up experiments; not there while the shipped count."""
        return self.root / "program.md"

    @property
    def library(self) -> Path:
        """Literature of this machine's owner, searched."""
        return self.root / "library.db"

    def task_folder(self, task: bytes) -> Path:
        """Folder of one task id, inside `tasks`."""
        return self.tasks / task.hex()[:12]


@contextlib.contextmanager
def hold(root: Path) -> Iterator[Home]:
    """Open the home for a running node: make its folders and hold its lock until the end.

    Raises:
        HomeInUse: another process holds it.
        HomeError: it is not a folder, cannot be written, or its disk is full.
    """
    home = Home(root)
    if root.exists() and not root.is_dir():
        raise HomeError(f"{root} is not a folder", "Move it away, or set SKEP_HOME to another one")
    for folder in (root, home.feed, home.runs, home.tasks, home.cache):
        make_folder(folder)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(home.lock, flags, 0o600)
    except OSError as error:
        raise home_error(home.lock, error) from error
    try:
        _lock(home, handle)
        free = free_bytes(root)
        if free < FREE_MIN_BYTES:
            raise HomeError(
                f"the disk of {root} is full ({free // 2**20} MiB free)",
                f"Free at least {FREE_MIN_BYTES // 2**20} MiB, or set SKEP_HOME to another disk",
            )
        yield home
    finally:
        os.close(handle)


def _lock(home: Home, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
        raise HomeInUse(
            f"a node is already running on {home.root} (pid {holder or 'unknown'})",
            "Look at it with `skep status`, or set SKEP_HOME to another folder",
        ) from error
    except OSError as error:
        raise home_error(home.lock, error) from error


def free_bytes(folder: Path) -> int:
    """Bytes an unprivileged user may still write on the disk of `folder`."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Replace a file so that readers, and a power cut, leave the old content or the new one.

    What is written takes its place at the end; an error leaves the old one. The mode is narrowed
    by the umask, as usual.

    Raises:
        HomeError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            sync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise home_error(path, error) from error
        raise


def write_atomic(path: Path, text: str) -> None:
    """Replace a file by a text; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def remember_task(home: Home, facts: TaskFacts) -> None:
    """Note the facts of a task beside its data, so that its results can be read without the pack.

    Raises:
        HomeError: the home cannot be written.
    """
    folder = home.task_folder(facts.id)
    make_folder(folder)
    write_atomic(folder / FACTS_FILE, msgspec.json.encode(facts).decode())


def known_tasks(home: Home) -> list[TaskFacts]:
    """Facts of every task this home ever worked on, the one it joined last first.

    Raises:
        HomeError: a file of facts does not read back.
    """
    dated: list[tuple[int, TaskFacts]] = []
    for path in home.tasks.glob(f"*/{FACTS_FILE}"):
        try:
            facts = msgspec.json.decode(path.read_bytes(), type=TaskFacts)
            dated.append((path.stat().st_mtime_ns, facts))
        except (OSError, msgspec.MsgspecError) as error:
            raise HomeError(
                f"{path} does not read back ({error})",
                "Delete it; the next `skep join` with that task writes it anew",
            ) from error
    return [facts for _, facts in sorted(dated, key=lambda pair: pair[0], reverse=True)]
