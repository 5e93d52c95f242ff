"""A fixed key, task and swarm, and one-line ways to make records and open ledgers in tests."""

import itertools
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from gossip.feeds import Link
from gossip.identity import Identity, verify
from gossip.intake import ARCHIVE_BYTES
from gossip.jobs import Job
from gossip.ledger import Ledger
from gossip.wire import decode, encode
from skep.records import NO_PREVIOUS, Record, Run, SignedRecord, record_id
from tests.factories import content_id, make_run

KEY = Identity(bytes(range(32)))
TASK = content_id("task")
SWARM = content_id("swarm")
SESSION = b"session1"
FIRST = Link(SESSION, 0, NO_PREVIOUS)


def make_record(run: Run | None = None, link: Link = FIRST, **fields: Any) -> Record:
    """A valid record by KEY at a place in its chain, with any field overridden."""
    return Record(
        **{
            "v": 1,
            "swarm": SWARM,
            "task": TASK,
            "author": KEY.public,
            "session": link.session,
            "seq": link.seq,
            "prev": link.prev,
            "time": 1_700_000_000_000,
            "kind": "run",
            "payload": run or make_run("p", pinned=2.0),
            **fields,
        }
    )


def make_signed(link: Link = FIRST, run: Run | None = None) -> SignedRecord:
    """A valid record by KEY, signed."""
    body = encode(make_record(run, link))
    return decode(KEY.sign(body) + body)


def make_chain(link: Link, length: int) -> list[SignedRecord]:
    """Records by KEY with seeds from `link.seq`, each following the one before."""
    records = []
    for _ in range(length):
        records.append(make_signed(link, make_run("p", pinned=2.0, seed=link.seq)))
        link = link.after(records[-1].body)
    return records


def chain_by(key: Identity, length: int, link: Link = FIRST, **fields: Any) -> list[SignedRecord]:
    """Records of another author, each following the one before; fields as for `make_record`."""
    records = []
    for _ in range(length):
        run = make_run("p", pinned=2.0, seed=link.seq)
        body = encode(make_record(**{"run": run, "link": link, "author": key.public, **fields}))
        records.append(decode(key.sign(body) + body))
        link = link.after(body)
    return records


def make_job(program: str, **fields: Any) -> Job:
    """A queued job of TASK."""
    return Job(
        **{
            "task": TASK,
            "program": content_id(program),
            "parent": None,
            "edits": (),
            "strategy": "tune",
            "seed": 1,
            "purpose": "screen",
            "note": "",
            **fields,
        }
    )


def open_ledger(
    home: Path, key: Identity = KEY, swarm: bytes = SWARM, archive_bytes: int = ARCHIVE_BYTES
) -> AbstractAsyncContextManager[Ledger]:
    """The ledger of a home, with a clock that counts calls."""
    ticks = itertools.count(1)
    return Ledger.open(
        home, key, swarm=swarm, clock=lambda: next(ticks), archive_bytes=archive_bytes
    )


def feed_of(home: Path) -> list[SignedRecord]:
    """The records in a home's feed file, read without opening it as a feed."""
    content = (home / "feed" / "own.feed").read_bytes()
    records = []
    while content:
        length = int.from_bytes(content[:4], "big")
        records.append(decode(content[8 : 8 + length]))
        content = content[8 + length :]
    return records


def assert_chains_hold(records: list[SignedRecord]) -> None:
    """Every record is signed, and each session is one unbroken chain from seq 0."""
    heads: dict[bytes, Link] = {}
    for signed in records:
        record = signed.record
        assert verify(record.author, signed.body, signed.signature)
        here = heads.get(record.session, Link(record.session, 0, NO_PREVIOUS))
        assert (record.seq, record.prev) == (here.seq, here.prev)
        heads[record.session] = here.after(signed.body)
    assert len({record_id(signed.body) for signed in records}) == len(records)
