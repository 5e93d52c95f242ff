"""Is what came over the topic worth passing on? A pure function of the bytes and the swarm's id.

Three answers: `accept`; `reject`, for which whoever sent it is answerable; `ignore`, for what may
be honest but means nothing here. Quotas play no part: a verdict that depended on them, or on who
handed a message on, would let a peer silence another.
"""

from collections import OrderedDict
from typing import Literal

from msgspec import Struct

from gossip.identity import verify, verify_presence
from gossip.messages import Presence, unpack_presence
from gossip.wire import decode
from skep.errors import NewerRecord, RecordError
from skep.records import SignedRecord

RECORD = b"r"
PRESENCE = b"p"
"""First byte of a message of the topic: what follows it."""

REMEMBERED = 512
"""Messages whose answer is kept: the mesh asks first, the protocol a moment later."""

Answer = Literal["accept", "reject", "ignore"]


class Checked(Struct, frozen=True):
    """What a message of the topic is.

    Attributes:
        answer: whether to take it and pass it on.
        content: what it says, if accepted.
        why: what is wrong with it, if not.
        forged: its signature is not that of the author it names.
    """

    answer: Answer
    content: SignedRecord | Presence | None = None
    why: str = ""
    forged: bool = False


class Validator:
    """Checks messages and records for one swarm."""

    def __init__(self, swarm: bytes) -> None:
        self._swarm = swarm
        self._remembered: OrderedDict[bytes, Checked] = OrderedDict()

    def message(self, data: bytes) -> Checked:
        """Check a message of the topic. Never raises."""
        known = self._remembered.get(data)
        if known is None:
            known = self._remembered[data] = self._message(data)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return known

    def record(self, signed: bytes) -> Checked:
        """Check `signature ‖ body` of a record. Never raises."""
        try:
            found = decode(signed)
        except NewerRecord as error:
            return Checked("ignore", why=str(error))
        except RecordError as error:
            return Checked("reject", why=str(error))
        if found.record.swarm != self._swarm:
            return Checked("reject", why="a record of another swarm")
        if not verify(found.record.author, found.body, found.signature):
            return Checked("reject", why="a record with a wrong signature", forged=True)
        return Checked("accept", found)

    def _message(self, data: bytes) -> Checked:
        if data[:1] == RECORD:
            return self.record(data[1:])
        if data[:1] == PRESENCE:
            return self._presence(data[1:])
        return Checked("ignore", why="a message of an unknown kind")

    def _presence(self, signed: bytes) -> Checked:
        try:
            presence, body, signature = unpack_presence(signed)
        except RecordError as error:
            return Checked("reject", why=str(error))
        if presence.swarm != self._swarm:
            return Checked("reject", why="an announcement of another swarm")
        if not verify_presence(presence.author, body, signature):
            return Checked("reject", why="an announcement with a wrong signature", forged=True)
        return Checked("accept", presence)
