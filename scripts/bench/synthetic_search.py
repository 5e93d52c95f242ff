"""Regret of the shipped constants search against Optuna's TPE on synthetic valleys.

Every world is a program of positive constants whose score is a tilted valley with its floor
somewhere off the default, noise, and a region that crashes. Regret is the true score, above the
floor, of the program that a method would choose after so many trials.

    python scripts/bench/synthetic_search.py [--repeats 10] [--trials 100] [--json]

Takes about 15 minutes of one core.
"""

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import trio
from msgspec import Struct

from searchers import Searcher, TpeSearcher, TuneSearcher
from skep.ports import TaskFacts
from strategies.constants import form

METHODS: dict[str, Callable[[TaskFacts, float, int], Searcher]] = {
    "tune": TuneSearcher,
    "tpe 1.7x": lambda facts, sigma, seed: TpeSearcher(facts, math.log2(1.7), seed),
    "tpe 4x": lambda facts, sigma, seed: TpeSearcher(facts, 2.0, seed),
}


class Kind(Struct, frozen=True):
    """A kind of world.

    Attributes:
        noise: sd of one run; a step of one unit on a typical constant costs 1.5.
        shift: sd of the floor's distance from the default, in units of each constant.
        far: so many constants are off by 1.3 to 2.5 units instead.
        size: number of constants.
    """

    noise: float
    shift: float
    far: int = 0
    size: int = 12


KINDS = (
    Kind(0.2, 0.35),
    Kind(0.2, 0.8),
    Kind(0.5, 0.35),
    Kind(0.5, 0.8),
    Kind(2.0, 0.35),
    Kind(2.0, 0.8),
    Kind(0.5, 0.3, far=4),
    Kind(1.0, 0.3, far=4, size=22),
)


class World:
    """One valley: scores programs whose constants are P0, P1, …, each 1.0 by default."""

    def __init__(self, kind: Kind, seed: int) -> None:
        rng = np.random.default_rng(seed)
        size = kind.size
        self._floor = rng.normal(0, kind.shift, size)
        far = rng.choice(size, kind.far, replace=False)
        self._floor[far] = rng.choice([-1, 1], kind.far) * rng.uniform(1.3, 2.5, kind.far)
        self._steepness = np.exp(rng.normal(math.log(1.5), 1.0, size))
        self._turn = np.linalg.qr(np.eye(size) + 0.25 * rng.normal(size=(size, size)))[0]
        self._cliff = rng.normal(size=size)
        self._cliff /= np.linalg.norm(self._cliff)
        self._edge = rng.uniform(1.0, 2.0) + max(0.0, float(self._cliff @ self._floor))
        self._kind, self._noise = kind, np.random.default_rng([seed, 1])
        program = "".join(f"P{number} = 1.0\n" for number in range(size))
        self.facts = TaskFacts(
            name="valley",
            id=bytes(32),
            metric="loss",
            direction="min",
            scored_by="program",
            budget_ms=0,
            sigma=kind.noise,
            seed_program=program,
        )

    def regret(self, source: str) -> float:
        """The true score of a program."""
        along = np.abs(self._turn @ (self._place(source) - self._floor))
        return float(self._steepness @ np.where(along < 1, along**2, 2 * along - 1))

    def run(self, source: str) -> float | None:
        """What one run of it measures; None if it crashes."""
        if self._cliff @ self._place(source) > self._edge:
            return None
        return self.regret(source) + self._kind.noise * float(self._noise.standard_normal())

    @staticmethod
    def _place(source: str) -> Any:
        found = form(source, frozenset())
        assert found is not None
        return np.log2([float(str(value)) for value in found.values.values()])


async def search(method: str, kind: Kind, seed: int, trials: int) -> tuple[float, float, float]:
    """Regret of the default, after half the trials and after all."""
    world = World(kind, seed)
    searcher = METHODS[method](world.facts, kind.noise, seed)
    regrets = [world.regret(world.facts.seed_program)]
    for trial in range(1, trials + 1):
        source = await searcher.ask()
        searcher.tell(source, world.run(source))
        if trial in (trials // 2, trials):
            regrets.append(world.regret(searcher.best()))
    default, half, full = regrets
    return default, half, full


async def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for every kind of world and method."""
    rows = []
    for kind in KINDS:
        for method in METHODS:
            found = [
                await search(method, kind, seed, options.trials) for seed in range(options.repeats)
            ]
            mean, error = np.mean(found, 0), np.std(found, 0) / math.sqrt(options.repeats)
            row = {
                "noise": kind.noise,
                "shift": kind.shift,
                "far": kind.far,
                "size": kind.size,
                "method": method,
                "default": round(float(mean[0]), 2),
                "half": round(float(mean[1]), 2),
                "half_se": round(float(error[1]), 2),
                "full": round(float(mean[2]), 2),
                "full_se": round(float(error[2]), 2),
            }
            rows.append(row)
            if not options.json:
                show(row, options.trials)
    return rows


def show(row: dict[str, Any], trials: int) -> None:
    """One line of the table."""
    world = f"noise {row['noise']:.1f} shift {row['shift']:.2f} far {row['far']} of {row['size']}"
    print(
        f"{world:34} default {row['default']:6.2f}  {row['method']:9}"
        f" @{trials // 2}: {row['half']:6.2f} ± {row['half_se']:.2f}"
        f"  @{trials}: {row['full']:6.2f} ± {row['full_se']:.2f}",
        flush=True,
    )


def main() -> None:
    """Parse, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = trio.run(compare, options)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
