"""Experiments and a language model on one GPU take turns: never both at once, and neither starves.

A model that lies in a GPU's memory while a run is timed falsifies the run, and leaves a scorer no
room. Experiments may overlap with one another. Who asks the model waits for those under way, and
new ones wait for it: else a node whose slots are never idle would never have an idea. Where model
and experiments do not share a GPU there is no gate.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from skep.errors import SandboxError
from skep.ports import Code, Draw, Executor, Order, Outcome, Progress, Scored, Subject
from skep.records import Environment


class Gate:
    """Lets in any number of experiments, or one conversation."""

    def __init__(self) -> None:
        self._busy = 0
        self._asking = False
        self._turn = trio.Lock()
        self._changed = trio.Event()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Hold the GPU for one training or scoring."""
        await self._until(lambda: not self._asking)
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._wake()

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Hold it for a conversation; the model is out of its memory when the block ends."""
        async with self._turn:
            self._asking = True
            try:
                await self._until(lambda: not self._busy)
                yield
            finally:
                self._asking = False
                self._wake()

    async def _until(self, condition: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not condition():
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Gated:
    """An executor whose work goes through a gate; see `skep.ports.Executor`."""

    def __init__(self, executor: Executor, gate: Gate) -> None:
        self._executor = executor
        self._gate = gate
        self.slots = executor.slots

    @property
    def environment(self) -> Environment:
        """See `Executor.environment`."""
        return self._executor.environment

    def refusal(self, code: Code) -> SandboxError | None:
        """See `Executor.refusal`."""
        return self._executor.refusal(code)

    async def pause(self) -> None:
        """See `Executor.pause`."""
        await self._executor.pause()

    async def resume(self) -> None:
        """See `Executor.resume`."""
        await self._executor.resume()

    async def train(self, slot: int, order: Order, report: Callable[[Progress], None]) -> Outcome:
        """See `Executor.train`."""
        async with self._gate.working():
            return await self._executor.train(slot, order, report)

    async def score(
        self, slot: int, subjects: Sequence[Subject], draws: Sequence[Draw], *, probe: bool
    ) -> list[Scored]:
        """See `Executor.score`."""
        async with self._gate.working():
            return await self._executor.score(slot, subjects, draws, probe=probe)
