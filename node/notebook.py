"""What a node knows of its own task: its runs, what they support, and what follows for a job.

The notebook is rebuilt from the own runs at every start and then kept up run by run; what peers
say is put into it by `node.hearing`. It starts nothing and decides nothing: the rules are
`node.plan`'s, the statistics `skep.evidence`'s.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress

from msgspec.structs import replace

from gossip.jobs import Job, job_of
from gossip.wire import carries
from node.adoption import Adoption
from node.arms import is_stuck
from node.experiment import (
    Bench,
    Parent,
    Scoring,
    checkpoint_path,
    fresh_draw,
    printable,
    value_of,
)
from node.gathered import Gathered
from node.offers import Peers
from node.paces import Paces
from node.plan import Repeat
from node.provenance import Provenance
from node.steps import Makeup
from node.stores import CheckpointFiles, Checkpoints, Records
from node.trials import trials
from skep.errors import PatchError
from skep.evidence import Fold, Research, replication_seed
from skep.evidence.claims import REPLICATIONS_MAX
from skep.evidence.rules import SCREEN_SIGMA, rule_of
from skep.patch import apply, make
from skep.ports import ABLATE, ADOPT, FOREIGN, Code, Draw, Offer, Pace, Proposal, View
from skep.records import MICRO, Claim, Edit, Run, Split, program_id
from skep.tier import tier

SCREEN_PARENTS = 3
"""Parent runs that a screening run is compared with; more would cost more than they tell."""


class Notebook:
    """Own runs of one task on one tier, with everything derived from them.

    Args:
        ledger: records and programs of this node.
        bench: task, executor and folder for runs.
        author: 32-byte public key; makes the seeds of this node its own.
        checkpoints: models that are kept; by default the files in the bench's folder.
        draw: takes a draw that nobody could have known before.
    """

    def __init__(
        self,
        ledger: Records,
        bench: Bench,
        author: bytes,
        checkpoints: Checkpoints | None = None,
        draw: Callable[[Split], Draw] = fresh_draw,
    ) -> None:
        self._ledger = ledger
        self._bench = bench
        self._author = author
        self.roots: Callable[[], frozenset[bytes]] = lambda: frozenset({author})
        """Whose replications count without having earned it; in a lab all members."""
        self._checkpoints = checkpoints or CheckpointFiles(bench.folder)
        self._fresh_draw = draw
        self._runs: list[tuple[bytes, Run]] = []
        self._seeds: defaultdict[bytes, set[int]] = defaultdict(set)
        self._scored: set[tuple[bytes, int]] = set()
        self._draws: dict[bytes, Draw] = {}
        self._screens: dict[bytes, bytes] = {}
        self._parent_of: dict[bytes, bytes | None] = {}
        """The program that each was made from, by its first run."""
        self._claimed = _claimed(ledger, bench, author)
        self._paces = Paces()
        self._makeup = Makeup(self._mergeable, self._parent_of.get)
        self._fold = Fold(
            start=program_id(bench.task.seed_program),
            direction=bench.task.direction,
            sigma_prior=bench.task.sigma,
            noise_prior=bench.task.noise,
        )
        self.research: Research = self._fold.snapshot()
        here, said = tier(bench.environment), ledger.said_by(author, bench.task.id, "run")
        self.provenance = Provenance(bench.task, self._text, (one.run for one in said))
        self.peers = Peers(bench.task, here, author)
        self.evidence = Gathered(bench.task, here)
        for one in ledger.said_by(author, bench.task.id, "claim"):
            self.evidence.take(one.id, author, one.record.time, one.record.payload)
        self.adoption = Adoption(self.peers, ledger.programs(), self._may_adopt)
        for one in said:
            self._seeds[one.run.program].add(one.run.seed)
            if tier(one.run.environment) == here:
                self.take_in(one.id, one.run, one.record.time)

    def take_in(self, run_id: bytes, run: Run, time: int = 0) -> None:
        """Add a run that is in the ledger, said at a time in ms; in simulations there is none."""
        self.evidence.take(run_id, self._author, time, run)
        self._paces.note(run.program, run.steps, run.spent_ms)
        self._runs.append((run_id, run))
        self._makeup.take_in(run)
        self._parent_of.setdefault(run.program, run.parent)
        if run.status == "done":
            self._screens.setdefault(run.program, run_id)
        self._seeds[run.program].add(run.seed)
        self._scored |= {(run_id, row.draw) for row in run.scores}
        self._scored |= {(row.run, row.draw) for row in run.rescored}
        self._fold.add(run_id, run)
        self.research = self._fold.snapshot()
        self.adoption.take_in(run, self.research)

    def _text(self, program: bytes) -> str | None:
        known = self._ledger.programs().get(program)
        return known.source if known else None

    def _mergeable(self, program: bytes) -> str | None:
        """The text of a program, if what is in it may go into the champion.

        A program is a stranger's by its lineage. Merged into one that is none, a stranger's text
        would pass for the own.
        """
        text, champion = self._text(program), self._text(self.research.champion)
        if text is None or champion is None:
            return None
        foreign = self.provenance.code_of(text) == "stranger"
        return None if foreign and self.provenance.code_of(champion) != "stranger" else text

    def _may_adopt(self, source: str) -> bool:
        code = self.provenance.code_of_new(source, None, ADOPT)
        return self._bench.executor.refusal(code) is None

    @property
    def runs(self) -> Sequence[tuple[bytes, Run]]:
        """Own runs, oldest first."""
        return self._runs

    @property
    def task(self) -> bytes:
        """Id of the task it is about."""
        return self._bench.task.id

    # Jobs

    def code_of(self, job: Job) -> Code:
        """The class of a job's program, whose text must be known."""
        self.provenance.learn(job.program, job.parent, job.strategy)
        return self.provenance.code_of(self._ledger.program(job.program))

    def repetition(self, action: Repeat, others: Collection[Job]) -> Job:
        """A baseline run of the champion, or a re-run of a candidate against it."""
        first = self._first_run(action.program)
        job = Job(
            task=self._bench.task.id,
            program=action.program,
            parent=first.parent if first else None,
            edits=first.edits if first else (),
            strategy="baseline",
            seed=self.fresh_seed(action.program, others),
            purpose=action.purpose,
            note="",
        )
        if first is None or action.purpose == "baseline":
            return job
        note, seed = self.note_of(action.program), self._seed(action.program, first.claim, others)
        job = replace(job, strategy=first.strategy, seed=seed, note=note, claim=first.claim)
        champion = self.research.champion
        if champion == job.parent:
            return job
        # The champion changed meanwhile, and a run says what it is compared with.
        texts = self._ledger.program(champion), self._ledger.program(action.program)
        return replace(job, parent=champion, edits=_portable(make(*texts)))

    def screening(self, proposal: Proposal, others: Collection[Job]) -> Job:
        """The first run of a proposed program, which must be in the ledger already."""
        program = program_id(proposal.source)
        return Job(
            task=self._bench.task.id,
            program=program,
            parent=proposal.parent,
            edits=_portable(proposal.edits),
            strategy=proposal.strategy,
            seed=self._seed(program, proposal.claim, others),
            purpose="screen",
            note=printable(proposal.note),
            claim=proposal.claim,
        )

    def claims_due(self) -> list[Claim]:
        """What an own screen says is better, and nobody was told so yet; each is due once.

        What peers offered is theirs to claim, and an ablation that is no better claims nothing.
        """
        screen = -SCREEN_SIGMA * self.research.noise.sigma
        sign = -1 if self._bench.task.direction == "max" else 1
        due = []
        for program in self._fold.open:
            candidate = self.research.candidates[program]
            if candidate.strategy in FOREIGN or program in self._claimed or not candidate.delta:
                continue
            if candidate.strategy == ABLATE and candidate.delta > screen:
                continue
            self._claimed.add(program)
            claim = Claim(
                program=program,
                parent=candidate.parent,
                run=self._screens[program],
                effect=round(sign * candidate.delta * MICRO),
                note=self.note_of(program),
            )
            due.append(claim)
        return due

    def reseeded(self, job: Job, others: Collection[Job]) -> Job:
        """The same job with a seed that neither ran nor is about to."""
        return replace(job, seed=self._seed(job.program, job.claim, [job, *others]))

    def _seed(self, program: bytes, claim: bytes | None, others: Collection[Job]) -> int:
        """The next seed of a program, or of a claim: those are given, so that nobody can choose."""
        if claim is not None:
            used = self._seeds[program] | {job.seed for job in others if job.program == program}
            for number in range(REPLICATIONS_MAX):
                seed = replication_seed(claim, self._author, number)
                if seed not in used:
                    return seed
        return self.fresh_seed(program, others)

    def fresh_seed(self, program: bytes, others: Collection[Job]) -> int:
        """The next of this node's seeds for a program; no (program, seed) ever runs twice here,
        on whatever device: a job's folder is named by them.

        Args:
            program: content id.
            others: jobs queued or running, whose seeds are taken.
        """
        used = self._seeds[program] | {job.seed for job in others if job.program == program}
        number = 0
        while True:
            mixed = hashlib.sha256(self._author + program + number.to_bytes(4, "big")).digest()
            seed = int.from_bytes(mixed[:4], "big")
            if seed not in used:
                return seed
            number += 1

    def pace(self, job: Job) -> Pace | None:
        """What an earlier run of the job's program cost, for this job alone."""
        return self._paces.take(job.program)

    def still_matters(self, job: Job) -> bool:
        """Whether a job that was left waiting can still tell anything new."""
        if job.seed in self._seeds[job.program]:
            return False
        known = self.research.candidates.get(job.program)
        if job.purpose == "baseline":
            return job.program == self.research.champion
        if job.purpose == "rerun":
            return known is not None and known.stage == "open"
        return known is None and self._is_comparable(job.parent)

    def _is_comparable(self, parent: bytes | None) -> bool:
        """Whether a screen could ever be compared: only the champion gets new baseline runs."""
        if parent is None or parent == self.research.champion:
            return True
        return self._bench.task.scored_by == "program" or bool(self._parents(parent))

    def lost_programs(self) -> Iterator[str]:
        """Programs that runs speak of but the ledger has not, rebuilt from their edits.

        The feed holds every edit, so a lost database costs no program whose parents are known.
        The caller stores each one before it asks for the next.
        """
        for _, run in self._runs:
            known = self._ledger.programs()
            if run.program in known or run.parent is None or run.parent not in known:
                continue
            with suppress(PatchError):
                source = apply(self._ledger.program(run.parent), run.edits)
                if program_id(source) == run.program:
                    yield source

    # What strategies and comparisons are given

    def view(
        self,
        flying: Collection[Job],
        attempt: int,
        offers: tuple[Offer, ...] = (),
        claims: tuple[Offer, ...] = (),
    ) -> View:
        """Snapshot for one decision of a strategy.

        Args:
            flying: jobs queued or running.
            attempt: counts decisions on the same state, so that each gets its own randomness.
            offers: of peers, if the decision is about them.
            claims: the same of what could be re-run.
        """
        research = self.research
        champion = self._ledger.program(research.champion)
        pending = [job.program for job in flying if job.purpose == "screen"]
        counts = (len(self._runs), len(pending), attempt)
        mixed = self._author + b"".join(count.to_bytes(4, "big") for count in counts)
        return View(
            task=self._bench.task,
            champion=research.champion,
            champion_source=champion,
            trials=trials(self._runs, self._ledger.programs()),
            pending=tuple(self._ledger.program(program) for program in pending),
            fingerprints=self.fingerprints(flying),
            sigma=research.noise.sigma,
            seed=int.from_bytes(hashlib.sha256(mixed).digest()[:8], "big"),
            offers=offers,
            claims=claims,
            finds=() if offers or claims else self._makeup.finds(research),
            steps=() if offers else self._makeup.due(research, flying),
            foreign=self.provenance.code_of(champion) == "stranger",
            stuck=is_stuck(research),
        )

    def claims_open(self, flying: Collection[Job]) -> list[Offer]:
        """What could be re-run for the swarm now."""
        known = self.evidence.verdicts(self.roots())
        return self.adoption.claims(self.research, known, self._author, flying)

    def comparable(self) -> int:
        """How many runs of the champion a candidate could be compared with now."""
        if self._bench.task.scored_by == "program":
            return len(self.research.baselines)
        return len(self._parents(self.research.champion))

    def scoring(self, job: Job) -> Scoring | None:
        """What a finished training is scored on, decided only now that it has ended.

        None where the runs that it had to be compared with are gone: it has to be repeated.
        """
        if self._bench.task.scored_by == "program":
            return Scoring((), ())
        if job.purpose == "baseline":
            waiting = [c for c in self.research.candidates.values() if c.stage == "open"]
            draws = [
                self._draws.get(c.program) if c.draw is None else Draw(c.draw, c.split)
                for c in waiting
            ]
            return Scoring(tuple(draw for draw in draws if draw is not None), ())
        # What is replicated is scored on texts that no author's search has reported.
        split: Split = "dev" if job.claim is None else "heldout"
        if job.purpose == "screen":
            draw = self._fresh_draw(split)
            parents = self._parents(job.parent or self.research.start)[-SCREEN_PARENTS:]
        else:
            known = self.research.candidates.get(job.program)
            # Re-runs that end at the same time share the draw that the first of them takes.
            draw = self._draws.setdefault(job.program, self._fresh_draw(split))
            if known and known.draw is not None:
                draw = Draw(known.draw, known.split)
            parents = self._parents(self.research.champion)[-rule_of(job.strategy).reruns :]
        if not parents:
            return None
        claimed_on = self.peers.parent_of(job.claim)
        if claimed_on not in (None, job.parent, self.research.champion):
            # For the swarm a claim stands against the parent that its author had.
            parents += self._parents(claimed_on)[-SCREEN_PARENTS:]
        new = [parent for parent in parents if (parent.run, draw.seed) not in self._scored]
        return Scoring((draw,), tuple(new))

    def _parents(self, program: bytes) -> list[Parent]:
        """Runs of a program whose checkpoints are kept, latest last; a screen is none of them."""
        kept = [
            (run_id, checkpoint_path(self._bench, run))
            for run_id, run in self._runs
            if run.program == program and run.status == "done"
            if self._checkpoints.has(job_of(self._bench.task.id, run))
        ]
        if not kept:
            return []
        source = self._ledger.program(program)
        code = self.provenance.code_of(source)
        return [Parent(run_id, source, path, code) for run_id, path in kept]

    def level(self, program: bytes) -> float | None:
        """Mean score of a program's runs on the pinned draw; a screen only if there is no other."""
        values = [
            v
            for _, run in self._runs
            if run.program == program and (v := value_of(run)) is not None
        ]
        if program != self.research.start:
            values = values[1:] or values
        return sum(values) / len(values) if values else None

    def note_of(self, program: bytes) -> str:
        """The hypothesis behind a program; runs that failed carry their reason in its place."""
        return next((r.note for _, r in self._runs if r.program == program and r.scores), "")

    def prune(self, flying: Collection[Job]) -> None:
        """Delete the checkpoints that no comparison can need any more."""
        research = self.research
        needed = {research.champion, *(job.program for job in flying)}
        needed |= {job.parent for job in flying if job.parent is not None}
        needed |= {c.program for c in research.candidates.values() if c.stage == "open"}
        needed |= {kept.parent for kept in research.kept[-1:]}  # Peers may be there still.
        kept = {job_of(self._bench.task.id, run) for _, run in self._runs if run.program in needed}
        kept |= {job.name for job in flying}
        self._checkpoints.keep_only(kept)

    def unfinished(self, jobs: Collection[Job]) -> Iterator[Job]:
        """Screens of programs whose only runs are void and whose repetition got lost."""
        queued = {job.program for job in jobs}
        for program in dict.fromkeys(run.program for _, run in self._runs):
            runs = [run for _, run in self._runs if run.program == program]
            known = program == self.research.start or program in self.research.candidates
            lost = not known and program not in queued and program in self._ledger.programs()
            if lost and all(run.status == "void" for run in runs):
                yield Job(
                    task=self._bench.task.id,
                    program=program,
                    parent=runs[0].parent,
                    edits=runs[0].edits,
                    strategy=runs[0].strategy,
                    seed=self.fresh_seed(program, jobs),
                    purpose="screen",
                    note="",
                )

    def _first_run(self, program: bytes) -> Run | None:
        return next((run for _, run in self._runs if run.program == program), None)

    def fingerprints(self, flying: Collection[Job]) -> frozenset[bytes]:
        """Of everything that was run here under this task and tier, or is about to be."""
        ran = {run.program for _, run in self._runs} | {job.program for job in flying}
        programs = self._ledger.programs()
        return frozenset(programs[p].fingerprint for p in ran if p in programs)


def _portable(edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """Edits as a record can carry them: all of them, or none; then the program must be fetched."""
    return edits if carries(edits) else ()


def _claimed(ledger: Records, bench: Bench, author: bytes) -> set[bytes]:
    """Programs that this node has claimed."""
    payloads = (one.record.payload for one in ledger.said_by(author, bench.task.id, "claim"))
    return {payload.program for payload in payloads if isinstance(payload, Claim)}
