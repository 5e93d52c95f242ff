"""What this machine offers and whether the home is in order, as a list of checks.

Every check looks for itself and changes nothing; none needs a running node, a network or a GPU.
What has to do with the swarm is `node.reach`.
"""

import contextlib
import os
import platform
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import psutil
import trio

from gossip.feeds import FEED_FILE
from gossip.identity import Identity
from gossip.store import Reader
from gossip.view import LedgerView
from gossip.wire import split_frames
from node import reach
from node.check import Check
from node.config import load
from node.home import FREE_MIN_BYTES, Home, free_bytes, known_tasks
from skep.errors import SandboxError, SkepError
from trainer.sandbox import Guarantees, choose
from trainer.sandbox.probing import Tried, try_all

TORCH_VERSION = "2.13.0"
"""The build that every node of a swarm should run; see pyproject.toml."""

PYTHON_MIN, PYTHON_END = (3, 11), (3, 14)
MEMORY_MIN_GIB = 2.0
FREE_WARN_BYTES = 5 * 2**30


def examine(root: Path) -> tuple[list[Check], list[Tried]]:
    """All checks, machine first, and every attempt to get out of the sandbox.

    Args:
        root: the home folder; it need not exist.
    """
    backend, guarantees = choose()
    tried: list[Tried] | str
    try:
        tried = try_all(backend)
    except SandboxError as error:
        tried = error.what
    machine = [_python(), _torch(), _sandbox(guarantees), _escapes(guarantees, tried)]
    machine += [_cores(), _memory(), _gpu()]
    checks = [*machine, _disk(root), _config(root), *_swarm(root), *_home(root)]
    return checks, [] if isinstance(tried, str) else tried


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if PYTHON_MIN <= sys.version_info[:2] < PYTHON_END:
        return Check("python", "ok", found)
    return Check("python", "bad", found, "Skep needs Python 3.11 to 3.13")


def _torch() -> Check:
    try:
        found = metadata.version("torch")
    except metadata.PackageNotFoundError:
        fix = f"Install it: pip install torch=={TORCH_VERSION}"
        return Check("torch", "bad", "not installed", fix)
    if found.split("+")[0] == TORCH_VERSION:
        return Check("torch", "ok", found)
    fix = f"Runs are comparable bit by bit with {TORCH_VERSION} only"
    return Check("torch", "warn", found, fix)


def _sandbox(found: Guarantees) -> Check:
    if found.strength == "strong":
        kept = "no files, network, processes, environment or privileges of yours inside"
        return Check("sandbox", "ok", f"{found.backend}: {kept}")
    install = "On Linux install bubblewrap: apt install bubblewrap"
    if found.strength == "reduced":
        return Check("sandbox", "warn", f"{found.backend}, {found.note}", install)
    finding = f"{found.note}; only numbers of tasks that ship with Skep may be tried"
    return Check("sandbox", "warn", finding, install)


def _escapes(found: Guarantees, tried: Sequence[Tried] | str) -> Check:
    if isinstance(tried, str):
        return Check("escapes", "bad", tried, "Report it: see SECURITY.md")
    out = [attempt.name for attempt in tried if attempt.open]
    finding = f"{len(tried) - len(out)} of {len(tried)} attempts to get out failed"
    if not out:
        return Check("escapes", "ok", finding)
    if found.strength == "none":
        return Check("escapes", "warn", f"{finding}: there is no sandbox")
    return Check("escapes", "bad", f"{finding}; open: {', '.join(out)}", "See docs/security.md")


def _cores() -> Check:
    usable = len(psutil.Process().cpu_affinity() or ()) if sys.platform == "linux" else 0
    count = usable or os.cpu_count() or 1
    busy = os.getloadavg()[0] / count
    finding = f"{count} usable, load {os.getloadavg()[0]:.1f}"
    if busy > 1.0:
        return Check("cores", "warn", finding, "Other programs slow the experiments down")
    return Check("cores", "ok", finding)


def _memory() -> Check:
    memory = psutil.virtual_memory()
    free, total = memory.available / 2**30, memory.total / 2**30
    finding = f"{free:.1f} of {total:.1f} GiB free"
    if free < MEMORY_MIN_GIB:
        fix = f"One experiment may need up to {MEMORY_MIN_GIB:g} GiB: close something"
        return Check("memory", "warn", finding, fix)
    return Check("memory", "ok", finding)


def _gpu() -> Check:
    from trainer.hardware import nvidia_gpus

    found = trio.run(nvidia_gpus)
    if not isinstance(found, str):
        cards = ", ".join(f"{gpu.name} {gpu.memory_mib / 1024:.0f} GiB" for gpu in found)
        return Check("gpu", "ok", f"{cards}, driver {found[0].driver}")
    if found == "no NVIDIA GPU":
        return Check("gpu", "ok", f"{found}; experiments run on the CPU")
    return Check("gpu", "warn", found, "Run nvidia-smi; a restart often helps")


def _disk(root: Path) -> Check:
    folder = next(path for path in (root, *root.parents) if path.exists())
    free = free_bytes(folder)
    finding = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < FREE_MIN_BYTES:
        return Check("disk", "bad", finding, "Free some space, or set SKEP_HOME to another disk")
    if free < FREE_WARN_BYTES:
        return Check("disk", "warn", finding, "Checkpoints and data of a task need a few GiB")
    return Check("disk", "ok", finding)


def _config(root: Path) -> Check:
    try:
        load(root)
    except SkepError as error:
        return Check("config", "bad", error.what, error.advice)
    return Check(
        "config", "ok", "config.toml is fine" if (root / "config.toml").exists() else "defaults"
    )


def _swarm(root: Path) -> list[Check]:
    try:
        settings = load(root)
    except SkepError:
        return []  # the check of the settings says what is wrong with them
    return trio.run(reach.examine, Home(root), settings, time.time_ns() // 1_000_000)


def _home(root: Path) -> Iterator[Check]:
    home = Home(root)
    if not root.exists():
        yield Check("home", "ok", f"{root} is made by the first `skep join`")
        return
    yield _home_mode(home)
    yield _key(home)
    yield _database(home)
    yield _feed(home)


def _home_mode(home: Home) -> Check:
    mode = stat.S_IMODE(home.root.stat().st_mode)
    if not home.root.is_dir():
        return Check("home", "bad", f"{home.root} is not a folder", "Move it away")
    if not os.access(home.root, os.W_OK | os.X_OK):
        return Check("home", "bad", f"{home.root} cannot be written", "Give this user write access")
    if mode & 0o022:
        finding = f"{home.root} can be written by others (mode {mode:04o})"
        return Check("home", "warn", finding, f"chmod 700 {home.root}")
    return Check("home", "ok", str(home.root))


def _key(home: Home) -> Check:
    if not os.path.lexists(home.identity):
        return Check("key", "ok", "made by the first `skep join`")
    try:
        return Check("key", "ok", f"{Identity.load(home.root).name}, for nobody else to read")
    except SkepError as error:
        return Check("key", "bad", error.what, error.advice)


def _database(home: Home) -> Check:
    """Reads every record, each of which is compared with its hash."""
    try:
        with contextlib.closing(Reader.open(home.database)) as reader:
            ledger = LedgerView(reader)
            count = sum(1 for task in known_tasks(home) for _ in ledger.all_runs(task.id))
            programs = len(ledger.programs())
    except SkepError as error:
        return Check("database", "bad", error.what, error.advice)
    return Check("database", "ok", f"{count} runs of {programs} programs read back")


def _feed(home: Home) -> Check:
    path = home.feed / FEED_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Check("feed", "ok", "made by the first `skep join`")
    except OSError as error:
        return Check("feed", "bad", f"{path}: {error.strerror}", "Give this user access to it")
    entries, used = split_frames(content)
    finding = f"{len(entries)} records, {len(content) / 2**20:.1f} MiB"
    if used < len(content):
        fix = "If no node is writing just now: the next `skep join` cuts what a crash tore off"
        return Check("feed", "warn", f"{finding}, the last one incomplete", fix)
    return Check("feed", "ok", finding)
