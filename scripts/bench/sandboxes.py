"""What a sandbox costs a training, and whether it changes its result: the same run in each of them.

    scripts/bench/sandboxes.py FOLDER [--steps 120] [--rounds 4] [--json]

Trains the seed program of `stories` with a fixed number of steps and one seed, in turns: without a
sandbox, in bubblewrap, and under Landlock. Compares steps per second, by wall-clock and by CPU
time, and the checkpoints bit by bit. FOLDER keeps the data. Wants an otherwise idle machine.
"""

import argparse
import json
import shutil
import statistics
from pathlib import Path

import trio
from msgspec import Struct

from skep.errors import SandboxError
from skep.ports import Order
from trainer.executors.local import LocalExecutor
from trainer.policy import Consent, Policy
from trainer.sandbox import Backend
from trainer.sandbox.bwrap import Bubblewrap
from trainer.sandbox.landlock import Landlock
from trainer.sandbox.none import NoSandbox
from trainer.task import Task, load, prepare

SEED = 5
BUDGET_S = 60.0


class Timed(Struct, frozen=True):
    """Steps a second of one training, and the hash of its checkpoint."""

    wall: float
    cpu: float
    weights: str


def main() -> None:
    """Parse, train in turns, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(json.dumps(trio.run(measure, options), indent=None if options.json else 2))


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """All rounds, every backend in each."""
    options.folder.mkdir(parents=True, exist_ok=True)
    task = load("stories", home=options.folder, budget_s=BUDGET_S, start_program=None)
    await prepare(task, lambda line: None)
    found: dict[str, list[Timed]] = {}
    for _ in range(options.rounds):
        for backend in (NoSandbox(), Bubblewrap(), Landlock()):
            try:
                timed = await train(task, options, backend)
            except SandboxError as error:
                found.setdefault(f"{backend.name}: {error}", [])
                continue
            found.setdefault(backend.name, []).append(timed)
    base = statistics.median(one.wall for one in found["none"])
    return {
        "weights_equal": len({one.weights for many in found.values() for one in many}) == 1,
        "backends": {
            name: {
                "steps_per_s": round(statistics.median(one.wall for one in many), 2),
                "steps_per_cpu_s": round(statistics.median(one.cpu for one in many), 2),
                "against_none_percent": round(
                    100 * (statistics.median(one.wall for one in many) / base - 1), 2
                ),
            }
            for name, many in found.items()
            if many
        },
    }


async def train(task: Task, options: argparse.Namespace, backend: Backend) -> Timed:
    """One training in a worker of its own."""
    backend.probe()
    folder = options.folder / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    strength = "none" if isinstance(backend, NoSandbox) else "strong"
    async with LocalExecutor.open(
        task,
        options.folder,
        jobs=1,
        device="cpu",
        sandbox=backend,
        policy=Policy(strength, Consent(own=True)),
    ) as executor:
        order = Order(
            job="run",
            source=task.facts.seed_program,
            code="knob",
            seed=SEED,
            budget_ms=task.facts.budget_ms,
            steps=options.steps,
            folder=folder,
        )
        marks: dict[str, float] = {}
        outcome = await executor.train(
            0, order, lambda seen: marks.setdefault(seen.phase, trio.current_time()) and None
        )
        seconds = trio.current_time() - marks["training"]
    if outcome.weights is None:
        raise SystemExit(f"the seed program ended as {outcome.status}: {outcome.reason}")
    return Timed(
        options.steps / seconds, options.steps / (outcome.train_ms / 1000), outcome.weights.hex()
    )


if __name__ == "__main__":
    main()
