"""How often does the keep rule keep an edit that does nothing? Measured on real trainings.

Trains null edits of the seed program (see null_edits.py) with fresh seeds, the first run of each
calibrated and the others at the pace of the one before, as a node does it. Then plays series of
100 null edits through the shipped fold, drawing every screen and every re-run from those measured.

    python scripts/bench/nulls.py FOLDER [--edits 60] [--runs 3] [--budget 8] [--json]
"""

import argparse
import json
import random
import statistics
from pathlib import Path

import trio

from lab import laboratory
from null_edits import null_edits
from skep.evidence import Fold
from skep.ports import TaskFacts
from skep.records import MICRO, Environment, Run, Score, program_id

SERIES = 2000
EDITS_PER_SERIES = 100
BASELINES = 12
FIRST_BASELINES = 3
DRAW = 8_274_619_023


def main() -> None:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edits", type=int, default=60)
    parser.add_argument("--runs", type=int, default=3, help="of each edit, at least 3")
    parser.add_argument("--budget", type=float, default=8.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = trio.run(measure, options)
    print(json.dumps(report, indent=None if options.json else 2))


async def measure(options: argparse.Namespace) -> dict[str, float]:
    """Train everything, then resample."""
    async with laboratory(options.folder, budget_s=options.budget) as lab:
        seed_program = lab.task.facts.seed_program
        edits = null_edits(seed_program, options.edits)
        jobs = [
            (edit, 10_000 + 100 * number + run)
            for run in range(options.runs)
            for number, edit in enumerate(edits)
        ]
        # Among the others, so that both see the same moods of the machine.
        apart = len(jobs) // BASELINES
        for number in range(BASELINES):
            jobs.insert(number * (apart + 1), (seed_program, 1000 + number))
        tell = (lambda line: None) if options.json else (lambda line: print(line, flush=True))
        values = [row[0] if row else None for row in await lab.run_all(jobs, [DRAW], tell)]
        baselines = [v for v in values[:: apart + 1][:BASELINES] if v is not None]
        for number in reversed(range(BASELINES)):
            del values[number * (apart + 1)]
        environment = lab.executor.environment
        facts = lab.task.facts
    failed = sum(value is None for value in values)
    screens, *repeats = [values[i : i + len(edits)] for i in range(0, len(values), len(edits))]
    groups = [[v for v in group if v is not None] for group in zip(*repeats, strict=True)]
    first = [value for value in screens if value is not None]
    pool = [value for group in groups for value in group]
    rng = random.Random(1)
    kept = [series(baselines, first, pool, facts, environment, rng) for _ in range(SERIES)]
    return {
        "null_edits": len(edits),
        "runs": len(values) + BASELINES,
        "failed": failed,
        "mean_baseline": round(statistics.mean(baselines), 5),
        "mean_screen": round(statistics.mean(first), 5),
        "mean_null": round(statistics.mean(pool), 5),
        "sd_baseline": round(statistics.stdev(baselines), 5),
        "sd_screen": round(statistics.stdev(first), 5),
        "sd_null": round(statistics.stdev(pool), 5),
        "F_between_edits": round(f_ratio(groups), 3),
        "series": SERIES,
        "p_any_kept": sum(count > 0 for count in kept) / SERIES,
        "kept_per_edit": sum(kept) / SERIES / EDITS_PER_SERIES,
    }


def series(
    baselines: list[float],
    screens: list[float],
    pool: list[float],
    facts: TaskFacts,
    environment: Environment,
    rng: random.Random,
) -> int:
    """Number of edits kept in one series of nulls, through the shipped fold."""
    start = program_id(facts.seed_program)
    fold = Fold(start=start, direction=facts.direction, sigma_prior=facts.sigma)
    counter = 0

    def add(program: bytes, value: float, parent: bytes | None) -> None:
        nonlocal counter
        counter += 1
        run = made_run(program, value, parent, counter, environment)
        fold.add(counter.to_bytes(32, "big"), run)

    for value in rng.sample(baselines, FIRST_BASELINES):
        add(start, value, None)
    for number in range(EDITS_PER_SERIES):
        program = program_id(f"null {number}")
        add(program, rng.choice(screens), fold.champion)
        while fold.candidates[program].stage == "open":
            if fold.candidates[program].missing:
                add(fold.champion, rng.choice(baselines), None)
            else:
                add(program, rng.choice(pool), fold.champion)
    return sum(c.stage == "kept" for c in fold.candidates.values())


def made_run(
    program: bytes, value: float, parent: bytes | None, seed: int, environment: Environment
) -> Run:
    """A run with one measured value on pinned and common draw."""
    micro = round(value * MICRO)
    return Run(
        program=program,
        parent=parent,
        edits=(),
        strategy="tune" if parent else "baseline",
        seed=seed,
        steps=0,
        tokens=0,
        budget_ms=0,
        spent_ms=0,
        train_ms=0,
        total_ms=0,
        peak_kib=0,
        parameters=0,
        status="done",
        weights=None,
        scores=(Score(0, "dev", micro), Score(DRAW, "dev", micro)),
        rescored=(),
        scored_by="harness",
        environment=environment,
    )


def f_ratio(groups: list[list[float]]) -> float:
    """One-way analysis of variance: about 1 when the edits really are nulls."""
    full = [group for group in groups if len(group) > 1]
    everything = [value for group in full for value in group]
    grand = statistics.mean(everything)
    between = sum(len(g) * (statistics.mean(g) - grand) ** 2 for g in full) / (len(full) - 1)
    within = sum(sum((v - statistics.mean(g)) ** 2 for v in g) for g in full)
    return between / (within / (len(everything) - len(full)))


if __name__ == "__main__":
    main()
