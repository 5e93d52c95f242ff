"""Invented searches as a node would have recorded them, for tests of what people see.

A `Recording` plays the one-machine rule against edits of known worth, so that histories have
baselines, screens, re-runs, keeps, discards and crashes in a believable order, equal for equal
arguments.
"""

import itertools
import json
import random
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gossip.identity import Identity
from gossip.jobs import job_of
from gossip.ledger import Ledger
from node.home import Home, remember_task
from skep.evidence import Fold, Research
from skep.evidence.research import BASELINES_MIN
from skep.patch import apply, make
from skep.ports import ABLATE, TaskFacts
from skep.records import Edit, Hunk, Rescore, Run, Score, SetConstant, Status, program_id
from skep.undo import without
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

TASK_TOML = """name = "quick"
metric = "score"
direction = "max"
sigma = 0.02
"""

TIME_MS = 1_790_000_000_000


class Idea(Struct, frozen=True):
    """An edit and what it is truly worth in units of the metric (negative is better)."""

    edits: tuple[Edit, ...]
    worth: float
    note: str = ""
    status: Status = "done"
    strategy: str = "tune"


def setting(name: str, value: float, worth: float) -> Idea:
    """The idea to set a constant."""
    return Idea((SetConstant(name, value),), worth)


class Recording:
    """A search in the making: runs in feed order, with their programs."""

    def __init__(
        self, task: TaskFacts = STORIES, *, level: float = 2.3, noise: float = 0.012, seed: int = 1
    ) -> None:
        start = program_id(task.seed_program)
        self.task = task
        self.runs: list[tuple[bytes, Run]] = []
        self.sources = {start: task.seed_program}
        self._levels = {start: level}
        self._noise = noise
        self._rng = random.Random(seed)  # an invented search
        self._fold = Fold(start=start, direction=task.direction, sigma_prior=task.sigma)
        for _ in range(BASELINES_MIN):
            self._run(start, strategy="baseline")

    def try_out(self, idea: Idea) -> bytes:
        """Screen an idea on the champion and re-run it until it has its verdict."""
        champion = self._fold.champion
        source = apply(self.sources[champion], idea.edits)
        program = program_id(source)
        self.sources[program] = source
        self._levels[program] = self._levels[champion] + idea.worth
        made: dict[str, Any] = {
            "strategy": idea.strategy,
            "parent": champion,
            "edits": idea.edits,
            "note": idea.note,
            "status": idea.status,
        }
        self._run(program, **made)
        while (found := self._fold.candidates[program]).stage == "open":
            draw = found.draw or self._draw()
            if found.missing:
                self._run(champion, draw, strategy="baseline")
            else:
                self._run(program, draw, **made)
        return program

    def leave_out(self, program: bytes, base: bytes, worth: float) -> bytes:
        """Try the champion without the edit that made one program of another."""
        champion = self.sources[self._fold.champion]
        less = without(champion, self.sources[program], self.sources[base])
        assert less is not None
        return self.put_in(less, worth, ABLATE)

    def put_in(self, source: str, worth: float, strategy: str = "tune") -> bytes:
        """Try a program in place of the champion."""
        champion = self.sources[self._fold.champion]
        return self.try_out(Idea(make(champion, source), worth, strategy=strategy))

    @property
    def research(self) -> Research:
        """What the runs support."""
        return self._fold.snapshot()

    async def write(self, home: Path) -> None:
        """Record everything in a home, as a node would have."""
        place, identity = Home(home), Identity.load(home)
        ids: dict[bytes, bytes] = {}
        times = itertools.count(TIME_MS, 25_000)
        swarm = bytes(32)
        clock = times.__next__
        async with Ledger.open(home, identity, swarm=swarm, clock=clock) as ledger:
            for source in self.sources.values():
                await ledger.add_program(source, program_id(source))
            for invented, run in self.runs:
                rescored = tuple(replace(row, run=ids[row.run]) for row in run.rescored)
                signed = await ledger.publish(replace(run, rescored=rescored), self.task.id)
                ids[invented] = signed.id
                leave_folder(place.runs / job_of(self.task.id, run), run)
        remember_task(place, self.task)

    def _draw(self) -> int:
        return self._rng.getrandbits(40) + 1

    def _run(self, program: bytes, draw: int = 0, **fields: Any) -> None:
        level, finished = self._levels[program], fields.get("status", "done") == "done"
        own = draw or self._draw()
        baselines = self._fold.snapshot().baselines[-6:]
        compared = baselines if finished and program != self._fold.champion else ()
        scores = tuple(Score(one, "dev", self._around(level)) for one in (0, own))
        parents = self._levels[self._fold.champion]
        rescored = tuple(Rescore(one, own, "dev", self._around(parents)) for one in compared)
        run = replace(
            make_run("", **fields),
            program=program,
            seed=len(self.runs),
            scores=scores if finished else (),
            rescored=rescored,
            weights=bytes(32) if finished else None,
        )
        run_id = len(self.runs).to_bytes(2, "big").ljust(32, b"r")
        self.runs.append((run_id, run))
        self._fold.add(run_id, run)

    def _around(self, level: float) -> int:
        return round((level + self._rng.gauss(0, self._noise)) * 1e6)


def small_search() -> Recording:
    """Three baselines and four ideas: one is kept, two are discarded, one crashes."""
    recording = Recording()
    recording.try_out(setting("LR", 0.012, worth=-0.15))
    recording.try_out(setting("DEPTH", 9, worth=+0.08))
    recording.try_out(Idea((SetConstant("LR", 50.0),), 0.0, "loss is not finite", status="nan"))
    recording.try_out(Idea((Hunk(6, "", "# nothing\n"),), +0.05, "say nothing in a comment"))
    return recording


def leave_folder(folder: Path, run: Run) -> None:
    """What a node leaves of a run outside the ledger."""
    folder.mkdir(parents=True)
    (folder / "curve.json").write_text(json.dumps([[step, 7 / (step + 1)] for step in range(9)]))
    (folder / "log.txt").write_text(f"seed {run.seed}\n\x1b[31mred\x07 alert\nlast line\n")
