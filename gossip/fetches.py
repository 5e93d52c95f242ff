"""What is to be had from one peer, what came of it, and which chains are asked of whom. Pure.

When something is asked for, and what becomes of the answers, is decided in `gossip.sync`.
"""

from collections.abc import Iterable

from msgspec import Struct

from gossip.messages import Range, Request, Want
from gossip.replica import FORKED, Replica, Row
from skep.records import SignedRecord

FETCH_MAX, FETCH_MIN, FETCH_ALL = 8192, 256, 131_072
"""Rows of one peer that are kept at once, and its equal part of those of all if there are many; the
others are listed again when these are done."""

FAILED_MAX, FAILED_S = 8192, 30.0
"""Rows of one peer that led to nothing, and for how long they are not tried again as they are."""


FRUITLESS_MAX, PAUSE_S, PAUSE_MAX_S = 8, 0.25, 2.0
"""Requests in a row that may bring nothing; then there is a pause before each, longer and longer.
Somebody can list chains that nobody has as fast as they are asked for."""

BUSY_S = 3.0
"""For so long nobody else is asked for what a peer was asked for."""


class Search(Struct, frozen=True):
    """Where the fork of a chain can be.

    Attributes:
        low, high: the first and the last place.
        wide: the peer left out the place in the middle, so it is asked for all behind it.
    """

    low: int
    high: int
    wide: bool = False


class Fetch:
    """What is to be had from one peer.

    Attributes:
        rows: its chains that have something which is not here.
        searches: chains that diverged, and where their fork can be.
        failed: rows that led to nothing.
        failed_since: when the last of them were forgiven.
        asked: what it has not answered yet.
        asked_at: when it was asked.
        mending: whether that is for holes.
        after: where its next page of rows begins, empty if there is none.
        pages: how many there were in this comparison.
        compare_again: whether another one is due.
        stuck: whether others have been asked for all that is left.
        paused_until: when it may be asked for more.
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.searches: dict[bytes, Search] = {}
        self.failed: dict[bytes, Row] = {}
        self.asked: Request | None = None
        self.asked_at = self.failed_since = self.paused_until = 0.0
        self.mending = self.stuck = False
        self.after = b""
        self.pages = 0
        self.compare_again = False
        self._fruitless = 0

    def brought(self, now: float, *, anything: bool) -> None:
        """Note whether a request brought anything new."""
        self._fruitless = 0 if anything else self._fruitless + 1
        beyond = self._fruitless - FRUITLESS_MAX
        if beyond > 0:
            self.paused_until = now + min(PAUSE_S * beyond, PAUSE_MAX_S)

    def drop(self, key: bytes) -> None:
        """Let a chain be until the next comparison."""
        self.rows.pop(key, None)
        self.searches.pop(key, None)

    def fail(self, key: bytes) -> None:
        """Let a chain be until the peer says something else of it."""
        row = self.rows.get(key)
        if row is not None and len(self.failed) < FAILED_MAX:
            self.failed[key] = row
        self.drop(key)

    def forgive(self, now: float) -> None:
        """Forget what led to nothing, after a while: all of it may be tried again."""
        if now - self.failed_since > FAILED_S:
            self.failed, self.failed_since = {}, now

    def range(self, row: Row, replica: Replica) -> Range | None:
        """What of a peer's chain to ask for next; None if that is the proof of its fork, or if the
        search for one has ended."""
        key, mine = row.key, replica.row(row.key)
        here = mine.next if mine else 0
        same_length = mine is not None and row.next == here and not (row.forked or mine.forked)
        if key in self.searches or same_length:
            # Another end than ours: there is a fork before, which is looked for by halving.
            found = self._probe(key, self.searches.setdefault(key, Search(0, here - 1)), replica)
            if found is None:
                self.fail(key)
            return found
        if mine and mine.forked:
            return None
        # Of a fork both records are sent with what leads to it; without that they are its proof.
        stop = min(row.next + 1, FORKED - 1) if row.forked and row.next >= here else row.next
        return Range(key, here, stop) if stop > here else None

    def _probe(self, key: bytes, search: Search, replica: Replica) -> Range | None:
        """The place at which a fork is looked for next: only one held here tells anything."""
        chain = replica.chain(key)
        if chain is None or search.low > search.high:
            return None
        at = chain.nearest((search.low + search.high) // 2, search.low, search.high)
        if at is None:
            return None
        return Range(key, at + 1, search.high + 1) if search.wide else Range(key, at, at + 1)

    def narrowed(self, key: bytes, seq: int, *, agrees: bool) -> bool:
        """Use a record that is here, or follows one that is not, in looking for a fork; whether it
        brought the search further."""
        search = self.searches.get(key)
        if search is None:
            if not agrees:
                self.searches[key] = Search(0, seq - 1)
            return not agrees
        if not search.low <= seq <= search.high:
            return False
        low, high = (seq + 1, search.high) if agrees else (search.low, seq - 1)
        self.searches[key] = Search(low, high)
        return True

    def passed_over(self, asked: Range) -> None:
        """Go on with a search where the peer has left out what was asked for: with what it has
        behind that place, and if there is nothing either, before it."""
        search = self.searches[asked.key]
        if search.wide:
            self.searches[asked.key] = Search(search.low, asked.start - 2)
        elif asked.start < search.high:
            self.searches[asked.key] = Search(search.low, search.high, wide=True)
        else:
            self.searches[asked.key] = Search(search.low, asked.start - 1)


class Brought:
    """What came of one answer.

    Attributes:
        now, peer, fetch: when, from whom, and what else is to be had there.
        whole: whether all records in it could be read.
        came: chains of its records.
        moved: those that are nearer to the peer's.
        twins: records by place and the one before: the first of each.
        last: chain and place of the last record that was taken in.
        leapt: whether a hole came of it.
    """

    def __init__(self, now: float, peer: bytes, fetch: Fetch, *, whole: bool) -> None:
        self.now = now
        self.peer = peer
        self.fetch = fetch
        self.whole = whole
        self.came: set[bytes] = set()
        self.moved: set[bytes] = set()
        self.twins: dict[tuple[bytes, int, bytes], SignedRecord] = {}
        self.last = (b"", 0)
        self.leapt = False


class Busy:
    """Whom the records of which chains were asked of, and when."""

    def __init__(self) -> None:
        self._whom: dict[bytes, tuple[bytes, float]] = {}
        self.freed: set[bytes] = set()
        """Chains that nobody is asked for any more; whoever looks after them empties it."""

    def ask(self, now: float, peer: bytes, want: Want) -> None:
        """A peer is asked for these."""
        self._whom.update((key, (peer, now)) for key in keys_of(want))

    def release(self, peer: bytes, asked: Request | None) -> None:
        """It is not asked for them any more."""
        for key in keys_of(asked):
            if self._whom.get(key, (b"", 0.0))[0] == peer:
                del self._whom[key]
                self.freed.add(key)

    def of_others(self, now: float, peer: bytes, key: bytes) -> bool:
        """Whether somebody else was asked for a chain a moment ago."""
        whom, since = self._whom.get(key, (peer, now))
        return whom != peer and now - since < BUSY_S


def keys_of(asked: Request | None) -> Iterable[bytes]:
    """Chains whose records a request is for."""
    return {one.key for one in asked.ranges} if isinstance(asked, Want) else ()
