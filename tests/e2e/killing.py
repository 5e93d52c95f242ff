"""Kills a node with SIGKILL at random moments and looks at what is left. Used by test and soak.

What counts as acknowledged is what the node has told its user: every `run` line on its standard
output stands for a record that was durable before the line was printed.
"""

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from gossip.ledger import Ledger
from node.experiment import value_of
from node.home import Home, known_tasks
from tests.e2e.nodes import skep_process

START_MAX_S, WORK_MAX_S = 2.0, 1.5
WAIT_S = 60.0


class Campaign:
    """A home, and everything that was acknowledged on it."""

    def __init__(self, home: Path, task: Path, seed: int) -> None:
        self.home = home
        self.acknowledged: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._command = ("join", "--solo", "--task", str(task), "--jobs", "2")

    def kill_once(self) -> None:
        """Start a node, let it live for a random moment, kill it, and check the ledger."""
        process = skep_process(self.home, *self._command)
        if self._rng.random() < 0.3:
            time.sleep(self._rng.uniform(0.0, START_MAX_S))
        else:
            self._wait_for_work(process)
            time.sleep(self._rng.uniform(0.0, WORK_MAX_S))
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=30)
        assert alive, f"the node had ended by itself: {out}\n{err}"
        assert "Traceback" not in err, err
        lines = [line.split() for line in out.splitlines() if line.startswith("run ")]
        self.acknowledged.update(f"{program} {value}" for _, program, _, value, *_ in lines)
        self.check()

    def _wait_for_work(self, process: subprocess.Popen[str]) -> None:
        """Until the node answers on its socket: from then on it runs experiments."""
        control = Home(self.home).control
        control.unlink(missing_ok=True)  # of the node that was killed before
        end = time.monotonic() + WAIT_S
        while not control.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)

    def check(self) -> int:
        """Number of recorded runs, after making sure that none is lost or counted twice."""
        with Ledger.read(self.home) as ledger:
            runs = [run for task in known_tasks(Home(self.home)) for _, run in ledger.runs(task.id)]
        found = Counter(f"{run.program.hex()[:8]} {value_of(run) or 0:.6f}" for run in runs)
        lost = self.acknowledged - found
        assert not lost, f"acknowledged records are lost: {lost}"
        twice = [key for key, n in Counter((r.program, r.seed) for r in runs).items() if n > 1]
        assert not twice, "a run was counted twice"
        return len(runs)
