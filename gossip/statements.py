"""What is written to the database: each change as SQL text and its values. Nothing is run here.

The ledger gathers the statements of everybody who waits, and `gossip.store.Store.commit` executes
them in one transaction.
"""

from typing import Any

import msgspec
from msgspec import Struct

from gossip.jobs import Job, job_of
from gossip.quota import built_on
from skep.records import SignedRecord

Statement = tuple[str, tuple[Any, ...]]


class Program(Struct, frozen=True):
    """A program this home knows: its text, and the fingerprint that equivalent texts share.

    The fingerprint is empty until somebody has looked at the text: that of strangers is not parsed
    just to be stored.
    """

    source: str
    fingerprint: bytes


def keep_record(signed: SignedRecord, *, own: bool) -> list[Statement]:
    """Statements that store a record and remove the job that its run settles.

    Both in one transaction: a job whose run is published is never run again. A record that is
    known already changes nothing.

    Args:
        signed: the record.
        own: whether this node said it; the runs of others settle no jobs here.
    """
    record = signed.record
    row = (
        signed.id,
        record.author,
        record.session,
        record.seq,
        record.kind,
        record.task,
        record.swarm,
        record.time,
        signed.body,
        signed.signature,
        len(signed.body) + len(signed.signature),
    )
    settled = [drop_job(job_of(record.task, signed.run))] if own and record.kind == "run" else []
    return [
        (
            "INSERT INTO records (id, author, session, seq, kind, task, swarm, time, body, "
            "signature, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            row,
        ),
        *settled,
        *map(note_built_on, built_on(signed)),
    ]


def note_built_on(program: bytes) -> Statement:
    """Statement that notes that something was built on a program, or claimed of it."""
    return ("INSERT OR IGNORE INTO lineage (program) VALUES (?)", (program,))


def prune_record(signed: SignedRecord) -> list[Statement]:
    """Statements that leave nothing of a record but its place, so that its chain still holds.

    The row is removed and a short one made: SQLite would shrink it where it is, and pages that are
    three quarters empty between others are never used again.
    """
    record = signed.record
    place = (signed.id, record.author, record.session, record.seq, record.swarm, record.time)
    return [
        ("DELETE FROM records WHERE id = ?", (signed.id,)),
        (
            "INSERT INTO records (id, author, session, seq, kind, task, swarm, time, body, "
            "signature, size, prev) VALUES (?, ?, ?, ?, '', x'', ?, ?, x'', x'', 0, ?)",
            (*place, record.prev),
        ),
    ]


def keep_program(content_id: bytes, program: Program) -> Statement:
    """Statement that stores a program; of one that is known, only a missing fingerprint changes."""
    return (
        "INSERT INTO programs (id, source, fingerprint) VALUES (?, ?, ?) ON CONFLICT (id) "
        "DO UPDATE SET fingerprint = excluded.fingerprint WHERE length(fingerprint) = 0",
        (content_id, program.source, program.fingerprint),
    )


def keep_job(job: Job) -> Statement:
    """Statement that stores a job at the end of the queue, or its new state in its old place."""
    return (
        "INSERT INTO jobs (name, job) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET job = excluded.job",
        (job.name, msgspec.msgpack.encode(job)),
    )


def drop_job(name: str) -> Statement:
    """Statement that removes a job, if it is there."""
    return ("DELETE FROM jobs WHERE name = ?", (name,))


def keep_author(author: bytes) -> Statement:
    """Statement that notes whose home this is."""
    return ("INSERT OR REPLACE INTO meta (key, value) VALUES ('author', ?)", (author,))
