"""What goes into the protocol and what comes out of it, as values. No rules.

Events of connections and messages are those of `gossip.transport`; these are the others.
"""

from collections.abc import Mapping

from msgspec import Struct

from gossip.transport import Service, TransportEvent
from skep.records import SignedRecord

# Events


class Woke(Struct, frozen=True):
    """The time that was asked for has come."""


class Said(Struct, frozen=True):
    """This node has said something: the record is durable in its own feed."""

    signed: SignedRecord


class Asked(Struct, frozen=True):
    """A peer asks. The answer has to carry the same number."""

    peer: bytes
    service: Service
    data: bytes
    number: int


class Answered(Struct, frozen=True):
    """The answer to a request of this node."""

    number: int
    data: bytes


class Unanswered(Struct, frozen=True):
    """A request of this node got no answer; `refused`, if the peer has said that it gives none."""

    number: int
    refused: bool = False


class Dialled(Struct, frozen=True):
    """An attempt to connect has ended."""

    address: str
    reached: bool


class Found(Struct, frozen=True):
    """Addresses from elsewhere: the local network, or the user."""

    addresses: tuple[str, ...]


class Listening(Struct, frozen=True):
    """Where this node can be reached; replaces what was said before."""

    addresses: tuple[str, ...]


class Missing(Struct, frozen=True):
    """Programs whose text this node would like to have; replaces what was missing before."""

    programs: frozenset[bytes]


Event = (
    TransportEvent
    | Woke
    | Said
    | Asked
    | Answered
    | Unanswered
    | Dialled
    | Found
    | Listening
    | Missing
)

# Effects


class Publish(Struct, frozen=True):
    """Give a message to the topic."""

    data: bytes


class Ask(Struct, frozen=True):
    """Send a request; its outcome comes back as `Answered` or `Unanswered` with the number."""

    peer: bytes
    service: Service
    data: bytes
    number: int


class Reply(Struct, frozen=True):
    """Answer the request of that number in so many seconds; empty bytes refuse it."""

    number: int
    data: bytes
    delay_s: float = 0.0


class Keep(Struct, frozen=True):
    """Store these records, which are checked and have their place."""

    records: tuple[SignedRecord, ...]


class Dial(Struct, frozen=True):
    """Try to connect; the outcome comes back as `Dialled`."""

    address: str


class Drop(Struct, frozen=True):
    """Close the connections of a peer, and refuse new ones for a while."""

    peer: bytes
    refuse_s: float
    why: str


class Announce(Struct, frozen=True):
    """Sign and publish a presence of this node, good for `lasts_s` seconds."""

    lasts_s: int


class Arrived(Struct, frozen=True):
    """Texts that were missing, by content id; their hash is right, nothing else is known."""

    texts: Mapping[bytes, bytes]


class Notice(Struct, frozen=True):
    """Something the person watching should know."""

    text: str


Effect = Publish | Ask | Reply | Keep | Dial | Drop | Announce | Arrived | Notice
