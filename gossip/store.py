"""The database of a home: records, programs and jobs in SQLite. The only place that opens it.

The tables are in `gossip.schema`, what is written in `gossip.statements`.

Synchronous; `gossip.ledger` decides when it is called and from which thread. Writing goes through
`Store.commit`, one transaction a call, with `synchronous=FULL`: NORMAL lost acknowledged records
in 152 of 180 simulated power cuts, FULL in none. The methods of sqlite-utils that insert are not
used: they end transactions by themselves, and here it matters where a transaction ends. It is asked
for the columns that a database has, and loaded only then: it loads numpy, and commands only read.

The database can be lost: `gossip.rebuild` starts a new one, filled from the own feed.
"""

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from gossip.counting import CHAIN, IS_FOLLOWED, KINDS, LAST_RUN, LAST_SWARM, STOCK
from gossip.disk import FORBIDDEN_ADVICE, FULL_ADVICE
from gossip.jobs import Job
from gossip.positions import Holding, Position, Stock, linked
from gossip.quota import KEPT_KINDS, built_on
from gossip.schema import ADDED, PRAGMAS, SCHEMA, SCHEMA_VERSION, UPGRADE
from gossip.statements import Program, Statement, note_built_on
from gossip.wire import decode
from skep.errors import HomeError, RecordError, StoreCorrupt
from skep.records import SignedRecord, record_id

_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_CORRUPT_ADVICE = (
    "Move it away and start again: your records are read back from the own feed beside it"
)

FORK_RECORDS = 2
"""Records of one place in a chain that are passed on: two prove the equivocation."""

PAGE_ROWS = 500
"""Rows of one query where a caller goes through many.

Between two queries nothing is held open: a half-read one would keep its connection from seeing
what is committed meanwhile, and the log from being folded into the database.
"""


class _Link(msgspec.Struct):
    """All that is read of a record when only what it follows matters: the index reads many."""

    prev: bytes


class Reader:
    """Reading from one connection of its own; sees every transaction committed so far."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> "Reader":
        """Open the database of a home for reading, whether a node runs on it or not.

        A home without a database, or with one that was never finished, reads as empty.

        Raises:
            StoreCorrupt: the file is no database.
            HomeError: it cannot be opened, or a newer Skep wrote it.
        """
        if path.exists():
            with _explained(path):
                reader = cls(_connect_read_only(path), path)
            with contextlib.ExitStack() as stack:
                stack.callback(reader.close)
                if reader.version() == SCHEMA_VERSION:
                    stack.pop_all()
                    return reader
        return Store(_connect(":memory:"), path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def version(self) -> int:
        """Schema version: 0 for a database without tables.

        Raises:
            HomeError: a newer Skep wrote it.
        """
        version = int(self._rows("PRAGMA user_version")[0][0])
        if version > SCHEMA_VERSION:
            raise HomeError(
                f"{self._path} has format {version}, and this Skep reads {SCHEMA_VERSION}",
                "Update Skep, or set SKEP_HOME to another folder",
            )
        return version

    def author(self) -> bytes | None:
        """Public key whose home this is, None before its first start."""
        rows = self._rows("SELECT value FROM meta WHERE key = 'author'")
        return bytes(rows[0][0]) if rows else None

    def record(self, content_id: bytes) -> SignedRecord | None:
        """One record by its id."""
        rows = self._rows(
            "SELECT id, body, signature FROM records WHERE id = ? AND kind != ''", (content_id,)
        )
        return self._signed(rows[0]) if rows else None

    def knows(self, content_id: bytes) -> bool:
        """Whether there is a record of this id, or was one before it was pruned."""
        return bool(self._rows("SELECT 1 FROM records WHERE id = ?", (content_id,)))

    def said_by(self, author: bytes, task: bytes, kind: str) -> list[SignedRecord]:
        """All records of a kind of an author under a task, in order of arrival."""
        rows = self._rows(
            # One record in a thousand or all of them: an index finds them, and only they are read.
            "SELECT id, body, signature FROM records WHERE arrival IN "
            "(SELECT arrival FROM records WHERE author = ?) "
            "AND +task = ? AND +kind = ? ORDER BY arrival",
            (author, task, kind),
        )
        return [self._signed(row) for row in rows]

    def said(self, task: bytes, kind: str) -> Iterator[SignedRecord]:
        """All records of a kind under a task, in order of arrival."""
        arrival = 0
        while rows := self._rows(
            "SELECT id, body, signature, arrival FROM records "
            "WHERE task = ? AND kind = ? AND arrival > ? ORDER BY arrival LIMIT ?",
            (task, kind, arrival, PAGE_ROWS),
        ):
            arrival = rows[-1][-1]
            yield from (self._signed(row[:3]) for row in rows)

    def arrived(
        self, arrival: int, limit: int, task: bytes, kinds: Collection[str], besides: bytes
    ) -> tuple[int, list[SignedRecord]]:
        """See `LedgerView.arrived`. What is not wanted is gone past unread."""
        names = ", ".join(f"?{number}" for number in range(5, 5 + len(kinds)))
        wanted = f"task = ?3 AND author != ?4 AND kind IN ({names})"
        rows = self._rows(
            f"SELECT id, iif({wanted}, body, NULL), iif({wanted}, signature, NULL), arrival "  # noqa: S608
            "FROM records WHERE arrival > ?1 ORDER BY arrival LIMIT ?2",
            (arrival, limit, task, besides, *kinds),
        )
        found = [self._signed(row[:3]) for row in rows if row[1] is not None]
        return (rows[-1][-1] if rows else arrival), found

    def positions(self, swarm: bytes) -> Iterator[Position]:
        """Places of all records of a swarm, pruned or not, in order of author, session, seq, id."""
        for author, session, seq, content_id, time, _, prev in linked(
            self._placed(swarm), self._named_by
        ):
            yield Position(author, session, seq, content_id, time, prev)

    def _placed(self, swarm: bytes) -> Iterator[tuple[Any, ...]]:
        last: tuple[Any, ...] = (b"", b"", -1, b"")
        while rows := self._rows(
            "SELECT author, session, seq, id, time, swarm FROM records "
            "WHERE (author, session, seq, id) > (?, ?, ?, ?) "
            "ORDER BY author, session, seq, id LIMIT ?",
            (*last, PAGE_ROWS),
        ):
            last = rows[-1][:4]
            yield from (row for row in rows if row[5] == swarm)

    def feeds(self) -> Iterator[SignedRecord]:
        """All records of all swarms, in order of author, session, seq and id."""
        last: tuple[Any, ...] = (b"", b"", -1, b"")
        while rows := self._rows(
            "SELECT id, body, signature, author, session, seq FROM records "
            "WHERE (author, session, seq, id) > (?, ?, ?, ?) AND kind != '' "
            "ORDER BY author, session, seq, id LIMIT ?",
            (*last, PAGE_ROWS),
        ):
            last = (*rows[-1][3:], rows[-1][0])
            yield from (self._signed(row[:3]) for row in rows)

    def places(self, author: bytes, session: bytes) -> list[tuple[Any, ...]]:
        """Places of all records of a chain, pruned or not; see `gossip.replica.Places`."""
        rows = self._rows(
            "SELECT author, session, seq, id FROM records WHERE author = ? AND session = ? "
            "ORDER BY seq, id",
            (author, session),
        )
        return list(linked(rows, self._named_by))

    def _named_by(self, content_id: bytes) -> bytes:
        """What a record that is here, pruned or not, names as the one before it."""
        rows = self._rows("SELECT prev, body FROM records WHERE id = ?", (content_id,))
        prev, body = rows[0]
        try:
            return prev or msgspec.msgpack.decode(body, type=_Link).prev
        except ValueError as error:
            raise self._corrupt("a record that does not read back") from error

    def chain(
        self,
        author: bytes,
        session: bytes,
        start: int,
        stop: int,
        limit_bytes: int,
        limit: int = PAGE_ROWS,
    ) -> list[bytes]:
        """Records of a chain as `signature + body`; see `LedgerView.chain`."""
        found: list[bytes] = []
        size, seq, shared = 0, -1, 0
        with (
            _explained(self._path),
            contextlib.closing(
                self._connection.execute(CHAIN, (author, session, start, stop))
            ) as rows,
        ):
            for place, signature, body in rows:
                signed = signature + body
                shared = shared + 1 if place == seq else 1
                if shared > FORK_RECORDS:
                    continue
                full = len(found) >= limit or size + len(signed) > limit_bytes
                if place != seq and found and full:
                    break
                found.append(signed)
                size, seq = size + len(signed), place
        return found

    def holdings(self) -> dict[bytes, Holding]:
        """What there is of each author."""
        rows = self._rows("SELECT author, sum(size > 0), sum(size) FROM records GROUP BY author")
        return {author: Holding(records, size) for author, records, size in rows}

    def stock(self, swarm: bytes) -> list[Stock]:
        """What there is of each chain of a swarm."""
        return [
            Stock(author, session, records, pruned, size, bool(forked), newest)
            for author, session, records, pruned, size, forked, newest in self._rows(
                STOCK, (swarm,)
            )
        ]

    def kinds(self, swarm: bytes) -> dict[tuple[bytes, str], int]:
        """How many records of a swarm there are of each task and kind."""
        return {(task, kind): count for task, kind, count in self._rows(KINDS, (swarm,))}

    def last_run(self, author: bytes, session: bytes) -> SignedRecord | None:
        """The latest run among the last records of a chain."""
        rows = self._rows(LAST_RUN, (author, session))
        return self._signed(rows[0]) if rows else None

    def last_swarm(self, besides: bytes) -> bytes | None:
        """The swarm of the record that arrived last, one swarm left out."""
        rows = self._rows(LAST_SWARM, (besides,))
        return rows[0][0] if rows else None

    def ids_of(self, author: bytes) -> list[bytes]:
        """Ids of all records of an author, in order of arrival."""
        rows = self._rows("SELECT id FROM records WHERE author = ? ORDER BY arrival", (author,))
        return [row[0] for row in rows]

    def matching(self, low: bytes, high: bytes) -> list[bytes]:
        """Ids of records and programs between two 32-byte ids, both included."""
        return [
            row[0]
            for sql in (
                "SELECT id FROM records WHERE id BETWEEN ? AND ? AND kind != '' ORDER BY id",
                "SELECT id FROM programs WHERE id BETWEEN ? AND ? ORDER BY id",
            )
            for row in self._rows(sql, (low, high))
        ]

    def program(self, content_id: bytes) -> Program | None:
        """One program by its id."""
        rows = self._rows("SELECT source, fingerprint FROM programs WHERE id = ?", (content_id,))
        return Program(*rows[0]) if rows else None

    def program_ids(self) -> list[bytes]:
        """Ids of all programs, oldest first."""
        return [row[0] for row in self._rows("SELECT id FROM programs ORDER BY arrival")]

    def knows_program(self, content_id: bytes) -> bool:
        """Whether there is a program of this id."""
        return bool(self._rows("SELECT 1 FROM programs WHERE id = ?", (content_id,)))

    def jobs(self) -> list[Job]:
        """All jobs, in the order they were queued."""
        rows = self._rows("SELECT job FROM jobs ORDER BY position")
        try:
            return [msgspec.msgpack.decode(row[0], type=Job) for row in rows]
        except ValueError as error:
            raise self._corrupt("a job that does not read back") from error

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with _explained(self._path):
            return self._connection.execute(sql, values).fetchall()

    def _signed(self, row: Any) -> SignedRecord:
        content_id, body, signature = row
        if record_id(body) != content_id:
            raise self._corrupt("a record that is not what its id says")
        try:
            return decode(signature + body)
        except RecordError as error:
            raise self._corrupt(f"a record that does not read back ({error})") from error

    def _corrupt(self, what: str) -> StoreCorrupt:
        return StoreCorrupt(f"{self._path} holds {what}", _CORRUPT_ADVICE)


class Store(Reader):
    """The one connection that writes. To be used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take over a connection in autocommit mode and bring its database up to the schema."""
        super().__init__(connection, path)
        with _explained(path):
            for pragma in PRAGMAS:
                self._connection.execute(pragma).fetchall()
        if self.version() == 0:
            self.commit((statement, ()) for statement in SCHEMA)
        elif missing := ADDED.keys() - self._columns():
            self.commit(self._upgrade(missing))

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Open or make the database of a home.

        Raises:
            StoreCorrupt: the file is no database, or damaged.
            HomeError: it cannot be opened or written, or a newer Skep wrote it.
        """
        with _explained(path):
            connection = _connect(str(path))
        try:
            return cls(connection, path)
        except BaseException:
            connection.close()
            raise

    def _columns(self) -> set[str]:
        from sqlite_utils import Database

        with _explained(self._path):
            plain = Database(self._connection, recursive_triggers=False, execute_plugins=False)
            return set(plain["records"].columns_dict)

    def _upgrade(self, missing: Collection[str]) -> Iterator[Statement]:
        added = (one for column in ADDED if column in missing for one in ADDED[column])
        yield from ((statement, ()) for statement in (*added, *UPGRADE))
        for signed in self.feeds():
            yield from map(note_built_on, built_on(signed))

    def kept_of_others(self, author: bytes) -> tuple[int, int, int]:
        """Of everybody but `author`: how many records, their bytes, and how many were pruned."""
        found = "ifnull(sum(size > 0), 0), ifnull(sum(size), 0), ifnull(sum(size = 0), 0)"
        rows = self._rows(f"SELECT {found} FROM records WHERE author != ?", (author,))  # noqa: S608
        return int(rows[0][0]), int(rows[0][1]), int(rows[0][2])

    def is_built_on(self, program: bytes) -> bool:
        """Whether a record makes the runs of a program worth keeping."""
        return bool(self._rows("SELECT 1 FROM lineage WHERE program = ?", (program,)))

    def prunable(self, author: bytes, after: int, limit: int) -> list[tuple[int, SignedRecord]]:
        """Records that might be pruned, with their numbers of arrival, oldest first.

        The last record of a chain is none of them, since it vouches for all before it, nor are
        two that share a place.

        Args:
            author: whose records are none of them.
            after: number of arrival behind which to begin; 0 for the first.
            limit: how many at most.
        """
        rows = self._rows(
            "SELECT arrival, id, body, signature FROM records WHERE arrival > ? AND author != ? "  # noqa: S608
            f"AND kind NOT IN ('', {', '.join('?' * len(KEPT_KINDS))}) AND {IS_FOLLOWED} "
            "ORDER BY arrival LIMIT ?",
            (after, author, *KEPT_KINDS, limit),
        )
        return [(row[0], self._signed(row[1:])) for row in rows]

    def commit(self, statements: Iterable[Statement]) -> None:
        """Execute all statements in one transaction, which is on the medium when this returns.

        Raises:
            StoreCorrupt: the database is damaged.
            HomeError: disk full or read-only. In both cases nothing was changed.
        """
        with _explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in statements:
                    self._connection.execute(sql, values)
                self._connection.execute("COMMIT")
            except BaseException:
                # Some errors, a full disk among them, have rolled back by themselves.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _connect(address: str) -> sqlite3.Connection:
    """A connection in autocommit mode, which whoever owns it may hand from thread to thread."""
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, also in a folder that nobody can write."""
    address = f"file:{quote(str(path))}?mode=ro"
    connection = _connect(address)
    try:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except sqlite3.OperationalError:
        connection.close()
        # WAL needs a shared-memory file beside the database. Where none is and none can be made,
        # nobody is writing either, and the file may be read as a constant.
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        connection = _connect(f"{address}&immutable=1")
    return connection


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into those of the error tree."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _CORRUPT:
            raise StoreCorrupt(f"{path} is damaged: {error}", _CORRUPT_ADVICE) from error
        if code == sqlite3.SQLITE_FULL:
            raise HomeError(f"No space left to write {path}", FULL_ADVICE) from error
        if code in _FORBIDDEN:
            raise HomeError(f"Cannot open {path} for writing: {error}", FORBIDDEN_ADVICE) from error
        raise HomeError(f"Cannot use {path}: {error}") from error
