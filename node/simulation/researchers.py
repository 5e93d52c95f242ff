"""Who decides on a simulated machine: the shipped notebook and plan.

A researcher is told when a slot is free, when a run has ended, and what others say; it never knows
what time it is. Only the proposals are surrogates: what to try comes from the world, not from a
search or a model.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from gossip.jobs import Job
from node.deciding import Decider
from node.experiment import Bench
from node.notebook import Notebook
from node.simulation.landscape import Landscape
from node.simulation.machine import Machine
from node.simulation.surrogates import FOLDER, Ideas, Stacks, at_once, run_of
from skep.ports import Draw, TaskFacts
from skep.records import Payload, Split
from strategies.ablate import Ablate
from strategies.adopt import Adopt
from strategies.replicate import Replicate

Say = Callable[[Payload], bytes]
"""Publishes what is said and returns the record's id."""


class Step(Protocol):
    """A program that took a champion's place."""

    @property
    def program(self) -> bytes:
        """What was kept."""
        ...

    @property
    def parent(self) -> bytes:
        """The champion before it."""
        ...

    @property
    def strategy(self) -> str:
        """Who proposed it."""
        ...


class Researcher(Protocol):
    """Decides what a machine runs."""

    @property
    def champion(self) -> bytes:
        """The program that it builds on."""
        ...

    @property
    def kept(self) -> Sequence[Step]:
        """Every step that led there."""
        ...

    def hear(self, content_id: bytes, author: bytes, payload: Payload) -> None:
        """Take in what another machine said."""
        ...

    def next_job(self) -> Job | None:
        """What a free slot runs; it counts as running then. None if there is nothing."""
        ...

    def interrupt(self) -> None:
        """The machine went away: what was running has to be begun anew."""
        ...

    def end(self, job: Job, total_ms: int, say: Say) -> None:
        """A training has ended: score it, say what came out, take it in."""
        ...


class ByEvidence:
    """The shipped rules: notebook, plan, adoption, claims, recombination, ablation.

    Args:
        task: facts of the simulated task.
        key: public key of the node.
        machine: runs its programs.
        landscape: holds their texts.
        draw: takes a draw that nobody could have known before.
        roots: whose replications count without having earned it, itself among them.
    """

    def __init__(
        self,
        task: TaskFacts,
        key: bytes,
        machine: Machine,
        landscape: Landscape,
        draw: Callable[[Split], Draw],
        roots: frozenset[bytes],
    ) -> None:
        self._key = key
        self._landscape = landscape
        self._bench = Bench(task, machine, FOLDER, machine.environment)
        self._notebook = Notebook(landscape, self._bench, key, machine, draw)
        self._notebook.roots = lambda: roots
        self._notebook.adoption.begin()
        self._decider = Decider(
            self._notebook,
            [
                Adopt(),
                Replicate(),
                Stacks(),
                Ablate(),
                Ideas(landscape, honest=machine.honest),
            ],
            records=landscape,
            keep=landscape.keep,
            refusal=machine.refusal,
        )
        self._flying: dict[str, Job] = {}
        self._waiting: list[Job] = []

    @property
    def champion(self) -> bytes:
        """The program that it builds on."""
        return self._notebook.research.champion

    @property
    def kept(self) -> Sequence[Step]:
        """Every step that led there."""
        return self._notebook.research.kept

    def hear(self, content_id: bytes, author: bytes, payload: Payload) -> None:
        """Take in what another machine said."""
        self._notebook.peers.take(content_id, author, payload)
        self._notebook.evidence.take(content_id, author, 0, payload)

    def next_job(self) -> Job | None:
        """What was interrupted and still matters, else what the plan says."""
        while self._waiting:
            job = self._waiting.pop(0)
            if self._notebook.still_matters(job):
                self._flying[job.name] = job
                return job
        chosen = at_once(self._decider.decide(list(self._flying.values())))
        if not isinstance(chosen, Job):
            return None
        self._flying[chosen.name] = chosen
        return chosen

    def interrupt(self) -> None:
        """The machine went away: what was running has to be begun anew."""
        self._waiting += self._flying.values()
        self._flying.clear()

    def end(self, job: Job, total_ms: int, say: Say) -> None:
        """Score a training, say what came out, take it in, claim what looks good."""
        scoring = self._notebook.scoring(job)
        if scoring is None:
            self._waiting.append(self._flying.pop(job.name))
            return
        run = run_of(self._bench, self._landscape, job, scoring, total_ms)
        self._notebook.take_in(say(run), run)
        for claim in self._notebook.claims_due():
            self._notebook.evidence.take(say(claim), self._key, 0, claim)
        del self._flying[job.name]
        self._notebook.prune([*self._flying.values(), *self._waiting])
