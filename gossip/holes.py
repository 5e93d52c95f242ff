"""When to go on over places that a peer leaves out, and whom to ask for them afterwards. Pure.

Homes prune what led to nothing, so a place can be missing at every peer there is. A chain then goes
on behind it, but not at one peer's word: others are asked first. What was left out is a hole, and
everybody is asked for it again, round by round, so that a liar hides nothing for long and an old
node that comes back repairs what was lost. Rounds are few and small: most holes stay.
"""

from collections import OrderedDict
from itertools import islice

from msgspec import Struct

from gossip.messages import RANGES_MAX, Range
from gossip.replica import Replica

LEAP_PEERS = 3
"""Peers that have left a place out before it is given up, unless that takes too long."""

LEAP_S = 20.0
"""How long after the first of them it is given up anyway."""

LEAPING_S = 60.0
"""For so long after a leap the same chain needs no patience: where one was pruned, others were."""

WAITING_MAX = 8192
"""Chains with a place that was left out that are remembered."""

ROUND_REQUESTS = 16
"""Requests of one round that bring nothing; it is over then, and the next one goes on there."""

ROUND_S, ROUND_MAX_S = 300.0, 3600.0
"""Seconds between two rounds with one peer. They double where one brought nothing."""

ROUNDS_MAX = 1024
"""Peers whose round is remembered."""


class _Waiting(Struct):
    """A place that was left out: since when it is missed, by whom, and until when to leap."""

    seq: int
    since: float
    peers: set[bytes]
    leap_until: float = float("-inf")


class Patience:
    """Which chains have a next place that peers leave out."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, _Waiting] = OrderedDict()

    def left_out(self, now: float, peer: bytes, key: bytes, seq: int) -> bool:
        """Note that a peer has what stands behind a place, and not what stands there; whether to
        go on without it."""
        one = self._waiting.pop(key, None)
        if one is None or (one.seq != seq and now > one.leap_until):
            one = _Waiting(seq, now, set())
        self._waiting[key] = one
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)
        if len(one.peers) < LEAP_PEERS:
            one.peers.add(peer)
        enough = len(one.peers) >= LEAP_PEERS or now - one.since >= LEAP_S
        if now <= one.leap_until or enough:
            one.leap_until = now + LEAPING_S
            return True
        return False


class _Round(Struct):
    """How far a peer has been asked for what is missing here.

    Attributes:
        key, seq: where to go on.
        begun: when the last round began.
        pause: how long after that the next one may.
        left: requests that may still bring nothing.
        found: whether one has brought something.
    """

    key: bytes = b""
    seq: int = 0
    begun: float = float("-inf")
    pause: float = ROUND_S
    left: int = 0
    found: bool = False


class Rounds:
    """What every peer is asked for to fill holes."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._rounds: OrderedDict[bytes, _Round] = OrderedDict()

    def begin(self, now: float, peer: bytes) -> None:
        """Feeds were compared with a peer: begin a round, if one is due and there are holes."""
        one = self._rounds.get(peer) or _Round()
        if one.left or now - one.begun < one.pause or not self._holes(b"", 0):
            return
        if not self._holes(one.key, one.seq):
            one.key, one.seq = b"", 0
        one.begun, one.left, one.found = now, ROUND_REQUESTS, False
        self._rounds.pop(peer, None)
        self._rounds[peer] = one
        if len(self._rounds) > ROUNDS_MAX:
            self._rounds.popitem(last=False)

    def ranges(self, peer: bytes) -> tuple[Range, ...]:
        """What to ask a peer for next; nothing, if no round is going on or this one is over."""
        one = self._rounds.get(peer)
        if one is None or not one.left:
            return ()
        found = self._holes(one.key, one.seq)
        one.left = one.left - 1 if found else 0
        if not one.left:
            one.pause = ROUND_S if one.found else min(2 * one.pause, ROUND_MAX_S)
        return found

    def answered(self, peer: bytes, asked: tuple[Range, ...], last: tuple[bytes, int]) -> None:
        """Go on behind the last record that was new, or else behind all that was asked for.

        Args:
            peer: who answered.
            asked: for what.
            last: chain and place of that record; an empty name if there was none.
        """
        one = self._rounds.get(peer)
        if one is None:
            return
        if last[0]:
            one.key, one.seq = last[0], last[1] + 1
            one.left, one.found, one.pause = one.left + 1, True, ROUND_S
        else:
            one.key, one.seq = asked[-1].key, asked[-1].stop

    def hurry(self) -> None:
        """There are new holes: nobody's pause has to be long."""
        for one in self._rounds.values():
            one.pause = ROUND_S

    def _holes(self, key: bytes, seq: int) -> tuple[Range, ...]:
        holes = islice(self._replica.holes(key, seq), RANGES_MAX)
        return tuple(Range(one.key, one.start, one.stop) for one in holes)
