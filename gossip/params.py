"""The numbers of the protocol: how often, how many, how much. Pure values, no rules."""

from msgspec import Struct


class Params(Struct, frozen=True, kw_only=True):
    """What one node does for the mesh, and what it lets others do to it.

    Attributes:
        compare_s: mean seconds between two comparisons of feeds with random peers.
        compare_peers: peers asked each time.
        behind_s: the same while something is known to be missing.
        presence_s: seconds between two announcements of this node in a small swarm.
        presence_per_peer_s: added spacing in a large one: all announcements together stay below
            one in so many seconds.
        degree: connections a node tries to have; it stops looking for peers there.
        connections_max: connections it allows; beyond, whoever came in `rotate_s` ago makes room.
        dial_s: shortest pause between two attempts on one address; it doubles up to `dial_max_s`.
        dials: attempts at once.
        addresses_max: addresses of others that are remembered.
        author_records, author_bytes: what one author may send at once.
        author_records_s, author_bytes_s: and for how much more each second gives leave.
        author_total_bytes: and in all.
        newcomers_records, newcomers_records_s: the same for all authors together that this node
            has known for less than `newcomer_s`.
        author_chains, author_chains_s: chains that one author may begin.
        newcomers_chains, newcomers_chains_s: and all such new authors together.
        known_chains, known_chains_s: and all the others together.
        all_records, all_records_s: the same for everybody: what this machine will check.
        feeds_max: feeds in the index; beyond it no new ones are taken.
    """

    compare_s: float = 15.0
    compare_peers: int = 2
    behind_s: float = 2.0
    presence_s: float = 120.0
    presence_per_peer_s: float = 0.6
    degree: int = 8
    connections_max: int = 64
    rotate_s: float = 5.0
    dial_s: float = 2.0
    dial_max_s: float = 300.0
    dials: int = 4
    addresses_max: int = 512
    author_records: float = 8192.0
    author_records_s: float = 2.0
    author_bytes: float = 16 * 2**20
    author_bytes_s: float = 64 * 2**10
    author_total_bytes: int = 256 * 2**20
    newcomers_records: float = 50_000.0
    newcomers_records_s: float = 100.0
    newcomer_s: float = 24 * 3600.0
    author_chains: float = 64.0
    author_chains_s: float = 0.001
    newcomers_chains: float = 8192.0
    newcomers_chains_s: float = 0.1
    known_chains: float = 8192.0
    known_chains_s: float = 0.1
    all_records: float = 20_000.0
    all_records_s: float = 1000.0
    feeds_max: int = 100_000


NODE = Params()
"""An ordinary node."""

LAB = Params(dial_max_s=10.0)
"""A node of a lab, which waits at few doors, and for these to open."""

MEETING_PLACE = Params(degree=48, connections_max=384, dials=8)
"""A node for others to meet at: wide, so that it can hand on many addresses."""
