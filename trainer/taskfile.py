"""task.toml: its keys, their types, and what is wrong with one. docs/tasks.md explains each."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from skep.errors import TaskError
from skep.ports import Direction, Knob
from skep.records import ScoredBy

TASK_FILE = "task.toml"
BUDGET_MAX_S = 30 * 24 * 3600.0

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Metric = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,31}$")]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Seconds = Annotated[float, Meta(gt=0, le=BUDGET_MAX_S)]


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What one experiment may use at most.

    Attributes:
        memory_mib: memory of all its processes; 0 leaves it to the machine.
        timeout_s: wall-clock seconds of training, whatever the budget says.
    """

    memory_mib: Annotated[int, Meta(ge=0)] = 0
    timeout_s: Seconds = 1800.0


class KnobEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of `[knobs]`: a `skep.ports.Knob` that refuses keys it does not know."""

    type: Literal["int", "float", "floats"]
    low: float
    high: float


class TaskFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task.toml.

    Attributes:
        name: what people call the task.
        scored_by: `harness`, or `program` for one that prints its own number.
        metric: key of that number.
        direction: whether less or more is better.
        budget_s: training budget; None where the program decides.
        sigma: noise floor before anything was measured, as a fraction of the metric.
        noise: the same in units of the metric, for one that may be zero or change its sign.
        range: lowest and highest number that can be believed, None for any.
        command: how a self-scoring program is run; empty for `python train.py`.
        reads: files and folders outside the pack that it reads; `~` is the user's home.
        deny: constants that no search may touch, besides the usual ones.
        limits: what an experiment may use.
        data: SHA-256 of everything that prepare.py makes or fetches, by name.
        knobs: constants of the seed program that may be set without trust.
    """

    name: Name
    scored_by: ScoredBy = "program"
    metric: Metric = "val_bpb"
    direction: Direction = "min"
    budget_s: Seconds | None = None
    sigma: Annotated[float, Meta(gt=0, lt=1)] = 0.006
    noise: Annotated[float, Meta(gt=0)] | None = None
    range: tuple[float, float] | None = None
    command: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    limits: Limits = Limits()
    data: dict[str, Sha256] = {}
    knobs: dict[str, KnobEntry] = {}

    def meaning(self) -> dict[str, Any]:
        """What makes two tasks different: every key but the label, the places on one's own disk
        and the budget (which can be overridden). A key at its default counts as absent.
        """
        mine, plain = msgspec.to_builtins(self), msgspec.to_builtins(TaskFile(name=self.name))
        ignored = {"name", "reads", "budget_s"}
        return {key: mine[key] for key in mine.keys() - ignored if mine[key] != plain[key]}

    def safe_constants(self) -> dict[str, Knob]:
        """The `[knobs]` table as strategies see it."""
        return {name: Knob(knob.type, knob.low, knob.high) for name, knob in self.knobs.items()}


def read_task_file(path: Path) -> TaskFile:
    """Decode and check a task.toml.

    Raises:
        TaskError: it cannot be read, is not TOML, has an unknown key or a value of a wrong type,
            or its values contradict one another.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        task = msgspec.convert(content, TaskFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise TaskError(f"{path}: {error}", "docs/tasks.md lists keys and types.") from None
    fault = _contradiction(task)
    if fault:
        raise TaskError(f"{path}: {fault}", "docs/tasks.md says what goes together.")
    return task


def _contradiction(task: TaskFile) -> str:
    """What is wrong between the keys, or nothing."""
    if task.range and not task.range[0] < task.range[1]:
        return "`range` must be [low, high]"
    for name, knob in task.knobs.items():
        if not knob.low < knob.high:
            return f"knob {name}: `low` must be below `high`"
    if task.scored_by == "program":
        return "`budget_s` is for harness-scored tasks" if task.budget_s is not None else ""
    if task.command or task.reads or task.range:
        return "`command`, `range` and `reads` are for tasks that their own program scores"
    if (task.metric, task.direction) != ("val_bpb", "min"):
        return "the harness scores `val_bpb`, direction `min`, and nothing else"
    if task.budget_s is None:
        return "a harness-scored task needs `budget_s`"
    return ""
