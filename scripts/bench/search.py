"""The shipped constants search against Optuna's TPE on the real `stories` task, one run a trial.

Every method searches from the seed program with several seeds. What it would choose after half
the trials and after all is trained again with fresh seeds and scored on fresh draws, the same
ones for everybody; those scores alone are compared, by a bootstrap over searches and seeds.

    python scripts/bench/search.py FOLDER [--methods tune "tpe 1.7x"] [--seeds 5] [--first 0]
        [--trials 60] [--judges 8] [--budget 8]

Resumable: FOLDER keeps every run. `--json` prints the report alone, as one line. Takes about three
hours on two cores.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trio
from msgspec import Struct

from lab import Laboratory, laboratory
from searchers import Searcher, TpeSearcher, TuneSearcher
from skep.ports import TaskFacts
from skep.records import PINNED_DRAW

METHODS: dict[str, Callable[[TaskFacts, float, int], Searcher]] = {
    "tune": TuneSearcher,
    "tpe 1.7x": lambda facts, sigma, seed: TpeSearcher(facts, math.log2(1.7), seed),
    "tpe 4x": lambda facts, sigma, seed: TpeSearcher(facts, 2.0, seed),
}
TYPICAL_VALUE = 2.0
"""val_bpb of a small program, to turn the task's relative noise into its units."""

RESAMPLES = 10_000
CONFIDENCE = 0.95


class Study(Struct, frozen=True):
    """One search: a method and a seed."""

    method: str
    seed: int


class Chosen(Struct, frozen=True):
    """What a search would choose after so many trials."""

    study: Study
    trials: int
    source: str


async def search(
    lab: Laboratory, slot: int, study: Study, trials: int, tell: Callable[[str], None]
) -> list[Chosen]:
    """Run one search on one slot; its choices after half the trials and after all."""
    facts = lab.task.facts
    searcher = METHODS[study.method](facts, facts.sigma * TYPICAL_VALUE, study.seed)
    chosen = []
    for trial in range(1, trials + 1):
        source = await searcher.ask()
        values = await lab.run(slot, source, study.seed * 10_000 + trial, [PINNED_DRAW])
        value = values[0] if values else None
        searcher.tell(source, value)
        tell(f"{study.method} {study.seed}: {trial}/{trials} {value or 'failed'}")
        if trial in (trials // 2, trials):
            chosen.append(Chosen(study, trial, searcher.best()))
    return chosen


async def search_all(
    lab: Laboratory, studies: Sequence[Study], trials: int, tell: Callable[[str], None]
) -> list[Chosen]:
    """All searches, one at a time on every slot."""
    waiting = list(reversed(studies))
    chosen: list[Chosen] = []

    async def work(slot: int) -> None:
        while waiting:
            chosen.extend(await search(lab, slot, waiting.pop(), trials, tell))

    async with trio.open_nursery() as nursery:
        for slot in range(lab.executor.slots):
            nursery.start_soon(work, slot)
    return sorted(chosen, key=lambda one: (one.study.method, one.study.seed, one.trials))


def interval(left: Any, right: Any) -> tuple[float, float]:
    """Bootstrap interval of mean(left) - mean(right), resampling searches and judges.

    Args:
        left, right: scores of shape [searches, judges]; the judges of both are the same.
    """
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(RESAMPLES):
        columns = rng.integers(left.shape[1], size=left.shape[1])
        means = [
            side[rng.integers(len(side), size=len(side))][:, columns].mean()
            for side in (left, right)
        ]
        differences.append(means[0] - means[1])
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(differences, [tail, 100 - tail])
    return float(low), float(high)


async def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Search, judge, and set every rival against tune."""
    started = time.monotonic()

    def tell(line: str) -> None:
        if not options.json:
            print(f"{(time.monotonic() - started) / 60:6.1f} min  {line}", flush=True)

    seeds = range(options.first, options.first + options.seeds)
    studies = [Study(method, seed) for seed in seeds for method in options.methods]
    async with laboratory(options.folder, budget_s=options.budget) as lab:
        chosen = await search_all(lab, studies, options.trials, tell)
        default = lab.task.facts.seed_program
        sources = [default, *(one.source for one in chosen)]
        first, *rest = await lab.judge(sources, options.judges, tell)
    report: dict[str, Any] = {"default": round(float(np.mean(first)), 5)}
    for trials in sorted({one.trials for one in chosen}):
        scores = {
            method: np.array(
                [
                    row
                    for one, row in zip(chosen, rest, strict=True)
                    if one.study.method == method and one.trials == trials
                ]
            )
            for method in options.methods
        }
        report[f"after {trials}"] = {
            method: {
                "mean": round(float(found.mean()), 5),
                "searches": [round(float(mean), 5) for mean in found.mean(1)],
                "tune_minus_this": [round(x, 5) for x in interval(scores["tune"], found)]
                if method != "tune"
                else None,
            }
            for method, found in scores.items()
        }
    return report


def main() -> None:
    """Parse, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first of these seeds")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--judges", type=int, default=8)
    parser.add_argument("--budget", type=float, default=8.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = trio.run(compare, options)
    print(json.dumps(report, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
