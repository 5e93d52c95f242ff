"""Archives: equal contents make equal files, and nothing but a whole archive reads as one."""

import contextlib
import gzip
import io
import struct
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.archive import MAGIC, Contents, Entry, Text, read_archive, write_archive
from gossip.feeds import Link
from skep.errors import ConfigError, RecordError
from skep.records import NO_PREVIOUS, SignedRecord, program_id
from tests.gossip.scenes import FIRST, KEY, chain_by

LIMIT = 1 << 20
CHAIN = chain_by(KEY, 3)
SOURCES = ["x = 1\n", "x = 'é'\n"]
PROGRAMS = sorted((program_id(one), one) for one in SOURCES)


def written(
    records: Sequence[SignedRecord] = CHAIN, programs: Sequence[tuple[bytes, str]] = PROGRAMS
) -> bytes:
    """An archive's bytes."""
    file = io.BytesIO()
    assert write_archive(file, records, programs) == Contents(len(records), len(programs))
    return file.getvalue()


def read(archive: bytes, limit: int = LIMIT) -> list[Entry]:
    """Its entries."""
    return list(read_archive(io.BytesIO(archive), "x.skep", limit))


def framed(content: bytes) -> bytes:
    return struct.pack(">II", len(content), zlib.crc32(content)) + content


def packed(*entries: bytes, end: bytes | None = None) -> bytes:
    """An archive of any entries at all."""
    if end is None:
        counts = [sum(one[:1] == kind for one in entries) for kind in (b"r", b"p")]
        end = framed(b"e" + struct.pack(">QQ", *counts))
    return gzip.compress(MAGIC + b"".join(map(framed, entries)) + end, mtime=0)


def record_entry(signed: SignedRecord) -> bytes:
    return b"r" + signed.signature + signed.body


def test_what_was_written_is_read() -> None:
    assert read(written()) == [*CHAIN, *(Text(*one) for one in PROGRAMS)]
    assert read(written([], [])) == []


def test_equal_contents_make_equal_files_as_documented() -> None:
    assert written() == written()
    head = written()[:10]
    assert head[:3] == b"\x1f\x8b\x08"
    assert (head[3], head[4:8]) == (0, b"\0\0\0\0")  # no name, no time
    end = b"e" + bytes(16)
    assert gzip.decompress(written([], [])) == (
        b"skep archive 1\n" + b"\0\0\0\x11" + struct.pack(">I", zlib.crc32(end)) + end
    )


@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_part_of_an_archive_is_none(cut: float) -> None:
    whole = written()
    with pytest.raises(ConfigError, match=r"x\.skep is no .*archive"):
        read(whole[: int(cut * len(whole))])


@given(at=st.integers(10, len(written()) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_unless_it_means_nothing(at: int, bit: int) -> None:
    damaged = bytearray(written())
    damaged[at] ^= 1 << bit
    entries = None
    with contextlib.suppress(ConfigError):
        entries = read(bytes(damaged))
    # Some bits do nothing but fill the last byte up.
    assert entries is None or entries == read(written())


@given(st.binary(max_size=200))
def test_garbage_is_no_archive(content: bytes) -> None:
    for archive in (content, gzip.compress(content), gzip.compress(MAGIC + content)):
        with pytest.raises(ConfigError, match=r"x\.skep is no .*archive"):
            read(archive)


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (gzip.compress(b"skep archive 2\n", mtime=0), "it does not begin as one"),
        (gzip.compress(MAGIC, mtime=0), "it ends before entry 1"),
        (packed(b"x"), "entry 1 is of an unknown kind"),
        (packed(b"p" + bytes(70_000)), "entry 1 would have 70001 bytes"),
        (gzip.compress(MAGIC + bytes(50), mtime=0), "entry 1 would have 0 bytes"),
        (packed(record_entry(CHAIN[1]), record_entry(CHAIN[0])), "entry 2 is not in order"),
        (packed(record_entry(CHAIN[0]), record_entry(CHAIN[0])), "entry 2 is not in order"),
        (packed(b"p" + bytes(32), record_entry(CHAIN[0])), "entry 2 is not in order"),
        (packed(record_entry(CHAIN[0]), end=b""), "it ends before entry 2"),
        (packed(end=framed(b"e" + struct.pack(">QQ", 1, 0))), "it does not end as it should"),
        (packed(end=framed(b"e" + bytes(16)) + b"x"), "it does not end as it should"),
    ],
)
def test_what_is_wrong_is_said_in_a_clause(archive: bytes, why: str) -> None:
    with pytest.raises(ConfigError, match=f"x.skep is no complete archive: {why}"):
        read(archive)


def test_an_entry_that_does_not_read_back_is_passed_over() -> None:
    spoilt = b"r" + CHAIN[0].signature + CHAIN[0].body[:-1]
    entries = read(packed(spoilt, record_entry(CHAIN[0]), b"p" + bytes(32) + b"\xff"))
    assert entries[1] == CHAIN[0]
    assert isinstance(entries[0], RecordError)
    assert isinstance(entries[2], RecordError)


def test_an_archive_that_unpacks_to_more_than_is_allowed_is_given_up() -> None:
    texts = sorted((program_id(text), text) for text in (str(n) * 60_000 for n in range(9)))
    bomb = written([], texts)
    assert len(bomb) < 5_000
    with pytest.raises(ConfigError, match=r"holds more than the 0\.0001 GB that this home keeps"):
        read(bomb, 100_000)


def test_records_of_all_authors_and_sessions_are_in_order() -> None:
    other = chain_by(KEY, 2, Link(b"a", 0, NO_PREVIOUS), session=b"aaaaaaaa")
    assert FIRST.session > b"aaaaaaaa"
    assert read(written([*other, *CHAIN], [])) == [*other, *CHAIN]
