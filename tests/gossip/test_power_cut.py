"""When the power goes: nothing acknowledged is lost, and what is left reads back.

The disk is simulated (`tests.gossip.power_cut`). The store's shipped pragmas, schema and statements
run on it through apsw; the feed's own system calls are followed on the way to the real file.
"""

import os
import random
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from gossip.feeds import Feed
from gossip.identity import Identity
from gossip.statements import Program, keep_job, keep_program, keep_record
from gossip.store import Store
from gossip.wire import decode
from skep.records import program_id
from tests.gossip.power_cut import Cut, Disk, sqlite_on
from tests.gossip.scenes import FIRST, KEY, SWARM, TASK, assert_chains_hold, make_chain, make_job

CUTS: tuple[Cut, ...] = get_args(Cut)
ROUNDS = 20
CHAIN = make_chain(FIRST, 60)


def survivors(folder: Path, cut: Cut, seed: int, synchronous: str = "") -> tuple[int, int]:
    """Commit records one by one, cut the power: how many were acknowledged, how many are left."""
    rng = random.Random(f"{cut}:{seed}")
    before, after = folder / "before", folder / "after"
    before.mkdir(parents=True)
    after.mkdir()
    disk = Disk()
    with sqlite_on(disk, before / "skep.db") as connection:
        store = Store(connection, before / "skep.db")
        # Small logs are folded into the database often, which is where most can go wrong.
        connection.execute(f"PRAGMA wal_autocheckpoint = {rng.choice([3, 10, 1000])}")
        if synchronous:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
        acknowledged = rng.randint(1, len(CHAIN))
        for number, signed in enumerate(CHAIN[:acknowledged]):
            program = Program(f"x = {number}\n", b"fingerprint")
            store.commit(
                [
                    *keep_record(signed, own=True),
                    keep_program(program_id(program.source), program),
                    keep_job(make_job("p", seed=1000 + number)),
                ]
            )
        disk.cut(cut, rng, after)
    with closing(sqlite3.connect(after / "skep.db")) as left_file:
        assert left_file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with closing(Store.open(after / "skep.db")) as left:
        runs = list(left.said(TASK, "run"))
        assert runs == CHAIN[: len(runs)]
        assert len(left.program_ids()) == len(left.jobs()) == len(runs)
        return acknowledged, len(runs)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_database_keeps_every_acknowledged_record(tmp_path: Path, cut: Cut, seed: int) -> None:
    acknowledged, left = survivors(tmp_path, cut, seed)
    assert left == acknowledged


def test_the_simulated_disk_does_lose_what_synchronous_normal_would_lose(tmp_path: Path) -> None:
    results = [survivors(tmp_path / str(seed), "nothing", seed, "NORMAL") for seed in range(10)]
    assert sum(left < acknowledged for acknowledged, left in results) >= 5


@pytest.mark.skipif(sys.platform != "linux", reason="follows fsync, as Linux uses it")
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_the_feed_keeps_every_acknowledged_record(
    tmp_path: Path, cut: Cut, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(f"{cut}:{seed}")
    disk = Disk()
    acknowledged: list[bytes] = []
    write, sync, truncate = os.pwrite, os.fsync, os.ftruncate

    def followed_write(descriptor: int, content: bytes, offset: int) -> int:
        if rng.random() < 0.2:  # the system may write less than it was asked to
            content = content[: rng.randint(1, len(content))]
        written = write(descriptor, content, offset)
        disk.write("own.feed", bytes(content[:written]), offset)
        return written

    def followed_sync(descriptor: int) -> None:
        sync(descriptor)
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("own.feed"):
            disk.sync("own.feed")

    def followed_truncate(descriptor: int, size: int) -> None:
        truncate(descriptor, size)
        disk.truncate("own.feed", size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", followed_write)
        patch.setattr(os, "fsync", followed_sync)
        patch.setattr(os, "ftruncate", followed_truncate)
        with closing(Feed.open(tmp_path / "feed", KEY.public, SWARM)) as feed:
            for _ in range(rng.randint(1, 8)):
                records = make_chain(feed.link, rng.randint(1, 4))
                feed.append(records)
                acknowledged += [one.signature + one.body for one in records]
                if rng.random() < 0.2:
                    feed.undo()
                    del acknowledged[-len(records) :]
            # The last append is cut off on its way to the medium.
            unsynced = make_chain(feed.link, rng.randint(1, 4))
            patch.setattr(os, "fsync", lambda descriptor: None)
            feed.append(unsynced)
    disk.cut(cut, rng, tmp_path / "feed")

    with closing(Feed.open(tmp_path / "feed", KEY.public, SWARM)) as feed:
        left = list(feed.entries())
        assert left[: len(acknowledged)] == acknowledged
        assert_chains_hold([decode(entry) for entry in left])
        feed.append(make_chain(feed.link, 2))
        assert_chains_hold([decode(entry) for entry in feed.entries()])


@pytest.mark.skipif(sys.platform != "linux", reason="follows fsync, as Linux uses it")
def test_a_new_key_is_on_the_medium_before_it_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, link = os.fsync, os.link

    def followed_sync(descriptor: int) -> None:
        sync(descriptor)
        synced = os.fstat(descriptor)
        steps.append("folder synced" if stat.S_ISDIR(synced.st_mode) else f"{synced.st_size} bytes")

    def followed_link(source: Path, target: Path) -> None:
        link(source, target)
        steps.append(f"linked as {target.name}")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", followed_sync)
        patch.setattr(os, "link", followed_link)
        Identity.load(tmp_path)
    assert steps == ["68 bytes", "linked as identity.key", "folder synced"]
