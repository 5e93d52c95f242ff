"""Peers in a test: keys, and their signed records put into somebody else's ledger."""

from gossip.feeds import Link
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.wire import decode, encode
from skep.records import NO_PREVIOUS, Claim, Payload, Record, Run, SignedRecord
from tests.gossip.scenes import SWARM
from tests.node.recorded import STORIES

BOB = Identity(b"bob".ljust(32, b"."))
EVE = Identity(b"eve".ljust(32, b"."))


class Stranger:
    """An author elsewhere, whose records stand in one chain."""

    def __init__(self, key: Identity) -> None:
        self.key = key
        self.link = Link(key.public[:8], 0, NO_PREVIOUS)
        self.lines: list[bytes] = []
        """Record ids of its baselines."""

    def says(self, payload: Payload) -> SignedRecord:
        """The next record of its feed."""
        record = Record(
            v=1,
            swarm=SWARM,
            task=STORIES.id,
            author=self.key.public,
            session=self.link.session,
            seq=self.link.seq,
            prev=self.link.prev,
            time=0,
            kind={Run: "run", Claim: "claim"}.get(type(payload), "note"),
            payload=payload,
        )
        body = encode(record)
        self.link = self.link.after(body)
        return decode(self.key.sign(body) + body)


async def deliver(ledger: Ledger, *records: SignedRecord) -> None:
    """Put records of others into a ledger, as a mesh would."""
    await ledger.admit(records)


async def claims(ledger: Ledger, author: Stranger, screen: Run, effect: float = -0.5) -> bytes:
    """A screen that an author says is better than its parent; the claim's id."""
    assert screen.parent is not None
    shown = author.says(screen)
    claim = Claim(
        program=screen.program,
        parent=screen.parent,
        run=shown.id,
        effect=round(effect * 1e6),
        note=screen.note,
    )
    said = author.says(claim)
    await deliver(ledger, shown, said)
    return said.id
