"""GossipSub for one topic of strangers: what the library does, minus what they could do with it.

Every message is checked here before it is believed to exist: its shape, its author's signature and
the rates of author and forwarder. What it says is none of this module's business.
"""

import time
from collections.abc import Callable
from typing import Any

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub import pubsub as library
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.validators import signature_validator

from gossip.identity import PUBLIC_KEY_BYTES
from gossip.limits import Bucket, Buckets
from gossip.mesh import Degrees
from gossip.mesh.containment import Failures
from gossip.mesh.frames import CutOff, Frames, Malformed, discard, varint, write
from gossip.transport import PUBLISHED_MAX_BYTES

PROTOCOLS = [TProtocol("/meshsub/1.1.0"), TProtocol("/meshsub/1.0.0")]
"""1.2 would announce every message to every peer once more, which triples the frames."""

RPC_MAX_BYTES = 1 << 20
ENVELOPE_MAX_BYTES = 512
"""What surrounds the data of one message: topic, author, number, signature, key."""

RPC_READ_S = 30.0
"""How long a message may take from its first byte to its last."""

RPC_WRITE_S = 30.0

SEEN_TTL_S = 600
QUEUED_RPCS_MAX = 512
QUEUED_BYTES_MAX = 4 << 20
"""What waits for one peer; more is dropped, and comes to it by comparing feeds."""

CONTROL_IDS_MAX = 5000
CONTROL_ENTRIES_MAX = 64
SUBSCRIPTIONS_MAX = 64

AUTHOR_RATE, AUTHOR_BURST, AUTHORS_KEPT = 5.0, 500.0, 20_000
PEER_RATE, PEER_BURST, PEERS_KEPT = 200.0, 4000.0, 1000
"""Messages a second: of one author, who makes one in minutes, and from one peer. Beyond the first
they are left aside; beyond the second the peer is to blame."""

PASSED_RATE, PASSED_BURST = 60.0, 1500.0
"""Messages a second that are passed on, of all authors together. With the frame around each they
count twice at the other side, where they must not look like a flood: else many keys of one stranger
could have honest nodes blame one another."""

ED25519_ID = bytes.fromhex("002408011220")
_SEQUENCE_BYTES = 8


def public_key(peer: bytes) -> bytes | None:
    """The Ed25519 key in the bytes of a peer id; None for every other kind of id."""
    if len(peer) != len(ED25519_ID) + PUBLIC_KEY_BYTES or not peer.startswith(ED25519_ID):
        return None
    return peer[len(ED25519_ID) :]


class Router(GossipSub):
    """The library's router, its parameters set and without what grows for ever."""

    def __init__(self, degrees: Degrees) -> None:
        super().__init__(
            protocols=PROTOCOLS,
            degree=degrees.target,
            degree_low=degrees.low,
            degree_high=degrees.high,
            heartbeat_interval=1,
            gossip_window=12,
            gossip_history=15,
            prune_back_off=10,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
            max_pending_messages_per_peer=16,
        )

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        """Send a message on."""
        await super().publish(msg_forwarder, pubsub_msg)
        # Only the adaptive mode, which is off, would ever empty it.
        self.recent_message_deliveries.clear()

    def _check_equivocation(self, msg: rpc_pb2.Message) -> bool:
        """Not here: it keeps a thousand messages, and records prove equivocation themselves."""
        return True

    def forget_old_back_offs(self) -> None:
        """Drop what has expired; the library does so only for peers that come back."""
        now = time.time()
        for topic, peers in self.back_off.items():
            self.back_off[topic] = {peer: until for peer, until in peers.items() if until > now}


class Topic(Pubsub):
    """The one topic of a node.

    Args:
        heard: called with (forwarder, data) for every new message of somebody else; it says
            whether the message is passed on.
        misbehaved: called with (peer, what) when a peer sends what no honest one does.
    """

    def __init__(
        self,
        host: BasicHost,
        router: Router,
        name: str,
        failures: Failures,
        heard: Callable[[ID, bytes], bool],
        misbehaved: Callable[[ID, str], None],
    ) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,
            seen_ttl=SEEN_TTL_S,
            max_inbound_rpc_size=RPC_MAX_BYTES,
            allowed_topics={name},
        )
        # The library counts from the second of the start, so that after a restart within seconds
        # peers would take new messages for those they have seen.
        self.counter = time.time_ns()
        self.name = name
        self._router = router
        self._failures = failures
        self._heard = heard
        self._misbehaved = misbehaved
        self._authors = Buckets(AUTHOR_RATE, AUTHOR_BURST, AUTHORS_KEPT)
        self._forwarders = Buckets(PEER_RATE, PEER_BURST, PEERS_KEPT)
        self._passing = Bucket(PASSED_BURST, PASSED_RATE, trio.current_time())
        self._registering: dict[ID, trio.Lock] = {}
        self._writing: dict[INetStream, trio.Lock] = {}
        self._watched: set[INetStream] = set()

    def complete(self, peer: ID) -> bool:
        """Whether messages can go both ways: there is a stream, and the peer has subscribed."""
        return peer in self.peers and peer in self.peer_topics.get(self.name, ())

    def forget(self, peer: ID) -> None:
        """Drop everything about a peer that has gone, even if it never was quite there."""
        self._forget_all_subscriptions(peer)
        self._clear_pending_announce_retries_for_peer(peer)
        self.peers.pop(peer, None)
        queue = self.peer_queues.pop(peer, None)
        if queue is not None:
            queue.close()
        # The library does this only for peers with a stream; others would stay in the mesh.
        self._router.remove_peer(peer)

    def close(self) -> None:
        """Let the thread of the library's cache end."""
        self.seen_messages._stop_event.set()

    # Receiving

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Take in what a peer sends until it ends the stream or breaks a rule.

        The end of this stream says nothing about the peer's subscription, which therefore stays;
        `_watch` on the other side opens a new one.
        """
        peer = stream.muxed_conn.peer_id
        frames = Frames(stream)
        try:
            while await frames.wait():
                with trio.fail_after(RPC_READ_S):
                    data = await frames.varint(RPC_MAX_BYTES)
                await self._take_in(peer, data)
        except CutOff:
            pass
        except Malformed as fault:
            self._misbehaved(peer, str(fault))
        finally:
            await discard(stream)

    async def _take_in(self, peer: ID, data: bytes) -> None:
        rpc = rpc_pb2.RPC()
        try:
            rpc.ParseFromString(data)
        except DecodeError:
            raise Malformed("a message that is no protobuf") from None
        if len(rpc.subscriptions) > SUBSCRIPTIONS_MAX:
            raise Malformed(f"{len(rpc.subscriptions)} subscriptions")
        now = trio.current_time()
        for message in rpc.publish:
            if not self._forwarders.take(peer, now):
                raise Malformed("a flood of messages")
            await self.push_msg(peer, message)
        if not self._forwarders.take(peer, now):
            raise Malformed("a flood of messages")
        for subscription in rpc.subscriptions:
            self.handle_subscription(peer, subscription)
        if rpc.HasField("control"):
            self._reduce(peer, rpc)
            with self._failures.contained("control"):
                await self._router.handle_rpc(rpc, peer)

    def _reduce(self, peer: ID, rpc: rpc_pb2.RPC) -> None:
        """Leave of a control message what concerns this topic and cannot be used against it."""
        control = rpc.control
        kinds: list[Any] = [control.ihave, control.iwant, control.graft, control.prune]
        entries = sum(len(kind) for kind in kinds)
        ids = sum(len(entry.messageIDs) for kind in kinds[:2] for entry in kind)
        if entries > CONTROL_ENTRIES_MAX or ids > CONTROL_IDS_MAX:
            raise Malformed(f"{entries} control messages with {ids} ids")
        kept = rpc_pb2.ControlMessage()
        kept.ihave.extend(ihave for ihave in control.ihave if ihave.topicID == self.name)
        kept.iwant.extend(control.iwant)
        kept.prune.extend(
            rpc_pb2.ControlPrune(topicID=prune.topicID, backoff=min(prune.backoff, SEEN_TTL_S))
            for prune in control.prune
            if prune.topicID == self.name
        )
        # Who has not subscribed would never get anything, and only keep others out of the mesh.
        if peer in self.peer_topics.get(self.name, ()):
            kept.graft.extend(graft for graft in control.graft if graft.topicID == self.name)
        rpc.control.CopyFrom(kept)
        # An address book that strangers write is of no use here.
        rpc.ClearField("senderRecord")

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Check a message, hand it up and send it on; nothing it contains can raise here."""
        if msg_forwarder == self.my_id:
            self._mark_msg_seen(msg)
            await self._router.publish(msg_forwarder, msg)
            return
        with self._failures.contained("message"):
            await self._push(msg_forwarder, msg)
            return
        self._misbehaved(msg_forwarder, "a message that could not be read")

    async def _push(self, forwarder: ID, message: rpc_pb2.Message) -> None:
        if self.name not in message.topicIDs:
            return
        fault = self._fault(message)
        if fault:
            self._misbehaved(forwarder, fault)
            return
        author = message.from_id
        if author == self.my_id.to_bytes() or self._is_msg_seen(message):
            return
        if not signature_validator(message):
            self._misbehaved(forwarder, "a message with a wrong signature")
            return
        self._mark_msg_seen(message)
        now = trio.current_time()
        allowed = self._authors.take(author, now) and self._heard(forwarder, message.data)
        if allowed and not self._passing.wait(now, 1.0):
            self._passing.take(1.0)
            await self._router.publish(forwarder, message)

    def _fault(self, message: rpc_pb2.Message) -> str:
        """What is wrong with the shape of a message, if anything."""
        if list(message.topicIDs) != [self.name]:
            return "a message for several topics"
        if not 0 < len(message.data) <= PUBLISHED_MAX_BYTES:
            return f"a message of {len(message.data)} bytes"
        if message.ByteSize() > len(message.data) + ENVELOPE_MAX_BYTES:
            return "a message with something attached"
        if public_key(message.from_id) is None:
            return "a message whose author has no Ed25519 key"
        if len(message.seqno) != _SEQUENCE_BYTES:
            return "a message with a malformed number"
        return ""

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Nobody reads the library's subscriptions; `heard` is called instead."""

    # Sending

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Open the stream to a peer, once. Two tasks would each open one, and one be forgotten."""
        turn = self._registering.setdefault(peer_id, trio.Lock())
        try:
            async with turn:
                await super()._handle_new_peer(peer_id)
        except Exception as error:
            # Only this kind is tried again, and a reset at the wrong moment is none of it.
            raise SwarmException(str(error)) from error
        finally:
            if not turn.locked():
                self._registering.pop(peer_id, None)
        stream = self.peers.get(peer_id)
        if stream is None:
            raise SwarmException("the stream was lost as soon as it was there")
        if stream not in self._watched:
            self._watched.add(stream)
            self.manager.run_task(self._watch, peer_id, stream)

    async def _watch(self, peer: ID, stream: INetStream) -> None:
        """Notice when the peer ends the stream that this node sends on, and open another.

        Nothing ever comes on it, and nobody else would notice before the next message is lost.
        """
        with self._failures.contained("watching"):
            while await Frames(stream).wait():
                pass
        await self._lost(peer, stream)

    async def write_msg(self, stream: INetStream, rpc_msg: rpc_pb2.RPC) -> bool:
        """Write a message whole, one at a time; False if the stream is lost."""
        if self.peers.get(stream.muxed_conn.peer_id) is not stream:
            return False
        lock = self._writing.setdefault(stream, trio.Lock())
        frame = varint(rpc_msg.SerializeToString())
        with self._failures.contained("sending"), trio.fail_after(RPC_WRITE_S):
            async with lock:
                await write(stream, frame)
            return True
        await self._lost(stream.muxed_conn.peer_id, stream)
        return False

    async def _lost(self, peer: ID, stream: INetStream) -> None:
        self._writing.pop(stream, None)
        self._watched.discard(stream)
        await discard(stream)
        if self.peers.get(peer) is stream:
            self._handle_dead_peer(peer)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """A stream has died, which on a live connection ends nothing: the peer believes that it is
        still subscribed and in the mesh, and will not say so again."""
        kept = peer_id in self.peer_topics.get(self.name, ()) and self._peer_is_connected(peer_id)
        members = self._router.mesh.get(self.name, set())
        is_member = peer_id in members
        super()._handle_dead_peer(peer_id)
        if kept and is_member:
            members.add(peer_id)
        if kept:
            self.peer_topics.setdefault(self.name, set()).add(peer_id)
            self._peer_subscription_count[peer_id] = 1


class BoundedQueue(RpcQueue):
    """What waits to be sent to one peer, limited in bytes too: a peer that asks for everything
    again and reads nothing would otherwise have it all kept for it."""

    def __init__(self) -> None:
        super().__init__(QUEUED_RPCS_MAX, RPC_MAX_BYTES)
        self._bytes = 0

    def push(self, rpc: rpc_pb2.RPC, priority: bool = False) -> bool:
        """Add a message if there is room."""
        size = rpc.ByteSize()
        if self._bytes + size > QUEUED_BYTES_MAX or not super().push(rpc, priority):
            return False
        self._bytes += size
        return True

    async def pop(self) -> rpc_pb2.RPC | None:
        """The next message; None once the queue is closed and empty."""
        rpc = await super().pop()
        if rpc is not None:
            self._bytes -= rpc.ByteSize()
        return rpc


def install() -> None:
    """Replace what can be replaced only in the library's module."""
    library.RpcQueue = BoundedQueue  # type: ignore[attr-defined, assignment]
