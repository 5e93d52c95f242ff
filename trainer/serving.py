"""The scoring of one model on a slot: serve it to the scorer, and once more to be probed.

Each serving is a process of its own, forked from the warm worker, with memory and descriptors of
its own: what the second one answers cannot come from what the first one was asked. Whatever the
model does is a value; only when one of our own processes fails is there an exception.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from skep.ports import Draw, Scored, Subject
from trainer.checkpoint import BadCheckpoint, open_checkpoint
from trainer.log import Log
from trainer.meter import Ended, Limits, Meter
from trainer.nursery import open_nursery
from trainer.outcome import Said, failure
from trainer.phases import WarmWorker
from trainer.scoring import Exchange, Scorer, open_exchange
from trainer.sealed import sealed_copy
from trainer.task import Task
from trainer.training import PROCESSES_MAX

SCORE_S, SCORE_SHARE = 20.0, 1.0
"""Seconds that scoring a draw may take, and the part of the budget that comes on top."""
PROBE_S, PROBE_SHARE = 1.0, 0.05
"""Reference-seconds of the second serving, on a CPU: else a program could go on training there.

What it computes before its first answer it has to compute again to be consistent with itself.
"""
LEAVE_S = 2.0
"""How long a model may take to go once it has been scored."""


class Serving:
    """Serves one model to a slot's scorer.

    Args:
        task: gives the limits.
        worker, scorer: the slot's.
        device: where the model runs.
        meter: of that device.
        subject: the model.
    """

    def __init__(
        self,
        task: Task,
        worker: WarmWorker,
        scorer: Scorer,
        device: str,
        meter: Meter,
        subject: Subject,
    ) -> None:
        self._worker = worker
        self._scorer = scorer
        self._meter = meter
        self._subject = subject
        self._budget_s = task.facts.budget_ms / 1000
        self._memory = task.limits.memory_mib << 20
        self._work = {
            "source": subject.source,
            "device": device,
            "meta": dict(scorer.meta.values),
            "windows": scorer.meta.windows,
        }

    async def score(self, draws: Sequence[Draw], *, probe: bool) -> Scored:
        """Score it on each draw.

        Raises:
            TrainerFault: a helper process of ours failed.
        """
        seconds = SCORE_S + SCORE_SHARE * self._budget_s
        limits = self._limits(seconds * len(draws), seconds * len(draws))
        scored = await self._serve(partial(self._scorer.score, draws), limits)
        if scored.fault or not probe:
            return scored
        once_more = (PROBE_S + PROBE_SHARE * self._budget_s) / self._meter.speed
        limits = self._limits(once_more if self._meter.on_cpu else seconds, seconds)
        probed = await self._serve(self._scorer.probe, limits)
        if probed.fault:
            return Scored((), f"asked again in a new process: {probed.fault}")
        return scored

    def _limits(self, cpu: float, seconds: float) -> Limits:
        most = PROCESSES_MAX[self._meter.on_cpu]
        return Limits(cpu=cpu, wall=2 * seconds, memory=self._memory, file=0, processes=most)

    async def _serve(
        self, ask: Callable[[Exchange, float], Awaitable[Scored]], limits: Limits
    ) -> Scored:
        """What the scorer says of one serving, or why there was none."""
        try:
            checkpoint = await trio.to_thread.run_sync(_copy, self._subject.checkpoint)
        except BadCheckpoint as bad:
            return Scored((), str(bad))
        try:
            with open_exchange(self._scorer.meta) as exchange:
                return await self._meet(checkpoint, exchange, ask, limits)
        finally:
            os.close(checkpoint)

    async def _meet(
        self,
        checkpoint: int,
        exchange: Exchange,
        ask: Callable[[Exchange, float], Awaitable[Scored]],
        limits: Limits,
    ) -> Scored:
        said, scored = Said(), Scored(())
        ended: Ended | None = None
        async with open_nursery() as nursery:
            serving = trio.CancelScope()

            async def hear() -> None:
                nonlocal scored
                scored = await ask(exchange, limits.wall)
                serving.deadline = trio.current_time() + LEAVE_S

            nursery.start_soon(hear)
            with serving:
                ended = await self._worker.run(
                    "serve",
                    self._work,
                    [checkpoint, exchange.inputs, exchange.logits, exchange.model.fileno()],
                    limits=limits,
                    probe_s=0.0,
                    handle=said.hear,
                    log=Log(),
                )
            exchange.model.close()
        fault = failure(ended, said, complete=True) if ended and scored.fault else None
        return Scored((), fault[1]) if fault else scored


def _copy(path: Path) -> int:
    """A descriptor of a checkpoint for one serving: what one writes, another must not read.

    Raises:
        BadCheckpoint: it cannot be opened, or is none.
    """
    checkpoint = open_checkpoint(path)
    try:
        return sealed_copy(checkpoint)
    finally:
        os.close(checkpoint)
