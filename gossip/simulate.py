"""A mesh in one process, in virtual time: many cores of `gossip.protocol` and a network between.

The protocol code is the shipped one, down to signatures and bytes; only sockets, disks and clocks
are modelled. The network delays and loses messages, cuts itself in parts and lets nodes die and
come back with what they had stored. Same seed, same course, to the last event.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial

from gossip.effects import (
    Announce,
    Answered,
    Ask,
    Asked,
    Dial,
    Dialled,
    Drop,
    Effect,
    Event,
    Keep,
    Listening,
    Notice,
    Publish,
    Reply,
    Said,
    Unanswered,
    Woke,
)
from gossip.feeds import Link
from gossip.identity import Identity
from gossip.messages import RECORDS_MAX, Presence, pack
from gossip.params import MEETING_PLACE, NODE, Params
from gossip.protocol import Core
from gossip.replica import Replica
from gossip.transport import Connected, Disconnected, Heard
from gossip.validate import PRESENCE
from gossip.wire import decode, encode
from skep.records import NO_PREVIOUS, Payload, Record, SignedRecord

WALL_MS = 1_800_000_000_000
MESH_DEGREE = 6
"""Neighbours that a message of the topic is handed on to, as GossipSub does."""

TIMEOUT_S = 20.0


class MemoryArchive:
    """Records and programs of a simulated node: what survives when it dies."""

    def __init__(self) -> None:
        self._chains: dict[tuple[bytes, bytes], dict[int, list[SignedRecord]]] = {}
        self._ids: set[bytes] = set()
        self._pruned: set[bytes] = set()
        self.texts: dict[bytes, str] = {}

    def keep(self, records: Iterable[SignedRecord]) -> None:
        """Store records; what is there already stays as it is."""
        for one in records:
            if one.id not in self._ids:
                self._ids.add(one.id)
                chain = self._chains.setdefault((one.record.author, one.record.session), {})
                chain.setdefault(one.record.seq, []).append(one)

    def prune(self, records: Iterable[SignedRecord]) -> None:
        """Let go of records that are stored; their places stay."""
        self._pruned.update(one.id for one in records)

    def chain(self, author: bytes, session: bytes, start: int, stop: int) -> list[bytes]:
        """Records of a chain in order."""
        chain = self._chains.get((author, session), {})
        wanted = sorted(seq for seq in chain if start <= seq < stop)
        found = [one for seq in wanted for one in sorted(chain[seq], key=_id)]
        return [one.signature + one.body for one in found if one.id not in self._pruned][
            :RECORDS_MAX
        ]

    def positions(self) -> list[tuple[bytes, bytes, int, bytes, bytes]]:
        """Everything stored, pruned or not, in the order that an index is built from."""
        return [
            (author, session, seq, one.id, one.record.prev)
            for (author, session), chain in sorted(self._chains.items())
            for seq, both in sorted(chain.items())
            for one in sorted(both, key=_id)
        ]

    def text(self, program: bytes) -> str | None:
        """Source of a program."""
        return self.texts.get(program)


class SimulatedNode:
    """One node: its key, what it has stored, and its core while it lives."""

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self.identity = Identity(random.Random(f"{seed}/{number}").randbytes(32))  # noqa: S311
        self.archive = MemoryArchive()
        self.core: Core | None = None
        self.starts = 0
        self.links: set[int] = set()
        self.notices: list[str] = []
        self.answers: dict[int, Callable[[bytes], None]] = {}
        self.seen: set[bytes] = set()
        self.woken_at = -1.0
        host = ".".join(str(part) for part in number.to_bytes(3, "big"))
        self.address = f"/ip4/10.{host}/tcp/4001/p2p/{self.identity.peer_id}"
        self.place = Link(b"", 0, NO_PREVIOUS)


class World:
    """The nodes, the network and the clock.

    Args:
        nodes: how many; the first is where all others meet.
        seed: of everything random.
        params: of every node.
        latency: seconds a message takes, from a uniform range.
        loss: share of topic messages that get lost on each hop, and of requests.
        presence: whether announcements are carried.
    """

    def __init__(
        self,
        nodes: int,
        *,
        seed: int = 0,
        params: Params = NODE,
        latency: tuple[float, float] = (0.01, 0.2),
        loss: float = 0.0,
        presence: bool = True,
    ) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a simulation
        self.now = 0.0
        self.swarm = b"simulated".ljust(32, b"\0")
        self.task = b"task".ljust(32, b"\0")
        self.loss = loss
        self.counts: Counter[str] = Counter()
        self._params = params
        self._latency = latency
        self._presence = presence
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._tokens = itertools.count()
        self._part: dict[int, int] = {}
        self.nodes = [SimulatedNode(number, seed) for number in range(nodes)]
        self._by_key = {node.identity.public: node for node in self.nodes}
        self._by_address = {node.address: node for node in self.nodes}
        for node in self.nodes:
            self.at(self.rng.uniform(0.0, 2.0), partial(self.start, node))

    # The course of time

    def at(self, delay: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._queue, (self.now + delay, next(self._order), action))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = end

    # What happens to nodes

    def start(self, node: SimulatedNode) -> None:
        """Start a node, or start it again with what it has stored."""
        if node.core is not None:
            return
        node.starts += 1
        node.place = Link(self.rng.randbytes(8), 0, NO_PREVIOUS)
        node.core = Core(
            me=node.identity.public,
            swarm=self.swarm,
            replica=Replica(node.archive.positions()),
            archive=node.archive,
            shelf=node.archive,
            known={},
            params=self._params if node.number else MEETING_PLACE,
            instance=self.rng.randbytes(8),
            now=self.now,
            wall_ms=WALL_MS + round(self.now * 1000),
            seed=self.rng.getrandbits(32),
        )
        node.core.rendezvous.add([self.nodes[0].address], "bootstrap")
        self._tell(node, Listening((node.address,)))

    def kill(self, node: SimulatedNode) -> None:
        """End a node at once: it keeps what it has stored and nothing else."""
        node.core = None
        node.seen.clear()
        node.answers.clear()
        for number in list(node.links):
            self._unlink(node, self.nodes[number])

    def say(self, node: SimulatedNode, payload: Payload, kind: str = "run") -> SignedRecord:
        """Let a node publish a record."""
        body = encode(
            Record(
                v=1,
                swarm=self.swarm,
                task=self.task,
                author=node.identity.public,
                session=node.place.session,
                seq=node.place.seq,
                prev=node.place.prev,
                time=WALL_MS + round(self.now * 1000),
                kind=kind,
                payload=payload,
            )
        )
        signed = decode(node.identity.sign(body) + body)
        node.place = node.place.after(body)
        node.archive.keep([signed])
        self._tell(node, Said(signed))
        return signed

    def split(self, *parts: Collection[int]) -> None:
        """Cut the network between parts; nodes not named stay with the first. No part heals it."""
        self._part = {number: index for index, part in enumerate(parts) for number in part}
        for node in self.nodes:
            for number in list(node.links):
                if self._apart(node, self.nodes[number]):
                    self._unlink(node, self.nodes[number])

    def alive(self) -> list[SimulatedNode]:
        """Nodes that run now."""
        return [node for node in self.nodes if node.core is not None]

    def digests(self) -> set[bytes]:
        """Digests of all running nodes: one, where all hold the same."""
        return {node.core.replica.digest() for node in self.nodes if node.core is not None}

    # Carrying out effects

    def _tell(self, node: SimulatedNode, event: Event) -> None:
        if node.core is None:
            return
        self.counts["events"] += 1
        for effect in node.core.handle(self.now, event):
            self._carry_out(node, effect)
        if node.core is not None:
            self._wake_later(node, node.core)

    def _wake_later(self, node: SimulatedNode, core: Core) -> None:
        due = core.wake_at
        if self.now < node.woken_at <= due:
            return
        node.woken_at = due

        def wake() -> None:
            if node.core is core and node.woken_at == due:
                node.woken_at = -1.0
                self._tell(node, Woke())

        self.at(max(due - self.now, 0.001), wake)

    def _carry_out(self, node: SimulatedNode, effect: Effect) -> None:
        match effect:
            case Keep():
                node.archive.keep(effect.records)
            case Publish():
                self._spread(node, effect.data, exclude=node.number)
            case Ask():
                self._request(node, effect)
            case Reply():
                back = node.answers.pop(effect.number)
                self.at(effect.delay_s, partial(back, effect.data))
            case Dial():
                self._dial(node, effect.address)
            case Drop():
                peer = self._by_key.get(effect.peer)
                if peer is not None:
                    self._unlink(node, peer)
            case Announce():
                self._announce(node, effect.lasts_s)
            case Notice():
                node.notices.append(effect.text)
            case _:
                pass

    def _delay(self) -> float:
        return self.rng.uniform(*self._latency)

    def _apart(self, one: SimulatedNode, other: SimulatedNode) -> bool:
        return self._part.get(one.number, 0) != self._part.get(other.number, 0)

    def _dial(self, node: SimulatedNode, address: str) -> None:
        peer = self._by_address.get(address)

        def arrive() -> None:
            reached = peer is not None and peer.core is not None and not self._apart(node, peer)
            if node.core is not None and reached and peer is not None:
                self._link(node, peer)
            self._tell(node, Dialled(address, reached))

        self.at(self._delay(), arrive)

    def _link(self, node: SimulatedNode, peer: SimulatedNode) -> None:
        if peer.number in node.links:
            return
        node.links.add(peer.number)
        peer.links.add(node.number)
        self._tell(node, Connected(peer.identity.public, peer.address, inbound=False))
        self._tell(peer, Connected(node.identity.public, node.address, inbound=True))

    def _unlink(self, one: SimulatedNode, other: SimulatedNode) -> None:
        if other.number in one.links:
            one.links.discard(other.number)
            other.links.discard(one.number)
            self._tell(one, Disconnected(other.identity.public))
            self._tell(other, Disconnected(one.identity.public))

    def _spread(self, node: SimulatedNode, data: bytes, exclude: int) -> None:
        """Hand a message of the topic on, once."""
        key = data[:160]
        if key in node.seen:
            return
        node.seen.add(key)
        others = sorted(node.links - {exclude})
        for number in self.rng.sample(others, min(MESH_DEGREE, len(others))):
            self.counts["messages"] += 1
            self.counts["bytes"] += len(data)
            if self.rng.random() >= self.loss:
                peer = self.nodes[number]
                self.at(self._delay(), partial(self._hear, peer, node, data))

    def _hear(self, node: SimulatedNode, sender: SimulatedNode, data: bytes) -> None:
        if node.core is None or sender.number not in node.links or data[:160] in node.seen:
            return
        verdict = node.core.validator.message(data).answer
        self._tell(node, Heard(sender.identity.public, data))
        if verdict == "accept":
            self._spread(node, data, exclude=sender.number)

    def _request(self, node: SimulatedNode, ask: Ask) -> None:
        peer = self._by_key[ask.peer]
        core = node.core
        self.counts["requests"] += 1
        self.counts["bytes"] += len(ask.data)
        lost = self.rng.random() < self.loss

        def back(data: bytes) -> None:
            self.counts["bytes"] += len(data)
            outcome = Answered(ask.number, data) if data else Unanswered(ask.number, refused=True)
            self.at(self._delay(), lambda: tell(outcome))

        def tell(outcome: Event) -> None:
            if node.core is core:
                self._tell(node, outcome)

        def arrive() -> None:
            if peer.core is None or peer.number not in node.links or lost:
                self.at(TIMEOUT_S, lambda: tell(Unanswered(ask.number)))
                return
            token = next(self._tokens)
            peer.answers[token] = back
            self._tell(peer, Asked(node.identity.public, ask.service, ask.data, token))

        self.at(self._delay(), arrive)

    def _announce(self, node: SimulatedNode, lasts_s: int) -> None:
        if not self._presence or node.core is None:
            return
        presence = Presence(
            swarm=self.swarm,
            author=node.identity.public,
            instance=node.core.instance,
            number=round(self.now * 1000),
            time=WALL_MS + round(self.now * 1000),
            lasts_s=lasts_s,
            role="full",
            tier="simulated",
            task=self.task,
            records=len(node.core.replica),
            running=(),
            software="skep",
        )
        body = pack(presence)
        self._spread(node, PRESENCE + node.identity.sign_presence(body) + body, node.number)


def _id(signed: SignedRecord) -> bytes:
    return signed.id
