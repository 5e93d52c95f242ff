"""The ledger as the node uses it: publishing, reading, jobs, two copies that heal each other."""

import os
import resource
import shutil
import struct
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.swarms import PUBLIC_SWARM
from gossip.wire import frame
from skep.errors import HomeError, HomeInUse, RecordError, StoreCorrupt
from skep.records import SetConstant, program_id
from tests.factories import content_id, make_run
from tests.gossip.scenes import (
    KEY,
    SWARM,
    TASK,
    assert_chains_hold,
    feed_of,
    make_job,
    open_ledger,
)

OTHER_TASK = content_id("other task")


async def publish(home: Path, *seeds: int) -> None:
    """Open the ledger of a home, publish runs with these seeds, close it."""
    async with open_ledger(home) as ledger:
        for seed in seeds:
            await ledger.publish(make_run("p", seed=seed, pinned=2.0), TASK)


async def seeds_in(home: Path) -> list[int]:
    """Seeds of all own runs after opening the ledger anew; feed and chains are checked too."""
    async with open_ledger(home) as ledger:
        runs = ledger.runs(TASK)
        records = feed_of(home)
    assert_chains_hold(records)
    assert sorted(one.id for one in records) == sorted(one for one, _ in runs)
    return [run.seed for _, run in runs]


async def test_a_published_run_is_signed_and_in_feed_and_database(tmp_path: Path) -> None:
    run = make_run("p", pinned=2.0, scores=[(5, 2.1)], edits=(SetConstant("LR", 1.0),))
    async with open_ledger(tmp_path) as ledger:
        signed = await ledger.publish(run, TASK)
        assert ledger.runs(TASK) == [(signed.id, run)]
        assert list(ledger.all_runs(TASK)) == [(signed.id, KEY.public, run)]
        assert ledger.runs(OTHER_TASK) == []
        assert ledger.runs(TASK, author=bytes(32)) == []
        assert ledger.record(signed.id) == signed
    record = signed.record
    assert (record.v, record.swarm, record.task, record.author) == (1, SWARM, TASK, KEY.public)
    assert (record.seq, record.prev, record.time, record.payload) == (0, bytes(32), 1, run)
    assert feed_of(tmp_path) == [signed]
    with Ledger.read(tmp_path) as view:
        assert view.runs(TASK) == [(signed.id, run)]
        assert view.record(signed.id) == signed


async def test_runs_stand_in_the_order_they_were_published(tmp_path: Path) -> None:
    await publish(tmp_path, 3, 1)
    async with open_ledger(tmp_path) as ledger:
        await ledger.publish(make_run("p", seed=2), TASK)
        await ledger.publish(make_run("p", seed=9), OTHER_TASK)
        assert [run.seed for _, run in ledger.runs(TASK)] == [3, 1, 2]
        await ledger.publish(make_run("p", seed=0), TASK)
        assert [run.seed for _, run in ledger.runs(TASK)] == [3, 1, 2, 0]
        assert [run.seed for _, run in ledger.runs(OTHER_TASK)] == [9]
    assert {one.record.session for one in feed_of(tmp_path)} == {
        feed_of(tmp_path)[0].record.session
    }


def commits_in_log(home: Path) -> int:
    """Transactions in SQLite's write-ahead log: frames that carry the size of the database."""
    log = (home / "skep.db-wal").read_bytes()
    page = struct.unpack_from(">I", log, 8)[0]
    sizes = (struct.unpack_from(">I", log, at + 4)[0] for at in range(32, len(log), 24 + page))
    return sum(size != 0 for size in sizes)


async def test_those_who_publish_at_once_share_commits(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        before = commits_in_log(tmp_path)
        async with trio.open_nursery() as nursery:
            for seed in range(100):
                nursery.start_soon(ledger.publish, make_run("p", seed=seed), TASK)
        assert 4 <= commits_in_log(tmp_path) - before <= 6
    seeds = await seeds_in(tmp_path)
    assert seeds == [one.run.seed for one in feed_of(tmp_path)]
    assert sorted(seeds) == list(range(100))


async def test_a_run_out_of_range_fails_alone(tmp_path: Path) -> None:
    failed: list[int] = []

    async def attempt(seed: int) -> None:
        try:
            await ledger.publish(make_run("p", seed=seed), TASK)
        except RecordError:
            failed.append(seed)

    async with open_ledger(tmp_path) as ledger, trio.open_nursery() as nursery:
        for seed in (0, -1, 1, 2**64, 2):
            nursery.start_soon(attempt, seed)
    assert sorted(failed) == [-1, 2**64]
    assert sorted(await seeds_in(tmp_path)) == [0, 1, 2]


async def test_cancelling_publishes_a_run_wholly_or_not_at_all(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for seed in range(40):
                    nursery.start_soon(ledger.publish, make_run("p", seed=seed), TASK)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        with trio.CancelScope() as scope:
            scope.cancel()
            await ledger.publish(make_run("p", seed=100), TASK)
        assert sorted(run.seed for _, run in ledger.runs(TASK)) == list(range(40))
    assert sorted(await seeds_in(tmp_path)) == list(range(40))


async def test_programs_are_kept_by_content_id(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        first = await ledger.add_program("x = 1\n", b"one")
        assert await ledger.add_program("x = 1\n", b"again") == first == program_id("x = 1\n")
        second = await ledger.add_program("x = 'é'\n", b"two")
        with pytest.raises(KeyError):
            ledger.program(content_id("none"))
    with Ledger.read(tmp_path) as view:
        assert view.program(second) == "x = 'é'\n"
        assert [(one, held.fingerprint) for one, held in view.programs().items()] == [
            (first, b"one"),
            (second, b"two"),
        ]


async def test_ids_are_found_by_their_first_digits(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        record = (await ledger.publish(make_run("p"), TASK)).id
        program = await ledger.add_program("x = 1\n", b"f")
        for known in (record, program):
            for digits in (7, 8, 64):
                assert ledger.find(known.hex()[:digits]) == [known]
            assert ledger.find(known.hex().upper()) == [known]
        assert sorted(ledger.find("")) == sorted([record, program])
        for nothing in ("xyz", "0" * 65, record.hex() + "0", "no such", "ab cd"):
            assert ledger.find(nothing) == []
        with pytest.raises(KeyError):
            ledger.record(program)


async def test_a_view_reads_while_a_node_runs_and_before_any_has(tmp_path: Path) -> None:
    with Ledger.read(tmp_path / "no home") as view:
        assert (view.me, view.runs(TASK), view.jobs(), view.find("")) == (b"", [], [], [])
        assert view.programs() == {}
    assert not (tmp_path / "no home").exists()
    async with open_ledger(tmp_path) as ledger:
        signed = await ledger.publish(make_run("p"), TASK)
        with Ledger.read(tmp_path) as view:
            assert (view.me, [one for one, _ in view.runs(TASK)]) == (KEY.public, [signed.id])


async def test_a_home_has_one_writer(tmp_path: Path) -> None:
    async with open_ledger(tmp_path):
        with pytest.raises(HomeInUse, match="Another node is using"):
            async with open_ledger(tmp_path):
                pytest.fail("two writers")
    await publish(tmp_path, 1)


async def test_finishing_a_job_publishes_its_run_and_removes_it(tmp_path: Path) -> None:
    job, other = make_job("p", seed=7), make_job("p", seed=8)
    async with open_ledger(tmp_path) as ledger:
        await ledger.queue(job)
        await ledger.queue(other)
        assert ledger.jobs() == [job, other]
        running = await ledger.start(job)
        assert (running.state, running.attempts) == ("running", 1)
        assert ledger.jobs() == [running, other]
        with pytest.raises(ValueError, match="not the program and the seed"):
            await ledger.finish(running, make_run("p", seed=9))
        signed = await ledger.finish(running, make_run("p", seed=7))
        assert ledger.jobs() == [other]
        assert ledger.runs(TASK) == [(signed.id, signed.run)]
        await ledger.finish(other, None)
        assert ledger.jobs() == []
    with Ledger.read(tmp_path) as view:
        assert (len(view.runs(TASK)), view.jobs()) == (1, [])


async def test_a_job_outlives_the_node_and_can_be_put_back(tmp_path: Path) -> None:
    job, other = make_job("p"), make_job("q")
    async with open_ledger(tmp_path) as ledger:
        await ledger.queue(job)
        await ledger.queue(other)
        await ledger.start(job)
        await ledger.queue(job)
    async with open_ledger(tmp_path) as ledger:
        assert ledger.jobs() == [job, other]
        assert await ledger.requeue_interrupted() == ([], [])


async def test_an_interrupted_job_is_requeued_once_then_dropped_and_never_a_run(
    tmp_path: Path,
) -> None:
    job, waiting = make_job("p"), make_job("q")
    async with open_ledger(tmp_path) as ledger:
        await ledger.queue(job)
        await ledger.queue(waiting)
        await ledger.start(job)
    async with open_ledger(tmp_path) as ledger:
        again = replace(job, attempts=1)
        assert await ledger.requeue_interrupted() == ([again], [])
        assert ledger.jobs() == [again, waiting]
        assert await ledger.requeue_interrupted() == ([], [])
        twice = await ledger.start(again)
    async with open_ledger(tmp_path) as ledger:
        assert await ledger.requeue_interrupted() == ([], [twice])
        assert ledger.jobs() == [waiting]
        assert ledger.runs(TASK) == []


async def test_a_job_whose_run_reached_only_the_feed_is_settled_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with open_ledger(tmp_path) as ledger:
        job = await ledger.start(make_job("p", seed=7))
    older = (tmp_path / "skep.db").read_bytes()
    async with open_ledger(tmp_path) as ledger:
        await ledger.finish(job, make_run("p", seed=7))
    (tmp_path / "skep.db").write_bytes(older)
    async with open_ledger(tmp_path) as ledger:
        assert await ledger.requeue_interrupted() == ([], [])
        assert ledger.jobs() == []
        assert len(ledger.runs(TASK)) == 1


async def test_a_lost_database_is_filled_from_the_feed(tmp_path: Path) -> None:
    await publish(tmp_path, *range(5))
    before = feed_of(tmp_path)
    (tmp_path / "skep.db").unlink()
    assert await seeds_in(tmp_path) == list(range(5))
    assert feed_of(tmp_path) == before


@pytest.mark.parametrize("loss", ["removed", "emptied", "cut", "older", "garbage"])
async def test_a_lost_feed_is_filled_from_the_database_and_a_new_session_begins(
    tmp_path: Path, loss: str
) -> None:
    path = tmp_path / "feed" / "own.feed"
    await publish(tmp_path, 0, 1)
    older = path.read_bytes()
    await publish(tmp_path, 2, 3)
    old_session = feed_of(tmp_path)[0].record.session
    match loss:
        case "removed":
            path.unlink()
        case "emptied":
            os.truncate(path, 0)
        case "cut":
            os.truncate(path, path.stat().st_size - 10)
        case "older":
            path.write_bytes(older)
        case "garbage":
            path.write_bytes(b"garbage" * 100)
    await publish(tmp_path, 4)
    assert await seeds_in(tmp_path) == [0, 1, 2, 3, 4]
    assert [one.record.session == old_session for one in feed_of(tmp_path)] == [True] * 4 + [False]


async def test_a_copied_home_goes_on_in_another_session_and_both_verify(tmp_path: Path) -> None:
    await publish(tmp_path / "a", 0, 1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    await publish(tmp_path / "b", 2)
    await publish(tmp_path / "a", 3)
    assert await seeds_in(tmp_path / "a") == [0, 1, 3]
    assert await seeds_in(tmp_path / "b") == [0, 1, 2]
    places = {
        (one.record.session, one.record.seq): one.id
        for home in ("a", "b")
        for one in feed_of(tmp_path / home)
    }
    assert len(places) == 4


async def test_the_whole_home_restored_from_a_backup_never_forks_its_chain(tmp_path: Path) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup"
    await publish(home, 0)
    shutil.copytree(home, backup)
    await publish(home, 1)
    published = feed_of(home)
    shutil.rmtree(home)
    shutil.copytree(backup, home)
    await publish(home, 2)
    assert await seeds_in(home) == [0, 2]
    assert feed_of(home)[1].record.session != published[1].record.session


async def test_what_is_said_in_two_swarms_never_stands_in_one_chain(tmp_path: Path) -> None:
    for seed, swarm in enumerate((SWARM, PUBLIC_SWARM, PUBLIC_SWARM, SWARM)):
        async with open_ledger(tmp_path, swarm=swarm) as ledger:
            await ledger.publish(make_run("p", seed=seed), TASK)
    assert await seeds_in(tmp_path) == [0, 1, 2, 3]
    records = [one.record for one in feed_of(tmp_path)]
    assert [one.swarm for one in records] == [SWARM, PUBLIC_SWARM, PUBLIC_SWARM, SWARM]
    assert [one.seq for one in records] == [0, 0, 1, 0]
    assert len({one.session for one in records}) == 3


async def test_a_feed_entry_with_a_wrong_signature_is_reported(tmp_path: Path) -> None:
    await publish(tmp_path, 0)
    (signed,) = feed_of(tmp_path)
    (tmp_path / "feed" / "own.feed").write_bytes(frame(bytes(64) + signed.body))
    (tmp_path / "skep.db").unlink()
    with pytest.raises(StoreCorrupt, match="its signature is wrong"):
        async with open_ledger(tmp_path):
            pytest.fail("opened")


async def test_a_new_key_in_an_old_home_starts_over_and_keeps_what_was_said(tmp_path: Path) -> None:
    await publish(tmp_path, 0)
    async with open_ledger(tmp_path, Identity(bytes(32))) as ledger:
        assert ledger.runs(TASK) == []
        await ledger.publish(make_run("p", seed=1), TASK)
        assert len(list(ledger.all_runs(TASK))) == 2
    assert_chains_hold(feed_of(tmp_path))


async def test_a_full_disk_is_an_error_and_afterwards_nothing_is_missing(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        await ledger.publish(make_run("p", seed=0), TASK)
        feed, log = tmp_path / "feed" / "own.feed", tmp_path / "skep.db-wal"
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # First neither file can grow, then only the feed can: it is the smaller one.
        assert feed.stat().st_size + 2000 < log.stat().st_size
        for limit in (feed.stat().st_size + 10, log.stat().st_size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            try:
                with pytest.raises(HomeError):
                    await ledger.publish(make_run("p", seed=1), TASK)
                with pytest.raises(HomeError):
                    await ledger.add_program("x\n" * 10_000, b"f")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert [run.seed for _, run in ledger.runs(TASK)] == [0]
            assert [one.run.seed for one in feed_of(tmp_path)] == [0]
            assert ledger.programs() == {}
        await ledger.publish(make_run("p", seed=1), TASK)
    assert await seeds_in(tmp_path) == [0, 1]
    assert {one.record.session for one in feed_of(tmp_path)} == {
        feed_of(tmp_path)[0].record.session
    }
