"""What others said is stored here. Synchronous, for one thread at a time, as the store is.

Whether a record is valid, wanted and within its author's quotas was decided before; `Ledger.admit`
decides when it is this one's turn.
"""

from collections.abc import Sequence

from gossip.statements import keep_record
from gossip.store import Store
from skep.records import SignedRecord


class Intake:
    """Stores records that came from elsewhere.

    Args:
        store: the database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, records: Sequence[SignedRecord]) -> list[SignedRecord]:
        """Store records in one transaction, and return those that were not known before.

        Raises:
            HomeError: they could not be written, and none of them was.
        """
        fresh = {one.id: one for one in records if not self._store.knows(one.id)}
        if fresh:
            self._store.commit(
                statement
                for signed in fresh.values()
                for statement in keep_record(signed, own=False)
            )
        return list(fresh.values())
