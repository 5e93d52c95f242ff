"""Jobs: the experiments a node has taken on but not yet published. Local; peers never see them."""

import hashlib
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from skep.events import Purpose
from skep.records import Edit, Run

ATTEMPTS_MAX = 2
"""A job that was running both times the node died may be what kills it."""


class Job(Struct, frozen=True, kw_only=True):
    """One experiment to be run here, from decision to published run.

    Attributes:
        task: 32-byte id of the task it belongs to.
        program: content id of the program to run.
        parent: content id of the program it was made from, None for the task's start program.
        edits: how it was made from its parent.
        strategy: who proposed it.
        seed: seed of initialisation and data order; (task, program, seed) is what tells jobs apart.
        purpose: what the run is for.
        note: one line, the hypothesis behind the edit.
        claim: id of the peer's claim that the run replicates, if it does.
        attempts: how often it has been started.
        state: whether it waits or runs.
    """

    task: bytes
    program: bytes
    parent: bytes | None
    edits: tuple[Edit, ...]
    strategy: str
    seed: int
    purpose: Purpose
    note: str
    claim: bytes | None = None
    attempts: int = 0
    state: Literal["queued", "running"] = "queued"

    @property
    def name(self) -> str:
        """Name of the job and of its folder under `runs/`."""
        return job_name(self.task, self.program, self.seed)

    def started(self) -> "Job":
        """The job as it is while it runs."""
        return replace(self, state="running", attempts=self.attempts + 1)

    def requeued(self) -> "Job":
        """The job waiting again after the node died under it."""
        return replace(self, state="queued")


def job_name(task: bytes, program: bytes, seed: int) -> str:
    """Name (10 hex digits) of the job that runs a program with a seed under a task.

    Derived, so that the folder of a published run is found from its record, and so that a run
    found in the feed after a crash names the job it settles. Among 100,000 jobs in one home two
    share a name with a probability of 0.5 %.
    """
    return hashlib.sha256(task + program + seed.to_bytes(8, "big")).hexdigest()[:10]


def job_of(task: bytes, run: Run) -> str:
    """Name of the job that a run settles."""
    return job_name(task, run.program, run.seed)
