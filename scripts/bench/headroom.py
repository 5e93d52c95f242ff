"""How low can constants alone bring the seed program? A long search, re-scored on fresh draws.

Runs the shipped `tune` strategy for many trials of one run each, without the keep rule: the
champion is simply the best so far, which at this length is what a search for its own sake would
do. At the end the best programs of one run each are trained anew with fresh seeds and scored on
draws that the search never saw, beside the seed program; with --judged-at they get another budget
there, so that a cheap search says something of a longer one (at least so much can be had).

    python scripts/bench/headroom.py FOLDER [--trials 500] [--budget 20] [--judged-at 20] [--json]

Trials are noted in FOLDER as they end, and a search that was broken off goes on from there.
"""

import argparse
import json
import statistics
from pathlib import Path

import trio

from lab import Laboratory, laboratory
from skep.patch import fingerprint
from skep.ports import Trial, View
from skep.records import PINNED_DRAW, program_id
from strategies.tune import Tune

FINALISTS = 5
FINAL_SEEDS = 6
FRESH_DRAWS = (71_001, 71_002, 71_003)


def main() -> None:
    """Parse, search, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--judged-at", type=float, help="reference-seconds; the same as --budget")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(json.dumps(trio.run(measure, options), indent=None if options.json else 2))


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Search, then compare seed program and finalists on fresh seeds and draws."""
    async with laboratory(options.folder, budget_s=options.budget) as lab:
        task = lab.task.facts.id.hex()[:12]
        notes = options.folder / f"headroom-{task}.jsonl"
        search = Search(lab, options.trials, notes, quiet=options.json)
        await search.run()
        finalists = [lab.task.facts.seed_program, *search.best(FINALISTS)]
    judged_at = options.judged_at or options.budget
    async with laboratory(options.folder, budget_s=judged_at) as lab:
        jobs = [(text, 500_000 + i) for text in finalists for i in range(FINAL_SEEDS)]
        rows = await lab.run_all(jobs, FRESH_DRAWS, search.tell)
    means = [
        statistics.mean(statistics.mean(r) for r in rows[i : i + FINAL_SEEDS] if r)
        for i in range(0, len(rows), FINAL_SEEDS)
    ]
    best = min(means[1:])
    winner = finalists[1 + means[1:].index(best)]
    (options.folder / "headroom-best.py").write_text(winner)
    return {
        "trials": options.trials,
        "budget_s": options.budget,
        "judged_at_s": judged_at,
        "seed_program": round(means[0], 5),
        "finalists": [round(mean, 5) for mean in means[1:]],
        "headroom": round(means[0] - best, 5),
        "headroom_percent": round(100 * (1 - best / means[0]), 2),
    }


class Search:
    """Tune on all slots at once, one run per trial.

    Args:
        lab: runs programs.
        trials: how many in all.
        notes: file of the trials that have ended, one JSON array `[source, score]` a line.
        quiet: show no progress.
    """

    def __init__(self, lab: Laboratory, trials: int, notes: Path, *, quiet: bool) -> None:
        self._lab = lab
        self._limit = trials
        self._quiet = quiet
        self._tune = Tune()
        self._results: dict[str, float | None] = {}
        self._pending: list[str] = []
        self._notes = notes
        if notes.exists():
            self._results = dict(map(json.loads, notes.read_text().splitlines()))
        self._started = len(self._results)

    async def run(self) -> None:
        """Run all trials."""
        async with trio.open_nursery() as nursery:
            for slot in range(self._lab.executor.slots):
                nursery.start_soon(self._work, slot)

    def best(self, count: int) -> list[str]:
        """The programs with the lowest scores, best first."""
        scored = [(value, text) for text, value in self._results.items() if value is not None]
        return [text for _, text in sorted(scored)[:count]]

    def tell(self, line: str) -> None:
        """Show a line of progress."""
        if not self._quiet:
            print(line, flush=True)

    async def _work(self, slot: int) -> None:
        while self._started < self._limit:
            self._started += 1
            number = self._started
            text = await self._next()
            if text is None:
                return
            values = await self._lab.run(slot, text, 100_000 + number, [PINNED_DRAW])
            self._pending.remove(text)
            self._results[text] = values[0] if values else None
            with self._notes.open("a") as file:
                file.write(json.dumps([text, self._results[text]]) + "\n")
            known = [value for value in self._results.values() if value is not None]
            self.tell(f"{number}/{self._limit}  {values}  best {min(known, default=None)}")

    async def _next(self) -> str | None:
        if self._started == 1:
            self._pending.append(self._lab.task.facts.seed_program)
            return self._pending[0]
        proposal = await self._tune.propose(self._view())
        if proposal is None:
            return None
        self._pending.append(proposal.source)
        return proposal.source

    def _view(self) -> View:
        start = self._lab.task.facts.seed_program
        champion = next(iter(self.best(1)), start)
        everything = [*self._results, *self._pending]
        return View(
            task=self._lab.task.facts,
            champion=program_id(champion),
            champion_source=champion,
            trials=tuple(
                Trial(
                    program=program_id(text),
                    source=text,
                    values=() if value is None else (value,),
                    failed=int(value is None),
                )
                for text, value in self._results.items()
            ),
            pending=tuple(self._pending),
            fingerprints=frozenset(fingerprint(text) for text in everything),
            sigma=self._lab.task.facts.sigma * abs(self._results.get(start) or 1.0),
            seed=self._started,
        )


if __name__ == "__main__":
    main()
