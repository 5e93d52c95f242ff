"""Starts real nodes as real processes for the end-to-end tests, on a task that takes no time.

The task is a small honest program that scores itself, so that a whole experiment (job, sandbox,
process, result block, record, verdict) takes a fraction of a second. Nothing is faked.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from gossip.identity import Identity
from tests.e2e.swarming import free_port

SKEP = ("-m", "node.cli")

QUICK_TASK = """
name = "quick"
metric = "score"
direction = "max"
sigma = 0.02
"""

QUICK_PROGRAM = '''"""Scores a guess of two constants, with noise; the best guess is (4.0, 0.1)."""
import math
import os
import random

RATE = 1.0
DECAY = 0.4

rng = random.Random(os.environ["SKEP_SEED"])
score = 10 - abs(math.log(RATE / 4.0)) - abs(math.log(DECAY / 0.1)) + rng.gauss(0, 0.05)
print("---")
print(f"score: {score:.6f}")
'''


def quick_task(folder: Path, program: str = QUICK_PROGRAM) -> Path:
    """A folder with the quick task."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.toml").write_text(QUICK_TASK)
    (folder / "train.py").write_text(program)
    return folder


def skep_process(
    home: Path, *arguments: str, out: TextIO | None = None, program: Sequence[str] = SKEP
) -> subprocess.Popen[str]:
    """A `skep` process on a home, with its output readable, or in a file: a pipe gets full."""
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        env={**os.environ, "SKEP_HOME": str(home), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=out or subprocess.PIPE,
        stderr=out or subprocess.PIPE,
        text=True,
    )


def skep(home: Path, *arguments: str, expect: int = 0, timeout_s: float = 120) -> str:
    """Standard output of a command that must end with the given exit code."""
    process = skep_process(home, *arguments)
    out, err = process.communicate(timeout=timeout_s)
    assert process.returncode == expect, f"{arguments}: exit {process.returncode}\n{out}\n{err}"
    return out if expect == 0 else err


def skep_json(home: Path, *arguments: str) -> Any:
    """Parsed output of a read command."""
    return json.loads(skep(home, *arguments, "--json"))


def acquainted(homes: Sequence[Path]) -> list[tuple[str, ...]]:
    """For each home the options with which its node meets the others, and nobody else."""
    places = [f"/ip4/127.0.0.1/tcp/{free_port()}" for _ in homes]
    for home in homes:
        home.mkdir(parents=True, exist_ok=True)
    addresses = [
        f"{place}/p2p/{Identity.load(home).peer_id}"
        for home, place in zip(homes, places, strict=True)
    ]
    return [
        (
            *("--no-mdns", "--listen", place),
            *(part for other in addresses if other != own for part in ("--bootstrap", other)),
        )
        for place, own in zip(places, addresses, strict=True)
    ]
