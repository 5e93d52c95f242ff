"""How much run time what peers say may take: budgets, counted over all own runs. Pure.

Those in flight and the next one count at the usual length. The shares hold as long as the node has
ideas of its own; what is tried within them is decided by `node.plan`.
"""

from msgspec import Struct

ADOPTION_SHARE = 0.25
"""Part of this node's run time that may go to offers of peers while it has ideas of its own."""

REPLICATION_SHARE = 0.15
"""Part that may go to re-running claims while it has ideas of its own."""

DOUBTED_SHARE = 0.2
"""Part of that which may go to authors of whose offers more failed here than held."""


class Swarm(Struct, frozen=True, kw_only=True):
    """What peers offer, and what their offers have cost so far.

    Attributes:
        trusted, doubtful: how many offers are left to try, by their authors' standing here.
        doubted: programs that were tried although their author's earlier offers had failed.
        total_ms: time of all own runs; those in flight count as `run_ms` each.
        spent_ms: of that, runs of what peers offered.
        doubted_ms: of that, runs of `doubted`.
        claims: how many claims could be re-run.
        replicated_ms: of all time, runs of such.
        run_ms: what a run usually takes.
    """

    trusted: int = 0
    doubtful: int = 0
    doubted: frozenset[bytes] = frozenset()
    total_ms: float = 0.0
    spent_ms: float = 0.0
    doubted_ms: float = 0.0
    claims: int = 0
    replicated_ms: float = 0.0
    run_ms: float = 0.0

    def affords_replication(self) -> bool:
        """Whether one more run for a claim stays within its share."""
        return self.replicated_ms + self.run_ms <= REPLICATION_SHARE * (self.total_ms + self.run_ms)

    def affords(self) -> bool:
        """Whether one more run of something a peer offered stays within its share."""
        return self.spent_ms + self.run_ms <= ADOPTION_SHARE * (self.total_ms + self.run_ms) + 1

    def affords_doubted(self) -> bool:
        """Whether one more run for an author of bad standing stays within that part."""
        return self.doubted_ms + self.run_ms <= DOUBTED_SHARE * (self.spent_ms + self.run_ms) + 1


NOBODY = Swarm()
