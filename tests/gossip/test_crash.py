"""kill -9 at any moment: nothing acknowledged is lost, nothing is said twice."""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import trio

from skep.records import SignedRecord
from tests.gossip import victim
from tests.gossip.scenes import TASK, assert_chains_hold, feed_of, open_ledger

# Children of a small server process which has imported everything: a fork takes 20 ms, a fresh
# interpreter half a second, and forking pytest itself would copy its threads' locks.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "tests.gossip.victim"])

ROUNDS = 20


class Victim:
    """A process that writes ids of acknowledged records into a pipe."""

    def __init__(self, work: Callable[..., None], home: Path, *arguments: int) -> None:
        self._pipe, write_end = FORKS.Pipe(duplex=False)
        self.process = FORKS.Process(target=work, args=(home, write_end, *arguments))
        self.process.start()
        write_end.close()

    def acknowledged(self, count: int) -> list[bytes]:
        """The next ids, up to `count`; fewer if it has died."""
        ids: list[bytes] = []
        while len(ids) < count and (one := os.read(self._pipe.fileno(), 32)):
            assert len(one) == 32
            ids.append(one)
        return ids

    def kill(self) -> list[bytes]:
        """Kill it and return all it had acknowledged and nobody has read yet."""
        self.process.kill()
        rest = self.acknowledged(1_000_000)
        self.close()
        return rest

    def close(self) -> None:
        self.process.join()
        self._pipe.close()


def survivors(home: Path) -> list[SignedRecord]:
    """Open the ledger as after a crash; its records, after checking that all of it agrees."""

    async def opened() -> list[SignedRecord]:
        async with open_ledger(home) as ledger:
            records = [ledger.record(one) for one, _ in ledger.runs(TASK)]
            seeds = [one.run.seed for one in records]
            assert len(set(seeds)) == len(seeds)
            assert not {job.seed for job in ledger.jobs()} & set(seeds)
            assert sorted(one.id for one in feed_of(home)) == sorted(one.id for one in records)
            assert_chains_hold(feed_of(home))
            return records

    return trio.run(opened)


def test_a_node_killed_again_and_again_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    rng = random.Random(20)
    acknowledged: list[bytes] = []
    for _ in range(ROUNDS):
        process = Victim(victim.work_until_killed, tmp_path)
        acknowledged += process.acknowledged(rng.randint(0, 40))
        for _ in range(rng.randint(0, 50_000)):
            pass  # not a wait for anything: it only varies the moment
        acknowledged += process.kill()
        left = [one.id for one in survivors(tmp_path)]
        assert set(acknowledged) <= set(left)
        # What nobody acknowledged may be there too: at most what each worker had in hand, a round.
        assert len(left) <= len(acknowledged) + ROUNDS * victim.WORKERS
    assert len(acknowledged) > 10 * ROUNDS


def test_a_node_killed_at_each_call_on_the_feed_loses_nothing_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    fatal, kills = 0, 0
    while kills == fatal:
        fatal += 1
        home = tmp_path / str(fatal)
        process = Victim(victim.work_until_call, home, fatal)
        acknowledged = process.acknowledged(3)
        process.close()
        kills += process.process.exitcode == -signal.SIGKILL
        left = [one.id for one in survivors(home)]
        assert left[: len(acknowledged)] == acknowledged
        assert len(left) <= len(acknowledged) + 1
    assert process.process.exitcode == 0
    assert len(left) == 3
    assert kills >= 2 * 3 * 3  # three appends of a write, a sync and a note, before and after each
