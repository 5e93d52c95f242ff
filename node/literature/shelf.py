"""Where literature is kept, and searched by words: one SQLite file with a full-text index.

It can be lost: adding the files again makes it anew. Any number of processes may read it while one
adds; a file is added in one transaction, whole or not at all.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from gossip.disk import home_error, make_folder
from node.literature.documents import Document
from node.literature.passages import cut
from skep.errors import HomeError

PASSAGES_MAX = 100_000
"""Passages of all documents; about 80 MB of text."""

WAIT_S = 10.0
"""How long another process may be adding."""

TERMS_MAX = 64
VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    title TEXT NOT NULL,
    by TEXT NOT NULL,
    source TEXT NOT NULL,
    passages INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS documents_by_source ON documents (source);
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    heading TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS passages_by_document ON passages (document);
CREATE TABLE IF NOT EXISTS vectors (
    passage INTEGER NOT NULL REFERENCES passages ON DELETE CASCADE,
    model TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (model, passage)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS vectors_by_passage ON vectors (passage);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    heading, text, content = 'passages', content_rowid = 'id',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER IF NOT EXISTS passage_added AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, heading, text) VALUES (new.id, new.heading, new.text);
END;
CREATE TRIGGER IF NOT EXISTS passage_removed AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, heading, text)
    VALUES ('delete', old.id, old.heading, old.text);
END;
"""
_TERM = re.compile(r'"([^"]*)"|(\S+)')
_WORD = re.compile(r"\w+")


class Shelved(Struct, frozen=True, kw_only=True):
    """A document that is kept.

    Attributes:
        digest: SHA-256 that names its content.
        title, by: see `Document`.
        source: path of the file it came from.
        passages: how many it was cut into.
    """

    digest: bytes
    title: str
    by: str
    source: str
    passages: int


class Passage(Struct, frozen=True, kw_only=True):
    """A piece of a document.

    Attributes:
        id: number in this library.
        document: digest of the document.
        title, by: of the document.
        heading: the title and the heading that it stands under.
        text: of the piece, one line.
    """

    id: int
    document: bytes
    title: str
    by: str
    heading: str
    text: str


class Added(Struct, frozen=True):
    """What adding a file came to: documents that are new, that were known, and that went."""

    new: int
    known: int
    gone: int


class Shelf:
    """An open library; see `opened`.

    Args:
        connection: to its database.
        passages_max: see `PASSAGES_MAX`.
    """

    def __init__(self, connection: sqlite3.Connection, passages_max: int = PASSAGES_MAX) -> None:
        self.connection = connection
        self._passages_max = passages_max

    def add(self, source: str, documents: Iterable[Document]) -> Added:
        """Add what a file holds; what it held before and holds no more goes.

        Args:
            source: path of the file.
            documents: in it.

        Raises:
            HomeError: the library is full.
        """
        found = {one.digest: one for one in documents}
        with self.connection:
            old = self._digests("SELECT digest FROM documents WHERE source = ?", source)
            gone = old - found.keys()
            self._drop(gone)
            known = sum(not self._insert(source, digest, one) for digest, one in found.items())
            (count,) = self.connection.execute("SELECT count(*) FROM passages").fetchone()
            if count > self._passages_max:
                raise HomeError(
                    f"the library is full ({self._passages_max:,} passages)",
                    "Remove what is not needed: `skep library list`, `skep library remove`",
                )
        return Added(len(found) - known, known, len(gone))

    def _insert(self, source: str, digest: bytes, document: Document) -> bool:
        """Insert a document; False if it is there already, from whatever file."""
        pieces = cut(document.text)
        made = self.connection.execute(
            "INSERT OR IGNORE INTO documents (digest, title, by, source, passages)"
            " VALUES (?, ?, ?, ?, ?)",
            (digest, document.title, document.by, source, len(pieces)),
        )
        if not made.rowcount:
            return False
        self.connection.executemany(
            "INSERT INTO passages (document, heading, text) VALUES (?, ?, ?)",
            [(made.lastrowid, _heading(document, one.section), one.text) for one in pieces],
        )
        return True

    def remove(self, documents: Iterable[bytes]) -> int:
        """Remove documents by their digests; how many there were."""
        with self.connection:
            return self._drop(documents)

    def _drop(self, digests: Iterable[bytes]) -> int:
        one = "DELETE FROM documents WHERE digest = ?"
        return sum(self.connection.execute(one, (digest,)).rowcount for digest in digests)

    def _digests(self, query: str, *values: str) -> set[bytes]:
        return {digest for (digest,) in self.connection.execute(query, values)}

    def documents(self) -> list[Shelved]:
        """Everything that is kept, by title."""
        rows = self.connection.execute(
            "SELECT digest, title, by, source, passages FROM documents"
            " ORDER BY title COLLATE NOCASE, digest"
        )
        return [
            Shelved(digest=digest, title=title, by=by, source=source, passages=passages)
            for digest, title, by, source, passages in rows
        ]

    def passages(self, query: str, k: int) -> list[Passage]:
        """The passages that fit some words best (bm25), the best first.

        Every word of the query counts, none has to occur; words in double quotes belong together.
        Nothing in it is an operator.

        Args:
            query: any text.
            k: how many at most.
        """
        terms = match_of(query)
        if not terms:
            return []
        rows = self.connection.execute(
            "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, 2.0, 1.0), rowid"
            " LIMIT ?",
            (terms, k),
        )
        return self.numbered([number for (number,) in rows])

    def numbered(self, numbers: Sequence[int]) -> list[Passage]:
        """Passages by their numbers, in the order given."""
        found = []
        for number in numbers:
            row = self.connection.execute(
                "SELECT digest, title, by, heading, text FROM passages"
                " JOIN documents ON documents.id = document WHERE passages.id = ?",
                (number,),
            ).fetchone()
            if row:
                digest, title, by, heading, text = row
                found.append(
                    Passage(
                        id=number, document=digest, title=title, by=by, heading=heading, text=text
                    )
                )
        return found


def match_of(query: str) -> str:
    """A query of any text as FTS5 takes it: each of its words and phrases quoted, joined by OR."""
    phrases = (
        " ".join(_WORD.findall(found[1] if found[1] is not None else found[2]))
        for found in _TERM.finditer(query)
    )
    kept = list(dict.fromkeys(one for one in phrases if one.strip("_ ")))[:TERMS_MAX]
    return " OR ".join(f'"{one}"' for one in kept)


def _heading(document: Document, section: str) -> str:
    return document.title if section in ("", document.title) else f"{document.title}: {section}"


@contextlib.contextmanager
def opened(path: Path, *, write: bool = False) -> Iterator[Shelf]:
    """Open a library; one that is not there reads as empty.

    Args:
        path: of its database.
        write: whether something is to be added or removed.

    Raises:
        HomeError: it does not read back, or cannot be written; also while it is used.
    """
    with _explained(path):
        if write:
            make_folder(path.parent)
        known = write or path.exists()
        connection = sqlite3.connect(path if known else ":memory:", timeout=WAIT_S)
        with contextlib.closing(connection):
            connection.execute("PRAGMA foreign_keys = ON")
            _prepare(connection, path)
            yield Shelf(connection)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
    elif version != VERSION:
        raise HomeError(f"{path} was written by a newer Skep", "Update this one")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's refusals in words for the person at the keyboard."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "fts5" in str(error):
            advice = "Install a Python whose SQLite has it"
            raise HomeError("this Python's SQLite has no full-text search", advice) from error
        raise HomeError(
            f"cannot use {path} ({error})", "Is another process adding to it, or the disk full?"
        ) from error
    except sqlite3.DatabaseError as error:
        advice = "Move it away, and add the files again"
        raise HomeError(f"{path} does not read back ({error})", advice) from error
    except OSError as error:
        raise home_error(path, error) from error
