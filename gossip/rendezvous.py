"""Whom to dial next: known addresses, their back-off, and how many connections are enough. Pure.

Bootstrap addresses are tried for ever; found ones are forgotten after some failures, but a node
whose every address fails keeps the best of them. Nothing here connects.
"""

import random
from collections.abc import Collection, Iterable
from typing import Literal

from msgspec import Struct

from gossip.addresses import Address, Scope, believable, parse_address
from gossip.params import Params
from skep.errors import ConfigError

FAILURES_MAX = 8
"""Failures in a row after which a found address is forgotten."""

PER_PEER_MAX = 8
"""Addresses of one peer that are remembered, besides those that the user has given."""

Source = Literal["bootstrap", "remembered", "found"]


class Tried(Struct, frozen=True):
    """A known address and what came of it.

    Attributes:
        address: multiaddr.
        source: how it got here.
        failures: attempts in a row that failed.
        answered: whether the last attempt succeeded; False before the first one, too.
    """

    address: str
    source: Source
    failures: int
    answered: bool


class _Known(Struct):
    address: Address
    source: Source
    failures: int = 0
    due: float = 0.0


class Rendezvous:
    """Addresses of the swarm and when to try them.

    Args:
        me: own public key, never dialled.
        params: degree, pauses, limits.
        rng: for jitter and choice.
    """

    def __init__(self, me: bytes, params: Params, rng: random.Random) -> None:
        self._me = me
        self._params = params
        self._rng = rng
        self._known: dict[str, _Known] = {}
        self._dialling: set[bytes] = set()

    def add(self, texts: Iterable[str], source: Source, teller: Scope = Scope.machine) -> None:
        """Learn addresses; those that make no sense, or not from this teller, are left out."""
        for text in texts:
            known = self._known.get(text)
            try:
                address = parse_address(text)
            except ConfigError:
                continue
            if address.peer == self._me or not believable(address, teller):
                continue
            if known is not None:
                known.source = source if source == "bootstrap" else known.source
            elif source == "bootstrap" or self._has_room(address.peer):
                self._known[text] = _Known(address, source)

    def _has_room(self, peer: bytes) -> bool:
        """Whether one more address is taken; one that never answered may have to go for it.

        Else whoever first names so many places that nobody is at would be the last to be heard.
        """
        same = sum(known.address.peer == peer for known in self._known.values())
        if same >= PER_PEER_MAX:
            return False
        if len(self._known) < self._params.addresses_max:
            return True
        unproved = [
            text
            for text, known in self._known.items()
            if known.source == "found" and (known.failures or not known.due)
        ]
        if unproved:
            chosen = self._known.pop(self._rng.choice(unproved))
            self._dialling.discard(chosen.address.peer)
        return bool(unproved)

    def known(self) -> list[Tried]:
        """All known addresses."""
        return [
            Tried(text, known.source, known.failures, known.failures == 0 and known.due > 0.0)
            for text, known in self._known.items()
        ]

    def good(self) -> list[str]:
        """Addresses that answered last time, to be remembered and handed on."""
        return [one.address for one in self.known() if one.answered]

    def due(self, now: float, connected: Collection[bytes]) -> list[str]:
        """Addresses to dial now; each has to be reported back by `connected` or `failed`."""
        dialling = self._dialling
        room = min(self._params.degree - len(connected), self._params.dials) - len(dialling)
        if room <= 0:
            return []
        waiting = [
            (text, known)
            for text, known in self._known.items()
            if known.due <= now
            and known.address.peer not in connected
            and known.address.peer not in dialling
        ]
        # Meeting places are for the first contact; in company, others come first.
        first = "bootstrap" if not connected else "found"
        self._rng.shuffle(waiting)
        waiting.sort(key=lambda one: (one[1].source != first, one[1].failures))
        chosen: dict[bytes, str] = {}
        for text, known in waiting:
            if len(chosen) < room and known.address.peer not in chosen:
                chosen[known.address.peer] = text
                dialling.add(known.address.peer)
        return list(chosen.values())

    def reached(self, now: float, text: str) -> None:
        """An address answered."""
        if known := self._known.get(text):
            self._dialling.discard(known.address.peer)
            known.failures = 0
            known.due = now + self._pause(0)

    def failed(self, now: float, text: str) -> None:
        """An address did not answer; it is tried again later, and later each time."""
        known = self._known.get(text)
        if known is None:
            return
        self._dialling.discard(known.address.peer)
        known.failures += 1
        known.due = now + self._pause(known.failures)
        if known.source != "bootstrap" and known.failures >= FAILURES_MAX and len(self._known) > 1:
            del self._known[text]

    def next_due(self) -> float | None:
        """When the next address can be tried."""
        waiting = (k.due for k in self._known.values() if k.address.peer not in self._dialling)
        return min(waiting, default=None)

    def _pause(self, failures: int) -> float:
        longest = min(self._params.dial_s * 2**failures, self._params.dial_max_s)
        return float(longest * self._rng.uniform(0.5, 1.0))
