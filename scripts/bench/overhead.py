"""Where an experiment's time goes: real ones on every slot, as a node runs them, and a table.

    scripts/bench/overhead.py FOLDER [--budget 20] [--experiments 4] [--jobs 2] [--strangers]

An experiment is: train the seed program, score it on the pinned draw and on a fresh one, and
re-score three checkpoints of its parent on the fresh one. Every other one is calibrated, as a
screen is; the others go by the one before, as re-runs do. FOLDER keeps the data. Wants an otherwise
idle machine; says how busy the machine was. With --strangers every program is another stranger's,
and gets a sandbox of its own.
"""

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import trio

from lab import laboratory
from skep.ports import Draw, Order, Outcome, Pace, Progress, Subject
from skep.records import MICRO, PINNED_DRAW
from trainer.executors.local import LocalExecutor
from trainer.task import Task

PARENTS = 3


class Row(NamedTuple):
    """Wall-clock seconds of one experiment's parts, and what came out."""

    start: float
    calibrate: float
    train: float
    score: float
    rescore: float
    outcome: Outcome
    val_bpb: float
    paced: bool


async def experiment(
    executor: LocalExecutor,
    task: Task,
    folder: Path,
    slot: int,
    seed: int,
    pace: Pace | None,
    parents: list[Subject],
    strangers: bool,
) -> Row | None:
    """One experiment; its checkpoint becomes a parent of later ones. None if it was void."""
    marks: dict[str, float] = {}

    def report(progress: Progress) -> None:
        marks.setdefault(progress.phase, trio.current_time())

    job = folder / f"job-{seed}"
    job.mkdir(parents=True, exist_ok=True)
    order = Order(
        job=job.name,
        source=task.facts.seed_program + (f"# stranger {seed}\n" if strangers else ""),
        code="stranger" if strangers else "knob",
        seed=seed,
        budget_ms=task.facts.budget_ms,
        steps=None,
        folder=job,
        pace=pace,
    )
    began = trio.current_time()
    outcome = await executor.train(slot, order, report)
    trained = trio.current_time()
    if outcome.status == "void":
        print(f"void: {outcome.reason}; its time is lost")
        return None
    if outcome.checkpoint is None:
        raise SystemExit(f"the seed program ended as {outcome.status}: {outcome.reason}")
    subject = Subject(order.source, outcome.checkpoint, order.code)
    fresh = Draw(1000 + seed)
    [scored] = await executor.score(slot, [subject], [Draw(PINNED_DRAW), fresh], probe=True)
    own = trio.current_time()
    parents.append(Subject(order.source, outcome.checkpoint, "knob"))  # ours by now, if it is good
    await executor.score(slot, (parents * PARENTS)[:PARENTS], [fresh], probe=False)
    return Row(
        start=marks.get("calibrating", marks["training"]) - began,
        calibrate=marks["training"] - marks.get("calibrating", marks["training"]),
        train=trained - marks["training"],
        score=own - trained,
        rescore=trio.current_time() - own,
        outcome=outcome,
        val_bpb=scored.micro[0] / MICRO,
        paced=pace is not None,
    )


async def main(folder: Path, budget_s: float, experiments: int, jobs: int, strangers: bool) -> None:
    """Run everything and print the tables."""
    rows: list[Row] = []
    opened = time.perf_counter()
    async with laboratory(folder, budget_s=budget_s, jobs=jobs) as lab:
        began, node_cpu = time.perf_counter(), time.process_time()

        async def work(slot: int) -> None:
            parents: list[Subject] = []
            pace: Pace | None = None
            for number in range(experiments):
                seed = slot * experiments + number
                row = await experiment(
                    lab.executor, lab.task, folder, slot, seed, pace, parents, strangers
                )
                if row is None:
                    pace = None
                    continue
                pace = None if pace else Pace(row.outcome.steps, row.outcome.spent_ms)
                rows.append(row)
                print_row(row, budget_s)

        async with trio.open_nursery() as nursery:
            for slot in range(jobs):
                nursery.start_soon(work, slot)
        wall = time.perf_counter() - began
        node_cpu = time.process_time() - node_cpu
    print_table(rows, wall * jobs, began - opened)
    print(f"node: {node_cpu / wall:.1%} of a core; load average {os.getloadavg()[0]:.1f}")
    for paced in (False, True):
        print_spread([row for row in rows if row.paced is paced], budget_s)


def print_row(row: Row, budget_s: float) -> None:
    """One line per experiment, as it ends."""
    spent = row.outcome.spent_ms / 1000
    kind = "paced" if row.paced else "calibrated"
    print(
        f"{kind}: {row.outcome.status} {row.outcome.steps} steps, spent {spent:.2f} of "
        f"{budget_s:g} s, train {row.train:.1f} s, val_bpb {row.val_bpb:.4f}",
        flush=True,
    )


def print_table(rows: list[Row], slot_seconds: float, opening: float) -> None:
    """Seconds and shares of the parts; the rest of the slots' time was idle."""
    parts = {name: [getattr(row, name) for row in rows] for name in Row._fields[:5]}
    print(f"\nopening (first worker warm): {opening:.1f} s\n{'part':10} {'mean s':>8} {'share':>7}")
    for name, seconds in parts.items():
        print(f"{name:10} {statistics.mean(seconds):8.2f} {sum(seconds) / slot_seconds:7.1%}")
    busy = sum(sum(parts[name]) for name in ("train", "score", "rescore"))
    idle = slot_seconds - sum(map(sum, parts.values()))
    print(f"{'idle':10} {idle / len(rows):8.2f} {idle / slot_seconds:7.1%}")
    print(f"training or scoring: {busy / slot_seconds:.1%}")


def print_spread(rows: list[Row], budget_s: float) -> None:
    """How well the budgets were met, and the spread of the results over seeds."""
    print("paced:" if rows[0].paced else "calibrated:")
    spent = [row.outcome.spent_ms / 1000 / budget_s for row in rows]
    values = [row.val_bpb for row in rows]
    print(f"spent / budget: mean {statistics.mean(spent):.3f}, highest {max(spent):.3f}")
    print(f"val_bpb: mean {statistics.mean(values):.4f}")
    if len(rows) > 1:
        steps = statistics.stdev(row.outcome.steps for row in rows)
        steps /= statistics.mean(row.outcome.steps for row in rows)
        print(
            f"sd over seeds: {statistics.stdev(spent):.3f} and {statistics.stdev(values):.4f}; "
            f"of the steps {steps:.1%}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--experiments", type=int, default=4, help="on each slot, at least 2")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--strangers", action="store_true")
    given = parser.parse_args()
    trio.run(main, given.folder, given.budget, given.experiments, given.jobs, given.strangers)
