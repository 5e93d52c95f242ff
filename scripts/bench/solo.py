"""What did a node's search really gain? Its champion and its start program, on unused draws.

Trains both anew with fresh seeds and scores them on draws that no search ever saw. Also says what
the node spent its time on, from its records alone.

    skep join --solo --minutes 30                       # with SKEP_HOME set to HOME
    python scripts/bench/solo.py HOME FOLDER [--seeds 4] [--json]
"""

import argparse
import json
import statistics
from pathlib import Path

import trio

from gossip.ledger import Ledger
from lab import laboratory
from node.history import History, history
from node.home import Home, known_tasks
from skep.records import Run

FRESH_DRAWS = (81_001, 81_002, 81_003)


def main() -> None:
    """Parse, read the home, train and score, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(json.dumps(trio.run(measure, options), indent=None if options.json else 2))


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Compare champion and start program of a home on fresh seeds and draws."""
    task = known_tasks(Home(options.home))[0]
    with Ledger.read(options.home) as ledger:
        runs = [run for _, run in ledger.runs(task.id)]
        found = history(ledger.runs(task.id), task, ledger.program)
        champion = ledger.program(found.research.champion)
    async with laboratory(options.folder, task=task.name, budget_s=task.budget_ms / 1000) as lab:
        programs = [task.seed_program, champion]
        jobs = [(text, 800_000 + i) for text in programs for i in range(options.seeds)]
        rows = await lab.run_all(jobs, FRESH_DRAWS, lambda line: None)
    scores = [statistics.mean(row) if row else float("nan") for row in rows]
    start = statistics.mean(scores[: options.seeds])
    best = statistics.mean(scores[options.seeds :])
    return {
        **summary(runs, found),
        "start_program": round(start, 5),
        "champion": round(best, 5),
        "gain_percent": round(100 * (1 - best / start), 2),
        "scores": [round(score, 5) for score in scores],
    }


def summary(runs: list[Run], found: History) -> dict[str, object]:
    """Counts of the search, and the share of its wall-clock that went into training and scoring."""
    total = sum(run.total_ms for run in runs)
    return {
        "runs": len(runs),
        "experiments": len(found.experiments) - 1,
        "kept": len(found.research.kept),
        "void": sum(run.status == "void" for run in runs),
        "train_share_of_slot_time": round(sum(run.train_ms for run in runs) / total, 3),
        "sigma": round(found.research.noise.sigma, 5),
    }


if __name__ == "__main__":
    main()
