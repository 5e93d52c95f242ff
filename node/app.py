"""The composition root: opens home, ledger, task and executor, and runs the research on them.

Everything that lives as long as the node is made and closed here, in order; no other module
constructs a ledger or an executor. Showing what happens is `node.cli`'s business: it is handed
every event.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from msgspec import Struct

from gossip.driver import Doing
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.swarms import SOLO_SWARM
from node.arm import Arm, gate_of, lasting_memory
from node.briefing import program_md
from node.config import Settings
from node.control import Answers, serve
from node.experiment import Bench
from node.export.results import write_results
from node.gate import Gated
from node.history import history
from node.home import Home, hold, remember_task
from node.loop import Researcher
from node.machine import renew, settle
from node.outgoing import scanner_of, wording
from node.provenance import Provenance
from node.status import Status
from node.swarm import SOFTWARE, Membership, place_of
from skep.errors import ConfigError, HomeError, PatchError, PromptError
from skep.events import Best, Event, Finished, Judged, Paused, Said
from skep.members import roots
from skep.ports import BETTER, Strategy
from skep.records import Environment, Role
from skep.tier import tier
from strategies.ablate import Ablate
from strategies.adopt import Adopt
from strategies.llm import Ideas, Llm
from strategies.prompt import ROLES
from strategies.prompt import Role as Asked
from strategies.recombine import Recombine
from strategies.replicate import Replicate
from strategies.tune import Tune
from trainer.examination import Examiner
from trainer.executors.local import LocalExecutor
from trainer.hardware import default_slots
from trainer.launcher import Launcher
from trainer.policy import Consent, Policy
from trainer.sandbox import Guarantees, choose
from trainer.task import Task, load, prepare

STOP_GRACE_S = 2.5
"""A clean stop that takes longer than this is ended hard; nothing recorded is lost by that."""

HARD_STOP = b"skep: stopped at once; what was running is repeated at the next start\n"

EXIT_INTERRUPTED = 130
SHOW_CURSOR = b"\x1b[?25h\n"
"""The live view hides it, and ending hard leaves no time to take that back."""


class Summary(Struct, frozen=True, kw_only=True):
    """What one start of a node brought.

    Attributes:
        judged, kept, runs: counts of this start.
        first, best: mean score of start program and champion on the pinned draw; None without.
        champion: content id of the champion.
        interrupted: ended by a signal.
    """

    judged: int
    kept: int
    runs: int
    first: float | None
    best: float | None
    champion: bytes
    interrupted: bool


class Node(Struct, frozen=True, kw_only=True):
    """An open node, its lock held: everything that research or a reproduction needs."""

    home: Home
    identity: Identity
    ledger: Ledger
    task: Task
    executor: LocalExecutor
    examiner: Examiner
    environment: Environment
    guarantees: Guarantees
    policy: Policy


@asynccontextmanager
async def open_node(
    settings: Settings, consent: Consent, say: Callable[[str], None]
) -> AsyncIterator[Node]:
    """Open the home exclusively and start the trainer.

    Args:
        settings: what the user asked for.
        consent: what the user answers for this time.
        say: takes one line of what is going on.

    Raises:
        HomeError: the home is in use, not writable, or does not read back.
        TaskError: the task pack is broken.
        ConfigError: the device is absent.
        SandboxError: nothing here may run the code.
    """
    with hold(settings.home) as home:
        identity = Identity.load(home.root)
        swarm = SOLO_SWARM if settings.solo else place_of(settings).swarm
        task = load(
            settings.task,
            home=home.root,
            budget_s=settings.budget,
            start_program=settings.program,
        )
        await prepare(task, say)
        remember_task(home, task.facts)
        backend, guarantees = await trio.to_thread.run_sync(choose)
        policy = Policy(guarantees.strength, consent)
        own = Provenance(task.facts, lambda program: None).code_of(task.facts.seed_program)
        if refused := policy.refusal(own):
            raise refused
        renew(home)
        jobs = settings.jobs or await default_slots(task, settings.device)
        async with (
            Ledger.open(
                home.root, identity, swarm=swarm, clock=now_ms, archive_bytes=settings.archive_bytes
            ) as ledger,
            LocalExecutor.open(
                task,
                home.root,
                jobs=jobs,
                device=settings.device,
                sandbox=backend,
                policy=policy,
            ) as executor,
            Launcher.open() as launcher,
            Examiner.open(launcher, task.facts.knob_program, task.facts.knobs) as examiner,
        ):
            yield Node(
                home=home,
                identity=identity,
                ledger=ledger,
                task=task,
                executor=executor,
                examiner=examiner,
                environment=settle(home, executor.environment),
                guarantees=guarantees,
                policy=policy,
            )


async def run(
    settings: Settings,
    consent: Consent,
    show: Callable[[Event], None],
    search: Callable[[], Strategy] = Tune,
) -> Summary | None:
    """Research until told to stop, by a limit of the settings, a signal or `skep finish`.

    Args:
        settings: what the user asked for.
        consent: what the user answers for this time.
        show: is handed every event.
        search: makes the strategy that always has an idea of its own.

    Returns:
        What this start brought; None if it was stopped before research began.

    Raises:
        SkepError: see `open_node` and `node.loop.Researcher.run`; inside trio's exception groups.
    """
    summary = None
    async with trio.open_nursery() as nursery:
        stages = [trio.CancelScope()]
        await nursery.start(watch_signals, stages)
        with stages[0]:
            async with open_node(settings, consent, lambda line: show(Said(line))) as node:
                session = _Session(node, settings, show, search())
                # From here on a signal ends the work but leaves the closing alone.
                stages.append(working := trio.CancelScope())
                with working:
                    await session.run()
                summary = session.summary(interrupted=working.cancelled_caught)
        nursery.cancel_scope.cancel()
    return summary


class _Session:
    """One start of a node: the research, who watches it, and who may steer it."""

    def __init__(
        self, node: Node, settings: Settings, show: Callable[[Event], None], search: Strategy
    ) -> None:
        self._node = node
        self._settings = settings
        self._show = show
        facts = node.task.facts
        role: Role = "verify" if settings.verify_only else "full"
        public = f"{facts.seed_program}\n{program_md(node.home)}\n{facts.name}"
        scanner = scanner_of(settings, node.identity.seed, public)
        node.ledger.wording = wording(scanner, self._emit)
        gate, ideas = gate_of(settings, node.environment.backend), Ideas()
        executor = Gated(node.executor, gate) if gate else node.executor
        bench = Bench(facts, executor, node.home.runs, node.environment)
        self._researcher = Researcher(
            ledger=node.ledger,
            bench=bench,
            strategies=[Adopt(), Replicate(), Recombine(), Ablate(), Llm(ideas), search],
            author=node.identity.public,
            proposals=settings.experiments,
            emit=self._emit,
            role=role,
            examine=node.examiner.examine,
        )
        thinks = role == "full" and node.policy.refusal("own") is None
        self._arm = (
            Arm(
                settings=settings,
                home=node.home,
                author=node.identity.public,
                ledger=node.ledger,
                bench=bench,
                researcher=self._researcher,
                ideas=ideas,
                gate=gate,
                scanner=scanner,
                clock=now_ms,
                emit=self._emit,
            )
            if thinks
            else None
        )
        self._membership = None if settings.solo else self._join(role)
        if self._membership is not None:
            self._researcher.heed(self._membership.announced)
            self._researcher.hopes.append(lambda: "what peers find")
        door = self._membership.door if self._membership else None
        if door is not None:
            self._researcher.count(lambda: roots(node.identity.public, door.members))
        self._status = Status(
            task=facts.name,
            metric=facts.metric,
            slots=node.executor.slots,
            champion=self._researcher.research.champion,
            sandbox=_sandbox(node),
        )
        self._judged = self._kept = self._runs = 0

    def _join(self, role: Role) -> Membership:
        node = self._node
        here = tier(node.environment)
        return Membership(
            home=node.home.root,
            place=place_of(self._settings),
            identity=node.identity,
            ledger=node.ledger,
            research=self._researcher,
            doing=lambda: Doing(role, here, node.task.facts.id, SOFTWARE, self._status.running),
            emit=self._emit,
        )

    async def run(self) -> None:
        """Research and answer questions until the work is done or the time is over."""
        for line in self._banner():
            self._emit(Said(line))
        if warning := self._node.policy.warning:
            self._emit(Said(f"warning  {warning}", alarm=True))
        shared = lasting_memory(self._settings, self._node.environment.backend)
        if self._arm is not None and shared:
            self._emit(Said(f"warning  {shared}", alarm=True))
        limit = self._settings.minutes
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, self._node.home.root, self._answers())
            if self._membership is not None:
                nursery.start_soon(self._membership.run)
            if self._arm is not None:
                nursery.start_soon(self._arm.run)
            with trio.move_on_after(limit * 60 if limit else float("inf")):
                await self._researcher.run()
            nursery.cancel_scope.cancel()

    def summary(self, *, interrupted: bool) -> Summary:
        """What this start brought so far."""
        facts, ledger = self._node.task.facts, self._node.ledger
        lineage = history(ledger.runs(facts.id), facts, ledger.program).lineage
        return Summary(
            judged=self._judged,
            kept=self._kept,
            runs=self._runs,
            first=lineage[0].value if lineage else None,
            best=lineage[-1].value if lineage else None,
            champion=self._researcher.research.champion,
            interrupted=interrupted,
        )

    def _emit(self, event: Event) -> None:
        match event:
            case Finished():
                self._runs += 1
            case Judged():
                self._judged += 1
                self._kept += event.verdict == "keep"
        self._status.take(event)
        if self._arm is not None:
            self._arm.thinking.take(event)
        self._show(event)
        if isinstance(event, Finished | Best):
            write_results(self._node.home, self._node.ledger, self._node.task.facts)

    def _answers(self) -> Answers:
        return {
            "status": self._report,
            "pause": self._pause,
            "resume": self._resume,
            "finish": self._finish,
            "swarm": self._swarm,
            **{f"prompt-{role}": partial(self._prompt, role) for role in ROLES},
        }

    async def _prompt(self, role: Asked) -> dict[str, Any]:
        if self._arm is None:
            raise ConfigError("this node asks no model", "It only verifies, or has no sandbox.")
        try:
            return await self._arm.prompt(role)
        except (PatchError, PromptError, HomeError) as error:
            raise ConfigError(error.what, error.advice) from None

    async def _swarm(self) -> dict[str, Any]:
        return self._membership.answer() if self._membership else {"swarm": None}

    async def _report(self) -> dict[str, Any]:
        around = self._membership.glance() if self._membership else None
        model = self._arm.answer() if self._arm else None
        return {**self._status.answer(), "swarm": around, "model": model}

    async def _pause(self) -> dict[str, Any]:
        await self._researcher.pause()
        self._emit(Paused(True))
        return self._status.answer()

    async def _resume(self) -> dict[str, Any]:
        await self._researcher.resume()
        self._emit(Paused(False))
        return self._status.answer()

    async def _finish(self) -> dict[str, Any]:
        await self._researcher.finish()
        self._status.finishing()
        self._emit(Said("finishing: no new experiments; ending when those in flight are done"))
        return self._status.answer()

    def _banner(self) -> list[str]:
        node, facts = self._node, self._node.task.facts
        machine, slots = node.environment, node.executor.slots
        unit = "reference-seconds" if machine.backend == "cpu" else "seconds"
        budget = f"{facts.budget_ms / 1000:g} {unit}" if facts.budget_ms else "set by the program"
        return [
            f"node     {node.identity.name}  ({node.identity.peer_id})",
            f"task     {facts.name}: {facts.metric}, {BETTER[facts.direction]};"
            f" budget {budget}; scored by the {facts.scored_by}",
            f"machine  {machine.device}, {slots} experiment{'' if slots == 1 else 's'} at once,"
            f" tier {tier(machine)}",
            f"sandbox  {_sandbox(node)}",
            f"home     {node.home.root}",
            "peers    none: this node researches alone" if self._settings.solo else self._meeting(),
        ]

    def _meeting(self) -> str:
        """Whom the node looks for, in one line."""
        place = place_of(self._settings)
        known = len(place.bootstrap)
        if known or place.lab:
            where = f"{known} address{'' if known == 1 else 'es'}"
            return f"peers    looking for company in {place.name}, at {where}"
        return (
            "peers    no public peers are known yet (bootstrap_peers.txt is empty); this node"
            " listens, and researches meanwhile. --bootstrap ADDRESS joins others"
        )


def _sandbox(node: Node) -> str:
    """What stands between the experiments and this machine, in one line."""
    notes = [node.guarantees.note] if node.guarantees.note else []
    if node.environment.backend != "cpu":
        notes.append("with a GPU its driver is the boundary")
    return node.guarantees.backend + (f" ({'; '.join(notes)})" if notes else "")


async def watch_signals(
    stages: list[trio.CancelScope],
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first signal ends the latest stage cleanly, the second one everything at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        await anext(aiter(signals))
        stages[-1].cancel()
        with trio.move_on_after(STOP_GRACE_S):
            await anext(aiter(signals))
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), SHOW_CURSOR)
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), HARD_STOP)
    os._exit(EXIT_INTERRUPTED)


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
