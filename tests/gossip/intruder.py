"""A peer made by hand, which says whatever a test wants at every layer from TCP to GossipSub.

Honest up to where the test begins to lie: each method goes one layer higher.
"""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX
from libp2p.security.noise.transport import Transport as Noise
from libp2p.security.pnet.protector import new_protected_conn
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

from gossip.mesh.addresses import dialable
from gossip.mesh.frames import varint
from tests.gossip.swarms import PATIENCE_S, TOPIC

MULTISTREAM = "/multistream/1.0.0"
MESHSUB = "/meshsub/1.1.0"
IDENTIFY = "/ipfs/id/1.0.0"


def line(text: str | bytes) -> bytes:
    """A line of multistream-select."""
    data = text.encode() if isinstance(text, str) else text
    return varint(data + b"\n")


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> bytes:
    """A frame of Yamux."""
    return struct.pack("!BBHII", 0, kind, flags, stream, length) + body


class Intruder:
    """One connection to a node.

    Attributes:
        key: its key pair; its own Ed25519 one unless the test has another.
        peer: its peer id.
    """

    def __init__(self, address: str, key: KeyPair | None = None, psk: bytes | None = None) -> None:
        place, public = dialable(address)
        self._place = place
        self._victim = ID(bytes.fromhex("002408011220") + public)
        self._psk = psk
        self.key = key or create_new_key_pair()
        self.peer = ID.from_pubkey(self.key.public_key)
        self._messages = 0

    @property
    def public(self) -> bytes:
        """Its public key."""
        return self.key.public_key.to_bytes()

    async def tcp(self) -> trio.SocketStream:
        """A connection on which nothing was said yet."""
        with trio.fail_after(PATIENCE_S):
            return await trio.open_tcp_stream(self._place.host, self._place.port)

    async def noise(self) -> Any:
        """A connection secured by Noise, on which nothing was said since."""
        stream = await self.tcp()
        conn: Any = RawConnection(TrioTCPStream(stream), True)
        if self._psk:
            conn = new_protected_conn(conn, self._psk.hex())
        try:
            with trio.fail_after(PATIENCE_S):
                await negotiate(conn, "/noise")
                noise = Noise(self.key, noise_privkey=new_noise_key().private_key)
                return await noise.secure_outbound(conn, self._victim)
        except BaseException:
            stream.socket.close()
            raise

    async def bare(self) -> Any:
        """A connection that has agreed on Yamux, and has no muxer on this side."""
        secured = await self.noise()
        with trio.fail_after(PATIENCE_S):
            await negotiate(secured, "/yamux/1.0.0")
        return secured

    @asynccontextmanager
    async def muxed(self) -> AsyncIterator[Yamux]:
        """A connection with the library's own muxer on this side."""
        secured = await self.bare()
        muxer = Yamux(secured, self._victim, is_initiator=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxer.start)
            await muxer.event_started.wait()
            try:
                yield muxer
            finally:
                # A socket that is closed like this is the rudest way to leave.
                secured.conn.read_writer.read_write_closer.stream.stream.socket.close()
                nursery.cancel_scope.cancel()

    async def stream(self, muxer: Yamux, protocol: str) -> YamuxStream:
        """A stream for a protocol."""
        with trio.fail_after(PATIENCE_S):
            stream = await muxer.open_stream()
            await negotiate(stream, protocol)
            return stream

    @asynccontextmanager
    async def topic(self) -> AsyncIterator[YamuxStream]:
        """The stream on which a peer tells its messages, subscription already sent."""
        async with self.muxed() as muxer:
            stream = await self.stream(muxer, MESHSUB)
            hello = rpc_pb2.RPC()
            hello.subscriptions.add(subscribe=True, topicid=TOPIC)
            await stream.write(varint(hello.SerializeToString()))
            yield stream

    def message(self, data: bytes, /, **fields: Any) -> rpc_pb2.Message:
        """A message of the topic, signed; fields given override what was signed."""
        self._messages += 1
        message = rpc_pb2.Message(
            data=data,
            topicIDs=[TOPIC],
            from_id=self.peer.to_bytes(),
            seqno=self._messages.to_bytes(8, "big"),
        )
        payload = PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString()
        message.signature = self.key.private_key.sign(payload)
        message.key = self.key.public_key.serialize()
        for name, value in fields.items():
            if name == "topicIDs":
                del message.topicIDs[:]
                message.topicIDs.extend(value)
            else:
                setattr(message, name, value)
        return message


def told(*messages: rpc_pb2.Message) -> bytes:
    """Messages as they are sent."""
    return varint(rpc_pb2.RPC(publish=messages).SerializeToString())


async def negotiate(conn: Any, protocol: Any) -> None:
    """Agree on a protocol, as an honest peer does."""
    await MultiselectClient().select_one_of([protocol], MultiselectCommunicator(conn), 5)


async def rest(stream: trio.SocketStream) -> bytes:
    """Everything that still comes, until the other side closes the connection."""
    received = bytearray()
    with trio.fail_after(PATIENCE_S):
        try:
            async for data in stream:
                received += data
        except trio.BrokenResourceError:
            pass
    return bytes(received)


async def all_of(secured: Any) -> bytes:
    """Everything a secured connection still says, until its other side closes it."""
    received = b""
    with trio.fail_after(PATIENCE_S), suppress(Exception):
        while True:
            received += await secured.read(1)
    await secured.close()
    return received
