"""Does thinking hold the experiments up? The same node without a model and with a slow one.

    PYTHONPATH=. python scripts/bench/thinking.py FOLDER [--minutes 4] [--budget 20] [--seconds 20]

The model is a script behind real HTTP that streams every answer over `--seconds`, and costs no
processor time, as one on another machine or on a GPU that trains nothing. What is measured is the
machine: the share of its processor time that is not idle and not the node's own, from the first
training step on. Wants an otherwise idle machine; FOLDER keeps data and homes.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from known_edits import edits
from tests.e2e.nodes import skep_json, skep_process
from tests.strategies.dreamer import FOURTEEN, Dreamer
from tests.strategies.ollama_server import Say, ollama_in_thread

TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Both nodes, one after the other, and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="of an answer")
    options = parser.parse_args()
    for seconds in (None, options.seconds):
        print(json.dumps(measured(options, seconds)), flush=True)


def measured(options: argparse.Namespace, seconds: float | None) -> dict[str, object]:
    """One node for some minutes: how busy the machine was with experiments."""
    home = options.folder / ("alone" if seconds is None else "with-model")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    asked = ["--solo", "--budget", str(options.budget)]
    with ExitStack() as stack:
        server = None
        if seconds is not None:
            dreamer = Dreamer([edit.reply for edit in edits().values()], seed=1)

            def slowly(request: dict[str, Any]) -> Say:
                said = dreamer(request)
                return Say(said.text, said.thinking, seconds)

            url, server = stack.enter_context(ollama_in_thread(slowly, [FOURTEEN]))
            asked += ["--model", FOURTEEN.name, "--ollama-url", url]
        process = skep_process(home, "join", *asked)
        stack.callback(process.kill)
        first_step(home, process)
        machine, node, began = idle_seconds(), spent_by(process.pid), time.monotonic()
        time.sleep(60 * options.minutes)
        wall = time.monotonic() - began
        cores = len(os.sched_getaffinity(0))
        own = spent_by(process.pid) - node
        busy = 1 - (idle_seconds() - machine + own) / (wall * cores)
        status = skep_json(home, "status")
        process.send_signal(signal.SIGINT)
        process.wait()
    rows = skep_json(home, "runs")
    return {
        "answer_s": seconds,
        "busy": round(busy, 4),
        "node_share_of_a_core": round(own / wall, 4),
        "runs": len(rows),
        "by_model": sum(row["strategy"] == "llm" for row in rows),
        "answers": len(server.chats) if server else 0,
        "model": status["model"],
    }


def first_step(home: Path, process: subprocess.Popen[str]) -> None:
    """Wait until an experiment trains."""
    while not any(slot.get("phase") == "training" for slot in slots(home)):
        if process.poll() is not None:
            raise SystemExit(f"the node ended:\n{process.communicate()[1]}")
        time.sleep(0.5)


def slots(home: Path) -> list[dict[str, Any]]:
    """What each slot does; nothing before the node answers."""
    try:
        return list(skep_json(home, "status")["slots"])
    except (AssertionError, KeyError, TypeError):
        return []


def idle_seconds() -> float:
    """Processor seconds that all cores together have idled, waiting for disks included."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) / TICK


def spent_by(pid: int) -> float:
    """Processor seconds of one process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


if __name__ == "__main__":
    main()
