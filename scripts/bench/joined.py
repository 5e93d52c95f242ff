"""Real `skep join` processes side by side on the loopback interface, each until it has enough.

What a node has done is read from the records in its home, from outside, so that a benchmark that
was broken off goes on: a node that has enough is not started again. Nothing is judged here.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from os import link
from pathlib import Path

import trio
from msgspec import Struct

sys.path.insert(0, str(Path(__file__).parents[2]))

from gossip.ledger import Ledger
from lab import laboratory
from node.control import ask
from node.history import History, history
from node.home import Home, known_tasks
from node.machine import settle
from skep.errors import ConfigError
from skep.records import Run
from tests.e2e.nodes import SKEP, acquainted, skep_process

LOOK_S = 2.0
"""How often somebody looks at what the nodes have done."""

END_S = 300.0
"""The longest that what is in flight at the end may take."""

NO_MODEL = ("--ollama-url", "http://127.0.0.1:1")
"""Nobody listens there: a model that happens to be installed must not take part."""


class Node(Struct, frozen=True):
    """One process: its home, what follows `skep join`, and when it has enough.

    Attributes:
        program: what is run, if not `skep`.
    """

    home: Path
    options: tuple[str, ...]
    enough: Callable[[Sequence[Run]], bool]
    program: Sequence[str] = SKEP


def alone(home: Path, options: Sequence[str], enough: Callable[[Sequence[Run]], bool]) -> Node:
    """A node that meets nobody."""
    return Node(home, ("--solo", *NO_MODEL, *options), enough)


def meshed(
    homes: Sequence[Path], options: Sequence[str], enough: Callable[[Sequence[Run]], bool]
) -> list[Node]:
    """Nodes that all know one another's address, and nobody else's."""
    return [
        Node(home, (*meeting, *NO_MODEL, *options), enough)
        for home, meeting in zip(homes, acquainted(homes), strict=True)
    ]


async def make_ready(folder: Path, task: str, budget_s: float | None) -> None:
    """Prepare a task's data in a folder and measure the machine, once for all nodes."""
    async with laboratory(folder, task=task, budget_s=budget_s, jobs=1) as lab:
        settle(Home(folder), lab.executor.environment)


def furnish(home: Path, like: Path) -> None:
    """Give a new home the prepared data and the measurement of the machine of another one.

    With one measurement all homes are of one tier, however busy the machine is when they start.
    """
    if (home / "machine.json").exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    if (like / "tasks").exists():
        shutil.copytree(like / "tasks", home / "tasks", copy_function=link, dirs_exist_ok=True)
    shutil.copy(like / "machine.json", home)


def work(nodes: Sequence[Node], tell: Callable[[str], None]) -> None:
    """Run all nodes at once until each has enough.

    Nobody is left behind when the benchmark is told to end (SIGINT, SIGTERM).

    Raises:
        SystemExit: one ended before that, with the end of what it said.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with ExitStack() as stack:
        running = {}
        for node in nodes:
            if not node.enough(recorded(node.home)):
                node.home.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context((node.home / "join.log").open("a"))
                running[node.home] = skep_process(
                    node.home, "join", *node.options, out=log, program=node.program
                )
                stack.callback(_end, running[node.home])
        told = ""
        while running:
            time.sleep(LOOK_S)
            for node in nodes:
                if node.home in running and _has_ended(node, running[node.home]):
                    del running[node.home]
            line = ", ".join(f"{one.home.name} {len(recorded(one.home))}" for one in nodes)
            if line != told:
                tell(line)
            told = line


def recorded(home: Path) -> list[Run]:
    """The runs that a home has recorded of the task it joined last."""
    if not Home(home).database.exists() or not known_tasks(Home(home)):
        return []
    with Ledger.read(home) as ledger:
        return [run for _, run in ledger.runs(known_tasks(Home(home))[0].id)]


def found_by(home: Path) -> tuple[History, dict[bytes, str]]:
    """What a home's runs support, and the texts of the champions on the way there."""
    task = known_tasks(Home(home))[0]
    with Ledger.read(home) as ledger:
        found = history(ledger.runs(task.id), task, ledger.program)
        way = [found.research.start, *(step.program for step in found.research.kept)]
        return found, {program: ledger.program(program) for program in way}


def _has_ended(node: Node, process: subprocess.Popen[str]) -> bool:
    """Whether it has enough, was told so, and has ended."""
    if process.poll() is None:
        if not node.enough(recorded(node.home)):
            return False
        try:
            trio.run(ask, node.home, "finish")
        except ConfigError:
            return False  # It has only just begun, or is just ending: asked again.
        process.wait(END_S)
    if process.returncode or not node.enough(recorded(node.home)):
        said = (node.home / "join.log").read_text()[-2000:]
        raise SystemExit(f"{node.home} ended early, with {process.returncode}\n{said}")
    return True


def _end(process: subprocess.Popen[str]) -> None:
    """End it with all that it started; what was in flight is begun anew the next time."""
    if process.poll() is None:
        process.terminate()
        process.wait(END_S)
