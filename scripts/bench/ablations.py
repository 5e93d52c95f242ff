"""How often does the rule for ablations drop an edit that helps, or one that does nothing?

Plays series of 100 ablations through the shipped fold. Leaving the edit out makes the program worse
by so many sigma; scores are that and normal noise, and nothing is trained. A dropped edit makes a
new champion, as in a node, with fresh runs of its own beside those it was dropped by.

    python scripts/bench/ablations.py [--series 300] [--json]
"""

import argparse
import json
import math
import random

from msgspec import Struct
from msgspec.structs import replace

from nulls import made_run
from skep.evidence import Fold
from skep.evidence.research import BASELINES_MIN
from skep.ports import ABLATE
from skep.records import Environment, Run, program_id

ABLATIONS = 100
WORTHS = (-1.0, 0.0, 0.25, 0.5, 1.0, 2.0)
"""What the edits are worth, in sigma; 0 does nothing and -1 does harm."""

LEVEL, SIGMA = 2.0, 0.02
MACHINE = Environment(
    backend="cpu",
    device="simulated",
    dtype="float32",
    memory_mib=1,
    threads=1,
    torch="",
    driver="",
    isa="",
    probe_ns=1_000_000,
    sandbox="",
)


class Series(Struct, frozen=True):
    """What came of a series: ablations, those of them that were kept, and runs (baselines, too)."""

    tried: int
    dropped: int
    useful_dropped: int
    runs: int


def main() -> None:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = random.Random(1)
    report = {f"{worth:g}": table_row([worth], options.series, rng) for worth in WORTHS}
    report["half 0, half 1"] = table_row([0.0, 1.0], options.series, rng)
    report["believed 0.7"] = table_row([1.0], options.series, rng, believed=0.7)
    print(json.dumps(report, indent=None if options.json else 2))


def table_row(
    worths: list[float], count: int, rng: random.Random, believed: float = 1.0
) -> dict[str, float]:
    """Shares over many series; `believed` is the prior of sigma as a part of the truth."""
    played = [series(worths, rng, believed) for _ in range(count)]
    tried = sum(one.tried for one in played)
    wrong = sum(one.useful_dropped > 0 for one in played)
    return {
        "dropped": round(sum(one.dropped for one in played) / tried, 5),
        "p_useful_dropped": round(wrong / count, 4),
        "p_useful_dropped_upper_95": round(upper_95(wrong, count), 4),
        "runs_each": round(sum(one.runs for one in played) / tried, 2),
    }


def series(
    worths: list[float], rng: random.Random, believed: float = 1.0, ablations: int = ABLATIONS
) -> Series:
    """One series through the shipped fold; the edits' worths come round in turn.

    Args:
        worths: in sigma.
        rng: for scores.
        believed: the prior of sigma as a part of the truth.
        ablations: how many.
    """
    start = program_id("champion")
    levels = {start: LEVEL}
    fold = Fold(start=start, direction="min", sigma_prior=0.0, noise_prior=SIGMA * believed)
    runs = dropped = useful = 0

    def add(program: bytes) -> None:
        nonlocal runs
        runs += 1
        value = levels[program] + rng.gauss(0.0, SIGMA)
        parent = None if program == start else fold.champion
        run = made_run(program, value, parent, runs, MACHINE)
        fold.add(runs.to_bytes(32, "big"), run if parent is None else as_ablation(run))

    for number in range(ablations):
        champion, worth = fold.champion, worths[number % len(worths)]
        while len(fold.evidence[champion]) < BASELINES_MIN:
            add(champion)
        program = program_id(f"without {number}")
        levels[program] = levels[champion] + worth * SIGMA
        add(program)
        while (found := fold.candidates[program]).stage == "open":
            behind = found.missing
            add(champion if behind else program)
        dropped += found.stage == "kept"
        useful += found.stage == "kept" and worth >= 1.0
    return Series(ablations, dropped, useful, runs)


def as_ablation(run: Run) -> Run:
    return replace(run, strategy=ABLATE)


def upper_95(hits: int, count: int) -> float:
    """Upper 95 % limit of a share (Wilson, one-sided)."""
    z, share = 1.6449, hits / count
    middle = share + z * z / (2 * count)
    wide = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle + wide) / (1 + z * z / count)


if __name__ == "__main__":
    main()
