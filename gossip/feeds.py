"""The own feed: an append-only file of signed records, the authority for what this node has said.

A record is in the file and on the medium before anybody hears of it. Each *session* (8 random
bytes) is one hash chain of one author in one swarm: chains are passed on whole, and what is said in
one swarm is nothing to another. A session is continued only if the file is exactly the one this
node left: its inode, change time and size are noted beside it after every append. A copied,
restored, cut or foreign file never matches its note, so it gets a new session, and two different
records with one (author, session, seq) cannot come into being. Feeds of others do not live here.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from gossip.disk import home_error, make_folder, sync, sync_folder, write_all
from gossip.wire import (
    FRAME_MAX_BYTES,
    SESSION_BYTES,
    frame,
    split_frames,
)
from skep.errors import HomeError, HomeInUse, StoreCorrupt
from skep.records import NO_PREVIOUS, SignedRecord, record_id

FEED_FILE = "own.feed"
NOTE_FILE = "session.json"
APPEND_MAX_RECORDS = 32
"""Records of one append; bounds what a crash can tear."""

_CHUNK_BYTES = 1 << 20


class Link(Struct, frozen=True):
    """The place in a chain that the next record takes."""

    session: bytes
    seq: int
    prev: bytes

    def after(self, body: bytes) -> "Link":
        """The place behind a record that took this one."""
        return Link(self.session, self.seq + 1, record_id(body))


class _Note(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `session.json` says: the place of the next record, and the file as this node left it.

    Byte strings are in hexadecimal. One of another format fits no file.
    """

    author: str
    swarm: str
    session: str
    seq: int
    prev: str
    inode: int
    ctime_ns: int
    size: int


class Feed:
    """The open feed file, locked against every other process."""

    def __init__(self, folder: Path, descriptor: int, author: bytes, swarm: bytes) -> None:
        self._path = folder / FEED_FILE
        self._descriptor = descriptor
        self._author = author
        self._swarm = swarm
        self._broken = False
        self._end = self._cut_torn_tail()
        self.link = self._noted_link() or _new_session()
        """The place of the next record."""
        self._before = (self._end, self.link)
        self._leave_note()

    @classmethod
    def open(cls, folder: Path, author: bytes, swarm: bytes) -> "Feed":
        """Open the feed of a home, made on first use; what a crash tore off its end is cut.

        Args:
            folder: where the file lies.
            author: public key (32 bytes) of this node.
            swarm: id (32 bytes) of the swarm that new records belong to; another one than at the
                last start begins a new session.

        Raises:
            HomeInUse: another process has it open.
            StoreCorrupt: it is damaged in a way no crash explains.
            HomeError: it cannot be opened or made.
        """
        make_folder(folder)
        path = folder / FEED_FILE
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise home_error(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_folder(folder)
            return cls(folder, descriptor, author, swarm)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                advice = "Stop it first, or set SKEP_HOME to another folder"
                raise HomeInUse(f"Another node is using {folder.parent}", advice) from error
            if isinstance(error, OSError):
                raise home_error(path, error) from error
            raise

    def close(self) -> None:
        """Release the file. Everything appended is on the medium already."""
        os.close(self._descriptor)

    def entries(self) -> Iterator[bytes]:
        """All records in the file as `signature + body`, in the order they were appended."""
        return _intact(self._descriptor)

    def append(self, records: Sequence[SignedRecord]) -> None:
        """Add the next records of the session; they are on the medium when this returns.

        Raises:
            HomeError: it could not be written; the feed is as it was before.
            ValueError: the records do not continue the chain (a mistake of the caller's).
        """
        link = self.link
        for one in records:
            if (one.record.author, one.record.swarm) != (self._author, self._swarm):
                raise ValueError("a record of another author or swarm")
            if Link(one.record.session, one.record.seq, one.record.prev) != link:
                raise ValueError(f"a record that does not stand at {link}")
            link = link.after(one.body)
        self._write(records)
        self.link = link
        self._leave_note()

    def restore(self, records: Sequence[SignedRecord]) -> None:
        """Add records of this node that the file has lost.

        The session goes on, unless one of them belongs to it: then it went further than this file
        knows, and a new one begins.

        Raises:
            HomeError: not all of them could be written; open the feed anew and try again.
        """
        for start in range(0, len(records), APPEND_MAX_RECORDS):
            self._write(records[start : start + APPEND_MAX_RECORDS])
        if any(one.record.session == self.link.session for one in records):
            self.link = _new_session()
        self._leave_note()

    def renew(self) -> None:
        """Begin a new session, because somebody knows more of this one than the file does."""
        self.link = _new_session()
        self._leave_note()

    def undo(self) -> None:
        """Take back the last append, whose records must not have been shown to anybody.

        Raises:
            HomeError: the file cannot be cut; nothing can be appended until it is opened anew.
        """
        end, link = self._before
        self._truncate(end)
        self._end, self.link = end, link
        self._leave_note()

    def _write(self, records: Sequence[SignedRecord]) -> None:
        if self._broken:
            raise HomeError(f"{self._path} could not be put back in order", "Restart the node")
        frames = b"".join(frame(one.signature + one.body) for one in records)
        self._before = (self._end, self.link)
        try:
            write_all(self._descriptor, frames, self._end)
            sync(self._descriptor)
        except OSError as error:
            self._truncate(self._end)
            self._leave_note()
            raise home_error(self._path, error) from error
        self._end += len(frames)

    def _truncate(self, end: int) -> None:
        try:
            os.ftruncate(self._descriptor, end)
            sync(self._descriptor)
        except OSError as error:
            self._broken = True
            raise home_error(self._path, error) from error

    def _cut_torn_tail(self) -> int:
        """Cut what one interrupted append can have left; length of what stays."""
        size = os.fstat(self._descriptor).st_size
        end = sum(len(frame(entry)) for entry in self.entries())
        if size - end > APPEND_MAX_RECORDS * FRAME_MAX_BYTES:
            raise StoreCorrupt(
                f"{self._path} is damaged at byte {end} of {size}",
                "Move that file away and start again: the database holds its records too, "
                "and the node continues on a new feed",
            )
        if size > end:
            self._truncate(end)
        return end

    def _noted_link(self) -> Link | None:
        """Where the session of the last start goes on; None if the note does not fit."""
        with contextlib.suppress(OSError, ValueError):
            note = msgspec.json.decode(self._path.with_name(NOTE_FILE).read_bytes(), type=_Note)
            link = Link(bytes.fromhex(note.session), note.seq, bytes.fromhex(note.prev))
            if note == self._note(link) and len(link.session) == SESSION_BYTES:
                return link
        return None

    def _note(self, link: Link) -> _Note:
        """What there is to note of the file as it is now."""
        found = os.fstat(self._descriptor)
        return _Note(
            author=self._author.hex(),
            swarm=self._swarm.hex(),
            session=link.session.hex(),
            seq=link.seq,
            prev=link.prev.hex(),
            inode=found.st_ino,
            ctime_ns=found.st_ctime_ns,
            size=found.st_size,
        )

    def _leave_note(self) -> None:
        """Note what the file looks like now.

        Not synced, and failing is no failure: a note that is lost or old fits no file, which costs
        a new session at the next start and nothing else.
        """
        note = self._note(self.link)
        path = self._path.with_name(NOTE_FILE)
        fresh = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            fresh.write_bytes(msgspec.json.encode(note))
            os.replace(fresh, path)


def _new_session() -> Link:
    return Link(secrets.token_bytes(SESSION_BYTES), 0, NO_PREVIOUS)


def _intact(descriptor: int) -> Iterator[bytes]:
    """Entries of a feed file up to the first that is torn or damaged."""
    rest, offset = b"", 0
    while len(rest) <= FRAME_MAX_BYTES and (chunk := os.pread(descriptor, _CHUNK_BYTES, offset)):
        offset += len(chunk)
        entries, used = split_frames(rest + chunk)
        rest = (rest + chunk)[used:]
        yield from entries
