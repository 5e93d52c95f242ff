"""Bringing two replicas together: compare, fetch what is missing, prove forks. Sans-IO.

Gossip is a hint; this is the guarantee. One comparison with one peer goes: are the digests the
same? If not, its rows; then ranges of records until nothing of its rows is missing here; then the
proofs of forks. A peer that is behind is told so and does the same from its side. Whatever breaks
off is taken up by the next comparison, with whomever that is.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Protocol

from gossip.admission import BROKEN_PROMISE, FORGED, MALFORMED, Admission
from gossip.chains import HEAD_BYTES
from gossip.messages import (
    HAVE_MAX,
    RANGES_MAX,
    RECORDS_MAX,
    RECORDS_MAX_BYTES,
    ROWS_MAX,
    Answer,
    Compare,
    Have,
    Proof,
    Range,
    Records,
    Request,
    Rows,
    Same,
    Want,
    rows_of,
)
from gossip.params import Params
from gossip.replica import FORKED, Replica, Row, chain_key
from gossip.validate import Validator
from skep.records import SignedRecord

EARLY_MAX = 512
"""Records kept that came before the one they follow."""

EARLY_S = 60.0

FETCH_MAX = 8192
"""Rows of one peer that are kept at once; the others are listed again when these are done."""

PAGES_MAX = 64
"""Pages of rows in one comparison: a peer can invent chains without end."""

FAILED_MAX, FAILED_S = 8192, 30.0
"""Rows of one peer that led to nothing, and for how long they are not tried again as they are."""

DEFERRED_MAX = 8192
"""Chains held back by a quota that are remembered; others are only asked for too early."""

BUSY_S = 3.0
"""For so long nobody else is asked for what a peer was asked for."""


class Archive(Protocol):
    """Where stored records are read from."""

    def chain(self, author: bytes, session: bytes, start: int, stop: int) -> list[bytes]:
        """Records `signature ‖ body` of a chain in order of position, within a message's limits;
        both where two share a position."""
        ...


class Fetch:
    """What is to be had from one peer.

    Attributes:
        rows: its chains that have something which is not here.
        probes: chains that diverged: where their fork can be, from the first to the last position.
        failed: rows that led to nothing.
        asked: what it has not answered yet.
        asked_at: when it was asked.
        after: where its next page of rows begins, empty if there is none.
        pages: how many there were in this comparison.
        compare_again: whether another one is due.
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.probes: dict[bytes, tuple[int, int]] = {}
        self.failed: dict[bytes, Row] = {}
        self.asked: Request | None = None
        self.asked_at = self.failed_since = 0.0
        self.after = b""
        self.pages = 0
        self.compare_again = False

    def drop(self, key: bytes) -> None:
        """Let a chain be until the next comparison."""
        self.rows.pop(key, None)
        self.probes.pop(key, None)

    def fail(self, key: bytes) -> None:
        """Let a chain be until the peer says something else of it."""
        row = self.rows.get(key)
        if row is not None and len(self.failed) < FAILED_MAX:
            self.failed[key] = row
        self.drop(key)


class Sync:
    """Feeds of one swarm, kept equal with those of peers.

    Args:
        swarm: its id.
        params: limits.
        replica: the index; this is its only writer.
        archive: the records behind the index.
        validator: checks records.
        admission: how many may come in.
        blame: told of what peers did wrong: (peer, points, why).
    """

    def __init__(
        self,
        *,
        swarm: bytes,
        params: Params,
        replica: Replica,
        archive: Archive,
        validator: Validator,
        admission: Admission,
        blame: Callable[[bytes, float, str], None],
    ) -> None:
        self._swarm = swarm
        self._params = params
        self._replica = replica
        self._archive = archive
        self._validator = validator
        self._admission = admission
        self._blame = blame
        self._fetches: dict[bytes, Fetch] = {}
        self._deferred: dict[bytes, float] = {}
        self._early: OrderedDict[tuple[bytes, int], tuple[float, SignedRecord]] = OrderedDict()
        self.taken: list[SignedRecord] = []
        """Records that have come in and are to be stored; whoever stores them empties the list."""

    @property
    def behind(self) -> bool:
        """Whether something is known to be missing here that no quota holds back."""
        return bool(self._early) or any(fetch.rows for fetch in self._fetches.values())

    def deferred_until(self) -> float | None:
        """When the first chain that is held back by a quota may be asked for again."""
        return min(self._deferred.values(), default=None)

    # This node asks

    def compare(self, peer: bytes) -> Request | None:
        """The request that begins a comparison; None while one with this peer is going on."""
        fetch = self._fetches.setdefault(peer, Fetch())
        if fetch.asked is not None:
            fetch.compare_again = True
            return None
        fetch.after, fetch.pages = b"", 0
        fetch.asked = Compare(self._swarm, self._replica.digest())
        return fetch.asked

    def fetch(self, now: float, peer: bytes, rows: list[Row]) -> Request | None:
        """The request for records that a peer has said it has; None if one is under way."""
        fetch = self._fetches.setdefault(peer, Fetch())
        for row in rows[: FETCH_MAX - len(fetch.rows)]:
            if self._wants(fetch, row):
                fetch.rows[row.key] = row
        return self._next(now, peer, fetch) if fetch.asked is None else None

    def forget(self, peer: bytes, unanswered: Request | None = None) -> None:
        """The peer is gone, or did not answer this: what it was asked since then still stands."""
        fetch = self._fetches.get(peer)
        if fetch is not None and (unanswered is None or unanswered is fetch.asked):
            del self._fetches[peer]

    def answered(self, now: float, peer: bytes, asked: Request, answer: Answer) -> list[Request]:
        """Take in an answer, if it is awaited still; what to ask and to tell the peer next."""
        fetch = self._fetches.get(peer)
        if fetch is None or fetch.asked is not asked:
            return []
        fetch.asked = None
        told: list[Request] = []
        if isinstance(asked, Compare) and isinstance(answer, Rows):
            told = self._compared(peer, fetch, asked, answer)
        elif isinstance(asked, Want | Proof) and isinstance(answer, Records):
            self._received(now, peer, fetch, asked, answer)
        elif not (isinstance(asked, Compare) and isinstance(answer, Same)):
            self._blame(peer, MALFORMED, "an answer to another question")
            fetch.rows.clear()
        following = self._next(now, peer, fetch)
        return [*told, *([following] if following else [])]

    def resume(self, now: float) -> list[tuple[bytes, Request]]:
        """What to ask whom, of that which waited for another peer to deliver it."""
        waiting = [
            (peer, fetch)
            for peer, fetch in self._fetches.items()
            if fetch.asked is None and (fetch.rows or fetch.after or fetch.compare_again)
        ]
        found = ((peer, self._next(now, peer, fetch)) for peer, fetch in waiting)
        return [(peer, request) for peer, request in found if request is not None]

    def _compared(self, peer: bytes, fetch: Fetch, asked: Compare, answer: Rows) -> list[Request]:
        """Note what the peer has more of; the announcement of what it has less of, if any."""
        rows = rows_of(answer.rows)
        if rows and rows[0].key <= asked.after:
            self._blame(peer, MALFORMED, "rows of another page")
            return []
        last, more = asked.after, answer.more
        theirs: dict[bytes, Row] = {}
        for row in rows:
            if self._wants(fetch, row):
                if len(fetch.rows) >= FETCH_MAX:
                    more = True
                    break
                fetch.rows[row.key] = row
            theirs[row.key] = row
            last = row.key
        fetch.pages += 1
        if more and fetch.pages < PAGES_MAX:
            fetch.after = last
        ahead = [
            row
            for row in self._replica.rows(asked.after)
            if (row.key <= last or not more) and _is_ahead(row, theirs.get(row.key))
        ]
        if not ahead:
            return []
        return [Have(self._swarm, b"".join(row.packed() for row in ahead[:HAVE_MAX]))]

    def _wants(self, fetch: Fetch, row: Row) -> bool:
        """Whether a row of a peer is worth asking it for more."""
        return fetch.failed.get(row.key) != row and self._lacks(row)

    def _lacks(self, theirs: Row) -> bool:
        """Whether a peer with this row has anything that is not here."""
        mine = self._replica.row(theirs.key)
        if mine is None:
            return self._replica.size < self._params.feeds_max
        if mine.forked:
            # Only an earlier fork, or another one in the same place, is news.
            return theirs.forked and theirs.next <= mine.next and theirs != mine
        return (
            theirs.next > mine.next
            or (theirs.next == mine.next and theirs != mine)
            or (theirs.forked)
        )

    def _next(self, now: float, peer: bytes, fetch: Fetch) -> Request | None:
        """What to ask a peer for, until it has nothing more that is missing here."""
        self._deferred = {key: at for key, at in self._deferred.items() if at > now}
        for one, (since, _) in list(self._early.items()):
            if now - since > EARLY_S or self._is_here(*one):
                del self._early[one]
        busy = {
            one.key
            for other, their in self._fetches.items()
            if other != peer and isinstance(their.asked, Want) and now - their.asked_at < BUSY_S
            for one in their.asked.ranges
        }
        fetch.asked_at = now
        if now - fetch.failed_since > FAILED_S:
            fetch.failed, fetch.failed_since = {}, now
        ranges: list[Range] = []
        for key, row in list(fetch.rows.items()):
            if len(ranges) == RANGES_MAX:
                break
            if key in self._deferred or not (self._lacks(row) or key in fetch.probes):
                fetch.drop(key)
            elif key not in busy:
                ranges += self._range(fetch, row)
        if ranges:
            fetch.asked = Want(self._swarm, tuple(ranges))
            return fetch.asked
        for key, row in list(fetch.rows.items()):
            if key not in busy:
                if row.forked:
                    fetch.asked = Proof(self._swarm, key)
                    return fetch.asked
                fetch.drop(key)
        return None if fetch.rows else self._go_on(peer, fetch)

    def _go_on(self, peer: bytes, fetch: Fetch) -> Request | None:
        """The next page of a peer whose rows are done with, or the comparison that waited."""
        if fetch.after:
            fetch.asked = Compare(self._swarm, self._replica.digest(), fetch.after)
            fetch.after = b""
            return fetch.asked
        if fetch.compare_again:
            fetch.compare_again = False
            return self.compare(peer)
        return None

    def _is_here(self, key: bytes, seq: int) -> bool:
        chain = self._replica.chain(key)
        return chain is not None and (seq < chain.next or chain.fork is not None)

    def _range(self, fetch: Fetch, row: Row) -> Iterator[Range]:
        """What of a peer's chain to ask for next, if it is not just the proof of its fork."""
        mine = self._replica.row(row.key)
        here = mine.next if mine else 0
        same_length = mine is not None and row.next == here and not (row.forked or mine.forked)
        if row.key in fetch.probes or same_length:
            # Another end than ours: there is a fork before, which is looked for by halving.
            low, high = fetch.probes.setdefault(row.key, (0, here - 1))
            if low <= high:
                yield Range(row.key, _middle(low, high), _middle(low, high) + 1)
            else:
                fetch.drop(row.key)
        elif row.next > here and not (mine and mine.forked):
            yield Range(row.key, here, row.next)

    def _received(
        self, now: float, peer: bytes, fetch: Fetch, asked: Want | Proof, answer: Records
    ) -> None:
        """Take in records that were asked for."""
        ranges = asked.ranges if isinstance(asked, Want) else (Range(asked.key, 0, FORKED),)
        stretches = {one.key: range(one.start, one.stop) for one in ranges}
        moved: set[bytes] = set()
        for signed in answer.signed:
            checked = self._validator.record(signed)
            if not isinstance(checked.content, SignedRecord):
                if checked.answer == "reject":
                    self._blame(peer, FORGED if checked.forged else MALFORMED, checked.why)
                    fetch.rows.clear()
                    return
                continue
            record = checked.content.record
            key = chain_key(record.author, record.session)
            if record.seq not in stretches.get(key, ()):
                self._blame(peer, BROKEN_PROMISE, "records that nobody asked for")
                fetch.rows.clear()
                return
            if self._offered(now, fetch, key, checked.content):
                moved.add(key)
        if not moved:
            # Nothing came, or nothing new: another comparison may find it elsewhere.
            for key in stretches:
                (fetch.drop if key in self._deferred else fetch.fail)(key)

    def _offered(self, now: float, fetch: Fetch, key: bytes, signed: SignedRecord) -> bool:
        """Take one record in; whether that brought the chain nearer to the peer's."""
        place, seq = self._replica.place(signed), signed.record.seq
        if place in ("diverged", "known"):
            return _narrowed(fetch, key, seq, agrees=place == "known")
        if place not in ("new", "fork") or not self._admitted(now, key, signed):
            return False
        self._put(now, key, signed)
        if place == "fork":
            fetch.probes.pop(key, None)
        return True

    def _admitted(self, now: float, key: bytes, signed: SignedRecord) -> bool:
        if self._replica.chain(key) is None and self._replica.size >= self._params.feeds_max:
            return False
        wait = self._admission.ask(now, signed.record.author, len(signed.body))
        if wait > 0.0:
            self._deferred[key] = now + wait
            if len(self._deferred) > DEFERRED_MAX:
                del self._deferred[next(iter(self._deferred))]
        return wait == 0.0

    # Others ask, or pass something on

    def heard(self, now: float, signed: SignedRecord) -> Row | None:
        """Take in a record from the topic; what to fetch from whoever passed it on, if anything."""
        key = chain_key(signed.record.author, signed.record.session)
        place = self._replica.place(signed)
        if place in ("new", "fork"):
            if self._deferred.get(key, 0.0) <= now and self._admitted(now, key, signed):
                self._put(now, key, signed)
            return None
        if place == "gap":
            # Messages overtake one another: it may fit in a moment.
            self._early[key, signed.record.seq] = (now, signed)
            if len(self._early) > EARLY_MAX:
                self._early.popitem(last=False)
        if place in ("gap", "diverged") and signed.record.seq + 1 < FORKED:
            return Row(key, signed.record.seq + 1, signed.id[:HEAD_BYTES], forked=False)
        return None

    def _put(self, now: float, key: bytes, signed: SignedRecord) -> None:
        """Index an admitted record, and those behind it that came too early."""
        self._replica.put(signed)
        self.taken.append(signed)
        while (early := self._early.pop((key, signed.record.seq + 1), None)) is not None:
            _, signed = early
            if self._replica.place(signed) != "new" or not self._admitted(now, key, signed):
                return
            self._replica.put(signed)
            self.taken.append(signed)

    def own(self, signed: SignedRecord) -> None:
        """Index a record of this node, which is stored already."""
        if self._replica.place(signed) == "new":
            self._replica.put(signed)

    def asked(self, request: Compare | Want | Proof) -> Answer:
        """Answer a peer."""
        if isinstance(request, Compare):
            if request.digest == self._replica.digest():
                return Same()
            rows = self._replica.rows(request.after, ROWS_MAX)
            return Rows(b"".join(row.packed() for row in rows), len(rows) == ROWS_MAX)
        if isinstance(request, Proof):
            chain = self._replica.chain(request.key)
            if chain is None or chain.fork is None:
                return Records(())
            both = self._archive.chain(
                chain.author, chain.session, chain.fork.seq, chain.fork.seq + 1
            )
            return Records(tuple(both[:RECORDS_MAX]))
        return Records(tuple(self._wanted(request)))

    def _wanted(self, want: Want) -> Iterator[bytes]:
        left, count = RECORDS_MAX_BYTES, RECORDS_MAX
        for one in want.ranges:
            chain = self._replica.chain(one.key)
            if chain is None or left <= 0 or count <= 0:
                continue
            stop = min(one.stop, one.start + count)
            for signed in self._archive.chain(chain.author, chain.session, one.start, stop):
                if left <= 0 or count <= 0:
                    break
                left -= len(signed)
                count -= 1
                yield signed


def _middle(low: int, high: int) -> int:
    """Where a fork between two positions is looked for next."""
    return (low + high) // 2


def _narrowed(fetch: Fetch, key: bytes, seq: int, *, agrees: bool) -> bool:
    """Use a record that is here, or follows one that is not, in looking for a fork; whether it
    brought the search further."""
    low, high = fetch.probes.get(key, (0, -1))
    if key in fetch.probes and seq == _middle(low, high):
        fetch.probes[key] = (seq + 1, high) if agrees else (low, seq - 1)
        return True
    if key in fetch.probes or agrees:
        return False
    fetch.probes[key] = (0, seq - 1)
    return True


def _is_ahead(mine: Row, theirs: Row | None) -> bool:
    return theirs is None or mine.next > theirs.next or (mine.forked and not theirs.forked)
