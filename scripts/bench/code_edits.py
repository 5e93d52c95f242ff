"""What are the edits of code_edits.toml worth? Each trained beside the program it is made on.

Pairs have fresh seeds and are scored on the same two draws. Sigma is the sd of all runs around the
mean of their program. An edit that fails, or is 3 sigma worse after two pairs, gets no more.

    python scripts/bench/code_edits.py FOLDER [--budget 8] [--pairs 8] [--kind real] [--json]

`--stack` also trains all real ones together, and together but for each of them.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio
from msgspec import Struct

from known_edits import Edit, applied, edits, parent_of
from lab import Laboratory, laboratory
from skep.errors import PatchError
from skep.fingerprint import fingerprint

DRAWS = (92_001, 92_002)
FIRST_SEED = 700_000
LOOK = 2
HOPELESS = 3.0


class Pair(Struct, frozen=True, kw_only=True):
    """Two programs to compare; `child` is missing where an edit makes no other program."""

    name: str
    kind: str
    parent: str
    child: str | None


def main() -> None:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", type=float, default=8.0)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--kind", nargs="*", help="of these kinds alone")
    parser.add_argument("--stack", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(json.dumps(trio.run(measure, options), indent=None if options.json else 2))


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Train all pairs and compare them."""
    async with laboratory(options.folder, budget_s=options.budget) as lab:
        known, seed = edits(), lab.task.facts.seed_program
        pairs = [
            _pair(edit, known, seed)
            for edit in known.values()
            if not options.kind or edit.kind in options.kind
        ]
        if options.stack:
            pairs += list(_stacked(known, seed))
        tell = (lambda line: None) if options.json else (lambda line: print(line, flush=True))
        scores: dict[str, list[float | None]] = {}
        for wanted in sorted({1, min(LOOK, options.pairs), options.pairs}):
            going = [pair for pair in pairs if _worth_more(pair, scores)]
            programs = dict.fromkeys(text for one in going for text in (one.parent, one.child))
            jobs = [
                (text, FIRST_SEED + number)
                for number in range(wanted)
                for text in programs
                if text is not None and number >= len(scores.get(text, ()))
            ]
            rows = await lab.run_all(jobs, DRAWS, tell)
            for (text, _), row in zip(jobs, rows, strict=True):
                scores.setdefault(text, []).append(statistics.mean(row) if row else None)
        return _report(pairs, scores, lab)


def _pair(edit: Edit, known: Mapping[str, Edit], seed: str) -> Pair:
    parent = parent_of(edit, known, seed)
    child = applied(edit, parent)
    same = fingerprint(child) == fingerprint(parent)
    return Pair(name=edit.name, kind=edit.kind, parent=parent, child=None if same else child)


def _stacked(known: Mapping[str, Edit], seed: str) -> list[Pair]:
    """All real edits against the seed program, and against all but one."""
    real = [edit for edit in known.values() if edit.kind == "real"]
    everything = _together(real, seed)
    found = [Pair(name="all", kind="stack", parent=seed, child=everything)]
    for left_out in real:
        rest = [edit for edit in real if edit is not left_out and left_out.name not in edit.on]
        parent = _together(rest, seed)
        found.append(
            Pair(name=f"{left_out.name}, last", kind="stack", parent=parent, child=everything)
        )
    return found


def _together(chosen: Sequence[Edit], program: str) -> str:
    for edit in chosen:
        try:
            program = applied(edit, program)
        except PatchError as error:
            raise SystemExit(str(error)) from None
    return program


def _worth_more(pair: Pair, scores: Mapping[str, Sequence[float | None]]) -> bool:
    """Whether more runs could tell anything of it."""
    if pair.child is None:
        return False
    differences = _differences(pair, scores)
    if differences is None:
        return False
    if len(differences) < LOOK:
        return True
    return statistics.mean(differences) < HOPELESS * _sigma(scores)


def _differences(pair: Pair, scores: Mapping[str, Sequence[float | None]]) -> list[float] | None:
    """Child minus parent, pair by pair; None where a run failed."""
    children = scores.get(pair.child or "", ())
    parents = scores.get(pair.parent, ())
    both = list(zip(children, parents, strict=False))
    if any(child is None or parent is None for child, parent in both):
        return None
    return [c - p for c, p in both if c is not None and p is not None]


def _sigma(scores: Mapping[str, Sequence[float | None]]) -> float:
    """Sd of runs around the mean of their program, of all programs with two runs or more."""
    squares, freedom = 0.0, 0
    for values in scores.values():
        done = [value for value in values if value is not None]
        if len(done) > 1:
            squares += statistics.variance(done) * (len(done) - 1)
            freedom += len(done) - 1
    return math.sqrt(squares / freedom) if freedom else math.inf


def _report(
    pairs: Sequence[Pair], scores: Mapping[str, Sequence[float | None]], lab: Laboratory
) -> dict[str, object]:
    sigma = _sigma(scores)
    return {
        "sigma": round(sigma, 5),
        "edits": [_row(pair, scores, sigma, lab) for pair in pairs],
    }


def _row(
    pair: Pair, scores: Mapping[str, Sequence[float | None]], sigma: float, lab: Laboratory
) -> dict[str, object]:
    row: dict[str, object] = {"name": pair.name, "kind": pair.kind}
    if pair.child is None:
        return row | {"ended": "the same program"}
    differences = _differences(pair, scores)
    if differences is None:
        return row | {"ended": lab.ended(pair.child)}
    mean = statistics.mean(differences)
    parents = [value for value in scores[pair.parent] if value is not None]
    row |= {"pairs": len(differences), "percent": round(100 * mean / statistics.mean(parents), 2)}
    row["sigmas"] = round(mean / sigma, 2)
    if len(differences) > 1:
        row["error_sigmas"] = round(
            statistics.stdev(differences) / math.sqrt(len(differences)) / sigma, 2
        )
    return row


if __name__ == "__main__":
    main()
