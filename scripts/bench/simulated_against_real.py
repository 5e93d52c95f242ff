"""Does `skep simulate` foretell what four real nodes do? The same world, simulated and real.

Runs four real processes that know one another on the simulator's own landscape, written out as a
task (`sim_task.py`), several times; then simulates the same scenario, with the time that a run
really took, for many seeds. Compared are, by the known truth: the gain of the mean champion, what
was kept and adopted and how much of it is false, what the runs went for, and how many claims each
node holds for confirmed. The world is generous, so that a few dozen runs have much to find and to
hand on; its machines do not differ, for the task cannot know on which of them it runs.

A quantity is outside where the means of real and simulated runs differ by more than three standard
errors, by the spread over the simulator's seeds. Exit 1 if any is.

    PYTHONPATH=. python scripts/bench/simulated_against_real.py FOLDER [--runs 40] [--repeats 3]
        [--seeds 30] [--run-s 1] [--json]

Resumable: FOLDER keeps the homes. `--runs` are those of each node.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from gossip.ledger import Ledger
from joined import found_by, furnish, make_ready, meshed, recorded, work
from node.simulation.outcome import Outcome
from node.simulation.scenario import Scenario, Tier
from node.simulation.swarm import Swarm
from node.simulation.worlds import World
from node.verdicts import verdicts
from sim_task import level, write_task
from skep.ports import ABLATE, FOREIGN

NODES = 4
WORLD = World(gains=0.3, nulls=0.2, mean_gain=3.0, between=0.0)
LATENCY_S = 0.2
"""Between processes of one machine, from a record's end to the next decision somewhere else."""

OUTSIDE = 3.0
"""Standard errors."""

STRATEGIES = ("baseline", "idea", "recombine", "ablate", "adopt", "replicate")

Quantities = Mapping[str, float]
Tell = Callable[[str], None]


class Compared(Struct, frozen=True, kw_only=True):
    """One quantity: means, spread over the simulator's seeds, difference in standard errors."""

    real: float
    simulated: float
    spread: float
    bias: float
    errors: float


def main() -> None:
    """Parse, run, simulate, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=40, help="of each node")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=30, help="at least 2")
    parser.add_argument("--run-s", type=float, default=1.0, help="what a run sleeps")
    parser.add_argument("--json", action="store_true", help="the report alone, as one line")
    options = parser.parse_args()
    if options.seeds < 2 or options.repeats < 1:
        parser.error("at least two seeds and one repeat")

    def tell(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    repeats = [real(options, number, tell) for number in range(options.repeats)]
    scenario = like(repeats)
    seeds = [simulated(scenario, number, tell) for number in range(options.seeds)]
    table = compared([quantities_of(homes) for homes in repeats], seeds)
    outside = [name for name, one in table.items() if abs(one.errors) > OUTSIDE]
    report = {
        "repeats": options.repeats,
        "seeds": options.seeds,
        "scenario": msgspec.to_builtins(scenario),
        "quantities": msgspec.to_builtins(table),
        "outside": outside,
    }
    print(json.dumps(report, indent=None if options.json else 2))
    sys.exit(1 if outside else 0)


def real(options: argparse.Namespace, number: int, tell: Tell) -> list[Path]:
    """Let four nodes work on the task; their homes."""
    task = write_task(options.folder / "task", options.run_s)
    world = options.folder / "world.json"
    world.write_bytes(msgspec.json.encode(WORLD))
    homes = [options.folder / f"repeat{number}" / f"node{one}" for one in range(NODES)]
    trio.run(make_ready, options.folder, str(task), None)
    for home in homes:
        furnish(home, options.folder)
    common = ("--task", str(task), "--world", str(world), "--jobs", "1")
    program = (str(Path(__file__).with_name("sim_task.py")),)
    nodes = [
        replace(node, program=program)
        for node in meshed(homes, common, lambda runs: len(runs) >= options.runs)
    ]
    work(nodes, lambda line: tell(f"repeat {number}: runs of {line}"))
    return homes


def like(repeats: Sequence[Sequence[Path]]) -> Scenario:
    """The scenario that was real: as many runs, each as long as they were on average."""
    runs = [run for homes in repeats for home in homes for run in recorded(home)]
    return Scenario(
        tiers=(Tier("cpu", NODES),),
        world=WORLD,
        runs=round(len(runs) / len(repeats)),
        run_s=max(1.0, fmean(run.total_ms for run in runs) / 1000),
        latency_s=LATENCY_S,
        jitter_s=LATENCY_S,
        scored_by="program",
    )


def simulated(scenario: Scenario, seed: int, tell: Tell) -> Quantities:
    """What one seed comes to."""
    tell(f"simulating seed {seed}")
    outcome: Outcome = Swarm(replace(scenario, seed=seed)).run()
    return {
        "gain": outcome.mean,
        "kept": outcome.kept.decided,
        "adopted": outcome.adopted,
        "false": outcome.kept.false,
        "confirmed": outcome.confirmed.decided,
        **{name: outcome.strategies.get(name, 0.0) for name in STRATEGIES},
    }


def quantities_of(homes: Sequence[Path]) -> Quantities:
    """The same of real nodes."""
    steps, confirmed, gains = [], [], []
    for home in homes:
        found, texts = found_by(home)
        gains.append(-level(texts[found.research.champion]))
        kept = [one for one in found.research.kept if one.strategy != ABLATE]
        steps += [(texts[one.program], texts[one.parent], one.strategy) for one in kept]
        with Ledger.read(home) as ledger:
            known = verdicts(ledger, found.task, found.tier, {ledger.me})
            confirmed.append(sum(one.state == "confirmed" for one in known.claims.values()))
    runs = [run for home in homes for run in recorded(home)]
    shares = Counter(run.strategy for run in runs)
    return {
        "gain": fmean(gains),
        "kept": len(steps),
        "adopted": sum(strategy in FOREIGN for _, _, strategy in steps),
        "false": sum(level(new) >= level(old) for new, old, _ in steps),
        "confirmed": fmean(confirmed),
        **{name: shares[name] / len(runs) for name in STRATEGIES},
    }


def compared(real: Sequence[Quantities], seeds: Sequence[Quantities]) -> dict[str, Compared]:
    """Every quantity, real against simulated.

    What no seed varies in has the least spread that one of all seeds would have given it.
    """
    table = {}
    for name in seeds[0]:
        measured, foretold = [one[name] for one in real], [one[name] for one in seeds]
        bias = fmean(measured) - fmean(foretold)
        # One seed that had one run more of a kind, or one step.
        least = (0.01 if name in STRATEGIES else 1.0) / math.sqrt(len(seeds))
        spread = max(stdev(foretold), least)
        error = spread * math.sqrt(1 / len(measured) + 1 / len(foretold))
        numbers = (fmean(measured), fmean(foretold), spread, bias, bias / error)
        table[name] = Compared(
            **dict(zip(Compared.__struct_fields__, (round(one, 4) for one in numbers), strict=True))
        )
    return table


if __name__ == "__main__":
    main()
