"""Who is there now: the latest announcement of every node, until it expires. Pure.

Announcements are hints for people and for choosing what to try; no record and no verdict depends
on them, and nothing of them is stored.
"""

from msgspec import Struct

from gossip.messages import LASTS_MAX_S, Presence

SKEW_MS = 15 * 60 * 1000
"""How far an author's clock may be off; what is older is a replay."""

AUTHORS_MAX = 8192
"""Nodes that are remembered: some 40 MB, if all of them say as much as they may."""


class Seen(Struct, frozen=True):
    """An announcement and when it is void, in seconds of this node's time."""

    presence: Presence
    until: float


class Attendance:
    """The nodes that have announced themselves lately."""

    def __init__(self) -> None:
        self._seen: dict[bytes, Seen] = {}
        self._next = float("inf")

    def hear(self, now: float, wall_ms: int, presence: Presence) -> bool:
        """Take in an announcement; False if it is old, or tells nothing new.

        Args:
            now: seconds of this node's time.
            wall_ms: milliseconds since the epoch.
            presence: checked and signed by its author.
        """
        self.expire(now)
        known = self._seen.get(presence.author)
        if abs(presence.time - wall_ms) > SKEW_MS + 1000 * presence.lasts_s:
            return False
        if known is not None:
            before = known.presence
            same = before.instance == presence.instance
            if presence.number <= before.number if same else presence.time <= before.time:
                return False
        elif len(self._seen) >= AUTHORS_MAX:
            return False
        until = now + min(presence.lasts_s, LASTS_MAX_S)
        self._seen[presence.author] = Seen(presence, until)
        self._next = min(self._next, until)
        return True

    def expire(self, now: float) -> None:
        """Forget whose announcement is void."""
        if now >= self._next:
            self._seen = {a: seen for a, seen in self._seen.items() if seen.until > now}
            self._next = min((seen.until for seen in self._seen.values()), default=float("inf"))

    def present(self, now: float) -> dict[bytes, Presence]:
        """The latest announcement of every node that is there, by author."""
        self.expire(now)
        return {author: seen.presence for author, seen in self._seen.items()}
