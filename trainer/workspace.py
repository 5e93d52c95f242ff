"""Programs that train and score themselves: run one in a sandbox and read what it prints.

The checkout is mounted read-only, without its hidden files; the program gets a copy of it in the
sandbox's own memory, its train.py replaced, and so nothing that it writes reaches this machine.
"""

import os
import sys
from pathlib import Path
from typing import Any

from skep.ports import Order, Outcome
from skep.records import MICRO
from trainer.block import Block, read_block
from trainer.log import Log
from trainer.meter import Ended, Limits
from trainer.outcome import Said, failed, failure
from trainer.phases import ENVIRONMENT
from trainer.sandbox import Mount, python_prefixes
from trainer.slot import Slot
from trainer.task import SEED_FILE, Task

CHECKOUT = "/skep/checkout"
LEFT_OUT = {"__pycache__", "results", "node_modules"}
GRACE_S = 5.0
PROCESSES_MAX = 4096
"""Compilers and data loaders start a process or thread for every core."""
FILE_MAX_BYTES = 4 << 30


async def run_self_scored(task: Task, slot: Slot, order: Order, log: Log) -> Outcome:
    """Run a task's command on a program.

    Args:
        task: a self-scored one.
        slot: where to run it.
        order: the program and its seed.
        log: takes up what it prints.

    Raises:
        TrainerFault: a helper process of ours failed.
    """
    entries = [
        Mount(path, f"{CHECKOUT}/{path.name}")
        for path in sorted(task.folder.iterdir())
        if not path.name.startswith(".") and path.name not in {*LEFT_OUT, SEED_FILE}
    ]
    reads = [Mount(path, _at_home(path)) for path in task.reads]
    interpreter = [Mount(path, str(path)) for path in _interpreter(Path(task.command[0]))]
    said = Said()
    async with slot.bare_worker([*entries, *reads, *interpreter]) as worker:
        home = worker.home
        work: dict[str, Any] = {
            "argv": list(task.command),
            "source": order.source,
            "program": SEED_FILE,
            "files": [worker.path(mount) for mount in entries],
            "links": {mount.inside: worker.path(mount) for mount in reads},
            "env": {
                "PATH": f"{Path(task.command[0]).parent}:{ENVIRONMENT['PATH']}",
                "LANG": ENVIRONMENT["LANG"],
                "USER": ENVIRONMENT["USER"],
                "HOME": home,
                "TMPDIR": home,
                "SKEP_SEED": str(order.seed),
            },
        }
