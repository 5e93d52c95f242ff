"""An archive: the records of a home and the programs they speak of, as one portable file.

Here is the format: how entries are framed, ordered and limited. Whether what they say may be
believed is decided by whoever imports them; see docs/records.md.
"""

import gzip
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from msgspec import Struct

from gossip.wire import ID_BYTES, SIGNATURE_BYTES, decode
from skep.errors import ConfigError, RecordError
from skep.records import PROGRAM_MAX_BYTES, RECORD_MAX_BYTES, SignedRecord

MAGIC = b"skep archive 1\n"
_RECORD, _PROGRAM, _END = b"r", b"p", b"e"
_HEADER = struct.Struct(">II")
_COUNTS = struct.Struct(">QQ")
_CONTENT_MAX = 1 + max(SIGNATURE_BYTES + RECORD_MAX_BYTES, ID_BYTES + PROGRAM_MAX_BYTES)
_LEVEL = 6


class Text(Struct, frozen=True):
    """A program of an archive. Whether the text is that of the id has to be checked.

    Attributes:
        id: content id it is given under.
        source: its UTF-8 text.
    """

    id: bytes
    source: str


Entry = SignedRecord | Text | RecordError
"""What stands in an archive; an error for a record or a text that does not read back."""


class Contents(Struct, frozen=True):
    """How much an archive holds."""

    records: int
    programs: int


def write_archive(
    file: BinaryIO, records: Iterable[SignedRecord], programs: Iterable[tuple[bytes, str]]
) -> Contents:
    """Write an archive; equal contents give equal bytes, where zlib is the same.

    Args:
        file: where to.
        records: in order of author, session, seq and id.
        programs: (content id, text) in order of id; gone through after the records.
    """
    with gzip.GzipFile(
        filename="", mode="wb", fileobj=file, mtime=0, compresslevel=_LEVEL
    ) as packed:
        packed.write(MAGIC)
        said = texts = 0
        for signed in records:
            packed.write(_framed(_RECORD + signed.signature + signed.body))
            said += 1
        for content_id, source in programs:
            packed.write(_framed(_PROGRAM + content_id + source.encode()))
            texts += 1
        packed.write(_framed(_END + _COUNTS.pack(said, texts)))
    return Contents(said, texts)


def read_archive(file: BinaryIO, name: str, limit_bytes: int) -> Iterator[Entry]:
    """The entries of an archive, in order. Memory stays small whatever the file holds.

    Args:
        file: the archive, from its start.
        name: what people call it.
        limit_bytes: how much it may hold when unpacked.

    Raises:
        ConfigError: it is no archive, a damaged or incomplete one, not in order, or too large.
    """
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            yield from _entries(io.BufferedReader(unpacked), name, limit_bytes)
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise ConfigError(f"cannot read {name}: {error.strerror or error}") from error
        advice = "Nothing was imported. Fetch or export it again."
        raise ConfigError(f"{name} is no archive, or a damaged one ({error})", advice) from error


def _framed(content: bytes) -> bytes:
    return _HEADER.pack(len(content), zlib.crc32(content)) + content


def _entries(file: io.BufferedReader, name: str, limit_bytes: int) -> Iterator[Entry]:
    if file.read(len(MAGIC)) != MAGIC:
        raise _bad(name, "it does not begin as one, or a newer Skep wrote it")
    size, counts = 0, {_RECORD: 0, _PROGRAM: 0}
    last: tuple[bytes, ...] = ()
    while True:
        number = sum(counts.values()) + 1
        kind, content = _next(file, name, number)
        if kind == _END:
            break
        counts[kind] += 1
        size += len(content)
        if size > limit_bytes:
            raise _bad(
                name,
                f"it holds more than the {limit_bytes / 1e9:g} GB that this home keeps of others",
                "Raise archive_gb in config.toml.",
            )
        entry, place = _read(kind, content)
        if place:
            if place <= last:
                raise _bad(name, f"entry {number} is not in order")
            last = place
        yield entry
    if content != _COUNTS.pack(counts[_RECORD], counts[_PROGRAM]) or file.read(1):
        raise _bad(name, "it does not end as it should")


def _next(file: io.BufferedReader, name: str, number: int) -> tuple[bytes, bytes]:
    """Kind and content of the next entry."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise _bad(name, f"it ends before entry {number}")
    length, checksum = _HEADER.unpack(header)
    if not 1 <= length <= _CONTENT_MAX:
        raise _bad(name, f"entry {number} would have {length} bytes")
    content = file.read(length)
    if len(content) < length or zlib.crc32(content) != checksum:
        raise _bad(name, f"entry {number} is damaged")
    if content[:1] not in (_RECORD, _PROGRAM, _END):
        raise _bad(name, f"entry {number} is of an unknown kind")
    return content[:1], content[1:]


def _read(kind: bytes, content: bytes) -> tuple[Entry, tuple[bytes, ...]]:
    """An entry and what it is sorted by; nothing where it does not read back."""
    try:
        if kind == _PROGRAM:
            text = Text(content[:ID_BYTES], content[ID_BYTES:].decode())
            return text, (_rank(kind), text.id)
        signed = decode(content)
    except UnicodeDecodeError:
        return RecordError("A program that is no UTF-8 text"), ()
    except RecordError as error:
        return error, ()
    record = signed.record
    place = (record.author, record.session, record.seq.to_bytes(8, "big"), signed.id)
    return signed, (_rank(kind), *place)


def _rank(kind: bytes) -> bytes:
    """Records stand before programs."""
    return b"0" if kind == _RECORD else b"1"


def _bad(name: str, why: str, advice: str = "Fetch or export it again.") -> ConfigError:
    return ConfigError(f"{name} is no complete archive: {why}", f"Nothing was imported. {advice}")
