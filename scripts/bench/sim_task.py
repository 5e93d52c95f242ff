"""The simulator's world as a real task, and a real node that has the world's ideas.

The task is the landscape of `node.simulation.landscape` written out: a program of as many constants
which scores itself. A constant says in its own number what it is truly worth, in thousandths of a
sigma, beside a mark that makes it one of a kind; so the truth of every program can be read off its
text, edits exclude one another as they do in the simulator, and nobody has to be asked. The noise
comes from the run's seed. The node is `skep join` in all but where its ideas come from: in place of
the constants search they are drawn from the world, as in the simulator. It cannot read the truth
off the text, and neither can peers: all they look at are scores.

    python scripts/bench/sim_task.py task FOLDER [--run-s 1]          # writes the task
    python scripts/bench/sim_task.py join --task FOLDER --world FILE [--listen ..] [--bootstrap ..]
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

sys.path.insert(0, str(Path(__file__).parents[2]))

from node.app import run
from node.config import home_folder, load
from node.simulation.landscape import PLACES, START
from node.simulation.machine import LEVEL
from node.simulation.surrogates import Ideas
from node.simulation.worlds import SIGMA, Nature, World
from skep.events import Event, Judged, Said
from skep.patch import apply
from skep.ports import Proposal, View
from skep.records import SetConstant
from trainer.policy import Consent

MARKS = 2**24
"""How many constants of equal worth can be told apart."""

STEPS_PER_SIGMA = 1000

TASK = f"""
name = "simulated"
metric = "val_bpb"
direction = "min"
sigma = {SIGMA}
noise = {SIGMA}
"""

PROGRAM = """

import os
import random
import time

time.sleep({run_s})
worth = sum(value // {marks} for name, value in sorted(globals().items()) if name[0] == "K")
noise = random.Random(os.environ["SKEP_SEED"]).gauss(0.0, 1.0)
score = {level} + {sigma} * (worth / {steps} + noise)
print("---")
print(f"val_bpb: {{score:.6f}}")
"""


def write_task(folder: Path, run_s: float) -> Path:
    """The task in a folder; a run takes so many seconds, nearly all of which are slept."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.toml").write_text(TASK)
    tail = PROGRAM.format(run_s=run_s, marks=MARKS, level=LEVEL, sigma=SIGMA, steps=STEPS_PER_SIGMA)
    (folder / "train.py").write_text(START + tail)
    return folder


def level(source: str) -> float:
    """How much worse than the start program a program truly is, in sigma."""
    return sum(number // MARKS for number in _numbers(source)) / STEPS_PER_SIGMA


def edited(source: str, nature: Nature) -> SetConstant:
    """A new edit of one of the constants; what it is worth comes on top of what was there."""
    numbers = _numbers(source)
    place = int(nature.rng.integers(PLACES))
    found = sum(number < 0 for number in numbers)
    steps = round(STEPS_PER_SIGMA * nature.effect(found))
    mark = int(nature.rng.integers(1, MARKS))
    return SetConstant(f"K{place:02}", (numbers[place] // MARKS + steps) * MARKS + mark)


def _numbers(source: str) -> list[int]:
    lines = source.splitlines()[:PLACES]
    return [int(line.rpartition(" ")[2]) for line in lines]


class Drawn:
    """Proposes what the world has to offer, as the simulator's ideas do.

    Args:
        world: what edits are like.
    """

    name = Ideas.name

    def __init__(self, world: World) -> None:
        self._world = world

    def ready(self, view: View) -> bool:
        """There is always something to try."""
        return True

    async def propose(self, view: View) -> Proposal | None:
        """One edit of the champion."""
        edit = edited(view.champion_source, Nature(self._world, view.seed))
        return Proposal(
            source=apply(view.champion_source, (edit,)),
            parent=view.champion,
            edits=(edit,),
            strategy=self.name,
            note="",
        )


def join(options: argparse.Namespace) -> None:
    """A node on the home that `SKEP_HOME` names, until it is told to finish."""
    world = msgspec.json.decode(options.world.read_bytes(), type=World)
    names = ("task", "listen", "bootstrap", "mdns", "jobs", "ollama_url")
    settings = load(home_folder(), {name: getattr(options, name) for name in names})
    trio.run(run, settings, Consent(), show, partial(Drawn, world))


def show(event: Event) -> None:
    """One line for what people would look for in the log."""
    if isinstance(event, Said):
        print(event.text, flush=True)
    elif isinstance(event, Judged):
        print(f"{event.program.hex()[:8]} {event.verdict} {event.reason} {event.note}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, and write or join."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    task = verbs.add_parser("task", help="write the task")
    task.add_argument("folder", type=Path)
    task.add_argument("--run-s", type=float, default=1.0)
    task.set_defaults(do=lambda options: write_task(options.folder, options.run_s))
    node = verbs.add_parser("join", help="a node with the world's ideas")
    node.add_argument("--task", required=True)
    node.add_argument("--world", type=Path, required=True, help="JSON file with its numbers")
    node.add_argument("--listen", action="append")
    node.add_argument("--bootstrap", action="append")
    node.add_argument("--no-mdns", dest="mdns", action="store_false", default=None)
    node.add_argument("--jobs", type=int, default=1)
    node.add_argument("--ollama-url")
    node.set_defaults(do=join)
    options = parser.parse_args(arguments)
    do: Callable[[argparse.Namespace], object] = options.do
    do(options)


if __name__ == "__main__":
    main()
