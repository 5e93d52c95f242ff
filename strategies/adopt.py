"""Adopt: try the best program that a peer offers, against the own champion, on this machine.

What an author says of its program only decides when it is tried: the screen, the re-runs and the
rule for keeping are those of any other candidate. Whether offers may take time at all is not
decided here.
"""

import hashlib

from skep.patch import make
from skep.ports import ADOPT, Offer, Proposal, View

RECENT_MAX = 2
"""Of the latest four offers tried here, one author has at most so many while others wait."""

BELIEVED_SIGMA = 5.0
"""Nobody is served earlier for a larger number than this."""


class Adopt:
    """Proposes what peers offer. It has no state: everything is in the view."""

    name = ADOPT

    def ready(self, view: View) -> bool:
        """Whether there is an offer."""
        return bool(view.offers)

    async def propose(self, view: View) -> Proposal | None:
        """The best offer that nobody has run or is running here; None if there is none."""
        for offer in sorted(view.offers, key=lambda one: urgency(one, view)):
            if offer.fingerprint not in view.fingerprints:
                return Proposal(
                    source=offer.source,
                    parent=view.champion,
                    edits=make(view.champion_source, offer.source),
                    strategy=self.name,
                    note=f"from {offer.name}" + (f": {offer.note}" if offer.note else ""),
                    claim=offer.claim,
                )
        return None


def urgency(offer: Offer, view: View) -> tuple[bool, int, float, bytes]:
    """Sorts offers, the first to be tried first.

    Authors that had their share step back; then those go first whose offers held more often here
    than they failed, and last those of whom it is the other way round; then what is said to be
    best. Ties fall differently on every node, so that peers do not all test the same.
    """
    balance = offer.failed - offer.held
    standing = (balance > 0) - (balance < 0)
    estimate = max(offer.estimate, -BELIEVED_SIGMA * view.sigma)
    tie = hashlib.sha256(offer.program + view.seed.to_bytes(8, "big")).digest()
    return offer.recent >= RECENT_MAX, standing, estimate, tie
