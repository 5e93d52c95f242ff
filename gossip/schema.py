"""The tables of a home's database, as text. What is done with them is in `gossip.store`.

Version 1 has grown since the first homes were made: `ADDED` and `UPGRADE` bring what those lack. A
reader, which changes nothing, needs none of it to show what such a home holds.
"""

from collections.abc import Mapping

SCHEMA_VERSION = 1

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    # macOS only: sync past the drive's cache. Elsewhere these do nothing.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
)

# Everything that is asked of a whole swarm at a start stands in this index alone, in the order of
# the feeds: no record is touched for it.
_BY_PLACE = "CREATE INDEX records_by_place ON records (author, session, seq, id, time, swarm, size)"

# Programs that something was built on or that were claimed: their runs are never pruned.
_LINEAGE = "CREATE TABLE lineage (program BLOB PRIMARY KEY) WITHOUT ROWID"

# `arrival` is the rowid and so the hidden last column of every index: reading a task's records in
# order of arrival needs no sort. `id` is unique, (author, session, seq) is not: two records there
# prove an equivocation, and both are kept. `size` counts signature and body, in bytes. Of a record
# that was pruned the place is left: no kind, task, body or signature, and `prev`, which for all
# others stands in the body.
SCHEMA = (
    """CREATE TABLE records (
        arrival INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        author BLOB NOT NULL,
        session BLOB NOT NULL,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        task BLOB NOT NULL,
        swarm BLOB NOT NULL,
        time INTEGER NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        size INTEGER NOT NULL DEFAULT 0,
        prev BLOB
    )""",
    _BY_PLACE,
    _LINEAGE,
    "CREATE INDEX records_by_task ON records (task, kind)",
    """CREATE TABLE programs (
        arrival INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        source TEXT NOT NULL,
        fingerprint BLOB NOT NULL
    )""",
    """CREATE TABLE jobs (
        position INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        job BLOB NOT NULL
    )""",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

ADDED: Mapping[str, tuple[str, ...]] = {
    "size": (
        "ALTER TABLE records ADD COLUMN size INTEGER NOT NULL DEFAULT 0",
        "UPDATE records SET size = length(body) + length(signature)",
    ),
    "prev": ("ALTER TABLE records ADD COLUMN prev BLOB",),
}
"""Columns that the first homes had not, and how a table of records gets each."""

UPGRADE = (
    "DROP INDEX IF EXISTS records_by_feed",
    "DROP INDEX IF EXISTS records_by_place",
    _BY_PLACE,
    "DROP TABLE IF EXISTS lineage",
    _LINEAGE,
)
"""What follows when a column was added; then `lineage` has to be filled."""
