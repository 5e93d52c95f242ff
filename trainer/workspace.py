"""Programs that train and score themselves: run one in a sandbox and read what it prints.

The checkout is mounted read-only, without its hidden files; the program gets a copy of it in the
sandbox's own scratch memory, with its train.py replaced, so that nothing it writes reaches this
machine. What it prints is its own word, and recorded as such.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from skep.ports import Order, Outcome
from skep.records import MICRO
from trainer.block import read_block
from trainer.log import Log
from trainer.meter import Ended, Limits
from trainer.outcome import REASON_CHARACTERS, Said, failure
from trainer.phases import ENVIRONMENT
from trainer.sandbox import Mount, installation
from trainer.slot import Slot
from trainer.task import SEED_FILE, Task

CHECKOUT, DATA = "/skep/checkout", "/skep/data"
LEFT_OUT = frozenset({"__pycache__", SEED_FILE})
PROCESSES_MAX = 4096
"""Compilers and data loaders start a process or thread for every core."""
FILE_MAX_BYTES = 4 << 30
COUNT_MAX = 1 << 53


async def run_self_scored(task: Task, slot: Slot, order: Order, log: Log) -> Outcome:
    """Run a task's command on a program, in a sandbox of its own.

    Args:
        task: a self-scored one.
        slot: where to run it.
        order: the program and its seed.
        log: takes up what it prints.

    Raises:
        TrainerFault: a helper process of ours failed.
    """
    entries = [
        Mount(path, f"{CHECKOUT}/{path.name}")
        for path in sorted(task.folder.iterdir())
        if not path.name.startswith(".") and path.name not in LEFT_OUT
    ]
    reads = [Mount(path, str(path)) for path in task.reads]
    data = [Mount(task.data, DATA)] if task.prepares else []
    tools = [Mount(path, str(path)) for path in interpreter_folders(Path(task.command[0]))]
    said = Said()
    async with slot.bare_worker([*entries, *reads, *data, *tools]) as worker:
        work = {
            "argv": list(task.command),
            "entries": [worker.path(mount) for mount in entries],
            "program": {SEED_FILE: order.source},
            "home": {_below_home(mount.source): worker.path(mount) for mount in reads},
            "env": _environment(task, order, [worker.path(mount) for mount in data]),
        }
        limits = Limits(
            cpu=math.inf,
            wall=task.limits.timeout_s,
            memory=task.limits.memory_mib << 20,
            file=FILE_MAX_BYTES,
            processes=PROCESSES_MAX,
        )
        ended = await worker.run(
            "command", work, [], limits=limits, probe_s=0.0, handle=said.hear, log=log
        )
    return _read(task, ended, said, log)


def _environment(task: Task, order: Order, data: Sequence[str]) -> dict[str, str]:
    """What docs/tasks.md promises the program, and what any program needs."""
    env = {name: ENVIRONMENT[name] for name in ("LANG", "USER")}
    env["PATH"] = f"{Path(task.command[0]).parent}:{ENVIRONMENT['PATH']}"
    env["SKEP_SEED"] = str(order.seed)
    for folder in data:
        env["SKEP_DATA"] = folder
    return env


def _read(task: Task, ended: Ended, said: Said, log: Log) -> Outcome:
    """The outcome of a program that ended, by what it printed."""
    block = read_block(log.text, task.facts.metric, task.believable)
    fault = failure(ended, said, complete=True)
    if block.value is None and (not fault or fault[0] == "crash"):
        last = log.tail.splitlines()[-1:] or ["it printed no result"]
        fault = block.status, last[0][:REASON_CHARACTERS]
    numbers = block.numbers
    wall_ms = round(ended.wall * 1000)
    status, reason = fault or ("done", "")
    return Outcome(
        status=status,
        reason=reason,
        steps=_count(numbers, "num_steps"),
        tokens=_count(numbers, "total_tokens_M", 1e6),
        spent_ms=wall_ms,
        train_ms=_count(numbers, "training_seconds", 1e3) or wall_ms,
        peak_kib=_count(numbers, "peak_vram_mb", 1024) or ended.peak >> 10,
        parameters=_count(numbers, "num_params_M", 1e6),
        log_tail=log.tail,
        own_micro=round(block.value * MICRO) if block.value is not None and not fault else None,
    )


def _count(numbers: Mapping[str, float], key: str, unit: float = 1) -> int:
    """A number of the block as a count, 0 where it is missing or makes no sense."""
    value = numbers.get(key, 0.0) * unit
    return round(value) if 0 <= value <= COUNT_MAX else 0


def _below_home(path: Path) -> str:
    """Where a program that looks in its home expects a path of the user's; empty if elsewhere."""
    home = Path.home()
    return str(path.relative_to(home)) if path.is_relative_to(home) else ""


def interpreter_folders(program: Path) -> list[Path]:
    """The virtual environment of an interpreter and the Python it was made from, if it is one."""
    environment = program.parent.parent
    settings = environment / "pyvenv.cfg"
    if not settings.is_file():
        return []
    pairs = (line.partition("=") for line in settings.read_text().splitlines())
    homes = [Path(value.strip()) for key, _, value in pairs if key.strip() == "home"]
    made_from = [*(home.resolve().parent for home in homes), program.resolve().parent.parent]
    folders = [folder for prefix in made_from for folder in installation(prefix)]
    return list(dict.fromkeys([environment, *folders]))
