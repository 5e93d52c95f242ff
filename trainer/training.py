"""One training on a slot, from an order to an outcome: calibrate, train, read the meters."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import trio

from skep.ports import Order, Outcome, Progress
from trainer.checkpoint import CHECKPOINT_MAX_BYTES
from trainer.log import Log
from trainer.messages import Begun, Garbled, Report, Step
from trainer.meter import Bias, Ended, Limits, Meter
from trainer.outcome import Said, failed, failure
from trainer.policy import domain
from trainer.sealed import sealed_copy
from trainer.slot import Slot
from trainer.task import Task

CHECKPOINT = "checkpoint.safetensors"
TRAINING_DATA = "train.bin"
PROCESSES_MAX = {True: 64, False: 256}
"""Processes and threads of a program on a CPU, where it has one core, and on a GPU. So many that
never sleep leave the worker that watches them a 64th of a core."""
PATIENCE_S, PATIENCE = 0.6, 0.06
"""Seconds, or the part of the budget, after which calibration makes do with the steps it has."""
CALIBRATION_S, CALIBRATION_SHARE = 10.0, 0.5
"""CPU seconds of a calibration at most, and the part of the budget that comes on top."""
SLACK = 3.0
"""A training is stopped at so many times its budget; overshooting by less voids it."""
START_S = 120.0
"""Wall-clock that is free for what precedes a GPU's first step: its libraries, compiling."""
REPORT_S = 0.2
TrainingPhase = Literal["calibrate", "train"]
PROBES, PROBE_S, CALIBRATION_PROBE_S = 20, (0.4, 1.0), 0.1
"""Probes in a training and the seconds between them: one takes 16 ms and is off by 12 %."""


class Training:
    """The phases of one order; `log` takes up what the program prints in them."""

    def __init__(
        self,
        task: Task,
        slot: Slot,
        device: str,
        meter: Meter,
        bias: Bias,
        order: Order,
        report: Callable[[Progress], None],
        log: Log,
    ) -> None:
        self._log = log
        self._said = Said()
        self._task = task
        self._slot = slot
        self._device = device
        self._meter = meter
        self._bias = bias
        self._foreseen: float | None = None
        self._order = order
        self._report = report
        self._phase_at = 0.0
        self._begun_at: float | None = None
        self._next_report = 0.0

    async def outcome(self) -> Outcome:
        """Run it.

        Raises:
            TrainerFault: a helper process of ours failed.
        """
        scorer = await self._slot.scorer()
        work = {
            "source": self._order.source,
            "seed": self._order.seed,
            "device": self._device,
            "meta": dict(scorer.meta.values),
        }
        with opened_copy(self._task.data / TRAINING_DATA) as data:
            steps = self._order.steps
            if steps is None and self._order.pace is not None:
                steps = self._meter.steps_at(self._order.budget_ms, self._order.pace)
            if steps is None:
                found = await self._calibrate(work, data)
                if isinstance(found, Outcome):
                    return found
                steps = found
            return await self._train({**work, "steps": steps}, data)

    async def _calibrate(self, work: dict[str, Any], data: int) -> int | Outcome:
        self._report(Progress(phase="calibrating"))
        budget_s = self._order.budget_ms / 1000
        ended = await self._run(
            "calibrate",
            {**work, "steps": 0, "patience": max(PATIENCE_S, PATIENCE * budget_s)},
            [data],
            self._limits(CALIBRATION_S + CALIBRATION_SHARE * budget_s),
        )
        calibrated = self._said.calibrated
        fault = failure(ended, self._said, complete=calibrated is not None)
        if fault or calibrated is None:
            status, reason = fault or ("crash", "")
            return failed(status, reason, self._said, self._log.tail)
        self._foreseen = self._bias.factor
        budget_ms = self._order.budget_ms / self._foreseen
        return self._meter.steps(budget_ms, calibrated.step, calibrated.setup, ended.probes)

    async def _train(self, work: dict[str, Any], data: int) -> Outcome:
        self._said = Said()
        self._begun_at = None
        self._report(Progress(phase="training", steps=work["steps"]))
        path = self._order.folder / CHECKPOINT
        with suppress(FileNotFoundError):
            path.unlink()  # of an attempt that one of our own processes spoiled
        try:
            with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as checkpoint:
                limits = self._limits(CALIBRATION_S + SLACK * self._order.budget_ms / 1000)
                ended = await self._run("train", work, [data, checkpoint], limits, work["steps"])
                os.fchmod(checkpoint, 0o600)  # whatever it has made of it
            outcome = await self._judge(ended, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if outcome.checkpoint is None:
            path.unlink()
        return outcome

    async def _judge(self, ended: Ended, path: Path) -> Outcome:
        said, finished = self._said, self._said.finished
        fault = failure(ended, said, complete=finished is not None)
        trained_s = ended.wall - min(START_S, self._started_in())
        spent_ms = self._meter.spent_ms(ended, trained_s)
        budget_ms = self._order.budget_ms
        if not fault and self._foreseen is not None:
            self._bias.learn(self._foreseen, budget_ms, spent_ms)
        if not fault and self._order.steps is None and self._meter.overshot(budget_ms, spent_ms):
            fault = (
                "void",
                f"it spent {spent_ms / 1000:.1f} s of a budget of {budget_ms / 1000:g} s",
            )
        weights = None if fault else await trio.to_thread.run_sync(file_digest, path)
        status, reason = fault or ("done", "")
        return Outcome(
            status=status,
            reason=reason,
            steps=finished.step if finished else said.step,
            tokens=finished.tokens if finished else said.tokens,
            spent_ms=spent_ms,
            train_ms=round((ended.cpu if self._meter.on_cpu else trained_s) * 1000),
            peak_kib=((finished and finished.memory) or ended.peak) >> 10,
            parameters=finished.parameters if finished else 0,
            weights=weights,
            checkpoint=None if fault else path,
            curve=tuple(said.curve),
            log_tail=self._log.tail,
        )

    async def _run(
        self,
        phase: TrainingPhase,
        work: dict[str, Any],
        descriptors: Sequence[int],
        limits: Limits,
        steps: int = 0,
    ) -> Ended:
        def hear(report: Report | Garbled) -> None:
            self._said.hear(report)
            if phase == "train":
                self._show(report, steps)

        worker = await self._slot.worker(domain(self._order.code, self._order.source))
        self._phase_at = trio.current_time()
        return await worker.run(
            phase,
            work,
            descriptors,
            limits=limits,
            probe_s=self._probe_s(phase) if self._meter.on_cpu else 0.0,
            handle=hear,
            log=self._log,
        )

    def _probe_s(self, phase: TrainingPhase) -> float:
        if phase == "calibrate":
            return CALIBRATION_PROBE_S
        shortest, longest = PROBE_S
        return min(longest, max(shortest, self._order.budget_ms / 1000 / PROBES))

    def _show(self, report: Report | Garbled, steps: int) -> None:
        """Pass a sign of life on, a few a second at most."""
        now = trio.current_time()
        if isinstance(report, Begun):
            self._begun_at = now
        elif isinstance(report, Step) and self._begun_at is not None and now >= self._next_report:
            self._next_report = now + REPORT_S
            left = None
            if report.step:
                left = (now - self._begun_at) * max(0, steps - report.step) / report.step
            self._report(
                Progress(
                    phase="training", step=report.step, steps=steps, loss=report.loss, left_s=left
                )
            )

    def _started_in(self) -> float:
        """Seconds that the program says it took to its first step; 0 if it never said so."""
        return self._begun_at - self._phase_at if self._begun_at else 0.0

    def _limits(self, reference_s: float) -> Limits:
        return Limits(
            cpu=reference_s / self._meter.speed if self._meter.on_cpu else math.inf,
            wall=self._task.limits.timeout_s + (0 if self._meter.on_cpu else START_S),
            memory=self._task.limits.memory_mib << 20,
            file=CHECKPOINT_MAX_BYTES,
            processes=PROCESSES_MAX[self._meter.on_cpu],
        )


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor of a file that is no symbolic link."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_copy(path: Path) -> Iterator[int]:
    """A descriptor of a copy of a file that is no symbolic link; see `sealed`."""
    with opened(path, os.O_RDONLY) as original:
        copy = sealed_copy(original)
    try:
        yield copy
    finally:
        os.close(copy)


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
