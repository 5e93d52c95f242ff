"""Four real nodes against one on the real task `stories`, for equally much training in all.

Starts `skep join` as five processes with one slot each: one alone, four that know one another. Each
is stopped when its share is spent, counted in reference-seconds, so that a busy machine changes
nothing but the time it takes. Then the start program, all champions, and every program that was
kept, with the one it took the place of, are trained anew with fresh seeds and scored on fresh
draws, the same ones for all. A kept edit counts as false if its mean is not below that of the
program before it, and as sure if it is by more than two standard errors. Edits that were left out
by an ablation are kept at an equal score, and do not count.

    PYTHONPATH=. python scripts/bench/four_against_one.py FOLDER [--budget 1] [--spend 160]
        [--repeats 3] [--pairs 8] [--json]

Resumable: FOLDER keeps homes and runs. Takes some 15 core-minutes a repeat.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from msgspec import Struct

from joined import alone, found_by, furnish, make_ready, meshed, recorded, work
from lab import laboratory
from skep.ports import ABLATE, FOREIGN
from skep.records import Run

NODES = 4
SURE = 2.0
"""Standard errors."""

Tell = Callable[[str], None]
Scores = dict[str, list[float]]
"""By the text of a program."""


class Step(Struct, frozen=True):
    """A program that took the place of another one."""

    home: Path
    program: str
    before: str
    foreign: bool


def main() -> None:
    """Parse, run what is missing, judge, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", type=float, default=1.0, help="reference-seconds of a run")
    parser.add_argument("--spend", type=float, default=160.0, help="reference-seconds of each side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=8, help="fresh seeds and draws, at least 2")
    parser.add_argument("--json", action="store_true", help="the report alone, as one line")
    options = parser.parse_args()
    if options.pairs < 2 or options.repeats < 1:
        parser.error("at least two pairs and one repeat")

    def tell(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    trio.run(make_ready, options.folder, "stories", options.budget)
    repeats = [search(options, number, tell) for number in range(options.repeats)]
    report = trio.run(judged, options, repeats, tell)
    print(json.dumps(report, indent=None if options.json else 2))


def search(options: argparse.Namespace, number: int, tell: Tell) -> tuple[Path, ...]:
    """Let all five nodes of a repeat spend their shares; their homes, the lone one first."""
    place = options.folder / f"repeat{number}"
    homes = [place / "one", *(place / f"four{node}" for node in range(NODES))]
    for home in homes:
        furnish(home, options.folder)
    common = ["--budget", str(options.budget), "--jobs", "1", "--device", "cpu"]
    nodes = [
        alone(homes[0], common, lambda runs: spent_s(runs) >= options.spend),
        *meshed(homes[1:], common, lambda runs: spent_s(runs) >= options.spend / NODES),
    ]
    work(nodes, lambda line: tell(f"repeat {number}: runs of {line}"))
    return tuple(homes)


def spent_s(runs: Sequence[Run]) -> float:
    """What the trainings were metered at, in reference-seconds."""
    return sum(run.spent_ms for run in runs) / 1000


async def judged(
    options: argparse.Namespace, repeats: Sequence[tuple[Path, ...]], tell: Tell
) -> dict[str, Any]:
    """Train everything that matters anew and say what became of it."""
    steps = [step for homes in repeats for home in homes for step in steps_of(home)]
    async with laboratory(options.folder, budget_s=options.budget) as lab:
        start = lab.task.facts.seed_program
        champions = [champion_of(home) for homes in repeats for home in homes]
        both = [source for step in steps for source in (step.before, step.program)]
        sources = list(dict.fromkeys([start, *champions, *both]))
        rows = await lab.judge(sources, options.pairs, lambda line: tell(f"judging: {line}"))
    scores = dict(zip(sources, rows, strict=True))
    told = [repeat_of(homes, start, steps, scores) for homes in repeats]
    sides = {
        side: {
            name: spread([one[side][name] for one in told])
            for name in ("gain_percent", "best_gain_percent", "kept", "false", "sure")
        }
        for side in ("one", "four")
    }
    return {
        "budget_s": options.budget,
        "spend_s": options.spend,
        "start": round(level(scores[start]), 5),
        "sd_of_start_percent": round(
            100 * statistics.stdev(scores[start]) / level(scores[start]), 2
        ),
        "repeats": told,
        "mean": sides,
    }


def steps_of(home: Path) -> list[Step]:
    """What a home has kept, but for what was left out."""
    found, texts = found_by(home)
    return [
        Step(home, texts[one.program], texts[one.parent], one.strategy in FOREIGN)
        for one in found.research.kept
        if one.strategy != ABLATE
    ]


def repeat_of(
    homes: Sequence[Path], start: str, steps: Sequence[Step], scores: Scores
) -> dict[str, Any]:
    """Both sides of one repeat."""
    return {
        "one": side_of(homes[:1], start, steps, scores),
        "four": side_of(homes[1:], start, steps, scores),
    }


def side_of(
    homes: Sequence[Path], start: str, steps: Sequence[Step], scores: Scores
) -> dict[str, Any]:
    """What some homes have found, by fresh runs.

    The best of several champions is the one with the best fresh runs, which flatters it a little.
    """
    gains = [gain_percent(scores[champion_of(home)], scores[start]) for home in homes]
    kept = [step for step in steps if step.home in homes]
    differences = [difference(scores[one.program], scores[one.before]) for one in kept]
    runs = [recorded(home) for home in homes]
    return {
        "runs": [len(one) for one in runs],
        "spent_s": round(sum(map(spent_s, runs)), 1),
        "gains_percent": gains,
        "gain_percent": round(statistics.mean(gains), 2),
        "best_gain_percent": max(gains),
        "kept": len(kept),
        "of_peers": sum(one.foreign for one in kept),
        "false": sum(mean >= 0 for mean, _ in differences),
        "sure": sum(mean + SURE * error < 0 for mean, error in differences),
        "differences": [(round(mean, 4), round(error, 4)) for mean, error in differences],
    }


def champion_of(home: Path) -> str:
    """Text of the program that a home builds on."""
    found, texts = found_by(home)
    return texts[found.research.champion]


def level(scores: Sequence[float]) -> float:
    """The mean of what did not fail; infinite where all did."""
    return statistics.mean([one for one in scores if math.isfinite(one)] or [math.inf])


def gain_percent(scores: Sequence[float], before: Sequence[float]) -> float:
    """How much lower the mean is."""
    return round(100 * (1 - level(scores) / level(before)), 2)


def difference(scores: Sequence[float], before: Sequence[float]) -> tuple[float, float]:
    """Mean difference of pairs and its standard error; pairs that failed are left out.

    A program of which no two pairs are left is as bad as can be.
    """
    pairs = [a - b for a, b in zip(scores, before, strict=True) if math.isfinite(a - b)]
    if len(pairs) < 2:
        return math.inf, 0.0
    return statistics.mean(pairs), statistics.stdev(pairs) / math.sqrt(len(pairs))


def spread(values: Sequence[float]) -> list[float | None]:
    """Mean over the repeats, and its standard error where there are several."""
    several = len(values) > 1
    error = round(statistics.stdev(values) / math.sqrt(len(values)), 2) if several else None
    return [round(statistics.mean(values), 2), error]


if __name__ == "__main__":
    main()
