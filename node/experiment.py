"""One experiment from job to run: train, draw, score, and put the numbers into a `Run`.

The draw a candidate is compared on is taken from the operating system's randomness only after its
training has ended, so nothing can be fitted to it; earlier runs of its parent are re-scored on
that same draw from their kept checkpoints, never retrained. What to run is `node.plan`'s decision
and what the numbers mean is `skep.evidence`'s.
"""

import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from gossip.jobs import Job, job_of
from skep.errors import HomeError
from skep.ports import Code, Draw, Executor, Order, Outcome, Pace, Progress, Subject, TaskFacts
from skep.records import (
    HARNESS_MICRO_MAX,
    MICRO,
    PINNED_DRAW,
    PROGRAM_MICRO_MAX,
    Environment,
    Rescore,
    Run,
    Score,
    Split,
    Status,
)

NOTE_MAX = 280
NAN_FAULT = "not finite"
CHECKPOINT_NAME = "checkpoint.safetensors"


class Bench(Struct, frozen=True):
    """What every experiment of a node shares.

    Attributes:
        task: facts of the task.
        executor: runs and scores programs.
        folder: `runs/` of the home; each job has its own folder below it.
        environment: the machine, as it goes into every run.
    """

    task: TaskFacts
    executor: Executor
    folder: Path
    environment: Environment


class Parent(Struct, frozen=True):
    """An earlier run of the program that a candidate is compared with."""

    run: bytes
    source: str
    checkpoint: Path
    code: Code


class Scoring(Struct, frozen=True):
    """What one finished training is scored on.

    Attributes:
        draws: own draws besides the pinned one.
        parents: earlier runs that are re-scored on the last of those draws.
    """

    draws: tuple[Draw, ...]
    parents: tuple[Parent, ...]


def checkpoint_path(bench: Bench, run: Run) -> Path:
    """Where the checkpoint of a run lies as long as it is kept."""
    return bench.folder / job_of(bench.task.id, run) / CHECKPOINT_NAME


def fresh_draw(split: Split = "dev") -> Draw:
    """A draw nobody could have known before."""
    return Draw(secrets.randbits(63) + 1, split)


async def train(
    bench: Bench,
    slot: int,
    job: Job,
    source: str,
    code: Code,
    pace: Pace | None,
    report: Callable[[Progress], None],
) -> Outcome:
    """Train one job in its own, new folder; the executor leaves log and curve there.

    Args:
        code: whose text the program is.
        pace: what an earlier run of the program cost; None lets a calibration find out.
        report: is told a few times a second how it goes.

    Raises:
        HomeError: the folder cannot be written.
        TrainerFault: our own helpers failed; the job may be repeated.
    """
    folder = bench.folder / job.name
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "program.py").write_text(source)
        order = Order(
            job=job.name,
            source=source,
            code=code,
            seed=job.seed,
            budget_ms=bench.task.budget_ms,
            steps=None,
            folder=folder,
            pace=pace,
        )
        return await bench.executor.train(slot, order, report)
    except OSError as error:
        raise HomeError(
            f"cannot write {folder}: {error.strerror or error}",
            "Free some space or fix the permissions; nothing recorded is lost.",
        ) from error


async def measure(
    bench: Bench,
    slot: int,
    job: Job,
    source: str,
    code: Code,
    outcome: Outcome,
    scoring: Scoring,
    started: float,
) -> Run:
    """Score a finished training and make the run of it.

    Args:
        code: whose text the program is.
        outcome: how the training ended; anything but `done` is recorded without scores.
        scoring: what to score it on.
        started: `time.monotonic()` at the start of the experiment.
    """
    marks = _Marks(outcome.status, outcome.reason)
    if outcome.status == "done" and bench.task.scored_by == "program":
        marks = _own_mark(outcome)
    elif outcome.status == "done":
        assert outcome.checkpoint is not None  # noqa: S101 - the executor's contract
        own = Subject(source, outcome.checkpoint, code)
        marks = await _mark(bench, slot, own, scoring)
    return Run(
        program=job.program,
        parent=job.parent,
        edits=job.edits,
        strategy=job.strategy,
        seed=job.seed,
        steps=outcome.steps,
        tokens=outcome.tokens,
        budget_ms=bench.task.budget_ms,
        spent_ms=outcome.spent_ms,
        train_ms=outcome.train_ms,
        total_ms=round((time.monotonic() - started) * 1000),
        peak_kib=outcome.peak_kib,
        parameters=outcome.parameters,
        status=marks.status,
        weights=outcome.weights,
        scores=marks.scores,
        rescored=marks.rescored,
        scored_by=bench.task.scored_by,
        environment=bench.environment,
        claim=job.claim,
        note=printable(job.note if marks.status == "done" else marks.reason),
    )


class _Marks(Struct, frozen=True):
    """How a run ends, and what it scored."""

    status: Status
    reason: str = ""
    scores: tuple[Score, ...] = ()
    rescored: tuple[Rescore, ...] = ()


def _own_mark(outcome: Outcome) -> _Marks:
    """The number that a program of a task without a scorer gave itself."""
    assert outcome.own_micro is not None  # noqa: S101 - the executor's contract
    if abs(outcome.own_micro) > PROGRAM_MICRO_MAX:
        return _Marks("nan", "it printed a number beyond all bounds")
    return _Marks("done", "", (Score(PINNED_DRAW, "dev", outcome.own_micro),))


async def _mark(bench: Bench, slot: int, own: Subject, scoring: Scoring) -> _Marks:
    draws = (Draw(PINNED_DRAW), *scoring.draws)
    (result,) = await bench.executor.score(slot, [own], draws, probe=True)
    if result.fault:
        return _Marks(_fault_status(result.fault), result.fault)
    if not all(0 < micro <= HARNESS_MICRO_MAX for micro in result.micro):
        return _Marks("nan", "the model is worse than 32 bits per byte")
    pairs = zip(draws, result.micro, strict=True)
    scores = tuple(Score(draw.seed, draw.split, micro) for draw, micro in pairs)
    return _Marks("done", "", scores, await _rescore(bench, slot, scoring))


async def _rescore(bench: Bench, slot: int, scoring: Scoring) -> tuple[Rescore, ...]:
    """Scores of the parents on the candidate's own draw; a parent that fails is left out."""
    if not scoring.parents:
        return ()
    draw = scoring.draws[-1]
    subjects = [
        Subject(parent.source, parent.checkpoint, parent.code) for parent in scoring.parents
    ]
    # They were probed when they were candidates.
    results = await bench.executor.score(slot, subjects, [draw], probe=False)
    return tuple(
        Rescore(parent.run, draw.seed, draw.split, result.micro[0])
        for parent, result in zip(scoring.parents, results, strict=True)
        if not result.fault and 0 < result.micro[0] <= HARNESS_MICRO_MAX
    )


def _fault_status(fault: str) -> Status:
    return "nan" if NAN_FAULT in fault else "crash"


def printable(text: str) -> str:
    """One line of printable text, as a record may carry it."""
    line = " ".join(text.split())
    return "".join(c for c in line if c.isprintable())[:NOTE_MAX]


def value_of(run: Run) -> float | None:
    """A run's score on the pinned draw, in units of the metric; None without one."""
    for score in run.scores:
        if score.draw == PINNED_DRAW:
            return score.micro / MICRO
    return None
