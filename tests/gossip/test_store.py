"""The database: what it gives back, and what it says when it cannot."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gossip.feeds import Link
from gossip.identity import Identity
from gossip.positions import Holding, Position
from gossip.rebuild import rebuild
from gossip.schema import SCHEMA
from gossip.statements import (
    Program,
    Statement,
    drop_job,
    keep_job,
    keep_program,
    keep_record,
    prune_record,
)
from gossip.store import PAGE_ROWS, Reader, Store
from gossip.swarms import PUBLIC_SWARM
from gossip.wire import decode
from skep.errors import HomeError, StoreCorrupt
from skep.records import NO_PREVIOUS, SetConstant, SignedRecord, program_id
from tests.factories import content_id, make_run
from tests.gossip.scenes import (
    FIRST,
    KEY,
    SESSION,
    SWARM,
    TASK,
    chain_by,
    make_chain,
    make_job,
    make_signed,
)

CHAIN = make_chain(FIRST, 50)


def filled(path: Path) -> None:
    """A database with 50 records and 300 programs of 1 KB, closed."""
    with closing(Store.open(path)) as store:
        for signed in CHAIN:
            store.commit(keep_record(signed, own=True))
        programs = [f"x = {number}\n" * 100 for number in range(300)]
        store.commit(keep_program(program_id(one), Program(one, b"f")) for one in programs)


def test_records_come_back_as_they_went_in(tmp_path: Path) -> None:
    filled(tmp_path / "skep.db")
    with closing(Reader.open(tmp_path / "skep.db")) as reader:
        assert list(reader.said(TASK, "run")) == CHAIN
        assert list(reader.said(content_id("other"), "run")) == []
        assert reader.record(CHAIN[7].id) == CHAIN[7]
        assert reader.record(content_id("none")) is None
        assert reader.knows(CHAIN[7].id)
        assert not reader.knows(content_id("none"))
        assert reader.ids_of(KEY.public) == [one.id for one in CHAIN]


def test_a_known_record_or_program_changes_nothing(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "skep.db")) as store:
        for fingerprint in (b"first", b"second"):
            store.commit(keep_record(CHAIN[0], own=True))
            store.commit([keep_program(content_id("p"), Program("x", fingerprint))])
        assert list(store.said(TASK, "run")) == [CHAIN[0]]
        assert store.program(content_id("p")) == Program("x", b"first")


def test_two_records_at_one_place_are_both_kept_as_proof(tmp_path: Path) -> None:
    fork = [make_signed(FIRST, make_run("p", seed=seed)) for seed in (1, 2)]
    with closing(Store.open(tmp_path / "skep.db")) as store:
        for signed in fork:
            store.commit(keep_record(signed, own=True))
        assert list(store.said(TASK, "run")) == fork


def test_jobs_come_back_in_the_order_they_were_queued(tmp_path: Path) -> None:
    edits = (SetConstant("LR", 1.0), SetConstant("BATCH", (4, 0.5)))
    first = make_job("a", seed=2**64 - 1, edits=edits, parent=content_id("start"))
    second = make_job("b")
    with closing(Store.open(tmp_path / "skep.db")) as store:
        store.commit([keep_job(first), keep_job(second)])
        store.commit([keep_job(first.started())])
        assert store.jobs() == [first.started(), second]
        assert repr(store.jobs()[0].edits) == repr(edits)
        store.commit([drop_job(first.name)])
        assert store.jobs() == [second]


def test_a_record_of_a_jobs_run_removes_that_job_only(tmp_path: Path) -> None:
    jobs = [make_job("p", seed=0), make_job("p", seed=1), make_job("q", seed=0)]
    jobs.append(make_job("p", seed=0, task=content_id("other task")))
    with closing(Store.open(tmp_path / "skep.db")) as store:
        store.commit([keep_job(job) for job in jobs])
        store.commit(keep_record(CHAIN[0], own=True))
        assert store.jobs() == jobs[1:]


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    wrong: Statement = ("INSERT INTO jobs (name, job) VALUES ('x', NULL)", ())
    with closing(Store.open(tmp_path / "skep.db")) as store:
        with pytest.raises(HomeError, match="NOT NULL"):
            store.commit([*keep_record(CHAIN[0], own=True), wrong])
        assert list(store.said(TASK, "run")) == []
        store.commit(keep_record(CHAIN[0], own=True))
        assert list(store.said(TASK, "run")) == [CHAIN[0]]


def test_a_reader_sees_what_a_writer_commits_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    with closing(Store.open(path)) as store, closing(Reader.open(path)) as reader:
        assert list(reader.said(TASK, "run")) == []
        store.commit(keep_record(CHAIN[0], own=True))
        assert list(reader.said(TASK, "run")) == [CHAIN[0]]


@pytest.mark.parametrize("content", [None, b""])
def test_a_database_that_was_never_made_reads_as_empty(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "skep.db"
    if content is not None:
        path.write_bytes(content)
    with closing(Reader.open(path)) as reader:
        assert reader.author() is None
        found = [*reader.said(TASK, "run"), *reader.jobs(), *reader.matching(b"", b"\xff" * 32)]
        assert found == []
    assert path.exists() == (content is not None)


@pytest.mark.parametrize("opener", [Store.open, Reader.open])
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, opener: object) -> None:
    path = tmp_path / "skep.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreCorrupt, match=r"skep\.db is damaged: .* Move it away"):
        opener(path)  # type: ignore[operator]
    assert path.read_bytes() == b"not a database" * 1000


def overwrite(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_a_record_that_rotted_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    filled(path)
    overwrite(path, b"test cpu", b"test gpu")
    with closing(Reader.open(path)) as reader:
        with pytest.raises(StoreCorrupt, match="not what its id says"):
            list(reader.said(TASK, "run"))
        with pytest.raises(StoreCorrupt, match="not what its id says"):
            reader.record(CHAIN[0].id)


def test_damaged_pages_are_noticed_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    filled(path)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    with closing(Reader.open(path)) as reader, pytest.raises(StoreCorrupt, match="is damaged"):
        list(reader.said(TASK, "run"))


def test_a_database_of_a_newer_skep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    for opener in (Store.open, Reader.open):
        with pytest.raises(HomeError, match=r"has format 2, and this Skep reads 1\. Update Skep"):
            opener(path)


def test_rebuilding_keeps_the_damaged_files_and_carries_programs_over(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    filled(path)
    content = path.read_bytes()
    # All records and some programs are lost: the programs stand behind the records in the file.
    path.write_bytes(content[: len(content) * 2 // 3] + os.urandom(len(content) // 3))
    damaged = path.read_bytes()
    salvaged = rebuild(path)
    assert 50 < salvaged < 300
    assert (tmp_path / "skep.db.damaged-1").read_bytes() == damaged
    with closing(Reader.open(path)) as reader:
        programs = {one: reader.program(one) for one in reader.program_ids()}
        assert len(programs) == salvaged
        assert all(held and program_id(held.source) == one for one, held in programs.items())
    assert rebuild(path) == salvaged
    assert (tmp_path / "skep.db.damaged-2").exists()


def test_rebuilding_leaves_programs_behind_that_are_not_what_their_id_says(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    filled(path)
    overwrite(path, b"x = 7\n", b"x = 8\n")
    assert rebuild(path) == 299


def test_rebuilding_from_garbage_gives_an_empty_database(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    path.write_bytes(b"garbage" * 1000)
    assert rebuild(path) == 0
    with closing(Store.open(path)) as store:
        assert store.program_ids() == []


def test_what_is_read_of_many_records_is_found_by_an_index_and_not_sorted(tmp_path: Path) -> None:
    path, asked = tmp_path / "skep.db", list[str]()
    filled(path)
    connection = sqlite3.connect(path, isolation_level=None)
    with closing(Store(connection, path)) as store:
        connection.set_trace_callback(asked.append)
        assert store.said_by(KEY.public, TASK, "run") == list(store.said(TASK, "run")) == CHAIN
        assert len(list(store.positions(SWARM))) == len(CHAIN)
        assert len(store.chain(KEY.public, SESSION, 0, 9, 1 << 20)) == 9
        assert store.holdings()[KEY.public].records == len(CHAIN)
        connection.set_trace_callback(None)
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in asked]
    assert list(dict.fromkeys(step[-1] for plan in plans for step in plan)) == [
        "SEARCH records USING INTEGER PRIMARY KEY (rowid=?)",
        "LIST SUBQUERY 1",
        "SEARCH records USING COVERING INDEX records_by_place (author=?)",
        "SEARCH records USING INDEX records_by_task (task=? AND kind=? AND rowid>?)",
        "SEARCH records USING COVERING INDEX records_by_place ((author,session,seq,id)>(?,?,?,?))",
        "SEARCH records USING INDEX records_by_place (author=? AND session=? AND seq>? AND seq<?)",
        "SCAN records USING COVERING INDEX records_by_place",
    ]


@pytest.mark.parametrize("lacking", [("size", "prev"), ("prev",)])
def test_a_home_from_before_the_swarm_is_read_and_brought_up_to_date(
    tmp_path: Path, lacking: tuple[str, ...]
) -> None:
    path = tmp_path / "skep.db"
    child = make_run("child", parent="parent", pinned=2.0, seed=49)
    said = [*CHAIN[:-1], make_signed(Link(SESSION, 49, CHAIN[48].id), child)]
    with closing(sqlite3.connect(path)) as connection:
        for statement in SCHEMA:
            new = {
                "size": ",\n        size INTEGER NOT NULL DEFAULT 0",
                "prev": ",\n        prev BLOB",
            }
            old = statement
            for column in lacking:
                old = old.replace(new[column], "")
            if "size" in lacking:
                old = "" if "lineage" in old else old
            if "records_by_place" in old and "size" in lacking:
                old = "CREATE INDEX records_by_feed ON records (author, session, seq)"
            connection.execute(old)
        connection.executemany(
            "INSERT INTO records (id, author, session, seq, kind, task, swarm, time, body, "
            "signature) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [keep_record(signed, own=True)[0][1][:10] for signed in said],
        )
        if "size" not in lacking:
            connection.execute("UPDATE records SET size = length(body) + length(signature)")
        connection.commit()
    for opener in (Reader.open, Store.open):
        with closing(opener(path)) as reader:
            assert list(reader.said(TASK, "run")) == reader.said_by(KEY.public, TASK, "run") == said
            assert [one.seq for one in reader.positions(SWARM)] == list(range(len(CHAIN)))
    with closing(Store.open(path)) as store:
        assert len(store.chain(KEY.public, SESSION, 0, 50, 1 << 20)) == 50
        size = sum(len(one.body) + 64 for one in said)
        assert store.holdings() == {KEY.public: Holding(50, size)}
        assert store.is_built_on(content_id("parent"))
        assert not store.is_built_on(content_id("p"))


def test_behind_a_hole_a_place_tells_what_it_follows_pruned_or_not(tmp_path: Path) -> None:
    kept = [CHAIN[2], CHAIN[3], CHAIN[6], CHAIN[9]]
    with closing(Store.open(tmp_path / "skep.db")) as store:
        store.commit(one for signed in kept for one in keep_record(signed, own=False))
        store.commit(prune_record(CHAIN[6]))
        found = [(one.seq, one.prev) for one in store.positions(SWARM)]
        assert [place[2:] for place in store.places(KEY.public, SESSION)] == [
            (one.record.seq, one.id, prev) for one, (_, prev) in zip(kept, found, strict=True)
        ]
        (stock,) = store.stock(SWARM)
    assert found == [(2, CHAIN[1].id), (3, None), (6, CHAIN[5].id), (9, CHAIN[8].id)]
    assert (stock.records, stock.pruned, stock.forked) == (3, 1, False)


def test_a_range_goes_past_what_was_pruned_to_what_is_left_as_far_as_its_limits(
    tmp_path: Path,
) -> None:
    with closing(Store.open(tmp_path / "skep.db")) as store:
        store.commit(one for signed in CHAIN for one in keep_record(signed, own=False))
        store.commit(one for signed in CHAIN[3:40] for one in prune_record(signed))
        left = [one.signature + one.body for one in [*CHAIN[:3], *CHAIN[40:]]]
        assert store.chain(KEY.public, SESSION, 0, 50, 1 << 20) == left
        assert store.chain(KEY.public, SESSION, 1, 50, 1 << 20, 4) == left[1:5]
        assert store.chain(KEY.public, SESSION, 3, 50, 1) == left[3:4]


def test_places_come_in_order_of_the_feeds_for_one_swarm(tmp_path: Path) -> None:
    other = Identity(bytes(32))
    records = [
        *chain_by(other, 3, Link(b"session2", 0, NO_PREVIOUS)),
        *chain_by(KEY, PAGE_ROWS + 2),
        *chain_by(other, 2),
        *chain_by(other, 2, Link(b"session3", 0, NO_PREVIOUS), swarm=PUBLIC_SWARM),
        *chain_by(KEY, 1, time=5),
    ]
    with closing(Store.open(tmp_path / "skep.db")) as store:
        store.commit(one for signed in records for one in keep_record(signed, own=False))
        found = list(store.positions(SWARM))
        elsewhere = [(one.author, one.session, one.seq) for one in store.positions(PUBLIC_SWARM)]
    expected = [
        Position(one.record.author, one.record.session, one.record.seq, one.id, one.record.time)
        for one in records
        if one.record.swarm == SWARM
    ]
    assert found == sorted(expected, key=lambda one: (one.author, one.session, one.seq, one.id))
    assert elsewhere == [(other.public, b"session3", 0), (other.public, b"session3", 1)]


def test_a_chain_is_read_up_to_a_limit_and_a_fork_never_taken_apart(tmp_path: Path) -> None:
    chain = chain_by(KEY, 6)
    forks = [chain_by(KEY, 1, Link(SESSION, 3, chain[2].id), time=time)[0] for time in range(3)]
    shared = sorted([chain[3], *forks], key=lambda one: one.id)[:2]
    with closing(Store.open(tmp_path / "skep.db")) as store:
        store.commit(one for signed in [*chain, *forks] for one in keep_record(signed, own=False))

        def read(start: int, stop: int, limit: int) -> list[SignedRecord]:
            return [decode(one) for one in store.chain(KEY.public, SESSION, start, stop, limit)]

        size = len(chain[0].body) + 64
        assert read(0, 6, 1 << 20) == [*chain[:3], *shared, *chain[4:]]
        assert read(1, 3, 1 << 20) == chain[1:3]
        assert read(0, 6, 2 * size) == chain[:2]
        assert read(0, 6, 1) == chain[:1]
        assert read(2, 6, 2 * size + size // 2) == [chain[2], *shared]
        assert read(3, 6, 1) == shared
        assert read(6, 9, 1 << 20) == []
        assert store.chain(bytes(32), SESSION, 0, 6, 1 << 20) == []
