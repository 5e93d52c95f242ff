"""Invented searches as a node would have recorded them, for tests of what people see.

`search` plays the one-machine rule against edits of known worth, so that histories have baselines,
screens, re-runs, keeps, discards and crashes in a believable order, equal for equal arguments.
"""

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gossip.identity import Identity
from gossip.ledger import Ledger
from node.home import Home, remember_task
from skep.evidence import Fold
from skep.evidence.research import BASELINES_MIN
from skep.patch import fingerprint
from skep.ports import TaskFacts
from skep.records import Edit, Rescore, Run, Score, SetConstant, Status, program_id
from tests.factories import make_run

SEED_PROGRAM = """DEPTH = 3
LR = 0.003  # constant
BETAS = (0.9, 0.95)


def train(run):
    return LR
"""

STORIES = TaskFacts(
    name="stories",
    id=b"task".ljust(32, b"."),
    metric="val_bpb",
    direction="min",
    scored_by="harness",
    budget_ms=20_000,
    sigma=0.006,
    seed_program=SEED_PROGRAM,
)

TIME_MS = 1_790_000_000_000


class Idea(Struct, frozen=True):
    """An edit and what it is truly worth in units of the metric (negative is better)."""

    edits: tuple[Edit, ...]
    worth: float
    note: str = ""
    status: Status = "done"


def setting(name: str, value: float, worth: float) -> Idea:
    """The idea to set a constant."""
    return Idea((SetConstant(name, value),), worth)


class Recording:
    """A search in the making: runs in feed order, with their programs."""

    def __init__(self, task: TaskFacts, level: float, noise: float, seed: int) -> None:
        self.task = task
        self.runs: list[tuple[bytes, Run]] = []
        self.sources = {program_id(task.seed_program): task.seed_program}
        self._levels = {program_id(task.seed_program): level}
        self._noise = noise
        self._rng = random.Random(seed)  # noqa: S311 - an invented search
        sign = task.direction
        self._fold = Fold(
            start=program_id(task.seed_program), direction=sign, sigma_prior=task.sigma
        )
        for _ in range(BASELINES_MIN):
            self._run(self._fold.champion, strategy="baseline", parent=None, edits=())

    def try_out(self, idea: Idea) -> bytes:
        """Screen an idea on the champion and re-run it until it has its verdict."""
        champion = self._fold.champion
        source = f"{self.sources[champion]}# {idea.note or idea.edits}\n"
        program = program_id(source)
        self.sources[program] = source
        self._levels[program] = self._levels[champion] + idea.worth
        made = {"strategy": "tune", "parent": champion, "edits": idea.edits, "note": idea.note}
        self._run(program, **made, status=idea.status)
        while (found := self._fold.candidates[program]).stage == "open":
            if found.missing:
                self._run(champion, draws=(found.draw or 1,), strategy="baseline")
            else:
                self._run(program, draws=(found.draw or self._draw(),), **made)
        return program

    def _draw(self) -> int:
        return self._rng.getrandbits(40) + 1

    def _run(self, program: bytes, *, draws: tuple[int, ...] = (), **fields: object) -> None:
        level, status = self._levels[program], fields.get("status", "done")
        own = draws or (self._draw(),)
        rescored = ()
        if status == "done" and fields["strategy"] != "baseline":
            rescored = tuple(
                Rescore(run_id, own[0], "dev", self._around(self._levels[self._fold.champion]))
                for run_id in self._fold.snapshot().baselines[-6:]
            )
        scores = tuple(Score(draw, "dev", self._around(level)) for draw in (0, *own))
        run = replace(
            make_run("", **fields),
            program=program,
            seed=len(self.runs),
            scores=scores if status == "done" else (),
            rescored=rescored,
            weights=bytes(32) if status == "done" else None,
        )
        run_id = len(self.runs).to_bytes(2, "big").ljust(32, b"r")
        self.runs.append((run_id, run))
        self._fold.add(run_id, run)

    def _around(self, level: float) -> int:
        return round((level + self._rng.gauss(0, self._noise)) * 1e6)
