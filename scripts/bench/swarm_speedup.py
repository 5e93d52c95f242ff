"""What do more machines bring, at equally many experiments in all? Simulated, shipped decisions.

    python scripts/bench/swarm_speedup.py [--worlds AC] [--nodes 1 4 16 64] [--runs 1500]
                                          [--seeds 5] [--seed 0] [--rule evidence]
                                          [--processes 2] [--json]

The speed-up is how much sooner the swarm's machines had, on average, what one machine gained as
well. The efficiency is their mean true gain as a part of what one machine gains with as many runs.
"""

import argparse
import json
from multiprocessing import Pool
from multiprocessing.pool import Pool as Processes

from node.simulation.outcome import Outcome, Summary, summary
from node.simulation.scenario import Scenario, Tier
from node.simulation.swarm import Swarm


def main() -> None:
    """Parse, simulate, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", default="AC")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--runs", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rule", choices=["evidence", "keep-if-lower"], default="evidence")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with Pool(options.processes) as pool:
        for world in options.worlds:
            alone = simulated(pool, options, world, 1)
            for nodes in options.nodes:
                outcomes = alone if nodes == 1 else simulated(pool, options, world, nodes)
                row = {"world": world, "nodes": nodes, **numbers(summary(outcomes, alone))}
                rows.append(row)
                if not options.json:
                    print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    if options.json:
        print(json.dumps(rows))


def simulated(
    pool: Processes, options: argparse.Namespace, world: str, nodes: int
) -> list[Outcome]:
    """One outcome for each seed."""
    scenarios = [
        Scenario(
            tiers=(Tier("cpu", nodes),),
            world=world,
            runs=options.runs,
            rule=options.rule,
            seed=options.seed + number,
        )
        for number in range(options.seeds)
    ]
    return pool.map(once, scenarios, chunksize=1)


def once(scenario: Scenario) -> Outcome:
    """One simulation."""
    return Swarm(scenario).run()


def numbers(found: Summary) -> dict[str, float | None]:
    """The columns."""
    return {
        "hours": round(found.hours, 2),
        "best": round(found.best, 1),
        "mean": round(found.mean, 1),
        "mean_error": rounded(found.mean_error),
        "efficiency": rounded(found.efficiency, 2),
        "speed_up": rounded(found.speed_up),
        "kept_false_percent": round(100 * found.kept.false_share, 1),
        "kept_2_percent": round(100 * found.kept.great, 1),
        "confirmed": round(found.confirmed.decided, 1),
        "replications_percent": round(100 * found.replications, 1),
        "proposed": round(found.proposed),
    }


def rounded(value: float | None, digits: int = 1) -> float | None:
    """Of nothing, nothing."""
    return None if value is None else round(value, digits)


if __name__ == "__main__":
    main()
