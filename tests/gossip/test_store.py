"""The database: what it gives back, and what it says when it cannot."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gossip.store import (
    Program,
    Reader,
    Statement,
    Store,
    drop_job,
    keep_job,
    keep_program,
    keep_record,
    rebuild,
)
from skep.errors import HomeError, StoreCorrupt
from skep.records import SetConstant, program_id
from tests.factories import content_id, make_run
from tests.gossip.scenes import FIRST, KEY, TASK, make_chain, make_job, make_signed

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
        assert list(reader.runs(TASK)) == CHAIN
        assert list(reader.runs(content_id("other"))) == []
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
        assert list(store.runs(TASK)) == [CHAIN[0]]
        assert store.programs() == {content_id("p"): Program("x", b"first")}


def test_two_records_at_one_place_are_both_kept_as_proof(tmp_path: Path) -> None:
    fork = [make_signed(FIRST, make_run("p", seed=seed)) for seed in (1, 2)]
    with closing(Store.open(tmp_path / "skep.db")) as store:
        for signed in fork:
            store.commit(keep_record(signed, own=True))
        assert list(store.runs(TASK)) == fork


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
        assert list(store.runs(TASK)) == []
        store.commit(keep_record(CHAIN[0], own=True))
        assert list(store.runs(TASK)) == [CHAIN[0]]


def test_a_reader_sees_what_a_writer_commits_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    with closing(Store.open(path)) as store, closing(Reader.open(path)) as reader:
        assert list(reader.runs(TASK)) == []
        store.commit(keep_record(CHAIN[0], own=True))
        assert list(reader.runs(TASK)) == [CHAIN[0]]


@pytest.mark.parametrize("content", [None, b""])
def test_a_database_that_was_never_made_reads_as_empty(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "skep.db"
    if content is not None:
        path.write_bytes(content)
    with closing(Reader.open(path)) as reader:
        assert reader.author() is None
        found = [*reader.runs(TASK), *reader.jobs(), *reader.matching(b"", b"\xff" * 32)]
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
            list(reader.runs(TASK))
        with pytest.raises(StoreCorrupt, match="not what its id says"):
            reader.record(CHAIN[0].id)


def test_damaged_pages_are_noticed_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "skep.db"
    filled(path)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    with closing(Reader.open(path)) as reader, pytest.raises(StoreCorrupt, match="is damaged"):
        list(reader.runs(TASK))


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
        programs = reader.programs()
        assert len(programs) == salvaged
        assert all(program_id(one.source) == content_id for content_id, one in programs.items())
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
        assert store.programs() == {}


def test_reading_a_task_in_order_of_arrival_needs_no_sort(tmp_path: Path) -> None:
    filled(tmp_path / "skep.db")
    with closing(sqlite3.connect(tmp_path / "skep.db")) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT body FROM records "
            "WHERE task = x'' AND kind = 'run' ORDER BY arrival"
        ).fetchall()
    assert [row[-1] for row in plan] == [
        "SEARCH records USING INDEX records_by_task (task=? AND kind=?)"
    ]
