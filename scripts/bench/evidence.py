"""How often is the swarm's verdict fooled, and what does it miss? Simulated worlds, shipped code.

    python scripts/bench/evidence.py [--worlds ABCDEFGH] [--repeats 40] [--first 0]
                                     [--runs 1500] [--liars 0] [--lower] [--processes 2] [--json]

prints the rows of a table, one for each world. False ones are claims ever confirmed whose true
effect is none; their rate is the mean over searches, its upper limit the exact binomial one (95 %,
one-sided) of all that was ever confirmed, as if each were independent; then the same of searches
with any false one. Power is the share of all edits tried, of at least so many sigma, that were ever
confirmed. With `--lower` one machine keeps whatever scores lower in one run than its champion did
in one, for comparison.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterable
from multiprocessing import Pool

from msgspec import to_builtins

from node.simulation.panel import Panel, Simulation
from node.simulation.worlds import WORLDS, Nature

COLUMNS = {
    "world": "world",
    "liars": "liars",
    "searches": "searches",
    "fdr_percent": "false, %",
    "fdr_upper_percent": "at most, %",
    "any_false_percent": "searches with any, %",
    "any_false_upper_percent": "at most, %",
    "power_1_percent": "of ≥ 1σ, %",
    "power_2_percent": "of ≥ 2σ, %",
    "gain_sigma": "true gain, σ",
    "confirmed": "confirmed",
}


def main() -> None:
    """Parse, simulate, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", default="".join(WORLDS))
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="seed of the first of them")
    parser.add_argument("--runs", type=int, default=1500)
    parser.add_argument("--liars", type=int, default=0)
    parser.add_argument("--lower", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    if not options.json:
        print(line(COLUMNS.values()), line("---" for _ in COLUMNS), sep="\n", flush=True)
    with Pool(options.processes) as pool:
        for world in options.worlds:
            search = keep_if_lower if options.lower else panel
            seeds = range(options.first, options.first + options.repeats)
            jobs = [(world, seed, options.runs, options.liars) for seed in seeds]
            row = {"world": world, "liars": options.liars, **summary(pool.starmap(search, jobs))}
            rows.append(row)
            if not options.json:
                print(line(row[key] for key in COLUMNS), flush=True)
    if options.json:
        print(json.dumps(rows))


def line(cells: Iterable[object]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def panel(world: str, seed: int, runs: int, liars: int) -> Panel:
    """One search by the shipped verdict."""
    return Simulation(WORLDS[world], seed, runs, liars).run()


def keep_if_lower(world: str, seed: int, runs: int, liars: int) -> Panel:
    """One machine that keeps whatever scores lower than the champion did, each run once."""
    assert not liars, "there is nobody to lie to"
    nature, level = Nature(WORLDS[world], seed), 0.0
    best = nature.measured(0, level)
    tried: list[float] = []
    kept: list[float] = []
    for number in range(1, runs):
        truth = nature.effect(sum(one < 0 for one in kept))
        tried.append(truth)
        score = nature.measured(0, level + truth, f"edit {number}".encode())
        if score < best:
            kept.append(truth)
            level, best = level + truth, score
    return Panel(
        runs=runs,
        proposed=len(tried),
        large=sum(one <= -1 for one in tried),
        large_confirmed=sum(one <= -1 for one in kept),
        great=sum(one <= -2 for one in tried),
        great_confirmed=sum(one <= -2 for one in kept),
        confirmed=len(kept),
        false=sum(one >= 0 for one in kept),
        gain=-sum(kept),
    )


def summary(panels: list[Panel]) -> dict[str, float]:
    """Means over searches; shares over everything that was tried or confirmed in all of them."""
    total = {key: sum(to_builtins(one)[key] for one in panels) for key in to_builtins(panels[0])}
    fooled = sum(one.false > 0 for one in panels)
    shares = [one.false / one.confirmed for one in panels if one.confirmed]
    return {
        "searches": len(panels),
        "fdr_percent": round(100 * sum(shares) / len(panels), 2),
        "fdr_upper_percent": round(100 * upper_limit(total["false"], total["confirmed"]), 2),
        "any_false_percent": share(fooled, len(panels)),
        "any_false_upper_percent": round(100 * upper_limit(fooled, len(panels)), 1),
        "power_1_percent": share(total["large_confirmed"], total["large"]),
        "power_2_percent": share(total["great_confirmed"], total["great"]),
        "gain_sigma": round(statistics.mean(one.gain for one in panels), 1),
        "confirmed": round(total["confirmed"] / len(panels), 1),
        "proposed": round(total["proposed"] / len(panels)),
    }


def upper_limit(count: int, of: int) -> float:
    """The largest share with which so few are seen in 5 % of cases (Clopper and Pearson)."""
    if count >= of:
        return 1.0
    low, high = count / of, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        terms = (
            math.exp(_log_comb(of, k) + k * math.log(middle) + (of - k) * math.log1p(-middle))
            for k in range(count + 1)
        )
        low, high = (low, middle) if sum(terms) < 0.05 else (middle, high)
    return high


def _log_comb(of: int, count: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)


def share(part: float, whole: float) -> float:
    """In percent, of nothing 0."""
    return round(100 * part / whole, 1) if whole else 0.0


if __name__ == "__main__":
    main()
