"""The swarm around a running node as plain JSON values: what it tells commands that ask about it.

Lists are bounded, because an answer of the control socket is, and say how many there are in all.
What peers announce is their own word. Texts for people are `node.cli`'s; what lies in the ledger
is counted by `node.census`.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from gossip.driver import Swarm
from gossip.identity import friendly_name, peer_id
from gossip.messages import Presence
from gossip.protocol import Core

LISTED_MAX = 500
GROUPS_MAX = 100
GLANCE_MAX = 12

PRESENT_S = 5.0
"""How old a list of those present may be that is shown to somebody who asks every second."""

SAMPLE_S = 10.0
SAMPLES = 31
"""Records per minute are those of the last five minutes."""


class Company:
    """Who is around, and how fast records come.

    Args:
        swarm: the node's part in the swarm.
        name: what people call the swarm.
        swarm_id: its id.
    """

    def __init__(self, swarm: Swarm, name: str, swarm_id: bytes) -> None:
        self._swarm = swarm
        self._name = name
        self._id = swarm_id
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._present = _Present(-PRESENT_S, {})

    def sample(self, now: float) -> None:
        """Note how many records there are; to be called every second or so."""
        if not self._samples or now - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now, len(self._swarm.core.replica)))

    def glance(self, now: float) -> dict[str, Any]:
        """The little that is shown every second; costs next to nothing in a large swarm, too."""
        if now - self._present.at >= PRESENT_S:
            self._present = _Present(now, self._swarm.core.present(now))
        return self._summary(now, self._present, GLANCE_MAX, GLANCE_MAX)

    def document(self, now: float) -> dict[str, Any]:
        """Swarm, peers, who is present, and known addresses."""
        core = self._swarm.core
        present, known = _Present(now, core.present(now)), core.rendezvous.known()
        return {
            **self._summary(now, present, LISTED_MAX, GROUPS_MAX),
            "swarm_id": self._id.hex(),
            "peer_id": peer_id(core.me),
            "feeds": core.replica.size,
            "present": [
                {"peer_id": peer_id(author), "name": friendly_name(author), **_presence(one)}
                for author, one in islice(present.nodes.items(), LISTED_MAX)
            ],
            "known_total": len(known),
            "known": [
                {
                    "address": one.address,
                    "source": one.source,
                    "failures": one.failures,
                    "answered": one.answered,
                }
                for one in known[:LISTED_MAX]
            ],
        }

    def _summary(
        self, now: float, present: "_Present", peers_max: int, groups_max: int
    ) -> dict[str, Any]:
        core, transport = self._swarm.core, self._swarm.transport
        return {
            "swarm": self._name,
            "addresses": list(transport.addresses[:LISTED_MAX]) if transport else [],
            "records": len(core.replica),
            "announced": present.announced,
            "behind": core.sync.behind,
            "per_minute": self._per_minute(now),
            "peers_total": len(core.peers),
            "peers": _peers(core, now, present.nodes, peers_max),
            "present_total": len(present.nodes),
            "groups_total": len(present.groups),
            "groups": present.groups[:groups_max],
        }

    def _per_minute(self, now: float) -> float | None:
        if not self._samples or now - self._samples[0][0] < SAMPLE_S:
            return None
        since, before = self._samples[0]
        return round(max(len(self._swarm.core.replica) - before, 0) * 60 / (now - since), 1)


class _Present:
    """Who had announced itself at a moment."""

    def __init__(self, at: float, nodes: Mapping[bytes, Presence]) -> None:
        self.at = at
        self.nodes = nodes
        self.groups = groups(nodes.values())
        self.announced = max((one.records for one in nodes.values()), default=None)


def groups(present: Iterable[Presence]) -> list[dict[str, Any]]:
    """Nodes by role, tier and task, the largest group first."""
    nodes: Counter[tuple[str, str, bytes]] = Counter()
    running: Counter[tuple[str, str, bytes]] = Counter()
    for one in present:
        group = (one.role, one.tier, one.task)
        nodes[group] += 1
        running[group] += len(one.running)
    return [
        {
            "role": role,
            "tier": tier,
            "task": task.hex(),
            "nodes": count,
            "running": running[role, tier, task],
        }
        for (role, tier, task), count in sorted(nodes.items(), key=lambda one: (-one[1], one[0]))
    ]


def _peers(
    core: Core, now: float, present: Mapping[bytes, Presence], most: int
) -> list[dict[str, Any]]:
    return [
        {
            "peer_id": peer_id(peer),
            "name": friendly_name(peer),
            "address": known.address,
            "inbound": known.inbound,
            "connected_s": round(now - known.since),
            "bad_points": round(core.standing.points(now, peer), 1),
            **_presence(present.get(peer)),
        }
        for peer, known in islice(core.peers.items(), most)
    ]


def _presence(presence: Presence | None) -> dict[str, Any]:
    if presence is None:
        return {"role": None, "tier": None, "task": None, "records": None, "running": None}
    return {
        "role": presence.role,
        "tier": presence.tier,
        "task": presence.task.hex(),
        "records": presence.records,
        "running": len(presence.running),
    }
