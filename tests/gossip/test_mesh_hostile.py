"""What strangers can say to a node of the mesh: anything, at any layer, and it stays well.

After every attack the node still lives its first life, answers an honest peer that was connected
before, accepts one that comes now, and exchanges messages with both.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
from libp2p.crypto import rsa, secp256k1
from libp2p.pubsub.pb import rpc_pb2

from gossip.mesh import host, muxer, node, topic
from gossip.mesh.frames import sized, varint
from gossip.transport import Heard
from tests.gossip.intruder import IDENTIFY, MESHSUB, MULTISTREAM, all_of, frame, line, rest, told
from tests.gossip.siege import Scene, hears_again, host_of, siege
from tests.gossip.swarms import PATIENCE_S, SYNC, TOPIC, event_of, until


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that no test waits for: what is refused has to be refused for what it is."""
    monkeypatch.setattr(host, "UPGRADE_TIMEOUT_S", 60.0)
    monkeypatch.setattr(host, "NEGOTIATION_TIMEOUT_S", 60.0)


@pytest.fixture
async def scene(patient: None) -> AsyncIterator[Scene]:
    """A scene whose victim has to be well at the end."""
    async with siege() as scene:
        yield scene


# TCP and multistream


GARBAGE_ON_TCP = [
    bytes(1 << 20),
    bytes(range(256)) * 16,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    bytes.fromhex("16030100c8010000c40303") + bytes(200),
    b"\xff" * 100,
    line(MULTISTREAM) + line(b"\xff\xfe\x80"),
    line(MULTISTREAM) + bytes.fromhex("ffffffffffffffffff3f") + b"endless",
    line(MULTISTREAM) + varint(b"no end of line"),
    line(MULTISTREAM) + b"\x00" * 100,
    line(MULTISTREAM) + line("ls") * 1000,
    line(MULTISTREAM) + line("/noise") + b"\xff\xff" + b"x" * 70_000,
    line(MULTISTREAM) + line("/noise") + b"\x00\x00" * 100,
    line(MULTISTREAM) + line("/noise") + b"\x00\x20" + b"x" * 32 + b"\x00\x05junk!",
]


async def test_garbage_on_tcp(scene: Scene) -> None:
    for said in GARBAGE_ON_TCP:
        async with await scene.intruder().tcp() as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(said)
                await stream.send_eof()
            await rest(stream)
        await scene.well()


@pytest.mark.parametrize("protocol", ["/plaintext/2.0.0", "/tls/1.0.0", "/secio/1.0.0"])
async def test_nothing_but_noise_is_offered(scene: Scene, protocol: str) -> None:
    async with await scene.intruder().tcp() as stream:
        await stream.send_all(line(MULTISTREAM) + line(protocol) + line("ls"))
        await stream.send_eof()
        assert await rest(stream) == line(MULTISTREAM) + line("na") + line("/noise\n")


async def test_whoever_says_nothing_costs_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [await scene.intruder().tcp() for _ in range(3 * node.HANDSHAKES_PER_HOST)]
    # Of one address, no more than a few may wait; the others are closed at once.
    closed = 0
    for stream in silent[node.HANDSHAKES_PER_HOST :]:
        closed += await rest(stream) == b""
    assert closed == 2 * node.HANDSHAKES_PER_HOST
    for stream in silent:
        await stream.aclose()
    await until(lambda: not scene.victim._handshakes._taken)


@pytest.mark.parametrize(
    "make", [lambda: rsa.create_new_key_pair(1024), secp256k1.create_new_key_pair]
)
async def test_only_ed25519_peers_are_taken(scene: Scene, make: Any) -> None:
    secured = await scene.intruder(make()).bare()
    assert await all_of(secured) == b""
    assert list(scene.victim.peers) == [scene.friend.me]


async def test_three_hundred_connections_one_after_the_other(scene: Scene) -> None:
    intruder = scene.intruder()
    for _ in range(300):
        async with intruder.muxed():
            pass
    await until(lambda: list(scene.victim.peers) == [scene.friend.me])


async def test_one_peer_has_no_more_than_two_connections(scene: Scene) -> None:
    intruder = scene.intruder()
    async with intruder.muxed() as first, intruder.muxed() as second, intruder.muxed() as third:
        await until(lambda: first.is_closed)
        assert not second.is_closed
        await intruder.stream(third, IDENTIFY)


# Yamux


GARBAGE_FRAMES = [
    bytes(range(256)) * 40,
    b"\xff" * 1200,
    frame(0, 1, 1, 0xFFFFFFFF),
    frame(0, 1, 1, muxer.STREAM_WINDOW_MAX + 1),
    frame(7, 0xFFFF, 0, 0) * 100,
    frame(1, 1, 0, 0) + frame(1, 8, 0, 0),
    b"".join(frame(1, 1 | 8, 2 * number + 1, 0) for number in range(500)),
    frame(3, 0, 0, 0),
    frame(0, 1, 1, 100, b"cut off"),
]


async def test_garbage_instead_of_frames(scene: Scene) -> None:
    for said in GARBAGE_FRAMES:
        secured = await scene.intruder().bare()
        with suppress(Exception):
            await secured.write(said)
        await secured.close()
        await scene.well()
    await until(lambda: list(scene.victim.peers) == [scene.friend.me])


async def test_garbage_instead_of_ciphertext(scene: Scene) -> None:
    secured = await scene.intruder().bare()
    await secured.conn.read_writer.read_write_closer.write(b"\x00\x20" + bytes(32))
    await all_of(secured)
    await secured.close()


async def test_more_data_than_windows_allow_ends_the_connection(scene: Scene) -> None:
    intruder = scene.intruder()
    secured = await intruder.bare()
    await secured.write(frame(2, 2, 0, 1))
    body = frame(0, 0, 1, 1 << 16, bytes(1 << 16))
    with suppress(Exception), trio.move_on_after(PATIENCE_S):
        await secured.write(frame(1, 1, 1, 0))
        for _ in range(2 * muxer.UNREAD_MAX // (1 << 16)):
            await secured.write(body)
    assert await scene.blamed(intruder) == "more data than its windows allow"
    await secured.close()


async def test_streams_that_say_nothing(scene: Scene) -> None:
    intruder = scene.intruder()
    async with intruder.muxed() as connection:
        streams = [await connection.open_stream() for _ in range(100)]
        refused = 0
        with trio.fail_after(PATIENCE_S):
            while refused < len(streams) - muxer.STREAMS_MAX:
                refused = sum(stream.reset_received for stream in streams)
                await trio.sleep(0.01)


GARBAGE_ON_A_STREAM = [
    line(MULTISTREAM) + line(b"\xff\xfe\x80"),
    line(MULTISTREAM) + bytes.fromhex("ffffffffffffffffff3f") + b"endless",
    line(MULTISTREAM) + b"\x00",
    line("/multistream/9.9.9"),
    b"\xff\xff\xff",
]


async def test_garbage_on_a_stream(scene: Scene) -> None:
    for said in GARBAGE_ON_A_STREAM:
        async with scene.intruder().muxed() as connection:
            stream = await connection.open_stream()
            await stream.write(said)
            await until(partial(getattr, stream, "reset_received"))
        await scene.well()


# Requests


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_requests_that_break_off(scene: Scene, how: str) -> None:
    intruder = scene.intruder()
    for said in (b"", b"\x00", sized(b"half")[:-2], sized(bytes(1 << 20))[:100_000], sized(b"ab")):
        async with intruder.muxed() as connection:
            for _ in range(3):
                stream = await intruder.stream(connection, SYNC)
                await stream.write(said)
                await (stream.reset() if how == "reset" else stream.close())
            await scene.well()


async def test_a_request_that_is_too_long_is_held_against_the_peer(scene: Scene) -> None:
    intruder = scene.intruder()
    async with intruder.muxed() as connection:
        stream = await intruder.stream(connection, SYNC)
        await stream.write(b"\xff\xff\xff\xff")
        assert "4294967295 bytes" in await scene.blamed(intruder)


async def test_streams_that_are_never_ended_are_not_kept(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "LINGER_S", 0.1)
    intruder = scene.intruder()
    async with intruder.muxed() as connection:
        for _ in range(10):
            stream = await intruder.stream(connection, SYNC)
            await stream.write(sized(b"ab"))
            await until(partial(getattr, stream, "recv_closed"))
        conn: Any = scene.host.connection(intruder.public)
        await until(lambda: not any(s % 2 for s in conn.muxed_conn.streams))


# GossipSub


JUNK = {
    "no protobuf": (varint(b"\xff" * 50), "no protobuf"),
    "endless length": (b"\xff" * 20, "does not end"),
    "two mebibytes": (varint(bytes(2 << 20)), "2097152 bytes"),
    "many subscriptions": (
        varint(
            rpc_pb2.RPC(
                subscriptions=[
                    rpc_pb2.RPC.SubOpts(subscribe=True, topicid=str(n)) for n in range(99)
                ]
            ).SerializeToString()
        ),
        "99 subscriptions",
    ),
    "many ids": (
        varint(
            rpc_pb2.RPC(
                control=rpc_pb2.ControlMessage(
                    ihave=[
                        rpc_pb2.ControlIHave(
                            topicID=TOPIC, messageIDs=[b"\xff%d" % n for n in range(9999)]
                        )
                    ]
                )
            ).SerializeToString()
        ),
        "9999 ids",
    ),
}


@pytest.mark.parametrize("junk", JUNK)
async def test_frames_of_junk(scene: Scene, junk: str) -> None:
    said, complaint = JUNK[junk]
    intruder = scene.intruder()
    async with intruder.topic() as stream:
        with suppress(Exception):
            await stream.write(said)
        assert complaint in await scene.blamed(intruder)


FORGED: dict[str, dict[str, Any]] = {
    "a wrong signature": {"signature": bytes(64)},
    "a signature of another length": {"signature": b"short"},
    "no signature": {"signature": b""},
    "other data than was signed": {"data": b"something else"},
    "a number of another length": {"seqno": b"1"},
    "an author who is no key": {"from_id": b"\xff\xff"},
    "an author without a name": {"from_id": b""},
    "a junk key and an author to match": {"from_id": b"\x12\x20" + bytes(32), "key": b"\xff\xff"},
    "too much data": {"data": bytes(100_000)},
    "no data": {"data": b""},
    "something attached": {"key": bytes(10_000)},
    "other topics as well": {"topicIDs": [TOPIC, "another"]},
}


async def test_forged_messages_are_not_passed_on(scene: Scene) -> None:
    intruder = scene.intruder()
    async with intruder.topic() as stream:
        for name, forged in FORGED.items():
            await stream.write(told(intruder.message(b"forged", **forged)))
            assert (name, "message" in await scene.blamed(intruder)) == (name, True)
        await stream.write(told(intruder.message(b"honest")))
        assert await event_of(scene.friend, Heard) == Heard(scene.victim.me, b"honest")


async def test_nobody_speaks_for_somebody_else(scene: Scene) -> None:
    intruder, other = scene.intruder(), scene.intruder()
    async with intruder.topic() as stream:
        await stream.write(told(intruder.message(b"mine", from_id=other.peer.to_bytes())))
        assert await scene.blamed(intruder) == "a message with a wrong signature"
        # What another has signed may well come from here.
        await stream.write(told(other.message(b"theirs")))
        assert await event_of(scene.friend, Heard) == Heard(scene.victim.me, b"theirs")


async def test_an_error_of_our_own_costs_one_message(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    intruder = scene.intruder()
    with monkeypatch.context() as patch:
        patch.setattr(topic, "signature_validator", lambda message: 1 / 0)
        async with intruder.topic() as stream:
            await stream.write(told(intruder.message(b"unlucky")))
            await scene.blamed(intruder)


async def test_who_breaks_rules_again_and_again_is_shown_the_door(scene: Scene) -> None:
    intruder = scene.intruder()
    for _ in range(2):
        async with intruder.topic() as stream:
            for _ in range(10):
                await stream.write(told(intruder.message(b"x", signature=bytes(64))))
                await scene.blamed(intruder)
    await until(lambda: intruder.public not in scene.victim.peers)
    assert not scene.victim.admits(intruder.public)
    secured = await intruder.bare()
    assert await all_of(secured) == b""


async def test_a_flood_of_one_author_is_not_passed_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.host.topic._authors, "_burst", 5)
    intruder = scene.intruder()
    async with intruder.topic() as stream:
        messages = [intruder.message(b"%d" % number) for number in range(50)]
        await stream.write(told(*messages, scene.intruder().message(b"end")))
        seen = []
        while b"end" not in seen:
            seen.append((await event_of(scene.friend, Heard)).data)
        assert seen == [b"0", b"1", b"2", b"3", b"4", b"end"]


async def test_a_flood_of_many_authors_is_heard_and_makes_nobody_look_like_its_source(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = scene.host.topic._passing
    sent = [b"%d" % number for number in range(50)]
    with monkeypatch.context() as little:
        for name, value in (("_burst", 5.0), ("_left", 5.0), ("_rate", 0.0)):
            little.setattr(passing, name, value)
        async with scene.intruder().topic() as stream:
            await stream.write(told(*(scene.intruder().message(data) for data in sent)))
            assert [(await event_of(scene.victim, Heard)).data for _ in sent] == sent
            little.setattr(passing, "_left", 1.0)
            await stream.write(told(scene.intruder().message(b"end")))
            seen = [(await event_of(scene.friend, Heard)).data for _ in range(6)]
    assert seen == [b"0", b"1", b"2", b"3", b"4", b"end"]
    assert 2 * topic.PASSED_RATE < topic.PEER_RATE
    assert 2 * topic.PASSED_BURST < topic.PEER_BURST


async def test_who_grafts_and_goes_leaves_no_place_taken(scene: Scene) -> None:
    graft = rpc_pb2.RPC(control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID=TOPIC)]))
    members: set[Any] = scene.host.router.mesh[TOPIC]
    for _ in range(5):
        intruder = scene.intruder()
        async with intruder.topic() as stream:
            await stream.write(varint(graft.SerializeToString()))
            await until(partial(members.__contains__, intruder.peer))
    await until(lambda: len(members) <= 1)


async def test_a_lost_topic_stream_deafens_nobody(scene: Scene) -> None:
    pair = (scene.victim, scene.friend)
    for one, other in (pair, pair[::-1]):
        for is_inbound in (False, True):
            conn: Any = host_of(one).connection(other.me)
            for stream in conn.get_streams():
                inbound = stream.muxed_stream.is_initiator is False
                if stream.get_protocol() == MESHSUB and inbound == is_inbound:
                    await stream.reset()
            for speaker, listener in (pair, pair[::-1]):
                await hears_again(speaker, listener)


async def test_an_error_in_a_task_of_the_library_costs_that_task(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(scene.host.router, "on_peer_subscribed", broken)
        async with scene.intruder().topic():
            await until(lambda: "ZeroDivisionError" in scene.victim.failures.last)
