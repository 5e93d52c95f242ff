"""Replicate: try the edit of a peer's claim on the own champion, so that the swarm learns of it.

Which claim is worth it is decided where verdicts are known; here its edit becomes a proposal, with
the claim that a run of it is evidence for. If it holds it is kept like anything else.
"""

from skep.patch import make
from skep.ports import REPLICATE, Proposal, View
from strategies.adopt import describe


class Replicate:
    """Proposes the edits of claims. It has no state: everything is in the view."""

    name = REPLICATE

    def ready(self, view: View) -> bool:
        """Whether there is a claim."""
        return bool(view.claims)

    async def propose(self, view: View) -> Proposal | None:
        """The first claim whose edit has not run on this champion; None if all have."""
        for offer in view.claims:
            if offer.fingerprint not in view.fingerprints:
                return Proposal(
                    source=offer.source,
                    parent=view.champion,
                    edits=make(view.champion_source, offer.source),
                    strategy=self.name,
                    note=describe([offer]),
                    claim=offer.claim,
                )
        return None
