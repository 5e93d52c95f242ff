"""A machine that trains nothing: scores follow from the known truth, or are invented by a liar.

It is an executor like any other, so that the shipped code drives it; models are numbers. A score
is the program's level on this machine, what the run's seed does, and what the validation text
does to all programs alike: only differences on one text mean anything.
"""

from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace

from node.experiment import CHECKPOINT_NAME
from node.simulation.landscape import Landscape
from node.simulation.panel import ENVIRONMENT, LIE_SIGMA
from node.simulation.worlds import SIGMA
from skep.errors import SandboxError
from skep.ports import Code, Draw, Order, Outcome, Progress, Scored, Subject
from skep.records import MICRO, Environment

LEVEL = 10.0
"""Score of the start program; far enough from 0 and from the harness's limit for any search."""


class Machine:
    """Runs programs of a landscape.

    Args:
        landscape: what they are worth.
        number: of the machine.
        tier: number of its tier; each has a probe time of its own.
        slots: experiments at once.
        honest: a liar finds whatever its own kind proposes good, and all else bad.
    """

    def __init__(
        self, landscape: Landscape, number: int, tier: int, slots: int, *, honest: bool
    ) -> None:
        self.slots = slots
        self.number = number
        self.honest = honest
        self.environment: Environment = replace(ENVIRONMENT, probe_ns=1_000_000 << tier)
        self._landscape = landscape
        self._models: dict[str, float] = {}

    def refusal(self, code: Code) -> SandboxError | None:
        """Any code may run."""
        return None

    async def pause(self) -> None:
        """Nothing runs in real time."""

    async def resume(self) -> None:
        """Nothing was paused."""

    async def train(self, slot: int, order: Order, report: Callable[[Progress], None]) -> Outcome:
        """What a training with this seed comes to."""
        level = self._level(order.source) + self._landscape.nature.noise()
        self._models[order.job] = LEVEL + SIGMA * level
        return Outcome(
            status="done",
            spent_ms=order.budget_ms,
            train_ms=order.budget_ms,
            checkpoint=order.folder / CHECKPOINT_NAME,
            own_micro=round(MICRO * self._models[order.job]),
        )

    async def score(
        self, slot: int, subjects: Sequence[Subject], draws: Sequence[Draw], *, probe: bool
    ) -> list[Scored]:
        """Scores of kept models."""
        return [
            Scored(tuple(self._micro(one.checkpoint.parent.name, draw.seed) for draw in draws))
            for one in subjects
        ]

    def has(self, job: str) -> bool:
        """Whether a model is kept."""
        return job in self._models

    def keep_only(self, jobs: Collection[str]) -> None:
        """Forget all other models."""
        self._models = {job: value for job, value in self._models.items() if job in jobs}

    def _micro(self, job: str, draw: int) -> int:
        return round(MICRO * (self._models[job] + SIGMA * self._landscape.ease(draw)))

    def _level(self, source: str) -> float:
        if self.honest:
            return self._landscape.level_on(self.number, source)
        sides = [self._landscape.changes[one].honest for one in self._landscape.edits_of(source)]
        return LIE_SIGMA * (sides.count(True) - sides.count(False))
