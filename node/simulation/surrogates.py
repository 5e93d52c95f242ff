"""What simulated researchers have in common: surrogate ideas, and runs without a training."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from gossip.jobs import Job
from node.experiment import Bench, Scoring, measure
from node.simulation.landscape import Landscape
from skep.ports import Order, Proposal, View
from skep.records import Run
from strategies.recombine import Recombine

FOLDER = Path("simulated")
"""Where nothing is ever written."""

T = TypeVar("T")


class Ideas:
    """Proposes what the world has to offer: an edit of the champion that nobody has tried.

    Args:
        landscape: draws it.
        honest: whether it is one of the world's, or a liar's invention.
    """

    name = "idea"

    def __init__(self, landscape: Landscape, *, honest: bool) -> None:
        self._landscape = landscape
        self._honest = honest

    def ready(self, view: View) -> bool:
        """There is always something to try."""
        return True

    async def propose(self, view: View) -> Proposal | None:
        """One edit."""
        source, edit = self._landscape.edited(view.champion_source, honest=self._honest)
        return Proposal(
            source=source, parent=view.champion, edits=(edit,), strategy=self.name, note=""
        )


class Stacks(Recombine):
    """The shipped recombination, which is not asked twice what it had no answer to."""

    def __init__(self) -> None:
        self._barren: object = None

    async def propose(self, view: View) -> Proposal | None:
        """The largest stack that was not tried; None if all were."""
        asked = (view.champion, view.pending, [(one.program, one.chance) for one in view.finds])
        if asked == self._barren:
            return None
        proposal = await super().propose(view)
        if proposal is None:
            self._barren = asked
        return proposal


def run_of(bench: Bench, landscape: Landscape, job: Job, scoring: Scoring, total_ms: int) -> Run:
    """The run that a training comes to; it is scored as any other."""
    source = landscape.program(job.program)
    order = Order(
        job=job.name,
        source=source,
        code="own",
        seed=job.seed,
        budget_ms=bench.task.budget_ms,
        steps=None,
        folder=bench.folder / job.name,
    )
    outcome = at_once(bench.executor.train(0, order, lambda progress: None))
    run = at_once(measure(bench, 0, job, source, "own", outcome, scoring, 0.0))
    return replace(run, total_ms=total_ms)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of something asynchronous that never waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("it waits for something")
