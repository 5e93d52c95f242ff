"""How often is the swarm's verdict fooled, and what does it miss? Simulated worlds, shipped code.

    python scripts/bench/evidence.py [--worlds ABCDEFGH] [--repeats 40] [--runs 1500]
                                     [--liars 0] [--processes 2] [--json]

False ones are claims ever confirmed whose true effect is none. Power is the share of all edits
tried, of at least so many sigma, that were ever confirmed.
"""

import argparse
import json
import statistics
from multiprocessing import Pool

from msgspec import to_builtins

from node.simulation.panel import Panel, Simulation
from node.simulation.worlds import WORLDS


def main() -> None:
    """Parse, simulate, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", default="".join(WORLDS))
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--runs", type=int, default=1500)
    parser.add_argument("--liars", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with Pool(options.processes) as pool:
        for world in options.worlds:
            jobs = [(world, options.liars, n, options.runs) for n in range(options.repeats)]
            row = {"world": world, "liars": options.liars, **summary(pool.starmap(once, jobs))}
            rows.append(row)
            if not options.json:
                print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    if options.json:
        print(json.dumps(rows))


def once(world: str, liars: int, seed: int, runs: int) -> Panel:
    """One search."""
    return Simulation(WORLDS[world], seed, runs, liars).run()


def summary(panels: list[Panel]) -> dict[str, float]:
    """Means over searches; shares over everything that was tried or confirmed in all of them."""
    total = {key: sum(to_builtins(one)[key] for one in panels) for key in to_builtins(panels[0])}
    shares = [one.false / one.confirmed for one in panels if one.confirmed]
    return {
        "fdr_percent": round(100 * sum(shares) / len(panels), 2),
        "any_false_percent": round(100 * sum(one.false > 0 for one in panels) / len(panels), 1),
        "power_1_percent": share(total["large_confirmed"], total["large"]),
        "power_2_percent": share(total["great_confirmed"], total["great"]),
        "gain_sigma": round(statistics.mean(one.gain for one in panels), 1),
        "confirmed": round(total["confirmed"] / len(panels), 1),
        "proposed": round(total["proposed"] / len(panels)),
    }


def share(part: float, whole: float) -> float:
    """In percent, of nothing 0."""
    return round(100 * part / whole, 1) if whole else 0.0


if __name__ == "__main__":
    main()
