"""What the benchmarks share: many real runs of given programs on all slots, resumable.

Drives the shipped executor and scorer; decides nothing. Results are JSON lines, so that a
benchmark that was interrupted goes on where it was.
"""

import json
import math
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from node.paces import Paces
from skep.ports import Draw, Order, Subject
from skep.records import MICRO, program_id
from trainer.executors.local import LocalExecutor
from trainer.hardware import default_slots
from trainer.policy import Consent, Policy
from trainer.sandbox import choose
from trainer.task import Task, load, prepare

JUDGE_SEED, JUDGE_DRAW = 7_000_000, 900_000_000
"""The first seed and draw on which programs are judged; no search uses them."""


@asynccontextmanager
async def laboratory(
    folder: Path, *, task: str = "stories", budget_s: float | None, jobs: int | None = None
) -> AsyncIterator["Laboratory"]:
    """An executor on a task with a budget of its own; `folder` keeps data and results."""
    await trio.Path(folder).mkdir(parents=True, exist_ok=True)
    found = load(task, home=folder, budget_s=budget_s, start_program=None)
    await prepare(found, lambda line: print(line, flush=True))
    backend, guarantees = await trio.to_thread.run_sync(choose)
    slots = jobs or await default_slots(found, "auto")
    async with LocalExecutor.open(
        found,
        folder,
        jobs=slots,
        device="auto",
        sandbox=backend,
        policy=Policy(guarantees.strength, Consent(own=True)),
    ) as executor:
        yield Laboratory(found, executor, folder)


class Laboratory:
    """Runs programs and keeps every result by (program, seed, draws)."""

    def __init__(self, task: Task, executor: LocalExecutor, folder: Path) -> None:
        self.task = task
        self.executor = executor
        self._folder = folder
        self._file = folder / f"runs-{task.facts.id.hex()[:12]}.jsonl"
        self._known: dict[str, dict[str, Any]] = {}
        self._paces = Paces()
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                row = json.loads(line)
                self._known[row["key"]] = row

    async def run(
        self, slot: int, source: str, seed: int, draws: Sequence[int]
    ) -> list[float] | None:
        """Train once and score on each draw; None if the program failed.

        A void run is repeated once, as a node would do it.
        """
        key = f"{program_id(source).hex()[:16]}-{seed}-{'.'.join(map(str, draws))}"
        if key not in self._known:
            started = time.monotonic()
            values, status, steps = await self._measure(slot, key, source, seed, draws)
            if status == "void":
                values, status, steps = await self._measure(slot, key, source, seed, draws)
            row = {"key": key, "values": values, "status": status, "steps": steps}
            row["wall_s"] = round(time.monotonic() - started, 2)
            self._known[key] = row
            with self._file.open("a") as out:
                out.write(json.dumps(row) + "\n")
        values = self._known[key]["values"]
        return values if isinstance(values, list) else None

    def ended(self, source: str) -> str:
        """How the runs of a program ended that did not finish; empty where all did."""
        digits = program_id(source).hex()[:16]
        rows = [row for key, row in self._known.items() if key.startswith(f"{digits}-")]
        return ", ".join(sorted({row["status"] for row in rows} - {"done"}))

    async def _measure(
        self, slot: int, key: str, source: str, seed: int, draws: Sequence[int]
    ) -> tuple[list[float] | None, str, int]:
        folder = self._folder / "runs" / f"slot{slot}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        order = Order(
            job=key,
            source=source,
            code="own",
            seed=seed,
            budget_ms=self.task.facts.budget_ms,
            steps=None,
            folder=folder,
            pace=self._paces.take(program_id(source)),
        )
        outcome = await self.executor.train(slot, order, lambda _: None)
        self._paces.note(program_id(source), outcome.steps, outcome.spent_ms)
        if outcome.status != "done" or outcome.checkpoint is None:
            return None, outcome.status, outcome.steps
        subject = Subject(source, outcome.checkpoint, "own")
        texts = [Draw(draw) for draw in draws]
        (scored,) = await self.executor.score(slot, [subject], texts, probe=True)
        if scored.fault:
            return None, scored.fault, outcome.steps
        return [micro / MICRO for micro in scored.micro], "done", outcome.steps

    async def run_all(
        self,
        jobs: Sequence[tuple[str, int]],
        draws: Sequence[int],
        tell: Callable[[str], None],
    ) -> list[list[float] | None]:
        """Run many (program, seed) pairs on all slots; results in the order of `jobs`."""
        results: list[list[float] | None] = [None] * len(jobs)
        waiting = list(enumerate(jobs))
        waiting.reverse()
        started = time.monotonic()

        async def work(slot: int) -> None:
            while waiting:
                number, (source, seed) = waiting.pop()
                results[number] = await self.run(slot, source, seed, draws)
                done = len(jobs) - len(waiting)
                left = (time.monotonic() - started) / done * len(waiting)
                tell(f"{done}/{len(jobs)} started, {left / 60:.0f} min left")

        async with trio.open_nursery() as nursery:
            for slot in range(self.executor.slots):
                nursery.start_soon(work, slot)
        return results

    async def judge(
        self, sources: Sequence[str], judges: int, tell: Callable[[str], None]
    ) -> list[list[float]]:
        """Scores of each program, fresh seeds on one fresh draw each; infinite where it fails.

        Seeds and draws are the same for all, so that scores of two programs are pairs.
        """
        scores = [[math.inf] * judges for _ in sources]
        for number in range(judges):
            jobs = [(source, JUDGE_SEED + number) for source in sources]
            found = await self.run_all(jobs, [JUDGE_DRAW + number], tell)
            for row, values in zip(scores, found, strict=True):
                row[number] = values[0] if values else math.inf
        return scores
