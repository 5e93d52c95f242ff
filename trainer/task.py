"""A task: what is optimised, how it is scored, and the id under which results may be compared.

`load` finds one by name among the packs shipped here, or by path:

- a pack of the user's own: `task.toml`, `train.py` and, if it is scored by the harness or needs
  data made, `prepare.py`;
- an unmodified checkout of karpathy/autoresearch or of a fork: `prepare.py` and `train.py`
  without a `task.toml`; it is scored by its own program.

Nothing of a pack is imported or run in this process; `prepare` makes its data in a child.
"""

import ast
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from skep.errors import TaskError
from skep.ports import TaskFacts
from trainer import preparation, program
from trainer.taskfile import BUDGET_MAX_S, TASK_FILE, Limits, TaskFile, read_task_file

PACKS = Path(__file__).parent / "tasks"
SEED_FILE = "train.py"
PREPARE_FILE = "prepare.py"
PREPARE_FUNCTIONS = {"prepare", "meta", "train_tokens", "validation"}
SEED_FUNCTIONS = {"build_model", "train"}
CHECKOUT_DATA = Path("~/.cache/autoresearch")
CHECKOUT_SIGMA = 0.0006
"""Seeds of one program on a GPU differ by about 0.0006 of val_bpb."""

ID_PREFIX = "skep/task/1"


class Task(Struct, frozen=True, kw_only=True):
    """Everything the trainer needs to know of a task.

    Attributes:
        facts: what the rest of the node knows; `facts.seed_program` is where the search starts.
        folder: the pack; read only.
        data: folder for the prepared data; made by `prepare`.
        prepares: whether prepare.py has a `prepare(data, report)` that makes the data.
        manifest: SHA-256 (hex) of what it must make, by name.
        limits: what one experiment may use.
        command: how a self-scoring program is run, in a copy of the folder with its train.py
            replaced; empty for harness-scored tasks.
        reads: existing files and folders outside the pack that a self-scoring program reads.
        believable: lowest and highest value of the metric that a self-scoring program may print.
    """

    facts: TaskFacts
    folder: Path
    data: Path
    prepares: bool
    manifest: Mapping[str, str]
    limits: Limits
    command: tuple[str, ...] = ()
    reads: tuple[Path, ...] = ()
    believable: tuple[float, float] = (-math.inf, math.inf)


def pack_names() -> list[str]:
    """Names of the packs that come with this installation."""
    return sorted(path.parent.name for path in PACKS.glob(f"*/{TASK_FILE}"))


def load(
    name_or_path: str,
    *,
    home: Path,
    budget_s: float | None = None,
    start_program: Path | None = None,
) -> Task:
    """Read a task and check that its parts fit together.

    Args:
        name_or_path: a shipped pack, or a folder.
        home: the node's home folder; prepared data goes to `tasks/` in it.
        budget_s: training budget in place of the task's own; makes another task id.
        start_program: the search starts from this file in place of the pack's train.py; the task
            id stays, because results remain comparable.

    Raises:
        TaskError: there is no such task, or something in it is missing or wrong.
    """
    folder = _find(name_or_path)
    task_file = _task_file(folder)
    seed = _read(folder / SEED_FILE)
    start = _read(start_program) if start_program else seed
    tree = program.parse(seed, str(folder / SEED_FILE))
    start_tree = program.parse(start, str(start_program)) if start_program else tree
    fixed = _fixed_files(folder)
    prepare_tree = program.parse(fixed.get(PREPARE_FILE, ""), str(folder / PREPARE_FILE))
    _check_knobs(task_file, tree, folder)
    if task_file.scored_by == "harness":
        _check_functions(prepare_tree, PREPARE_FUNCTIONS, folder / PREPARE_FILE)
        _check_functions(tree, SEED_FUNCTIONS, folder / SEED_FILE)
        _check_functions(start_tree, SEED_FUNCTIONS, start_program or folder / SEED_FILE)
    budget_ms = _budget_ms(task_file, budget_s)
    own = task_file.scored_by == "program"
    return Task(
        facts=TaskFacts(
            name=task_file.name,
            id=_task_id(task_file, fixed, seed, budget_ms),
            metric=task_file.metric,
            direction=task_file.direction,
            scored_by=task_file.scored_by,
            budget_ms=budget_ms,
            sigma=task_file.sigma,
            noise=task_file.noise,
            seed_program=start,
            deny=_deny(task_file, tree, start_tree),
            knob_program=seed if folder.parent == PACKS else "",
            knobs=task_file.safe_constants(),
        ),
        folder=folder,
        data=home / "tasks" / _digest([fixed, task_file.data]).hex()[:16],
        prepares=_has_task_file(folder) and "prepare" in program.functions(prepare_tree),
        manifest=task_file.data,
        limits=task_file.limits,
        command=_command(task_file, folder) if own else (),
        reads=_reads(task_file, folder) if own else (),
        believable=task_file.range or (-math.inf, math.inf),
    )


def is_prepared(task: Task) -> bool:
    """Whether there is no data left to make before the task can run."""
    return not task.prepares or preparation.is_made(task.data)


async def prepare(task: Task, report: Callable[[str], None]) -> None:
    """Make the task's data unless that is done; `report` is told what goes on, line by line.

    Raises:
        TaskError: prepare.py failed, with its last line, or the folder is unusable.
    """
    if not is_prepared(task):
        await preparation.make(task.folder / PREPARE_FILE, task.data, report)


def _find(name_or_path: str) -> Path:
    if name_or_path in pack_names():
        return PACKS / name_or_path
    folder = Path(name_or_path).expanduser().absolute()
    if not folder.is_dir():
        raise TaskError(
            f"there is no task or folder {name_or_path}",
            f"Give the path of a task, or one of: {', '.join(pack_names())}.",
        )
    if not (folder / SEED_FILE).is_file():
        raise TaskError(
            f"{folder} has no {SEED_FILE}",
            "A task is a folder with the program that experiments edit; see docs/tasks.md.",
        )
    return folder


def _has_task_file(folder: Path) -> bool:
    return (folder / TASK_FILE).is_file()


def _task_file(folder: Path) -> TaskFile:
    """task.toml, or what stands for it in a checkout that has none."""
    if _has_task_file(folder):
        return read_task_file(folder / TASK_FILE)
    if not (folder / PREPARE_FILE).is_file():
        raise TaskError(
            f"{folder} has neither {TASK_FILE} nor {PREPARE_FILE}",
            "Write a task.toml (docs/tasks.md has one of ten lines), or point at a checkout of "
            "autoresearch.",
        )
    label = re.sub("[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:32].strip("-")
    reads = (str(CHECKOUT_DATA),) if CHECKOUT_DATA.expanduser().exists() else ()
    return TaskFile(name=label or "autoresearch", sigma=CHECKOUT_SIGMA, reads=reads)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read: {error}", "It must be a UTF-8 file.") from None


def _fixed_files(folder: Path) -> dict[str, str]:
    """Every Python file of the pack that experiments do not edit, by name.

    Of a checkout without task.toml only prepare.py: it may hold anything besides.
    """
    pattern = "*.py" if _has_task_file(folder) else PREPARE_FILE
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    return {path.name: _read(path) for path in paths if path.name != SEED_FILE}


def _check_knobs(task_file: TaskFile, tree: ast.Module, folder: Path) -> None:
    constants = program.constants(tree)
    for name, knob in task_file.knobs.items():
        if name not in constants:
            fault = f"knob {name} names no constant of {SEED_FILE}"
        elif (kind := _kind(constants[name])) != knob.type:
            fault = f"knob {name} is declared {knob.type}, but {SEED_FILE} has {kind}"
        elif not _within(constants[name], knob.low, knob.high):
            fault = f"knob {name}: its value in {SEED_FILE} is out of range"
        elif name in task_file.deny or name in program.denied(tree):
            fault = f"knob {name} is denied to every search"
        else:
            continue
        raise TaskError(f"{folder / TASK_FILE}: {fault}", "Correct the [knobs] table.")


def _kind(value: program.Constant) -> str:
    return "floats" if isinstance(value, tuple) else type(value).__name__


def _within(value: program.Constant, low: float, high: float) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return all(low <= item <= high for item in items)


def _check_functions(tree: ast.Module, needed: set[str], path: Path) -> None:
    missing = sorted(needed - program.functions(tree))
    if missing:
        raise TaskError(
            f"{path} does not define {', '.join(missing)}",
            "A harness-scored task needs the functions in docs/tasks.md.",
        )


def _budget_ms(task_file: TaskFile, override_s: float | None) -> int:
    if override_s is None:
        return round((task_file.budget_s or 0) * 1000)
    if task_file.scored_by == "program":
        raise TaskError(
            f"{task_file.name} decides by itself how long it trains",
            "Leave the budget out, or change it in the task's own program.",
        )
    if not 0.001 <= override_s <= BUDGET_MAX_S:
        raise TaskError(
            f"a budget of {override_s:g} seconds makes no sense",
            "Give a number of seconds above 0.",
        )
    return round(override_s * 1000)


def _deny(task_file: TaskFile, *trees: ast.Module) -> tuple[str, ...]:
    usual = {name for tree in trees for name in program.denied(tree)}
    return tuple(sorted({*task_file.deny, *usual, *program.DENIED_NAMES}))


def _task_id(task_file: TaskFile, fixed: dict[str, str], seed: str, budget_ms: int) -> bytes:
    return _digest([ID_PREFIX, fixed, seed, task_file.meaning(), budget_ms])


def _digest(content: Any) -> bytes:
    """SHA-256 of the one JSON text of a value: keys sorted, no blanks, ASCII."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()


def _command(task_file: TaskFile, folder: Path) -> tuple[str, ...]:
    """The command, with the task's own interpreter (or else ours) for a leading `python`."""
    command = task_file.command or ("python", SEED_FILE)
    if command[0] != "python":
        return command
    own = folder / ".venv" / "bin" / "python"
    return (str(own) if own.exists() else sys.executable, *command[1:])


def _reads(task_file: TaskFile, folder: Path) -> tuple[Path, ...]:
    paths = [Path(text).expanduser() for text in task_file.reads]
    for path in paths:
        if not (path.is_absolute() and path.exists()):
            raise TaskError(
                f"{folder / TASK_FILE}: `reads` names {path}, which is not there",
                "Give absolute paths of existing files, or make the data first.",
            )
    return tuple(paths)
