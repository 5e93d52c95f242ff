"""`skep reproduce`: train a recorded run again, with its seed and step count, and compare.

The same program, seed, steps and platform give the same weights to the last bit; so this is an
exact check of a record's honesty. It is no evidence for an improvement and is not recorded.
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from gossip.jobs import job_of
from node.cli.consent import OwnFlag, consent
from node.cli.output import AsJson, TaskName, emit, number, say, short
from node.cli.reading import Reading, reading
from node.cli.show import Ident
from node.config import Settings, home_folder, load
from node.experiment import value_of
from node.provenance import Provenance
from skep.errors import ConfigError
from skep.ports import Code, Draw, Order, Outcome, Subject, TaskFacts
from skep.records import MICRO, PINNED_DRAW, Run
from skep.tier import platform_id
from trainer.policy import Consent

if TYPE_CHECKING:
    from node.app import Node

EXIT_DIFFERENT = 1


class Recorded(Struct, frozen=True):
    """The run to be reproduced."""

    id: bytes
    task: bytes
    run: Run
    source: str


class Comparison(Struct, frozen=True, kw_only=True):
    """What came of training it again.

    Attributes:
        status: how the new training ended.
        reason: why, where it did not end well.
        same_platform: whether bit-equality was to be expected at all.
        identical: equal weights; for tasks that score themselves, equal scores.
        value: the new score on the pinned draw, in units of the metric.
    """

    status: str
    reason: str
    same_platform: bool
    identical: bool
    value: float | None


async def reproduce(
    ident: Ident,
    /,
    *,
    task: TaskName = None,
    device: str | None = None,
    json: AsJson = False,
    unsandboxed_own_code: OwnFlag = False,
) -> int:
    """Train a run again with its seed and its steps, and compare the weights bit by bit.

    No node may be running on the home. Exits with 1 if the result differs.

    Args:
        ident: id of a run, or of a program (its first finished run is taken).
        task: name or path of the run's task, if it does not come with Skep.
        device: auto, cpu, cuda, cuda:N or mps.
        json: print a JSON object.
        unsandboxed_own_code: as for `skep join`.
    """
    with reading() as home:
        recorded = _find(home, ident)
        known = next((facts for facts in home.tasks if facts.id == recorded.task), None)
    with tempfile.TemporaryDirectory(prefix="skep-") as folder:
        settings = _settings(recorded, known, Path(folder), task, device)
        answered = consent(unsandboxed_own_code, None)
        result = await _train_again(settings, answered, recorded)
    if json:
        emit(_document(recorded, result))
    else:
        _print(recorded, result)
    return 0 if result.identical else EXIT_DIFFERENT


def _find(home: Reading, ident: str) -> Recorded:
    found = home.resolve(ident)
    if found in home.ledger.programs():
        runs = (pair for task in home.tasks for pair in home.ledger.runs(task.id))
        mine = (run_id for run_id, run in runs if run.program == found and run.status == "done")
        first = next(mine, None)
        if first is None:
            raise ConfigError(
                f"program {short(found)} has no finished run here", "See `skep runs`."
            )
        found = first
    run = home.run(found)
    if run.status != "done":
        raise ConfigError(
            f"run {short(found)} ended with {run.status}", "Choose one that finished."
        )
    task = home.ledger.record(found).record.task
    return Recorded(found, task, run, home.source(run.program))


def _settings(
    recorded: Recorded, known: TaskFacts | None, folder: Path, task: str | None, device: str | None
) -> Settings:
    """The user's settings, with task, budget and start program as the home last had them.

    Args:
        recorded: the run.
        known: facts of its task, if the home remembers them.
        folder: an empty folder, for the start program.
        task, device: flags of the command line.

    Raises:
        ConfigError: that is not the task the run was made with.
    """
    from trainer.task import load as load_task
    from trainer.task import pack_names

    name = known.name if known else "unknown"
    if task is None and name not in pack_names():
        raise ConfigError(
            f"run {short(recorded.id)} belongs to the task {name}, which does not come with Skep",
            "Say where it is: --task PATH.",
        )
    flags: dict[str, Any] = {"task": task or name, "device": device, "jobs": 1}
    if known is not None and known.scored_by == "harness":
        flags["budget"] = known.budget_ms / 1000
    settings = load(home_folder(), flags)
    found = load_task(settings.task, home=settings.home, budget_s=flags.get("budget"))
    if found.facts.id != recorded.task:
        raise ConfigError(
            f"run {short(recorded.id)} was made with another task than {settings.task} is now",
            "Give the folder it was made with: --task PATH.",
        )
    if known is None:
        return settings
    program = folder / "train.py"
    program.write_text(known.seed_program, encoding="utf-8")
    return replace(settings, program=program)


async def _train_again(settings: Settings, given: Consent, recorded: Recorded) -> Comparison:
    # Loading the trainer takes longer than finding the run.
    from node.app import open_node

    async with open_node(settings, given, lambda line: None) as node:
        run, job = recorded.run, f"{job_of(recorded.task, recorded.run)}-again"
        folder = Path(tempfile.mkdtemp(prefix=job, dir=node.home.cache))
        code = _code(node, recorded)
        order = Order(
            job=job,
            source=recorded.source,
            code=code,
            seed=run.seed,
            budget_ms=run.budget_ms,
            steps=run.steps or None,
            folder=folder,
        )
        try:
            outcome = await node.executor.train(0, order, lambda progress: None)
            value = await _score(node, recorded.source, code, outcome)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        here = platform_id(node.executor.environment)
    if run.scored_by == "program":
        identical = value is not None and value == value_of(run)
    else:
        identical = outcome.weights is not None and outcome.weights == run.weights
    return Comparison(
        status=outcome.status,
        reason=outcome.reason,
        same_platform=platform_id(run.environment) == here,
        identical=identical,
        value=value,
    )


def _code(node: "Node", recorded: Recorded) -> Code:
    """Whose text it is, by the own runs; what never ran here is a stranger's."""
    programs = node.ledger.programs()

    def text(program: bytes) -> str | None:
        known = programs.get(program)
        return known.source if known else None

    runs = (run for _, run in node.ledger.runs(recorded.task))
    return Provenance(node.task.facts, text, runs).code_of(recorded.source)


async def _score(node: "Node", source: str, code: Code, outcome: Outcome) -> float | None:
    if outcome.own_micro is not None:
        return outcome.own_micro / MICRO
    if outcome.checkpoint is None:
        return None
    subject = Subject(source, outcome.checkpoint, code)
    (scored,) = await node.executor.score(0, [subject], [Draw(PINNED_DRAW)], probe=True)
    return None if scored.fault else scored.micro[0] / MICRO


def _document(recorded: Recorded, result: Comparison) -> dict[str, Any]:
    return {
        "run": recorded.id.hex(),
        "status": result.status,
        "reason": result.reason,
        "identical": result.identical,
        "same_platform": result.same_platform,
        "recorded_value": value_of(recorded.run),
        "value": result.value,
    }


def _print(recorded: Recorded, result: Comparison) -> None:
    before = value_of(recorded.run)
    if result.status != "done":
        say(f"run {short(recorded.id)} did not finish again: {result.status}: {result.reason}")
    elif result.identical:
        say(f"run {short(recorded.id)} is bit-identical: {number(before, '.6f')}")
    else:
        off = None if before is None or result.value is None else result.value - before
        numbers = f"{number(before, '.6f')} was recorded, now {number(result.value, '.6f')}"
        say(f"run {short(recorded.id)} differs: {numbers} ({number(off, '+.6f')})")
        if not result.same_platform:
            say("it was made on another platform, where equal bits are not to be expected")
