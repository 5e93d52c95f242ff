"""Noticing that this node's key is used elsewhere, or that its home was restored. Pure.

Two homes with one key do no harm to the records: each goes on in sessions of its own. But the swarm
takes them for one node, and the owner should know.
"""

from skep.records import SignedRecord

RECENT_MS = 60_000
"""A record of ours that is younger was said by somebody who is running now."""


class Twin:
    """What this node has learnt about others in its name.

    Args:
        instance: drawn at this start.
        sessions: those of its own that are stored here.
        started_ms: when that was, in milliseconds since the epoch.
    """

    def __init__(self, instance: bytes, sessions: set[bytes], started_ms: int) -> None:
        self._known = {instance, *sessions}
        self._started_ms = started_ms
        self._elsewhere: set[bytes] = set()
        self._told = False

    def own(self, session: bytes) -> None:
        """A session that this start has begun."""
        self._known.add(session)

    def announced(self, instance: bytes, time: int) -> str:
        """Somebody has announced himself in this node's name; what to tell the owner, if new.

        What was said before this start may be this node's own, of an earlier one, played back.
        """
        if time <= self._started_ms:
            return ""
        return self._met(instance, "is in use by another node right now")

    def came_back(self, signed: SignedRecord, wall_ms: int) -> str:
        """A record of this node has come from peers; what to tell the owner, if new."""
        session = signed.record.session
        if session not in self._known and wall_ms - signed.record.time < RECENT_MS:
            self._elsewhere.add(session)
            return self._met(session, "has just been used to say something elsewhere")
        self._known.add(session)
        if self._told or session in self._elsewhere:
            return ""
        self._told = True
        return (
            "peers gave back records that this node made and this home had lost (a copied or"
            " restored home); they are kept, and this node goes on in a new chain"
        )

    def _met(self, which: bytes, what: str) -> str:
        if which in self._known:
            return ""
        self._known.add(which)
        return (
            f"this node's key {what}: its home was copied. Both go on in chains of their own, but"
            " the swarm takes them for one node. Move identity.key away in one of the homes to"
            " make it a node of its own"
        )
