"""Making own feed and database equal at the start: what either of them lost comes from the other.

That covers a crash between the two writes, a restored backup and a deleted file. The database alone
holds what others said; the feed knows nothing of that.
"""

from gossip.feeds import Feed
from gossip.identity import verify
from gossip.statements import keep_author, keep_record
from gossip.store import Store
from gossip.wire import SIGNATURE_BYTES, decode
from skep.errors import RecordError, StoreCorrupt
from skep.records import SignedRecord, record_id

CATCH_UP_RECORDS = 1000
"""Records of one transaction when the database is filled from the feed."""


def reconcile(feed: Feed, store: Store, author: bytes) -> None:
    """Make feed and database hold the same records of this node.

    The feed is ahead after a crash between the two writes, or with an older database; the database
    is ahead when the feed was lost, cut or replaced by an older one, and when others gave back what
    an older backup of this home did not have.

    Raises:
        StoreCorrupt: the feed holds a record that does not read back.
        HomeError: one of them could not be written.
    """
    if store.author() != author:
        store.commit([keep_author(author)])
    fed: set[bytes] = set()
    missing: list[SignedRecord] = []
    for entry in feed.entries():
        content_id = record_id(entry[SIGNATURE_BYTES:])
        fed.add(content_id)
        if not store.knows(content_id):
            missing.append(_verified(entry))
        if len(missing) == CATCH_UP_RECORDS:
            _keep_all(store, missing)
            missing = []
    _keep_all(store, missing)
    lost = [one for one in store.ids_of(author) if one not in fed]
    if lost:
        feed.restore([one for one in map(store.record, lost) if one is not None])


def _keep_all(store: Store, records: list[SignedRecord]) -> None:
    store.commit(statement for signed in records for statement in keep_record(signed, own=True))


def _verified(entry: bytes) -> SignedRecord:
    """A record of the own feed that the database does not have."""
    try:
        signed = decode(entry)
    except RecordError as error:
        raise _unreadable(str(error)) from error
    if not verify(signed.record.author, signed.body, signed.signature):
        raise _unreadable("its signature is wrong")
    return signed


def _unreadable(why: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"The own feed holds a record that does not read back: {why}",
        "If a newer Skep wrote it, update; otherwise move feed/own.feed away and start again",
    )
