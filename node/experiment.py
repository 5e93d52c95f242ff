"""One experiment from job to run: train, draw, score, and put the numbers into a `Run`.

The draw a candidate is compared on is taken from the operating system's randomness only after its
training has ended, so nothing can be fitted to it; earlier runs of its parent are re-scored on
that same draw from their kept checkpoints, never retrained. What to run is `node.plan`'s decision
and what the numbers mean is `skep.evidence`'s.
"""

import json
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from gossip.jobs import Job, job_of
from skep.errors import HomeError
from skep.evidence import Research
from skep.ports import Draw, Executor, Order, Outcome, Progress, Subject, TaskFacts
from skep.records import MICRO, PINNED_DRAW, Environment, Rescore, Run, Score, Status

SCREEN_PARENTS = 3
"""Parent runs that a screening run is compared with; more would cost more than they tell."""

RERUN_PARENTS = 6
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


class Plan(Struct, frozen=True):
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


def fresh_draw() -> Draw:
    """A draw nobody could have known before."""
    return Draw(secrets.randbits(63) + 1)


def scoring_plan(job: Job, research: Research, parents: Sequence[Parent]) -> Plan:
    """Which draws and which earlier runs a finished training has to be scored with.

    Args:
        job: the experiment.
        research: state of the own research at the end of the training.
        parents: re-scorable runs of the program it is compared with, latest last.
    """
    if job.purpose == "screen":
        return Plan((fresh_draw(),), tuple(parents[-SCREEN_PARENTS:]))
    if job.purpose == "rerun":
        known = research.candidates.get(job.program)
        draw = Draw(known.draw) if known and known.draw is not None else fresh_draw()
        return Plan((draw,), tuple(parents[-RERUN_PARENTS:]))
    waiting = [c for c in research.candidates.values() if c.stage == "open"]
    return Plan(tuple(Draw(c.draw) for c in waiting if c.draw is not None), ())


async def train(
    bench: Bench, slot: int, job: Job, source: str, report: Callable[[Progress], None]
) -> Outcome:
    """Train one job in its own, new folder, and leave program, log and curve there.

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
            seed=job.seed,
            budget_ms=bench.task.budget_ms,
            steps=None,
            folder=folder,
        )
        outcome = await bench.executor.train(slot, order, report)
        (folder / "curve.json").write_text(json.dumps(outcome.curve))
        (folder / "log.txt").write_text(outcome.log_tail)
    except OSError as error:
        raise HomeError(
            f"cannot write {folder}: {error.strerror or error}",
            "Free some space or fix the permissions; nothing recorded is lost.",
        ) from error
    return outcome


async def measure(
    bench: Bench, slot: int, job: Job, source: str, outcome: Outcome, plan: Plan, started: float
) -> Run:
    """Score a finished training and make the run of it.

    Args:
        outcome: how the training ended; anything but `done` is recorded without scores.
        plan: what to score it on.
        started: `time.monotonic()` at the start of the experiment.
    """
    status, reason = outcome.status, outcome.reason
    scores: tuple[Score, ...] = ()
    rescored: tuple[Rescore, ...] = ()
    if status == "done" and bench.task.scored_by == "program":
        assert outcome.own_micro is not None  # noqa: S101 - the executor's contract
        scores = (Score(PINNED_DRAW, "dev", outcome.own_micro),)
    elif status == "done":
        assert outcome.checkpoint is not None  # noqa: S101 - the executor's contract
        own = Subject(source, outcome.checkpoint)
        draws = (Draw(PINNED_DRAW), *plan.draws)
        (result,) = await bench.executor.score(slot, [own], draws)
        if result.fault:
            status, reason = _fault_status(result.fault), result.fault
        else:
            pairs = zip(draws, result.micro, strict=True)
            scores = tuple(Score(draw.seed, draw.split, micro) for draw, micro in pairs)
            rescored = await _rescore(bench, slot, plan)
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
        status=status,
        weights=outcome.weights,
        scores=scores,
        rescored=rescored,
        scored_by=bench.task.scored_by,
        environment=bench.environment,
        note=printable(job.note if status == "done" else reason),
    )


async def _rescore(bench: Bench, slot: int, plan: Plan) -> tuple[Rescore, ...]:
    """Scores of the parents on the candidate's own draw; a parent that fails is left out."""
    if not plan.parents:
        return ()
    draw = plan.draws[-1]
    subjects = [Subject(parent.source, parent.checkpoint) for parent in plan.parents]
    results = await bench.executor.score(slot, subjects, [draw])
    return tuple(
        Rescore(parent.run, draw.seed, draw.split, result.micro[0])
        for parent, result in zip(plan.parents, results, strict=True)
        if not result.fault
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
