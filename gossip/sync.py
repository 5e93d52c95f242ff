"""Bringing two replicas together: compare, fetch what is missing, prove forks. Sans-IO.

Gossip is a hint; this is the guarantee. One comparison with one peer goes: are the digests the
same? If not, its rows; then ranges of records until nothing of its rows is missing here; then the
proofs of forks. A peer that is behind is told so and does the same from its side. Last, now and
then, it is asked for holes; see `gossip.holes`. Whatever breaks off is taken up by the next
comparison, with whomever that is. Answering is `gossip.answers`.
"""

import math
from collections.abc import Callable
from itertools import islice

from gossip.admission import BROKEN_PROMISE, FORGED, MALFORMED, Admission
from gossip.chains import HEAD_BYTES
from gossip.early import Early
from gossip.fetches import FETCH_ALL, FETCH_MAX, FETCH_MIN, Brought, Busy, Fetch, keys_of
from gossip.holes import Patience, Rounds
from gossip.messages import (
    HAVE_MAX,
    RANGES_MAX,
    RECORDS_MAX,
    RECORDS_MAX_BYTES,
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

PAGES_MAX = 64
"""Pages of rows in one comparison: a peer can invent chains without end."""

DEFERRED_MAX = 65_536
"""Chains held back by a quota that are remembered; others are only asked for too early."""

TIDY_S = 0.5
"""How often it is looked after what time alone changes: there may be thousands of it."""


class Sync:
    """Feeds of one swarm, kept equal with those of peers.

    Args:
        swarm: its id.
        params: limits.
        replica: the index; this is its only writer.
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
        validator: Validator,
        admission: Admission,
        blame: Callable[[bytes, float, str], None],
    ) -> None:
        self._swarm = swarm
        self._params = params
        self._replica = replica
        self._validator = validator
        self._admission = admission
        self._blame = blame
        self._fetches: dict[bytes, Fetch] = {}
        self._deferred: dict[bytes, float] = {}
        self._patience = Patience()
        self._rounds = Rounds(replica)
        self._early = Early()
        self._busy = Busy()
        self._tidied = -math.inf
        self.resume_at = math.inf
        """When a peer that brought nothing may be asked again."""
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
        fetch.forgive(now)
        for row in rows[: max(self._fetch_max - len(fetch.rows), 0)]:
            if self._wants(now, fetch, row):
                fetch.rows[row.key] = row
        return self._next(now, peer, fetch) if fetch.asked is None else None

    def forget(self, peer: bytes, unanswered: Request | None = None) -> None:
        """The peer is gone, or did not answer this: what it was asked since then still stands."""
        fetch = self._fetches.get(peer)
        if fetch is not None and (unanswered is None or unanswered is fetch.asked):
            self._busy.release(peer, fetch.asked)
            del self._fetches[peer]

    def answered(self, now: float, peer: bytes, asked: Request, answer: Answer) -> list[Request]:
        """Take in an answer, if it is awaited still; what to ask and to tell the peer next."""
        fetch = self._fetches.get(peer)
        if fetch is None or fetch.asked is not asked:
            return []
        fetch.asked, mending, fetch.mending = None, fetch.mending, False
        self._busy.release(peer, asked)
        fetch.forgive(now)
        told: list[Request] = []
        if isinstance(asked, Compare) and isinstance(answer, Rows):
            told = self._compared(now, peer, fetch, asked, answer)
            if answer.rows:
                self._rounds.begin(now, peer)
        elif isinstance(asked, Want | Proof) and isinstance(answer, Records):
            self._received(now, peer, asked, answer, mending=mending)
        elif isinstance(asked, Compare) and isinstance(answer, Same):
            self._rounds.begin(now, peer)
        else:
            self._blame(peer, MALFORMED, "an answer to another question")
            fetch.rows.clear()
        following = self._next(now, peer, fetch)
        return [*told, *([following] if following else [])]

    def resume(self, now: float) -> list[tuple[bytes, Request]]:
        """What to ask whom, of that which waited for another peer to deliver it, or for a pause."""
        freed, self._busy.freed = self._busy.freed, set()
        self.resume_at = math.inf
        found: list[tuple[bytes, Request]] = []
        for peer, fetch in list(self._fetches.items()):
            if fetch.asked is not None or not (fetch.rows or fetch.after or fetch.compare_again):
                continue
            still = fetch.stuck and now - fetch.asked_at < TIDY_S
            if still and not fetch.compare_again and freed.isdisjoint(fetch.rows):
                continue
            request = self._next(now, peer, fetch)
            if request is not None:
                found.append((peer, request))
                freed.difference_update(keys_of(request))
        return found

    @property
    def _fetch_max(self) -> int:
        """Rows that are kept of one peer."""
        return max(FETCH_MIN, min(FETCH_MAX, FETCH_ALL // max(len(self._fetches), 1)))

    def _tidy(self, now: float) -> None:
        """Forget what is over."""
        if now - self._tidied < TIDY_S:
            return
        self._tidied = now
        self._deferred = {key: at for key, at in self._deferred.items() if at > now}
        self._early.tidy(now, self._is_here)

    def _compared(
        self, now: float, peer: bytes, fetch: Fetch, asked: Compare, answer: Rows
    ) -> list[Request]:
        """Note what the peer has more of; the announcement of what it has less of, if any."""
        rows = rows_of(answer.rows)
        if rows and rows[0].key <= asked.after:
            self._blame(peer, MALFORMED, "rows of another page")
            return []
        last, more = asked.after, answer.more
        theirs: dict[bytes, Row] = {}
        room = self._fetch_max
        for row in rows:
            if self._wants(now, fetch, row):
                if len(fetch.rows) >= room:
                    more = True
                    break
                fetch.rows[row.key] = row
            theirs[row.key] = row
            last = row.key
        fetch.pages += 1
        if more and fetch.pages < PAGES_MAX:
            fetch.after = last
        mine = self._replica.between(asked.after, last if more else None)
        ahead = islice((row for row in mine if row.is_ahead_of(theirs.get(row.key))), HAVE_MAX)
        packed = b"".join(row.packed() for row in ahead)
        return [Have(self._swarm, packed)] if packed else []

    def _wants(self, now: float, fetch: Fetch, row: Row) -> bool:
        """Whether a row of a peer is worth asking it for more."""
        failed = fetch.failed.get(row.key) == row
        return not failed and not self._waits(now, row.key) and self._lacks(row)

    def _waits(self, now: float, key: bytes) -> bool:
        """Whether a quota holds a chain back."""
        return self._deferred.get(key, 0.0) > now

    def _lacks(self, theirs: Row) -> bool:
        """Whether a peer with this row has anything that is not here."""
        mine = self._replica.row(theirs.key)
        room = mine is not None or self._replica.size < self._params.feeds_max
        return room and theirs.is_news_to(mine)

    def _next(self, now: float, peer: bytes, fetch: Fetch) -> Request | None:
        """What to ask a peer for, until it has nothing more that is missing here."""
        self._tidy(now)
        if now < fetch.paused_until:
            self.resume_at = min(self.resume_at, fetch.paused_until)
            return None
        fetch.asked_at = now
        fetch.stuck = False
        ranges: list[Range] = []
        for key, row in list(fetch.rows.items()):
            if len(ranges) == RANGES_MAX:
                break
            if self._busy.of_others(now, peer, key):
                continue
            if self._waits(now, key) or not (self._lacks(row) or key in fetch.searches):
                fetch.drop(key)
            elif (found := fetch.range(row, self._replica)) is not None:
                ranges.append(found)
        if ranges:
            fetch.asked = Want(self._swarm, tuple(ranges))
            self._busy.ask(now, peer, fetch.asked)
            return fetch.asked
        for key, row in list(fetch.rows.items()):
            if not self._busy.of_others(now, peer, key):
                if row.forked:
                    fetch.asked = Proof(self._swarm, key)
                    return fetch.asked
                fetch.drop(key)
        fetch.stuck = bool(fetch.rows)
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
        if holes := self._rounds.ranges(peer):
            fetch.asked, fetch.mending = Want(self._swarm, holes), True
        return fetch.asked

    def _is_here(self, key: bytes, seq: int) -> bool:
        chain = self._replica.chain(key)
        return chain is not None and (seq < chain.next or chain.fork is not None)

    def _received(
        self, now: float, peer: bytes, asked: Want | Proof, answer: Records, *, mending: bool
    ) -> None:
        """Take in records that were asked for."""
        fetch = self._fetches[peer]
        ranges = asked.ranges if isinstance(asked, Want) else (Range(asked.key, 0, FORKED),)
        records = self._checked(peer, ranges, answer)
        if records is None:
            fetch.rows.clear()
            return
        # What this Skep cannot read is not left out: a chain ends before it.
        brought = Brought(now, peer, fetch, whole=len(records) == len(answer.signed))
        for signed in records:
            self._offered(brought, signed)
        if brought.leapt:
            self._rounds.hurry()
        if mending:
            self._mended(brought, ranges)
        else:
            fetch.brought(now, anything=bool(brought.moved))
            self._settle(brought, ranges, answer, proof=isinstance(asked, Proof))

    def _checked(
        self, peer: bytes, ranges: tuple[Range, ...], answer: Records
    ) -> list[SignedRecord] | None:
        """The records of an answer that mean something here; None if the peer is to blame."""
        asked_for: dict[bytes, list[range]] = {}
        for one in ranges:
            asked_for.setdefault(one.key, []).append(range(one.start, one.stop))
        found: list[SignedRecord] = []
        for signed in answer.signed:
            checked = self._validator.record(signed)
            if isinstance(checked.content, SignedRecord):
                record = checked.content.record
                key = chain_key(record.author, record.session)
                if not any(record.seq in one for one in asked_for.get(key, ())):
                    self._blame(peer, BROKEN_PROMISE, "records that nobody asked for")
                    return None
                found.append(checked.content)
            elif checked.answer == "reject":
                self._blame(peer, FORGED if checked.forged else MALFORMED, checked.why)
                return None
        return found

    def _offered(self, brought: Brought, signed: SignedRecord) -> None:
        """Take in one record of an answer, if it has a place."""
        record = signed.record
        key = chain_key(record.author, record.session)
        brought.came.add(key)
        twin = brought.twins.setdefault((key, record.seq, record.prev), signed)
        if self._placed(brought, key, signed) or (
            twin.id != signed.id and self._proved(brought, key, twin, signed)
        ):
            brought.moved.add(key)

    def _placed(self, brought: Brought, key: bytes, signed: SignedRecord) -> bool:
        """Whether a record, if it was taken in, brought its chain nearer to the peer's."""
        place, seq = self._replica.place(signed), signed.record.seq
        if place in ("diverged", "known"):
            return brought.fetch.narrowed(key, seq, agrees=place == "known")
        if place == "frozen" or (place == "gap" and not self._may_leap(brought, key, seq)):
            return False
        if place == "new" and key in brought.fetch.searches:
            return False  # It would stand in a hole, and may be of either branch.
        if not self._admitted(brought.now, key, signed):
            return False
        self._put(brought.now, key, signed)
        brought.last = (key, seq)
        if place == "gap":
            brought.leapt = True
            self._offer_early(brought.now, key, seq)
        if place == "fork":
            brought.fetch.searches.pop(key, None)
        return True

    def _may_leap(self, brought: Brought, key: bytes, seq: int) -> bool:
        """Whether the places before a record may be a hole: the peer has left them out."""
        if not brought.whole or self._waits(brought.now, key) or seq + 1 >= FORKED:
            return False
        chain = self._replica.chain(key)
        here = chain.next if chain else 0
        return self._patience.left_out(brought.now, brought.peer, key, here)

    def _proved(self, brought: Brought, key: bytes, one: SignedRecord, other: SignedRecord) -> bool:
        """Take in two records that are a fork by themselves, whatever is a hole around them."""
        if not self._replica.may_fork(one):
            return False
        fresh = [each for each in (one, other) if self._replica.place(each) != "known"]
        if not all(self._admitted(brought.now, key, each) for each in fresh):
            return False
        self._replica.freeze(one, other)
        self.taken += fresh
        brought.fetch.searches.pop(key, None)
        return True

    def _settle(
        self, brought: Brought, ranges: tuple[Range, ...], answer: Records, *, proof: bool
    ) -> None:
        """Let chains be that an answer did not bring further: another peer may."""
        fetch, size = brought.fetch, sum(map(len, answer.signed))
        full = len(answer.signed) >= RECORDS_MAX or size >= RECORDS_MAX_BYTES
        for one in ranges:
            key = one.key
            waits = self._waits(brought.now, key)
            idle = key not in brought.moved and not waits
            if key in fetch.searches and idle and not (proof or full):
                fetch.passed_over(one)
                brought.moved.add(key)
            mine = self._replica.row(key)
            if key not in fetch.searches and not proof and mine and mine.next > one.start:
                continue  # It came from somebody else meanwhile, and there may be more.
            if key in brought.moved or (brought.came and key not in brought.came):
                continue  # There may be more, and there was no room for it.
            if waits:
                fetch.drop(key)
            else:
                fetch.fail(key)

    def _mended(self, brought: Brought, ranges: tuple[Range, ...]) -> None:
        """Go on with a round for holes, and with forks that showed at one."""
        fetch = brought.fetch
        self._rounds.answered(brought.peer, ranges, brought.last)
        for key in fetch.searches.keys() - fetch.rows.keys():
            row = self._replica.row(key)
            if row is None or fetch.failed.get(key) == row:
                del fetch.searches[key]
            else:
                fetch.rows[key] = row

    def _admitted(self, now: float, key: bytes, signed: SignedRecord) -> bool:
        begins = self._replica.chain(key) is None
        if begins and self._replica.size >= self._params.feeds_max:
            return False
        wait = self._admission.ask(now, signed.record.author, len(signed.body), begins=begins)
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
        if self._waits(now, key):
            return None
        if place in ("new", "fork"):
            if self._admitted(now, key, signed):
                self._put(now, key, signed)
            return None
        if place == "gap":
            self._early.keep(now, key, signed)
        if place in ("gap", "diverged") and signed.record.seq + 1 < FORKED:
            return Row(key, signed.record.seq + 1, signed.id[:HEAD_BYTES], forked=False)
        return None

    def _put(self, now: float, key: bytes, signed: SignedRecord) -> None:
        """Index an admitted record, and those behind it that came too early."""
        self._replica.put(signed)
        self.taken.append(signed)
        while (early := self._early.at(key, signed.record.seq + 1)) is not None:
            signed = early
            if self._replica.place(signed) != "new" or not self._admitted(now, key, signed):
                return
            self._replica.put(signed)
            self.taken.append(signed)

    def _offer_early(self, now: float, key: bytes, end: int) -> None:
        """Take in what came too early and stands before a place, in the hole that is there now."""
        for signed in self._early.before(key, end):
            if self._replica.place(signed) == "new" and self._admitted(now, key, signed):
                self._put(now, key, signed)

    def own(self, signed: SignedRecord) -> None:
        """Index a record of this node, which is stored already."""
        if self._replica.place(signed) == "new":
            self._replica.put(signed)
