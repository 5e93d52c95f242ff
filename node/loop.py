"""The research loop: every slot asks what to do next, does it, and records it before moving on.

Slots are independent tasks under trio; the only thing they share is the moment of deciding, which
costs milliseconds. All durable state is the ledger's, so killing the process at any point loses
at most the experiments in flight, and those are taken up again. What to do is decided by
`node.plan`, what to try by `strategies`, what is true by `skep.evidence`.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import trio
from msgspec.structs import replace

from gossip.jobs import Job
from gossip.ledger import Ledger
from node.experiment import (
    Bench,
    Parent,
    checkpoint_path,
    measure,
    printable,
    scoring_plan,
    train,
    value_of,
)
from node.plan import Flight, Propose, Repeat, Stop, Wait, next_action
from skep.errors import SkepError, TrainerFault
from skep.events import ChampionChanged, Event, Finished, Judged, Progressed, Said, Started
from skep.evidence import Candidate, Fold, Research
from skep.evidence.research import SETTLED
from skep.patch import fingerprint
from skep.ports import Outcome, Proposal, Strategy, Trial, View
from skep.records import Run, program_id
from skep.tier import tier

BASELINE_FAILURES_MAX = 3
FAULTS_MAX = 3
"""Failures of our own helpers in a row before the node gives up, with a pause between them."""

FAULT_PAUSE_S = 2.0
EMPTY_PROPOSALS_MAX = 20


class Researcher:
    """Runs experiments on all slots until told to stop.

    Args:
        ledger: open ledger of this node.
        bench: task, executor and folder for runs.
        strategies: in order of preference; the first that has a proposal is taken.
        author: 32-byte public key; makes the seeds of this node its own.
        proposals: stop after this many judged proposals; None to go on.
        emit: called with every event.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        bench: Bench,
        strategies: Sequence[Strategy],
        author: bytes,
        proposals: int | None,
        emit: Callable[[Event], None],
    ) -> None:
        self._ledger = ledger
        self._bench = bench
        self._strategies = strategies
        self._author = author
        self._proposals = proposals
        self._emit = emit
        self._tier = tier(bench.executor.environment)
        self._fold = Fold(
            start=program_id(bench.task.seed_program),
            direction=bench.task.direction,
            sigma_prior=bench.task.sigma,
        )
        self._runs: list[tuple[bytes, Run]] = []
        self._earlier: list[Job] = []
        self._flying: dict[str, Job] = {}
        self._deciding = trio.Lock()
        self._changed = trio.Condition()
        self._stopping = False
        self._resumed = trio.Event()
        self._resumed.set()
        self._baseline_failures = 0

    @property
    def research(self) -> Research:
        """What the own runs support at this moment."""
        return self._fold.snapshot()

    def finish(self) -> None:
        """Let the experiments in flight end and start no new ones."""
        self._stopping = True

    def pause(self) -> None:
        """Stop every process of every experiment; they are repeated after `resume`."""
        self._resumed = trio.Event()
        self._bench.executor.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._bench.executor.resume()
        self._resumed.set()

    async def run(self) -> None:
        """Research until finished. Cancelling abandons what is in flight; it is requeued.

        Raises:
            SkepError: the baseline keeps failing, the home cannot be written, or our own
                helpers keep failing.
        """
        await self._ledger.add_program(
            self._bench.task.seed_program, fingerprint(self._bench.task.seed_program)
        )
        for run_id, run in self._ledger.runs(self._bench.task.id):
            if tier(run.environment) == self._tier:
                self._take_in(run_id, run)
        _, dropped = await self._ledger.requeue_interrupted()
        for job in dropped:
            self._emit(Said(f"dropped {job.name}: the node died twice while it ran ({job.note})"))
        self._earlier = [job for job in self._ledger.jobs() if job.task == self._bench.task.id]
        async with trio.open_nursery() as nursery:
            for slot in range(self._bench.executor.slots):
                nursery.start_soon(self._work, slot)

    async def _work(self, slot: int) -> None:
        faults = 0
        while True:
            await self._resumed.wait()
            job = await self._next_job()
            if job is None:
                return
            try:
                await self._experiment(slot, job)
                faults = 0
            except TrainerFault as fault:
                faults += 1
                if faults >= FAULTS_MAX:
                    raise
                self._emit(Said(f"slot {slot}: {fault}; trying again"))
                await self._put_back(job)
                await trio.sleep(FAULT_PAUSE_S * faults)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await self._ledger.queue(job)
                raise
            finally:
                self._flying.pop(job.name, None)
            async with self._changed:
                self._changed.notify_all()

    # Deciding

    async def _next_job(self) -> Job | None:
        """The next job, queued durably; None when this slot has nothing more to do."""
        while not self._stopping:
            async with self._deciding:
                job = await self._resume_earlier() or await self._decide()
            if isinstance(job, Job):
                return job
            if isinstance(job, Stop):
                break
            async with self._changed:
                await self._changed.wait()
        async with self._changed:
            self._changed.notify_all()
        return None

    async def _resume_earlier(self) -> Job | None:
        """A job that an earlier life of this node left, if it still matters."""
        while self._earlier:
            job = self._earlier.pop(0)
            if self._still_matters(job):
                self._flying[job.name] = job
                return job
            await self._ledger.finish(job, None)
        return None

    def _still_matters(self, job: Job) -> bool:
        if any(run.program == job.program and run.seed == job.seed for _, run in self._runs):
            return False
        research = self.research
        known = research.candidates.get(job.program)
        if job.purpose == "baseline":
            return job.program == research.champion
        if job.purpose == "rerun":
            return known is not None and known.stage == "open"
        return known is None and job.parent is not None

    async def _put_back(self, job: Job) -> None:
        """Let a job wait again as if it had never been started."""
        await self._ledger.queue(job)
        self._earlier.append(job)

    async def _decide(self) -> Job | Wait | Stop:
        research = self.research
        flights = [Flight(job.program, job.purpose) for job in self._flying.values()]
        action = next_action(research, flights, proposals=self._proposals)
        if isinstance(action, Wait | Stop):
            return action
        if isinstance(action, Repeat):
            return await self._take_on(self._repetition(action, research))
        assert isinstance(action, Propose)  # noqa: S101 - the union has no other member
        proposal = await self._propose(research)
        if proposal is None:
            if not flights:
                self._emit(Said("nothing is left to try: every strategy is out of ideas"))
                return Stop()
            return Wait()
        await self._ledger.add_program(proposal.source, fingerprint(proposal.source))
        program = program_id(proposal.source)
        return await self._take_on(
            Job(
                task=self._bench.task.id,
                program=program,
                parent=proposal.parent,
                edits=proposal.edits,
                strategy=proposal.strategy,
                seed=self._seed(program),
                purpose="screen",
                note=printable(proposal.note),
            )
        )

    async def _take_on(self, job: Job) -> Job:
        self._flying[job.name] = job
        await self._ledger.queue(job)
        return job

    def _repetition(self, action: Repeat, research: Research) -> Job:
        """A baseline of the champion, or a re-run of a candidate as it was first proposed."""
        seed = self._seed(action.program)
        job = Job(
            task=self._bench.task.id,
            program=action.program,
            parent=None,
            edits=(),
            strategy="baseline",
            seed=seed,
            purpose=action.purpose,
            note="",
        )
        first = next((run for _, run in self._runs if run.program == action.program), None)
        if first is None:
            return job
        strategy = job.strategy if action.purpose == "baseline" else first.strategy
        job = replace(job, strategy=strategy, parent=first.parent, edits=first.edits)
        return replace(job, note=first.note if action.purpose == "rerun" else "")

    def _seed(self, program: bytes) -> int:
        """Seed of the next run of a program on this node; never one that it ran before."""
        used = {run.seed for _, run in self._runs if run.program == program}
        used |= {job.seed for job in self._flying.values() if job.program == program}
        used |= {job.seed for job in self._earlier if job.program == program}
        for number in range(len(used) + 1):
            mixed = hashlib.sha256(self._author + program + number.to_bytes(4, "big")).digest()
            seed = int.from_bytes(mixed[:4], "big")
            if seed not in used:
                return seed
        return max(used) + 1

    async def _propose(self, research: Research) -> Proposal | None:
        for attempt in range(EMPTY_PROPOSALS_MAX):
            view = self._view(research, attempt)
            for strategy in self._strategies:
                if not strategy.ready(view):
                    continue
                proposal = await strategy.propose(view)
                if proposal and fingerprint(proposal.source) not in view.fingerprints:
                    return proposal
        return None

    def _view(self, research: Research, attempt: int) -> View:
        trials: dict[bytes, tuple[list[float], int]] = {}
        for _, run in self._runs:
            values, failed = trials.get(run.program, ([], 0))
            value = value_of(run)
            if value is not None:
                values.append(value)
            failed += run.status not in ("done", "void")
            trials[run.program] = values, failed
        pending = [job for job in self._flying.values() if job.purpose == "screen"]
        mixed = self._author + len(self._runs).to_bytes(4, "big") + bytes([attempt, len(pending)])
        return View(
            task=self._bench.task,
            champion=research.champion,
            champion_source=self._ledger.program(research.champion),
            trials=tuple(
                Trial(
                    program=program,
                    source=self._ledger.program(program),
                    values=tuple(values),
                    failed=failed,
                )
                for program, (values, failed) in trials.items()
            ),
            pending=tuple(self._ledger.program(job.program) for job in pending),
            fingerprints=frozenset(p.fingerprint for p in self._ledger.programs().values()),
            sigma=research.noise.sigma,
            seed=int.from_bytes(hashlib.sha256(mixed).digest()[:8], "big"),
        )

    # Doing

    async def _experiment(self, slot: int, job: Job) -> None:
        await self._ledger.start(job)
        self._emit(
            Started(
                slot=slot,
                job=job.name,
                program=job.program,
                strategy=job.strategy,
                purpose=job.purpose,
                note=job.note,
            )
        )
        started = time.monotonic()
        source = self._ledger.program(job.program)

        def report(progress: object) -> None:
            self._emit(Progressed(slot=slot, job=job.name, progress=progress))  # type: ignore[arg-type]

        outcome = await train(self._bench, slot, job, source, report)
        if outcome.status == "void" and outcome.paused:
            await self._put_back(job)
            return
        research = self.research
        plan = scoring_plan(job, research, self._parents(job, research))
        run = await measure(self._bench, slot, job, source, outcome, plan, started)
        signed = await self._ledger.finish(job, run)
        self._take_in(signed.id, run)
        self._emit(Finished(slot=slot, job=job.name, id=signed.id, run=run, purpose=job.purpose))
        self._tell_verdicts(research, job)
        self._prune()
        if job.program == self._fold.champion:
            self._watch_baseline(run, outcome)
        elif run.status == "void":
            await self._repeat_void(job)

    def _take_in(self, run_id: bytes, run: Run) -> None:
        self._runs.append((run_id, run))
        self._fold.add(run_id, run)

    def _parents(self, job: Job, research: Research) -> list[Parent]:
        """Re-scorable runs of what a candidate is compared with, latest last."""
        program = job.parent if job.purpose == "screen" else research.champion
        if program is None or self._bench.task.scored_by == "program":
            return []
        usable = set(research.baselines)
        wanted = [
            (run_id, run)
            for run_id, run in self._runs
            if run.program == program
            and run.status == "done"
            and (run_id in usable or program != research.champion)
        ]
        paths = [(run_id, checkpoint_path(self._bench, run)) for run_id, run in wanted]
        source = self._ledger.program(program)
        return [Parent(run_id, source, path) for run_id, path in paths if path.exists()]

    def _tell_verdicts(self, before: Research, job: Job) -> None:
        after = self.research
        settled = before.judged
        for program, candidate in after.candidates.items():
            known = before.candidates.get(program)
            if candidate.stage in SETTLED and (known is None or known.stage not in SETTLED):
                settled += 1
                self._emit(self._verdict(candidate, settled))
        if after.champion != before.champion:
            self._emit(
                ChampionChanged(program=after.champion, previous=before.champion, note=job.note)
            )

    def _verdict(self, candidate: Candidate, number: int) -> Judged:
        note = next((r.note for _, r in self._runs if r.program == candidate.program), "")
        return Judged(
            program=candidate.program,
            number=number,
            verdict={"kept": "keep", "failed": "crash"}.get(candidate.stage, "discard"),  # type: ignore[arg-type]
            reason=candidate.reason,
            note=note,
            effect=candidate.effect if candidate.effect is not None else candidate.delta,
        )

    def _prune(self) -> None:
        """Delete the checkpoints that no comparison can need any more."""
        research = self.research
        needed = {research.champion, *(job.program for job in self._flying.values())}
        needed |= {job.parent for job in self._flying.values() if job.parent is not None}
        needed |= {c.program for c in research.candidates.values() if c.stage == "open"}
        for _, run in self._runs[-200:]:
            if run.program not in needed:
                checkpoint_path(self._bench, run).unlink(missing_ok=True)

    def _watch_baseline(self, run: Run, outcome: Outcome) -> None:
        if run.status in ("done", "void"):
            self._baseline_failures = 0
            return
        self._baseline_failures += 1
        if self._baseline_failures >= BASELINE_FAILURES_MAX:
            _give_up(run, outcome)

    async def _repeat_void(self, job: Job) -> None:
        """A program that overshot its budget once gets one more chance, with another seed."""
        if job.program in self.research.candidates:
            return
        seed = self._seed(job.program)
        await self._put_back(replace(job, seed=seed))


def _give_up(run: Run, outcome: Outcome) -> NoReturn:
    last = outcome.log_tail.strip().splitlines()[-1:] or [run.note]
    raise SkepError(
        f"the program that the search builds on failed {BASELINE_FAILURES_MAX} times in a row"
        f" ({run.status}: {last[0][:200]})",
        "Mend train.py or the machine, then start again; `skep runs` and `skep show ID` have"
        " the logs.",
    )
