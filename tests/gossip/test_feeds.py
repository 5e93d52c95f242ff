"""The own feed: what it keeps, what it cuts, and when it starts a new chain."""

import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gossip.feeds import Feed, Link
from gossip.identity import Identity
from gossip.swarms import PUBLIC_SWARM
from gossip.wire import decode, frame
from skep.errors import HomeError, HomeInUse, StoreCorrupt
from skep.records import NO_PREVIOUS
from tests.gossip.scenes import KEY, SWARM, make_chain


def open_feed(home: Path, author: bytes = KEY.public, swarm: bytes = SWARM) -> closing[Feed]:
    return closing(Feed.open(home / "feed", author, swarm))


def session_of(entries: list[bytes]) -> bytes:
    return decode(entries[0]).record.session


def fill(home: Path, count: int) -> list[bytes]:
    """Append records to a home's feed; all its entries."""
    with open_feed(home) as feed:
        feed.append(make_chain(feed.link, count))
        return list(feed.entries())


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes meanwhile: a full disk, half way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_feed_goes_on_where_it_was_left(tmp_path: Path) -> None:
    first = fill(tmp_path, 3)
    with open_feed(tmp_path) as feed:
        assert feed.link.seq == 3
        records = make_chain(feed.link, 2)
        feed.append(records)
    with open_feed(tmp_path) as feed:
        assert list(feed.entries()) == first + [one.signature + one.body for one in records]
        assert feed.link == Link(session_of(first), 5, records[-1].id)


def test_an_unused_session_is_kept(tmp_path: Path) -> None:
    with open_feed(tmp_path) as feed:
        link = feed.link
    with open_feed(tmp_path) as feed:
        assert feed.link == link
    assert (link.seq, link.prev) == (0, NO_PREVIOUS)


def test_only_the_next_record_of_the_chain_can_be_appended(tmp_path: Path) -> None:
    entries = fill(tmp_path, 2)
    with open_feed(tmp_path) as feed:
        first, second = make_chain(feed.link, 2)
        fork = make_chain(replace(feed.link, seq=0, prev=NO_PREVIOUS), 1)
        for wrong in ([second], [first, first], fork):
            with pytest.raises(ValueError, match="does not stand at"):
                feed.append(wrong)
        assert list(feed.entries()) == entries


def test_a_feed_has_one_writer(tmp_path: Path) -> None:
    with open_feed(tmp_path), pytest.raises(HomeInUse, match="Another node is using"):
        Feed.open(tmp_path / "feed", KEY.public, SWARM)
    with open_feed(tmp_path):
        pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(share=st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_torn_tail_is_cut_and_a_new_session_begins(tmp_path: Path, share: float) -> None:
    shutil.rmtree(tmp_path / "feed", ignore_errors=True)
    entries = fill(tmp_path, 3)
    path = tmp_path / "feed" / "own.feed"
    torn = len(frame(entries[-1]))
    os.truncate(path, path.stat().st_size - torn + int(share * torn))
    with open_feed(tmp_path) as feed:
        assert list(feed.entries()) == entries[:2]
        assert (feed.link.seq, feed.link.prev) == (0, NO_PREVIOUS)
        assert feed.link.session != session_of(entries)
        feed.append(make_chain(feed.link, 1))
        assert len(list(feed.entries())) == 3


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 5000, b"\xff" * 300, b"garbage" * 1000])
def test_garbage_behind_the_last_record_is_cut(tmp_path: Path, tail: bytes) -> None:
    entries = fill(tmp_path, 3)
    with (tmp_path / "feed" / "own.feed").open("ab") as file:
        file.write(tail)
    with open_feed(tmp_path) as feed:
        assert list(feed.entries()) == entries
    assert fill(tmp_path, 1)[:3] == entries


def test_more_damage_than_a_crash_can_do_is_reported_and_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    path = tmp_path / "feed" / "own.feed"
    with path.open("ab") as file:
        file.write(b"garbage" * 200_000)
    damaged = path.read_bytes()
    with pytest.raises(StoreCorrupt, match=r"is damaged at byte \d+ of \d+\. Move that file"):
        Feed.open(tmp_path / "feed", KEY.public, SWARM)
    assert path.read_bytes() == damaged


def test_a_long_feed_is_read_across_chunks(tmp_path: Path) -> None:
    with open_feed(tmp_path) as feed:
        records = make_chain(feed.link, 3000)
        for start in range(0, 3000, 32):
            feed.append(records[start : start + 32])
    assert (tmp_path / "feed" / "own.feed").stat().st_size > 1 << 20
    with open_feed(tmp_path) as feed:
        assert list(feed.entries()) == [one.signature + one.body for one in records]
        assert feed.link.seq == 3000


@pytest.mark.parametrize(
    "how", ["copied", "older", "touched", "note lost", "note garbled", "note old"]
)
def test_a_file_that_is_not_as_it_was_left_gets_a_new_session(tmp_path: Path, how: str) -> None:
    entries = fill(tmp_path, 2)
    path, note = tmp_path / "feed" / "own.feed", tmp_path / "feed" / "session.json"
    match how:
        case "copied":
            shutil.copytree(tmp_path / "feed", tmp_path / "copy" / "feed")
            tmp_path = tmp_path / "copy"
        case "older":
            backup = path.read_bytes()
            fill(tmp_path, 1)
            path.write_bytes(backup)
        case "touched":
            left = path.stat().st_ctime_ns
            while path.stat().st_ctime_ns == left:  # until the file system's clock ticks
                path.chmod(0o600)
        case "note lost":
            note.unlink()
        case "note garbled":
            note.write_text('{"session": "zz"}')
        case "note old":  # as it was before a session belonged to a swarm
            kept = ("session", "inode", "ctime_ns", "size")
            noted = json.loads(note.read_text())
            note.write_text(json.dumps({name: noted[name] for name in kept}))
    with open_feed(tmp_path) as feed:
        assert list(feed.entries()) == entries
        assert feed.link.session != session_of(entries)
        assert (feed.link.seq, feed.link.prev) == (0, NO_PREVIOUS)
        link = feed.link
    with open_feed(tmp_path) as feed:
        assert feed.link == link


def test_another_key_does_not_continue_the_chain(tmp_path: Path) -> None:
    entries = fill(tmp_path, 2)
    with open_feed(tmp_path, Identity(bytes(32)).public) as feed:
        assert feed.link.session != session_of(entries)


@pytest.mark.parametrize("room", [0, 5, 100, 700])
def test_an_append_that_fails_half_way_leaves_the_feed_as_it_was(tmp_path: Path, room: int) -> None:
    entries = fill(tmp_path, 2)
    path = tmp_path / "feed" / "own.feed"
    size = path.stat().st_size
    with open_feed(tmp_path) as feed:
        records = make_chain(feed.link, 3)
        with file_size_limit(size + room), pytest.raises(HomeError, match="No space left"):
            feed.append(records)
        assert path.stat().st_size == size
        feed.append(records)
        assert list(feed.entries()) == entries + [one.signature + one.body for one in records]
    with open_feed(tmp_path) as feed:
        assert feed.link.seq == 5


def test_an_undone_append_leaves_its_place_free(tmp_path: Path) -> None:
    entries = fill(tmp_path, 2)
    with open_feed(tmp_path) as feed:
        link = feed.link
        feed.append(make_chain(link, 3))
        feed.undo()
        assert feed.link == link
        assert list(feed.entries()) == entries
    with open_feed(tmp_path) as feed:
        assert feed.link == link


def test_records_put_back_are_kept_and_the_session_goes_on(tmp_path: Path) -> None:
    entries = fill(tmp_path, 2)
    lost = make_chain(Link(b"earlier!", 0, NO_PREVIOUS), 40)
    with open_feed(tmp_path) as feed:
        link = feed.link
        feed.restore(lost)
        assert list(feed.entries()) == entries + [one.signature + one.body for one in lost]
        assert feed.link == link
    with open_feed(tmp_path) as feed:
        assert feed.link == link
        feed.append(make_chain(link, 1))


def test_a_session_that_went_further_than_the_file_knows_is_left(tmp_path: Path) -> None:
    entries = fill(tmp_path, 2)
    with open_feed(tmp_path) as feed:
        feed.restore(make_chain(feed.link, 1))
        fresh = feed.link
        assert fresh.session != session_of(entries)
        assert (fresh.seq, fresh.prev) == (0, NO_PREVIOUS)
    with open_feed(tmp_path) as feed:
        assert feed.link == fresh
        feed.renew()
        assert feed.link.session != fresh.session
        renewed = feed.link
    with open_feed(tmp_path) as feed:
        assert feed.link == renewed


def test_a_session_belongs_to_one_swarm(tmp_path: Path) -> None:
    entries = fill(tmp_path, 2)
    with open_feed(tmp_path, swarm=PUBLIC_SWARM) as feed:
        assert list(feed.entries()) == entries
        assert feed.link.session != session_of(entries)
        assert (feed.link.seq, feed.link.prev) == (0, NO_PREVIOUS)
        link = feed.link
    with open_feed(tmp_path, swarm=PUBLIC_SWARM) as feed:
        assert feed.link == link
    with open_feed(tmp_path) as feed:
        assert feed.link.session not in (session_of(entries), link.session)


def test_a_record_of_another_swarm_or_author_is_not_appended(tmp_path: Path) -> None:
    for author, swarm in ((KEY.public, PUBLIC_SWARM), (Identity(bytes(32)).public, SWARM)):
        with open_feed(tmp_path, author, swarm) as feed:
            strange = make_chain(feed.link, 1)
            with pytest.raises(ValueError, match="another author or swarm"):
                feed.append(strange)
            assert list(feed.entries()) == []


def test_a_feed_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed" / "own.feed").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError, match="is a symbolic link"):
        Feed.open(tmp_path / "feed", KEY.public, SWARM)
