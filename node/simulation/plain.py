"""The rule that most use, for comparison: keep whatever scores better in one run."""

import math
from collections.abc import Sequence

from msgspec import Struct

from gossip.jobs import Job
from node.experiment import Bench, Scoring, value_of
from node.simulation.landscape import START, Landscape
from node.simulation.machine import Machine
from node.simulation.researchers import Say, Step
from node.simulation.surrogates import FOLDER, Ideas, run_of
from skep.patch import make
from skep.ports import ADOPT, TaskFacts
from skep.records import Edit, Payload, Run, program_id
from skep.tier import tier


class Lower(Struct, frozen=True):
    """A program that scored better than the champion before it."""

    program: bytes
    parent: bytes
    strategy: str


class KeepIfLower:
    """Keeps whatever scores lower than the champion did, each run once.

    What a peer scored lower than the own champion is run here, too, and kept if it is lower here.
    Scores are those on the pinned draw. Nothing is claimed.

    Args:
        task: facts of the simulated task.
        machine: runs its programs.
        landscape: holds their texts.
    """

    def __init__(self, task: TaskFacts, machine: Machine, landscape: Landscape) -> None:
        self._landscape = landscape
        self._honest = machine.honest
        self._bench = Bench(task, machine, FOLDER, machine.environment)
        self._here = tier(machine.environment)
        self._value = math.inf
        self._offers: dict[bytes, float] = {}
        self._tried = {program_id(START)}
        self._waiting: list[Job] = []
        self._flying: dict[str, Job] = {}
        self._runs = 0
        self._kept: list[Lower] = []

    @property
    def champion(self) -> bytes:
        """The program with the lowest score so far."""
        return self._kept[-1].program if self._kept else program_id(START)

    @property
    def kept(self) -> Sequence[Step]:
        """Every step that led there."""
        return self._kept

    def hear(self, content_id: bytes, author: bytes, payload: Payload) -> None:
        """Take note of a peer's score, if it could be better than the own one."""
        if isinstance(payload, Run) and tier(payload.environment) == self._here:
            value = value_of(payload)
            if value is not None and value < self._value:
                self._offers.setdefault(payload.program, value)

    def next_job(self) -> Job | None:
        """The best that a peer has, if it is better than the own champion; else an idea."""
        if self._waiting:
            job = self._waiting.pop(0)
        elif self._value == math.inf:
            job = self._job(self.champion, (), "baseline")
        else:
            job = self._offered() or self._idea()
        self._flying[job.name] = job
        return job

    def interrupt(self) -> None:
        """The machine went away: what was running has to be begun anew."""
        self._waiting += self._flying.values()
        self._flying.clear()

    def end(self, job: Job, total_ms: int, say: Say) -> None:
        """Keep what is lower than whatever was lowest."""
        del self._flying[job.name]
        run = run_of(self._bench, self._landscape, job, Scoring((), ()), total_ms)
        say(run)
        value = value_of(run)
        if value is not None and value < self._value:
            self._value = value
            if run.program != self.champion:
                self._kept.append(Lower(run.program, self.champion, run.strategy))

    def _offered(self) -> Job | None:
        better = {
            program: value
            for program, value in self._offers.items()
            if value < self._value and program not in self._tried
        }
        self._offers = better
        if not better:
            return None
        program = min(better, key=lambda one: (better[one], one))
        texts = self._landscape.program(self.champion), self._landscape.program(program)
        return self._job(program, make(*texts), ADOPT)

    def _idea(self) -> Job:
        old = self._landscape.program(self.champion)
        new, edit = self._landscape.edited(old, honest=self._honest)
        self._landscape.take(new)
        return self._job(program_id(new), (edit,), Ideas.name)

    def _job(self, program: bytes, edits: tuple[Edit, ...], strategy: str) -> Job:
        self._tried.add(program)
        self._runs += 1
        return Job(
            task=self._bench.task.id,
            program=program,
            parent=None if strategy == "baseline" else self.champion,
            edits=edits,
            strategy=strategy,
            seed=self._runs,
            purpose="baseline" if strategy == "baseline" else "screen",
            note="",
        )
