"""Chains of several authors, also forked ones, for tests of the swarm."""

from gossip.feeds import Link
from gossip.identity import Identity
from gossip.simulate import MemoryArchive
from gossip.wire import decode, encode
from skep.records import NO_PREVIOUS, SignedRecord
from tests.factories import make_run
from tests.gossip.scenes import make_record

SWARM = b"simulated".ljust(32, b"\0")


def author(number: int) -> Identity:
    """One of many keys."""
    return Identity(bytes([number]) * 32)


def signed_by(key: Identity, link: Link, seed: int = 0) -> SignedRecord:
    """A record of a swarm at a place in its chain."""
    run = make_run("p", pinned=2.0, seed=seed)
    body = encode(make_record(run, link, author=key.public, swarm=SWARM))
    return decode(key.sign(body) + body)


def chain(
    key: Identity,
    length: int,
    *,
    session: bytes = b"session1",
    link: Link | None = None,
    seed: int = 0,
) -> list[SignedRecord]:
    """Records that follow one another."""
    place = link or Link(session, 0, NO_PREVIOUS)
    records = []
    for number in range(length):
        records.append(signed_by(key, place, seed + number))
        place = place.after(records[-1].body)
    return records


def branch(trunk: list[SignedRecord], at: int, length: int, seed: int) -> list[SignedRecord]:
    """The chain up to `at`, and from there on records with other contents."""
    record = trunk[at].record
    key = next(k for k in map(author, range(256)) if k.public == record.author)
    link = Link(record.session, at, record.prev)
    return trunk[:at] + chain(key, length, link=link, seed=seed)


def archive_of(*chains: list[SignedRecord]) -> MemoryArchive:
    """An archive that holds these."""
    archive = MemoryArchive()
    for records in chains:
        archive.keep(records)
    return archive
