"""Processes that work with a ledger until they are killed; run by `test_crash`, never imported
by anything that has to survive."""

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trio

from gossip.jobs import Job
from gossip.ledger import Ledger
from tests.factories import make_run
from tests.gossip.scenes import TASK, make_job, open_ledger

WORKERS = 3


def work_until_killed(home: Path, pipe: Connection) -> None:
    """Run jobs for ever, writing the id of each record to `pipe` once it is acknowledged."""

    async def worker(ledger: Ledger, waiting: list[Job], seeds: range) -> None:
        fresh = iter(seeds)
        while True:
            if waiting:
                job = waiting.pop()
            else:
                job = make_job("p", seed=next(fresh))
                await ledger.queue(job)
            running = await ledger.start(job)
            signed = await ledger.finish(running, make_run("p", seed=job.seed, pinned=2.0))
            os.write(pipe.fileno(), signed.id)

    async def main() -> None:
        async with open_ledger(home) as ledger:
            await ledger.requeue_interrupted()
            waiting = ledger.jobs()
            known = [run.seed for _, run in ledger.runs(TASK)] + [job.seed for job in waiting]
            start = max(known, default=0) + 1
            async with trio.open_nursery() as nursery:
                for number in range(WORKERS):
                    first = start + number * 1_000_000
                    nursery.start_soon(worker, ledger, waiting, range(first, first + 1_000_000))

    trio.run(main)


def work_until_call(home: Path, pipe: Connection, fatal: int) -> None:
    """Run three jobs one after another and die at the n-th call that changes or syncs the feed.

    An odd `fatal` dies before the call is made, an even one after; a write dies half done.
    """
    calls = 0

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == (fatal + 1) // 2:
                if fatal % 2 == 0:
                    call(*arguments)
                elif call is os_pwrite:
                    descriptor, content, offset = arguments
                    call(descriptor, content[: len(content) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        return made

    os_pwrite = os.pwrite
    os.pwrite = deadly(os.pwrite)
    os.fsync = deadly(os.fsync)
    os.replace = deadly(os.replace)

    async def main() -> None:
        async with open_ledger(home) as ledger:
            for seed in range(3):
                running = await ledger.start(make_job("p", seed=seed))
                signed = await ledger.finish(running, make_run("p", seed=seed, pinned=2.0))
                os.write(pipe.fileno(), signed.id)

    trio.run(main)
