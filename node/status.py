"""What a running node answers to `skep status`: a picture of now, kept up to date from events.

It holds nothing that is not shown; history is read from the ledger by `node.history`.
"""

import os
import time
from collections import deque
from typing import Any

from msgspec import Struct, structs

from skep.events import (
    Best,
    Event,
    Finished,
    Judged,
    Paused,
    Progressed,
    Started,
)

VERDICTS_MAX = 8


class Slot(Struct):
    """One slot as people see it; `job` is empty while it decides."""

    job: str = ""
    program: str = ""
    strategy: str = ""
    purpose: str = ""
    note: str = ""
    phase: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    left_s: float | None = None


class Status:
    """The present of one node.

    Args:
        task: name of the task.
        metric: name of its metric.
        slots: number of experiments at once.
        champion: content id of the program it builds on.
        sandbox: what stands between the experiments and this machine, in one line.
    """

    def __init__(
        self, *, task: str, metric: str, slots: int, champion: bytes, sandbox: str
    ) -> None:
        self._task = task
        self._metric = metric
        self._slots = [Slot() for _ in range(slots)]
        self._champion = champion
        self._sandbox = sandbox
        self._started = time.time()
        self._paused = False
        self._finishing = False
        self._runs = self._judged = self._kept = 0
        self._best: float | None = None
        self._verdicts: deque[Judged] = deque(maxlen=VERDICTS_MAX)

    def take(self, event: Event) -> None:
        """Bring the picture up to date."""
        match event:
            case Started():
                self._slots[event.slot] = Slot(
                    job=event.job,
                    program=event.program.hex(),
                    strategy=event.strategy,
                    purpose=event.purpose,
                    note=event.note,
                    phase="starting",
                )
            case Progressed():
                seen = structs.asdict(event.progress)
                for name, value in seen.items():
                    setattr(self._slots[event.slot], name, value)
            case Finished():
                self._slots[event.slot] = Slot()
                self._runs += 1
            case Judged():
                self._judged += 1
                self._kept += event.verdict == "keep"
                self._verdicts.append(event)
            case Best():
                self._champion, self._best = event.program, event.value
            case Paused():
                self._paused = event.paused

    @property
    def running(self) -> tuple[bytes, ...]:
        """Programs in training now."""
        return tuple(bytes.fromhex(slot.program) for slot in self._slots if slot.program)

    def finishing(self) -> None:
        """The node was told to end after what is in flight."""
        self._finishing = True

    def answer(self) -> dict[str, Any]:
        """The picture as plain JSON values; counts are of this start of the node."""
        last = self._verdicts[-1] if self._verdicts else None
        return {
            "pid": os.getpid(),
            "task": self._task,
            "metric": self._metric,
            "sandbox": self._sandbox,
            "up_s": round(time.time() - self._started),
            "paused": self._paused,
            "finishing": self._finishing,
            "champion": self._champion.hex(),
            "runs": self._runs,
            "judged": self._judged,
            "kept": self._kept,
            "best": self._best,
            "last_verdict": f"{last.verdict}: {last.note} ({last.reason})" if last else "",
            "verdicts": [
                {
                    "program": one.program.hex(),
                    "verdict": one.verdict,
                    "reason": one.reason,
                    "note": one.note,
                }
                for one in self._verdicts
            ],
            "slots": [structs.asdict(slot) for slot in self._slots],
        }
