"""The executor of this machine: sandboxed training and trusted scoring, on several slots at once.

An experiment is a row of phases in forked children of a slot's warm worker: *calibrate* (time a
few steps and turn the budget into a number of them), *train* (from scratch, metered from outside),
and for every model to be scored *serve* (answer inputs with logits), a second time where it is
probed. Candidates fail as values; only when one of our own processes fails is there an exception.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio
from msgspec.structs import replace

from skep.errors import SandboxError, TrainerFault
from skep.ports import Code, Draw, Order, Outcome, Progress, Scored, Subject
from skep.records import Environment, program_id
from trainer.hardware import environment_of, find_device
from trainer.launcher import Launcher
from trainer.log import Log
from trainer.messages import Facts
from trainer.meter import REFERENCE_PROBE_S, Bias, Meter
from trainer.nursery import open_nursery
from trainer.phases import WorkerDied
from trainer.policy import Policy, domain
from trainer.remembered import FACTS, recall, remember
from trainer.sandbox import Backend
from trainer.serving import Serving
from trainer.slot import Slot
from trainer.task import Task
from trainer.training import Training
from trainer.workspace import run_self_scored

T = TypeVar("T")

DEADLY = "the sandbox died under it, twice"
LOG, CURVE = "log.txt", "curve.json"


class LocalExecutor:
    """Implements `skep.ports.Executor` on this machine; see `open`."""

    def __init__(
        self,
        task: Task,
        slots: list[Slot],
        device: str,
        environment: Environment,
        policy: Policy,
    ) -> None:
        self.slots = len(slots)
        self._task = task
        self._slots = slots
        self._device = device
        self._environment = environment
        self._policy = policy
        self._suspects: set[bytes] = set()
        on_cpu = device == "cpu"
        speed = REFERENCE_PROBE_S / (environment.probe_ns / 1e9) if on_cpu else 1.0
        self._meter = Meter(on_cpu=on_cpu, speed=speed)
        self._bias = Bias()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, task: Task, folder: Path, *, jobs: int, device: str, sandbox: Backend, policy: Policy
    ) -> AsyncIterator["LocalExecutor"]:
        """An executor; leaving the block ends every process that it started.

        Args:
            task: what is trained and scored; its data is prepared.
            folder: for scratch files.
            jobs: how many slots.
            device: `auto`, `cpu`, `cuda`, `mps`.
            sandbox: where candidates run.
            policy: which of them may.

        Raises:
            ConfigError: there is no such device here.
            TrainerFault: a helper process does not start.
        """
        async with Launcher.open() as launcher, open_nursery() as nursery:
            slots = [
                Slot(
                    number,
                    task,
                    folder / "cache" / f"slot-{number}",
                    launcher=launcher,
                    backend=sandbox,
                    devices=device != "cpu",
                )
                for number in range(jobs)
            ]
            try:
                if task.facts.scored_by == "program":
                    # Every run gets a worker of its own: none has to be warm.
                    facts = await _bare_facts(slots[0], folder / FACTS, device)
                else:
                    facts = await find_device(await slots[0].worker(), device)
                    for slot in slots:
                        nursery.start_soon(_warm_up, slot)
                environment = environment_of(facts, sandbox.name)
                yield cls(task, slots, facts.device, environment, policy)
                nursery.cancel_scope.cancel()
            finally:
                for slot in slots:
                    slot.close()

    @property
    def environment(self) -> Environment:
        """The machine, as it goes into every run."""
        return self._environment

    def refusal(self, code: Code) -> SandboxError | None:
        """Why code of a class may not run here; None where it may."""
        return self._policy.refusal(code)

    async def pause(self) -> None:
        """Stop every process of every slot; what was training comes out void."""
        for slot in self._slots:
            await slot.pause()

    async def resume(self) -> None:
        """Let them go on."""
        for slot in self._slots:
            await slot.resume()

    async def train(self, slot: int, order: Order, report: Callable[[Progress], None]) -> Outcome:
        """Train one program; see `skep.ports.Executor`."""
        if refused := self.refusal(order.code):
            raise refused
        started = trio.current_time()
        log = Log()
        with self._slots[slot].stretch() as interrupted:
            outcome = await self._train(self._slots[slot], order, report, log)
            if interrupted:
                outcome = _voided(outcome)
        await trio.to_thread.run_sync(_keep, order.folder, log, outcome)
        return replace(outcome, total_ms=round((trio.current_time() - started) * 1000))

    async def _train(
        self, slot: Slot, order: Order, report: Callable[[Progress], None], log: Log
    ) -> Outcome:
        report(Progress(phase="starting"))
        if self._task.facts.scored_by == "program":
            return await run_self_scored(self._task, slot, order, log)
        training = Training(
            self._task, slot, self._device, self._meter, self._bias, order, report, log
        )
        return await self._survived(order.source, training.outcome) or Outcome(
            status="killed", reason=DEADLY
        )

    async def _survived(self, source: str, run: Callable[[], Awaitable[T]]) -> T | None:
        """What a phase of a program returns; None if it was the second to cost us the worker.

        Raises:
            WorkerDied: it was the first; nobody knows yet whose fault it is.
        """
        program = program_id(source)
        try:
            result = await run()
        except WorkerDied:
            if program in self._suspects:
                return None
            self._suspects.add(program)
            raise
        self._suspects.discard(program)
        return result

    async def score(
        self, slot: int, subjects: Sequence[Subject], draws: Sequence[Draw], *, probe: bool
    ) -> list[Scored]:
        """Score models; see `skep.ports.Executor`."""
        return [await self._score(self._slots[slot], subject, draws, probe) for subject in subjects]

    async def _score(
        self, slot: Slot, subject: Subject, draws: Sequence[Draw], probe: bool
    ) -> Scored:
        if refused := self.refusal(subject.code):
            raise refused
        scorer = await slot.scorer()
        worker = await slot.worker(domain(subject.code, subject.source))
        serving = Serving(self._task, worker, scorer, self._device, self._meter, subject)
        with slot.stretch() as interrupted:
            scores = partial(serving.score, draws, probe=probe)
            scored = await self._survived(subject.source, scores) or Scored((), DEADLY)
            if scored.fault and interrupted:
                raise TrainerFault("scoring was paused, or the machine slept")
        return scored


async def _bare_facts(slot: Slot, path: Path, device: str) -> Facts:
    """What torch finds here, or found at an earlier start."""
    if (known := recall(path, device)) is not None:
        return known
    async with slot.bare_worker(()) as worker:
        facts = await find_device(worker, device)
    await trio.to_thread.run_sync(remember, path, device, facts)
    return facts


async def _warm_up(slot: Slot) -> None:
    """Start a slot's processes before they are needed; who needs them sees what went wrong."""
    with suppress(TrainerFault):
        await slot.worker()
        await slot.scorer()


def _voided(outcome: Outcome) -> Outcome:
    """What is left of an outcome when time did not run evenly."""
    if outcome.checkpoint:
        outcome.checkpoint.unlink()
    reason = "the job was paused, or the machine slept"
    return replace(
        outcome, status="void", reason=reason, paused=True, weights=None, checkpoint=None
    )


def _keep(folder: Path, log: Log, outcome: Outcome) -> None:
    (folder / LOG).write_text(log.text)
    (folder / CURVE).write_text(json.dumps(outcome.curve))
