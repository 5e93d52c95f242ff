"""How much one peer may ask of a node: slots for what runs at once, buckets for what comes in time.

Pure counting; time is an argument. What happens to whoever asks for more is the caller's decision.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable

REQUESTS_PER_PEER = 4
REQUESTS_MAX = 64
"""Requests that are answered at once, of one peer and of all; further ones are refused."""


class Slots:
    """Things that run at once, limited for each owner and in all."""

    def __init__(self, each: int, together: int) -> None:
        self._each = each
        self._free = together
        self._taken: dict[Hashable, int] = {}

    def take(self, owner: Hashable) -> bool:
        """Whether there was a slot, which is now taken."""
        taken = self._taken.get(owner, 0)
        if taken >= self._each or not self._free:
            return False
        self._free -= 1
        self._taken[owner] = taken + 1
        return True

    def give_back(self, owner: Hashable) -> None:
        """Free a slot that this owner took."""
        self._free += 1
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]


class Bucket:
    """Tokens that refill with time up to a burst."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._at = now

    def wait(self, now: float, cost: float) -> float:
        """Seconds until `cost` tokens are there; 0 if they are, infinity if none ever come."""
        self._left = min(self._burst, self._left + max(now - self._at, 0.0) * self._rate)
        self._at = now
        missing = cost - self._left
        if missing <= 0.0:
            return 0.0
        return missing / self._rate if self._rate else math.inf

    def take(self, cost: float) -> None:
        """Use tokens, which `wait` has said are there."""
        self._left -= cost


class Buckets:
    """Token buckets, one for each of the owners heard of last.

    Args:
        rate: tokens a second that flow into a bucket.
        burst: tokens that fit into one, and are in a new one.
        owners: buckets that are kept; the one used longest ago makes room.
    """

    def __init__(self, rate: float, burst: float, owners: int) -> None:
        self._rate = rate
        self._burst = burst
        self._owners = owners
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, owner: Hashable, now: float) -> bool:
        """Whether there was a token, which is now spent. `now` is in seconds of any clock."""
        bucket = self._buckets.pop(owner, None) or Bucket(self._burst, self._rate, now)
        self._buckets[owner] = bucket
        if len(self._buckets) > self._owners:
            self._buckets.popitem(last=False)
        if bucket.wait(now, 1.0):
            return False
        bucket.take(1.0)
        return True
