"""Records that came from elsewhere: stored beside the own ones, in turns, and given back."""

import shutil
from pathlib import Path

import pytest
import trio

import gossip.ledger
from gossip.feeds import Link
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.positions import Holding
from gossip.replica import Replica
from gossip.statements import Program
from skep.errors import HomeError
from skep.records import NO_PREVIOUS, Claim, SignedRecord, program_id
from tests.factories import content_id, make_run
from tests.gossip.scenes import (
    KEY,
    SWARM,
    TASK,
    assert_chains_hold,
    chain_by,
    feed_of,
    make_job,
    open_ledger,
)

OTHER = Identity(bytes(32))


async def publish(ledger: Ledger, *seeds: int) -> list[SignedRecord]:
    """Publish runs with these seeds one after another."""
    return [await ledger.publish(make_run("p", seed=seed, pinned=2.0), TASK) for seed in seeds]


async def test_what_others_said_stands_beside_the_own_and_not_in_the_own_feed(
    tmp_path: Path,
) -> None:
    said = chain_by(OTHER, 5)
    async with open_ledger(tmp_path) as ledger:
        (own,) = await publish(ledger, 100)
        assert await ledger.admit(said[:3]) == 3
        assert await ledger.admit(said) == 2
        assert await ledger.admit([*said, *said]) == 0
        assert await ledger.admit([]) == 0
    async with open_ledger(tmp_path) as ledger:
        assert [one for one, _ in ledger.runs(TASK)] == [own.id]
        assert ledger.runs(TASK, OTHER.public) == [(one.id, one.run) for one in said]
        assert [author for _, author, _ in ledger.all_runs(TASK)] == [KEY.public] + [
            OTHER.public
        ] * 5
        assert ledger.said(TASK, "run") == [own, *said]
        assert [one.id for one in ledger.positions(SWARM)][-5:] == [one.id for one in said]
        entries = [one.signature + one.body for one in said]
        assert ledger.chain(OTHER.public, said[0].record.session, 1, 4, 1 << 20) == entries[1:4]
        assert ledger.holdings()[OTHER.public] == Holding(5, sum(map(len, entries)))
        assert ledger.knows(said[4].id)
        assert not ledger.knows(bytes(32))
    assert feed_of(tmp_path) == [own]


async def test_two_records_of_one_place_are_both_kept(tmp_path: Path) -> None:
    fork = [*chain_by(OTHER, 1, time=1), *chain_by(OTHER, 1, time=2)]
    async with open_ledger(tmp_path) as ledger:
        assert await ledger.admit(fork) == 2
        assert {one.id for one in ledger.positions(SWARM)} == {one.id for one in fork}


async def test_every_kind_of_record_can_be_read_by_task(tmp_path: Path) -> None:
    claim = Claim(program=content_id("c"), parent=content_id("p"), run=content_id("r"), effect=-1)
    said = chain_by(OTHER, 2, kind="claim", payload=claim)
    async with open_ledger(tmp_path) as ledger:
        await ledger.admit(said)
        assert ledger.said(TASK, "claim") == said
        assert ledger.said(TASK, "note") == ledger.said(bytes(32), "claim") == []


async def test_a_run_of_another_settles_no_job_here(tmp_path: Path) -> None:
    job = make_job("p", seed=0)
    async with open_ledger(tmp_path) as ledger:
        await ledger.queue(job)
        await ledger.admit(chain_by(OTHER, 1))
        assert ledger.jobs() == [job]
    with Ledger.read(tmp_path) as view:
        assert view.jobs() == [job]


async def test_an_own_record_waits_for_one_batch_of_others_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip.ledger, "ADMIT_MAX_RECORDS", 10)
    said = chain_by(OTHER, 400)
    async with open_ledger(tmp_path) as ledger, trio.open_nursery() as nursery:
        for start in range(0, 400, 40):
            nursery.start_soon(ledger.admit, said[start : start + 40])
        while not ledger.knows(said[0].id):
            await trio.lowlevel.checkpoint()
        already = sum(1 for _ in ledger.all_runs(TASK))
        (own,) = await publish(ledger, 1000)
    with Ledger.read(tmp_path) as view:
        order = [one for one, _, _ in view.all_runs(TASK)]
    assert len(order) == 401
    # One batch may have begun before it was counted, and one more before the own record came.
    assert order.index(own.id) <= already + 2 * 10


async def test_those_who_admit_at_once_share_transactions(tmp_path: Path) -> None:
    said = chain_by(OTHER, 200)
    counts: list[int] = []
    async with open_ledger(tmp_path) as ledger:

        async def admit(one: SignedRecord) -> None:
            counts.append(await ledger.admit([one]))

        log = tmp_path / "skep.db-wal"
        before = log.stat().st_size
        await admit(said[0])
        alone = log.stat().st_size - before
        async with trio.open_nursery() as nursery:
            for one in said[1:]:
                nursery.start_soon(admit, one)
        together = log.stat().st_size - before - alone
    assert counts == [1] * 200
    assert together < 199 * alone / 4


async def test_cancelling_admits_a_batch_wholly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip.ledger, "ADMIT_MAX_RECORDS", 10)
    said = chain_by(OTHER, 100)
    async with open_ledger(tmp_path) as ledger:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ledger.admit, said)
                while not ledger.knows(said[0].id):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        left = ledger.holdings()[OTHER.public].records
        assert left in (10, 20)
        assert await ledger.admit(said) == 100 - left


async def test_a_restored_backup_gets_its_later_records_back_from_peers_without_a_fork(
    tmp_path: Path,
) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup"
    async with open_ledger(home) as ledger:
        first = await publish(ledger, 0, 1)
    shutil.copytree(home, backup)
    async with open_ledger(home) as ledger:
        later = await publish(ledger, 2, 3)
    shutil.rmtree(home)
    shutil.copytree(backup, home)

    async with open_ledger(home) as ledger:
        second = await publish(ledger, 4)
        assert await ledger.admit([*first, *later]) == 2
        assert [run.seed for _, run in ledger.runs(TASK)] == [0, 1, 4, 2, 3]
        second += await publish(ledger, 5)
    assert feed_of(home) == [*first, *second]
    async with open_ledger(home) as ledger:
        assert feed_of(home) == [*first, *second, *later]
        second += await publish(ledger, 6)
        assert [run.seed for _, run in ledger.runs(TASK)] == [0, 1, 4, 2, 3, 5, 6]
    assert_chains_hold(feed_of(home))
    assert {one.record.session for one in [*first, *later]} == {first[0].record.session}
    assert [one.record.seq for one in second] == [0, 1, 2]
    assert len({one.record.session for one in second}) == 1


async def test_a_lost_home_gets_back_what_peers_still_have_and_later_the_rest(
    tmp_path: Path,
) -> None:
    async with open_ledger(tmp_path / "lost") as ledger:
        said = await publish(ledger, *range(6))
    home = tmp_path / "home"
    for given, holes in (([said[0], *said[3:5]], 1), ([said[5]], 1), (said, 0)):
        async with open_ledger(home) as ledger:
            await ledger.admit(given)
            places = ((p.author, p.session, p.seq, p.id, p.prev) for p in ledger.positions(SWARM))
            replica = Replica(places)
            assert len(list(replica.holes())) == holes
    async with open_ledger(home) as ledger:
        (fresh,) = await publish(ledger, 9)
    assert feed_of(home) == [said[0], *said[3:5], said[5], *said[1:3], fresh]
    assert (fresh.record.seq, fresh.record.prev) == (0, NO_PREVIOUS)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_session_that_went_on_behind_the_back_of_this_home_is_left(
    tmp_path: Path, restarted: bool
) -> None:
    async with open_ledger(tmp_path) as ledger:
        (own,) = await publish(ledger, 0)
        # What an image of the disk, made now and restored later, would hear from its peers.
        link = Link(own.record.session, 0, NO_PREVIOUS).after(own.body)
        later = chain_by(KEY, 2, link)
        assert await ledger.admit(later) == 2
        if not restarted:
            (fresh,) = await publish(ledger, 9)
    if restarted:
        async with open_ledger(tmp_path) as ledger:
            (fresh,) = await publish(ledger, 9)
    async with open_ledger(tmp_path):
        pass
    assert fresh.record.session != own.record.session
    assert sorted(one.id for one in feed_of(tmp_path)) == sorted(
        one.id for one in [own, fresh, *later]
    )
    assert_chains_hold(feed_of(tmp_path))


async def test_texts_of_programs_in_memory_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossip.view.PROGRAMS_MAX_BYTES", 100)
    sources = [f"x = {number}\n".ljust(40, "#") for number in range(5)]
    async with open_ledger(tmp_path) as ledger:
        for source in sources:
            await ledger.add_program(source, b"f")
        for _ in range(2):
            assert [ledger.program(program_id(source)) for source in sources] == sources
        assert len(ledger._programs._kept) == 2
        assert list(ledger.programs()) == [program_id(source) for source in sources]


async def test_a_missing_fingerprint_is_added_later_and_none_is_replaced(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        content_id = await ledger.add_program("x = 1\n", b"")
        for fingerprint in (b"", b"first", b"second"):
            assert await ledger.add_program("x = 1\n", fingerprint) == content_id
            assert ledger.programs()[content_id] == Program(
                "x = 1\n", b"first" if fingerprint else b""
            )


async def test_records_that_share_a_failed_transaction_are_all_known_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []
    async with open_ledger(tmp_path) as ledger:
        own = await publish(ledger, 1)

        def damaged(_: bytes) -> bool:
            raise HomeError("the database cannot be read")

        async def attempt(records: list[SignedRecord]) -> None:
            try:
                await ledger.admit(records)
            except HomeError as error:
                failed.append(error.what)

        monkeypatch.setattr(ledger._store, "knows", damaged)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, own)
            nursery.start_soon(attempt, chain_by(OTHER, 3))
    assert failed == ["the database cannot be read"] * 2
