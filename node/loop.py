"""The research loop: every slot asks what to do next, does it, and records it before moving on.

Slots are independent tasks under trio; all they share is the moment of deciding, which costs
milliseconds. All durable state is the ledger's, so killing the process at any point loses at most
the experiments in flight, and those are taken up again. What to do is decided by `node.plan`,
what to try by `strategies`, what is true by `skep.evidence`.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

import trio

from gossip.jobs import Job
from gossip.ledger import Ledger
from node.deciding import Decider
from node.experiment import Bench, Scoring, measure, train
from node.hearing import Hearing
from node.library import Examine
from node.notebook import Notebook
from node.plan import Stop, Wait
from node.thoughts import Thoughts
from skep.errors import SkepError, TrainerFault
from skep.events import Best, Event, Finished, Judged, Progressed, Said, Started, Verdict
from skep.evidence import Candidate, Research
from skep.evidence.research import SETTLED, Stage
from skep.patch import fingerprint
from skep.ports import FOREIGN, Outcome, Progress, Strategy
from skep.records import Role, Run

BASELINE_FAILURES_MAX = 3
BASELINE_VOIDS_MAX = 6
FAULTS_MAX = 3
"""Failures of our own helpers in a row before the node gives up, with a pause between them."""

FAULT_PAUSE_S = 2.0
VERDICTS: dict[Stage, Verdict] = {"kept": "keep", "discarded": "discard", "failed": "crash"}


class Researcher:
    """Runs experiments on all slots until told to stop.

    Args:
        ledger: open ledger of this node.
        bench: task, executor and folder for runs.
        strategies: in order of preference; the first that has a proposal is taken.
        author: 32-byte public key of this node.
        proposals: stop after judging this many proposals more; None to go on.
        emit: called with every event.
        role: what it does for the swarm. A node that only verifies tries nothing of its own, and
            waits where nothing is offered; a relay runs nothing at all.
        examine: parses what strangers wrote; without it, nothing of them is ever run.
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
        role: Role = "full",
        examine: Examine | None = None,
    ) -> None:
        self._ledger = ledger
        self._bench = bench
        self._emit = emit
        self._role = role
        self._notebook = Notebook(ledger, bench, author)
        self._hearing = Hearing(ledger, self._notebook, examine, wake=self._wake, emit=emit)
        known = len(self.research.candidates)
        self._decider = Decider(
            self._notebook,
            strategies,
            records=ledger,
            keep=ledger.add_program,
            refusal=bench.executor.refusal,
            role=role,
            proposals=None if proposals is None else known + proposals,
        )
        self._waiting: list[Job] = []
        self._flying: dict[str, Job] = {}
        self._deciding = trio.Lock()
        self._changed = trio.Event()
        self._stopping = False
        self._resumed = trio.Event()
        self._resumed.set()
        self._pauses = 0
        self._failures: Counter[bool] = Counter()
        self.hopes: list[Callable[[], str]] = []
        """Where something to try may still come from, in words; empty if not from there."""
        self._best: Best | None = None
        self._told_idle = ""
        self._falls = 0

    @property
    def research(self) -> Research:
        """What the own runs support at this moment."""
        return self._notebook.research

    def count(self, roots: Callable[[], frozenset[bytes]]) -> None:
        """Whose replications count without having earned it, as it is whenever that is asked."""
        self._notebook.roots = roots

    def heed(self, announced: Callable[[], Collection[bytes]]) -> None:
        """Programs that peers say are in training there; nothing of that is proposed here."""
        self._decider.announced = announced

    @property
    def notebook(self) -> Notebook:
        """What this node knows of its task."""
        return self._notebook

    @property
    def thoughts(self) -> Thoughts:
        """Hypotheses of peers that were heard."""
        return self._hearing.thoughts

    def charge(self, strategy: str, seconds: float) -> None:
        """Say what a strategy has spent on thinking, in all."""
        self._decider.thought_s[strategy] = seconds

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nobody has anything to try."""
        return bool(self._told_idle)

    def consider(self) -> None:
        """There is something new to try: let slots that found nothing to do decide again."""
        self._wake()

    def heard(self) -> None:
        """Records of others are in the ledger now. Returns at once; the work is done meanwhile."""
        self._hearing.heard()

    def wanted_programs(self) -> tuple[bytes, ...]:
        """Content ids of programs on offer whose texts cannot be rebuilt from their edits."""
        return self._hearing.wanted

    async def take_program(self, content_id: bytes, source: str) -> bool:
        """Take the text of a wanted program, from whomever; whether it is known now.

        Raises:
            TrainerFault: nothing can be examined at the moment; ask again later.
            HomeError: it could not be stored.
        """
        return await self._hearing.take_program(content_id, source)

    async def finish(self) -> None:
        """Let the experiments in flight end, also paused ones, and start no new ones."""
        self._stopping = True
        await self.resume()
        self._wake()

    async def pause(self) -> None:
        """Stop every process of every experiment; they are repeated after `resume`."""
        if self._resumed.is_set():
            self._pauses += 1
            self._resumed = trio.Event()
            await self._bench.executor.pause()

    async def resume(self) -> None:
        """Go on after `pause`."""
        if not self._resumed.is_set():
            await self._bench.executor.resume()
            self._resumed.set()

    async def run(self) -> None:
        """Research until finished. Cancelling abandons what is in flight; it is queued again.

        Raises:
            SkepError: the baseline keeps failing, the home cannot be written, or our own
                helpers keep failing.
        """
        start = self._bench.task.seed_program
        await self._ledger.add_program(start, fingerprint(start))
        for source in self._notebook.lost_programs():
            await self._ledger.add_program(source, fingerprint(source))
        _, dropped = await self._ledger.requeue_interrupted()
        for job in dropped:
            self._emit(Said(f"dropped {job.name}: the node died twice while it ran ({job.note})"))
        self._waiting = [job for job in self._ledger.jobs() if job.task == self._bench.task.id]
        for job in self._notebook.unfinished(self._waiting):
            await self._ledger.queue(job)
            self._waiting.append(job)
        self._notebook.prune(self._waiting)
        self._tell_best()
        await self._claim()
        async with trio.open_nursery() as outer:
            outer.start_soon(self._resume_when_cancelled)
            outer.start_soon(self._hearing.listen)
            async with trio.open_nursery() as nursery:
                if self._role == "relay":
                    nursery.start_soon(self._idle)
                else:
                    for slot in range(self._bench.executor.slots):
                        nursery.start_soon(self._work, slot)
            outer.cancel_scope.cancel()

    async def _idle(self) -> None:
        """Nothing to run, ever; until told to finish."""
        while not self._stopping:
            await self._changed.wait()

    async def _resume_when_cancelled(self) -> None:
        """Stopped processes cannot end: whoever ends the node must let them go on first."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await self.resume()

    async def _work(self, slot: int) -> None:
        faults = 0
        while (job := await self._next_job()) is not None:
            pauses = self._pauses
            again: Job | None = job
            try:
                again = await self._experiment(slot, job)
                faults = 0
            except TrainerFault as fault:
                # What a pause broke off is nobody's fault.
                faults += pauses == self._pauses
                if faults >= FAULTS_MAX:
                    raise
                self._emit(Said(f"slot {slot}: {fault}; trying again"))
                await trio.sleep(FAULT_PAUSE_S * faults)
            finally:
                # Until it waits again a job counts as flying, so that nobody else takes its seed.
                with trio.CancelScope(shield=True):
                    if again is not None:
                        await self._ledger.queue(again)
                        self._waiting.append(again)
                del self._flying[job.name]
                self._wake()

    def _wake(self) -> None:
        """Let slots that found nothing to do decide again."""
        self._changed.set()
        self._changed = trio.Event()

    # Deciding

    async def _next_job(self) -> Job | None:
        """The next job, queued durably; None when this slot has nothing more to do."""
        while not self._stopping:
            changed = self._changed  # before anything is awaited: what wakes must not be missed
            await self._resumed.wait()
            async with self._deciding:
                choice = await self._take_up() or await self._decide()
            if isinstance(choice, Job):
                return choice
            if isinstance(choice, Stop):
                break
            await changed.wait()
        self._wake()
        return None

    async def _take_up(self) -> Job | None:
        """A job that waits, from this start of the node or an earlier one, if it still matters."""
        comparable = self._notebook.comparable()
        for job in list(self._waiting):
            if not self._notebook.still_matters(job):
                self._waiting.remove(job)
                await self._ledger.finish(job, None)
            elif comparable or job.purpose == "baseline":
                self._waiting.remove(job)
                self._flying[job.name] = job
                return job
        return None

    async def _decide(self) -> Job | Wait | Stop:
        others = [*self._flying.values(), *self._waiting]
        job = await self._decider.decide(others)
        if job is None:
            return self._out_of_ideas()
        if not isinstance(job, Job):
            return job
        if not self._notebook.still_matters(job):
            return await self._decide()  # The champion changed while a strategy was thinking.
        self._told_idle = ""
        self._flying[job.name] = job
        await self._ledger.queue(job)
        return job

    def _out_of_ideas(self) -> Wait | Stop:
        full = self._role == "full"
        known = [hope() for hope in self.hopes] if full else ["what peers find"]
        hopes = " and ".join(filter(None, known))
        if hopes:
            told = f"nothing to {'try' if full else 'verify'} at the moment; waiting for {hopes}"
        else:
            told = "nothing is left to try: no strategy has a proposal for this program"
        if told != self._told_idle:
            self._emit(Said(told))
        self._told_idle = told
        return Wait() if hopes else Stop()

    # Doing

    async def _experiment(self, slot: int, job: Job) -> Job | None:
        """Run a job to its record; what has to wait for another try, if anything."""
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
        await self._ledger.start(job)
        source, code = self._ledger.program(job.program), self._notebook.code_of(job)

        def report(progress: Progress) -> None:
            self._emit(Progressed(slot=slot, job=job.name, progress=progress))

        outcome = await train(
            self._bench, slot, job, source, code, self._notebook.pace(job), report
        )
        if outcome.paused:
            return job
        done = outcome.status == "done"
        scoring = self._notebook.scoring(job) if done else Scoring((), ())
        if scoring is None:
            return job
        report(Progress(phase="scoring", step=outcome.steps, steps=outcome.steps))
        run = await measure(self._bench, slot, job, source, code, outcome, scoring, started)
        signed = await self._ledger.finish(job, run)
        before = self.research
        self._notebook.take_in(signed.id, run, signed.record.time)
        self._emit(Finished(slot=slot, job=job.name, id=signed.id, run=run, purpose=job.purpose))
        self._tell_verdicts(before)
        await self._claim()
        others = [other for other in self._flying.values() if other is not job]
        self._notebook.prune([*others, *self._waiting])
        if job.program == before.champion:
            self._watch_baseline(run, outcome)
            self._watch_champion(before, run, outcome)
        elif run.status == "void" and job.program not in self.research.candidates:
            return self._notebook.reseeded(job, others)
        return None

    async def _claim(self) -> None:
        """Tell the swarm what a screen of the own proposals says, that others may try it."""
        for claim in self._notebook.claims_due():
            one = await self._ledger.publish(claim, self._bench.task.id)
            self._notebook.evidence.take(one.id, one.record.author, one.record.time, claim)

    def _tell_verdicts(self, before: Research) -> None:
        after = self.research
        number = before.judged
        for program, candidate in after.candidates.items():
            known = before.candidates.get(program)
            if candidate.stage in SETTLED and (known is None or known.stage not in SETTLED):
                number += 1
                self._emit(self._verdict(candidate, number))
        self._tell_best()

    def _tell_best(self) -> None:
        champion = self.research.champion
        best = Best(program=champion, value=self._notebook.level(champion))
        if best != self._best:
            self._best = best
            self._emit(best)

    def _verdict(self, candidate: Candidate, number: int) -> Judged:
        note = self._notebook.note_of(candidate.program)
        if candidate.strategy in FOREIGN and candidate.stage == "kept":
            note = f"adopted {note}"
        return Judged(
            program=candidate.program,
            number=number,
            verdict=VERDICTS[candidate.stage],
            reason=candidate.reason,
            note=note,
        )

    def _watch_champion(self, before: Research, run: Run, outcome: Outcome) -> None:
        """Two champions that fail one after the other are hardly the fault of either."""
        if run.status == "done":
            self._falls = 0
        elif len(self.research.kept) < len(before.kept):
            self._falls += 1
            self._failures.clear()
            if self._falls > 1:
                _give_up(run, outcome)
            self._emit(Said("the champion keeps failing: back to the one before it", alarm=True))

    def _watch_baseline(self, run: Run, outcome: Outcome) -> None:
        if run.status == "done":
            self._failures.clear()
            return
        self._failures[run.status == "void"] += 1
        if self._failures[False] >= BASELINE_FAILURES_MAX and run.program == self.research.champion:
            _give_up(run, outcome)
        if self._failures[True] >= BASELINE_VOIDS_MAX:
            raise SkepError(
                f"the program that the search builds on overshot its budget {BASELINE_VOIDS_MAX}"
                f" times in a row ({run.note})",
                "Is something else using this machine? Try fewer --jobs or a larger --budget.",
            )


def _give_up(run: Run, outcome: Outcome) -> NoReturn:
    last = (outcome.log_tail.strip().splitlines() or [run.note])[-1]
    raise SkepError(
        f"the program that the search builds on failed {BASELINE_FAILURES_MAX} times in a row"
        f" ({run.status}: {last[:200]})",
        "Mend train.py or the machine and start again; `skep show` has the whole log.",
    )
