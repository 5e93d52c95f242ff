"""What others said is stored here, within a quota. Synchronous, for one thread at a time.

Whether a record is valid, wanted and within its author's quotas was decided before; `Ledger.admit`
decides when it is this one's turn, `gossip.quota` what has to go for it.
"""

from collections.abc import Sequence

from gossip.quota import PLACE_BYTES, ROW_BYTES, built_on, cost, to_prune
from gossip.statements import keep_record, prune_record
from gossip.store import Store
from skep.errors import ArchiveFull
from skep.records import SignedRecord

ARCHIVE_BYTES = 4 * 10**9
"""Default of what a home keeps of others."""

LOOK_AT_RECORDS = 2000
"""Candidates for pruning that are read for one delivery; more than it can bring."""


class Intake:
    """Stores records that came from elsewhere.

    Args:
        store: the database.
        author: public key of this node; its own records count for nothing.
        quota_bytes: how much may be kept of all others together; the places of what was pruned may
            take as much again.
    """

    def __init__(self, store: Store, author: bytes, quota_bytes: int = ARCHIVE_BYTES) -> None:
        self._store = store
        self._author = author
        self._quota = quota_bytes
        records, size, self._places = store.kept_of_others(author)
        self._used = records * ROW_BYTES + size
        self._looked_at = 0

    def take(self, records: Sequence[SignedRecord]) -> list[SignedRecord]:
        """Store records in one transaction, and return those that were not known before.

        One that was pruned is known.

        Raises:
            ArchiveFull: there is no room for those of others, and nothing that may be pruned;
                own ones are stored all the same.
            HomeError: they could not be written, and none of them was.
        """
        fresh = {one.id: one for one in records if not self._store.knows(one.id)}
        if not fresh:
            return []
        others = [one for one in fresh.values() if one.record.author != self._author]
        needed = sum(map(cost, others))
        try:
            going, looked_at = self._going(others, self._used + needed - self._quota)
        except ArchiveFull:
            own = [one for one in fresh.values() if one.record.author == self._author]
            self._store.commit(part for one in own for part in keep_record(one, own=False))
            raise
        self._store.commit(
            [
                *(part for one in going for part in prune_record(one)),
                *(part for one in fresh.values() for part in keep_record(one, own=False)),
            ]
        )
        self._used += needed - sum(map(cost, going))
        self._places += len(going)
        self._looked_at = looked_at
        return list(fresh.values())

    def _going(self, fresh: Sequence[SignedRecord], excess: int) -> tuple[list[SignedRecord], int]:
        """What has to go for new records, as far as it is found in one go, and where that ended.

        Each record is looked at once: what is worth keeping stays so, and of what was the last of
        its chain by then there is little; the next start looks at it again. Where only part is
        found, the quota is passed a little, and the next delivery goes on from there.
        """
        if not fresh or excess <= 0:
            return [], self._looked_at
        if self._places * PLACE_BYTES > self._quota:
            raise ArchiveFull(
                f"what is left of records that were pruned fills another {self._quota / 1e9:g} GB",
                "Raise archive_gb in config.toml to hear more",
            )
        wanted = {program for one in fresh for program in built_on(one)}
        candidates = self._store.prunable(self._author, self._looked_at, LOOK_AT_RECORDS)
        going = to_prune(
            (signed for _, signed in candidates),
            self._author,
            lambda program: program in wanted or self._store.is_built_on(program),
            excess,
        )
        if sum(map(cost, going)) >= excess:
            last = going[-1].id
            return going, next(at for at, signed in candidates if signed.id == last)
        if len(candidates) == LOOK_AT_RECORDS:
            return going, candidates[-1][0]
        raise ArchiveFull(
            f"records of others fill the {self._quota / 1e9:g} GB they may take here",
            "Raise archive_gb in config.toml to hear more",
        )
