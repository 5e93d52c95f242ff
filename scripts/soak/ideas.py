"""An unattended node whose model hides five real edits among twenty others: what does it keep?

    PYTHONPATH=. python scripts/soak/ideas.py FOLDER [--experiments 150] [--budget 8] [--seed 1]

The model is a script behind real HTTP (`tests/strategies/dreamer.py`): it deals the edits of
`scripts/bench/code_edits.toml` in a random order, misquotes some and repeats itself. Everything
else is the real thing: prompts, parser, checks, sandbox, trainer, statistics. Goes on where it was,
with the home in FOLDER. Takes hours. Ends with 1 if the champion lacks a real edit, or holds
another.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from known_edits import Edit, edits
from tests.e2e.nodes import skep, skep_json, skep_process
from tests.strategies.dreamer import FOURTEEN, Dreamer
from tests.strategies.ollama_server import ollama_in_thread

ROUND = 10
"""Experiments after which it is said what the champion holds."""


def main() -> int:
    """Run the node, look at its champion, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--experiments", type=int, default=150, help="to be judged in all")
    parser.add_argument("--budget", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    home, known = options.folder / "home", edits()
    dreamer = Dreamer([edit.reply for edit in known.values()], options.seed)
    with ollama_in_thread(dreamer, [FOURTEEN]) as (url, server):
        while (left := options.experiments - judged(home)) > 0:
            research(home, url, options.budget, min(left, ROUND))
            if not options.json:
                print(json.dumps(report(home, known.values())), flush=True)
    found = report(home, known.values()) | {
        "asked": len(server.chats),
        "misquoted": dreamer.misquoted,
    }
    print(json.dumps(found, indent=None if options.json else 2))
    return 0 if not found["missing"] and not found["wrong"] and not found["no_ops"] else 1


def research(home: Path, url: str, budget: float, experiments: int) -> None:
    """Let the node judge some experiments; what it prints goes to a file in its home."""
    home.mkdir(parents=True, exist_ok=True)
    options = ["--solo", "--budget", str(budget), "--experiments", str(experiments)]
    options += ["--model", FOURTEEN.name, "--ollama-url", url]
    process = skep_process(home, "join", *options)
    try:
        out, err = process.communicate()
    finally:
        process.terminate()  # so that no node goes on when this script is stopped
    with (home.parent / "join.log").open("a") as log:
        log.write(out + err)
    if process.returncode:
        raise SystemExit(f"the node ended with {process.returncode}:\n{err}")


def judged(home: Path) -> int:
    """Experiments that have their verdict."""
    return sum(row["verdict"] not in ("baseline", "pending") for row in rows(home))


def rows(home: Path) -> list[dict[str, object]]:
    """All experiments of the home; none where it is new."""
    return list(skep_json(home, "runs")) if (home / "skep.db").exists() else []


def report(home: Path, known: Iterable[Edit]) -> dict[str, object]:
    """What the champion holds, and what came of each way of finding ideas."""
    source, found, known = skep(home, "best", "--source"), rows(home), list(known)
    held = {edit.name for edit in known if holds(source, edit)}
    # What an edit is made on is there where that edit is, even if it has rewritten a line of it.
    held |= {below for edit in known if edit.name in held for below in edit.on}
    real = {edit.name for edit in known if edit.kind == "real"}
    counted = Counter((str(row["strategy"]), str(row["verdict"])) for row in found)
    return {
        "judged": judged(home),
        "real": sorted(held & real),
        "missing": sorted(real - held),
        "wrong": sorted(held - real),
        "no_ops": sum(row["program"] == row["parent"] for row in found),
        "verdicts": {f"{name} {verdict}": n for (name, verdict), n in sorted(counted.items())},
    }


def holds(source: str, edit: Edit) -> bool:
    """Whether a program has every line that an edit brings, as the edit writes it."""
    have = set(map(str.strip, source.splitlines()))
    return bool(brought(edit)) and brought(edit) <= have


def brought(edit: Edit) -> set[str]:
    """Lines of an edit's REPLACE parts that none of its SEARCH parts has."""
    before: set[str] = set()
    after: set[str] = set()
    into: set[str] | None = None
    for row in edit.reply.splitlines():
        if row.startswith(("<<<<<<< ", "=======", ">>>>>>> ")):
            into = {"<": before, "=": after}.get(row[0])
        elif into is not None:
            into.add(row.strip())
    return after - before - {""}


if __name__ == "__main__":
    sys.exit(main())
