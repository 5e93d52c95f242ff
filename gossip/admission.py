"""How much others may send, and what becomes of peers that misbehave. Pure: time is an argument.

Admission *defers*, it never drops: what is refused now is asked for again later, from whoever has
it by then. Nothing here depends on who handed a record on, else one peer could censor another.
Standing on the wire is about peers alone, for what they themselves sent.
"""

from msgspec import Struct

from gossip.limits import Bucket
from gossip.params import Params

BAD_MAX = 20.0
"""Points at which a peer is disconnected."""

REMEMBERED_MAX = 4096
"""Peers with bad points, and peers that were refused, that are remembered."""

FORGIVEN_S = 600.0
"""Points halve in this time."""

REFUSE_S = 600.0
REFUSE_MAX_S = 24 * 3600.0

MALFORMED = 5.0
"""For bytes that no honest node of this version sends."""

FORGED = 10.0
"""For a record whose signature is wrong."""

BROKEN_PROMISE = 2.0
"""For an answer that is not what was asked for, or rows that no records follow."""

SILENT = 1.0
"""For a request that got no answer, not even a refusal."""


class _Door:
    """New chains of many authors, one after the other: each that has to wait is told its turn.

    If all were told when there is room for one, all would be asked for again at that moment.
    """

    def __init__(self, burst: float, rate: float, now: float, longest_s: float) -> None:
        self.bucket = Bucket(burst, rate, now)
        self._each_s = 1.0 / rate if rate else longest_s
        self._longest_s = longest_s
        self._last = now

    def turn(self, now: float, wait: float) -> float:
        """Seconds until the turn of one more, where there is room for one in `wait` seconds."""
        self._last = min(max(self._last + self._each_s, now + wait), now + self._longest_s)
        return self._last - now


class _Author(Struct):
    records: Bucket
    bytes: Bucket
    chains: Bucket
    total: int
    known_since: float


class Admission:
    """Quotas of records and new chains: each author's, those of newcomers together, everybody's.

    Args:
        params: the numbers.
        known: bytes stored of every author that was here before this start.
        now: seconds.
        closed_s: nothing is admitted for so long.
    """

    def __init__(
        self, params: Params, known: dict[bytes, int], now: float, closed_s: float = 0.0
    ) -> None:
        self._params = params
        self._opens = now + closed_s
        self._all = Bucket(params.all_records, params.all_records_s, now)
        self._newcomers = Bucket(params.newcomers_records, params.newcomers_records_s, now)
        self._newcomers_door = _Door(
            params.newcomers_chains, params.newcomers_chains_s, now, params.newcomer_s
        )
        self._known_door = _Door(params.known_chains, params.known_chains_s, now, params.newcomer_s)
        self._authors: dict[bytes, _Author] = {}
        for author, total in known.items():
            self._authors[author] = self._fresh(now, total, now - params.newcomer_s)

    def ask(self, now: float, author: bytes, size: int, *, begins: bool = False) -> float:
        """0 if a record of `size` bytes may come in now, and is counted; else seconds to wait.

        Args:
            now: seconds.
            author: who signed it.
            size: its bytes.
            begins: whether it is the first here of its chain.
        """
        if now < self._opens:
            return self._opens - now
        known = self._authors.get(author) or self._fresh(now, 0, now)
        newcomer = now - known.known_since < self._params.newcomer_s
        if known.total + size > self._params.author_total_bytes:
            return self._params.newcomer_s
        charges = [(known.records, 1.0), (known.bytes, float(size)), (self._all, 1.0)]
        if newcomer:
            charges.append((self._newcomers, 1.0))
        door = self._newcomers_door if newcomer else self._known_door
        if begins:
            charges += [(known.chains, 1.0), (door.bucket, 1.0)]
        wait = max(bucket.wait(now, cost) for bucket, cost in charges)
        if wait > 0.0:
            full = door.bucket.wait(now, 1.0) if begins else 0.0
            return max(wait, door.turn(now, full)) if full else wait
        for bucket, cost in charges:
            bucket.take(cost)
        known.total += size
        self._authors[author] = known
        return 0.0

    def _fresh(self, now: float, total: int, since: float) -> _Author:
        params = self._params
        return _Author(
            Bucket(params.author_records, params.author_records_s, now),
            Bucket(params.author_bytes, params.author_bytes_s, now),
            Bucket(params.author_chains, params.author_chains_s, now),
            total,
            since,
        )


class Standing:
    """Bad points of peers, forgiven with time, and for how long a peer is refused."""

    def __init__(self) -> None:
        self._points: dict[bytes, tuple[float, float]] = {}
        self._refused: dict[bytes, int] = {}

    def blame(self, now: float, peer: bytes, points: float) -> float:
        """Add points; seconds for which the peer is to be refused, 0 if it may stay."""
        total = self.points(now, peer) + points
        self._points[peer] = (total, now)
        if len(self._points) > REMEMBERED_MAX:
            self._points.pop(min(self._points, key=lambda one: self.points(now, one)))
        if total < BAD_MAX:
            return 0.0
        times = self._refused.pop(peer, 0) + 1
        self._refused[peer] = times
        if len(self._refused) > REMEMBERED_MAX:
            del self._refused[next(iter(self._refused))]
        del self._points[peer]
        return float(min(REFUSE_S * 2 ** (times - 1), REFUSE_MAX_S))

    def points(self, now: float, peer: bytes) -> float:
        """Bad points of a peer now."""
        points, at = self._points.get(peer, (0.0, now))
        return float(points * 0.5 ** (max(now - at, 0.0) / FORGIVEN_S))
