"""Fetching the texts of programs that records speak of, and handing out one's own. Sans-IO.

A text is asked for by its content id, so whoever sends it cannot cheat; whether it is harmless is
not looked at here.
"""

import hashlib
import random
from collections.abc import Collection
from typing import Protocol

from gossip.messages import PROGRAMS_MAX, RECORDS_MAX_BYTES, Programs, WantPrograms


class Shelf(Protocol):
    """Where the texts of programs are read from."""

    def text(self, program: bytes) -> str | None:
        """Source of a program, None if it is not here."""
        ...


class Texts:
    """The programs that are wanted, one request at a time."""

    def __init__(self, swarm: bytes, shelf: Shelf, rng: random.Random) -> None:
        self._swarm = swarm
        self._shelf = shelf
        self._rng = rng
        self._under_way: frozenset[bytes] = frozenset()
        self.missing: frozenset[bytes] = frozenset()
        """Content ids of the texts that this node would like to have."""

    def request(self, peers: Collection[bytes]) -> tuple[bytes, WantPrograms] | None:
        """Whom to ask for what; None while an answer is awaited, or nothing is missing."""
        if not self.missing or not peers or self._under_way:
            return None
        wanted = sorted(self.missing)
        some = self._rng.sample(wanted, min(PROGRAMS_MAX, len(wanted)))
        self._under_way = frozenset(some)
        return self._rng.choice(sorted(peers)), WantPrograms(self._swarm, tuple(some))

    def unanswered(self) -> None:
        """The request has failed; the next goes to whomever chance picks."""
        self._under_way = frozenset()

    def answered(self, request: WantPrograms, answer: Programs) -> dict[bytes, bytes] | None:
        """Texts that came, by content id; None if one is not what was asked for."""
        self._under_way = frozenset()
        found = {
            content_id: text
            for content_id, text in zip(request.ids, answer.texts, strict=False)
            if text is not None
        }
        if any(hashlib.sha256(text).digest() != content_id for content_id, text in found.items()):
            return None
        self.missing -= found.keys()
        return found

    def answer(self, request: WantPrograms) -> Programs:
        """What is here of a peer's request, as much as fits one answer."""
        left = RECORDS_MAX_BYTES
        texts: list[bytes | None] = []
        for content_id in request.ids:
            source = self._shelf.text(content_id)
            text = source.encode() if source is not None else None
            left -= len(text or b"")
            texts.append(text if left >= 0 else None)
        return Programs(tuple(texts))
