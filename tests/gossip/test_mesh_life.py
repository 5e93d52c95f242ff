"""How a node of the mesh lives: peers that fall silent, a library that fails, labs, start."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gossip import mesh
from gossip.identity import peer_id
from gossip.mesh import muxer, node, open_mesh
from gossip.transport import Connected, Disconnected, Handler, Service
from skep.errors import ConfigError, SkepError
from tests.gossip.intruder import IDENTIFY, MULTISTREAM, Intruder, all_of, frame, line, rest
from tests.gossip.siege import exchange, siege
from tests.gossip.swarms import (
    ECHO,
    LOOPBACK,
    SYNC,
    TOPIC,
    connect,
    event_of,
    over_mesh,
    public_of,
    refusal,
    seed_of,
    until,
)

LAB_KEY = bytes(range(32))


async def test_of_two_machines_with_one_key_the_one_that_spoke_last_is_asked() -> None:
    """What the one says it has would else be asked of the other, which has not."""

    def saying(word: bytes) -> dict[Service, Handler]:
        async def answer(peer: bytes, request: bytes) -> bytes:
            return word

        return {SYNC: answer}

    opens = over_mesh()
    async with (
        opens("asker") as asker,
        opens("twin", saying(b"one"), listens=False) as one,
        opens("twin", saying(b"other"), listens=False) as other,
    ):
        await connect(one, asker)
        await connect(other, asker)
        for _ in range(3):
            for speaker, word in ((one, b"one"), (other, b"other")):
                assert await speaker.request(asker.me, SYNC, b"ab") == b"ba"
                assert await asker.request(one.me, SYNC, b"what?") == word


async def test_a_peer_that_does_not_take_part_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node, "PULSE_S", 0.1)
    monkeypatch.setattr(node, "DEAF_S", 0.5)
    async with siege() as scene:
        intruder = scene.intruder()
        async with intruder.muxed() as connection:
            assert await scene.event_about(intruder, Disconnected)
            await until(lambda: connection.is_closed)


async def test_a_peer_that_fell_asleep_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muxer, "KEEPALIVE_S", 0.3)
    monkeypatch.setattr(muxer, "PONG_S", 1.0)
    async with siege() as scene:
        intruder = scene.intruder()
        secured = await intruder.bare()
        probe = await secured.read(12)
        await secured.write(frame(2, 2, 0, int.from_bytes(probe[8:], "big")))
        assert (await scene.event_about(intruder, Connected)).inbound
        assert await scene.event_about(intruder, Disconnected)
        await secured.close()


async def test_a_clock_that_jumped_means_that_the_machine_slept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = time.time
    monkeypatch.setattr(node, "PULSE_S", 0.05)
    async with siege() as scene:
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        assert await event_of(scene.friend, Disconnected) == Disconnected(scene.victim.me)
        await until(lambda: not scene.victim.peers and not scene.friend.peers)
        await beats(scene.victim, scene.friend)
        await connect(scene.friend, scene.victim)


async def beats(*nodes: Any) -> None:
    """Wait until each of these nodes has looked at its clock again."""
    before = [node.beats for node in nodes]
    await until(lambda: all(n.beats > was + 1 for n, was in zip(nodes, before, strict=True)))


async def test_the_node_goes_on_when_the_library_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "RESTART_FIRST_S", 0.05)
    opens: Any = over_mesh()
    async with opens("a") as a, opens("b") as b:
        await connect(b, a)
        before = a.addresses
        with monkeypatch.context() as patch:
            patch.setattr(a._host.router, "mesh_heartbeat", lambda: 1 / 0)
            assert await event_of(a, Disconnected) == Disconnected(b.me)
            assert "not connected" in await refusal(lambda: a.request(b.me, SYNC, b"?"))
            await a.publish(b"nobody hears this")
        await until(lambda: a._host is not None)
        assert (a.restarts, a.addresses) == (1, before)
        await event_of(b, Disconnected)
        await connect(b, a)
        await exchange(a, b)


# Labs


@asynccontextmanager
async def lab(
    name: str, *members: str, psk: bytes | None = LAB_KEY, listens: bool = True
) -> AsyncIterator[Any]:
    """A node of a lab whose list has these members."""
    listed = {public_of(member) for member in members}
    async with open_mesh(
        seed=seed_of(name),
        topic=TOPIC,
        handlers=ECHO,
        listen=LOOPBACK if listens else (),
        gate=listed.__contains__,
        psk=psk,
    ) as opened:
        yield opened


async def test_members_of_a_lab_meet() -> None:
    async with lab("a", "b") as a, lab("b", "a") as b:
        await connect(a, b)
        await exchange(a, b)


@pytest.mark.parametrize("psk", [None, bytes(32)], ids=["no key", "another key"])
async def test_without_the_key_of_the_lab_nothing_can_be_said(
    psk: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "DIAL_TIMEOUT_S", 1.0)
    async with lab("a", "b") as a, lab("b", "a") as b, lab("c", "a", psk=psk, listens=False) as c:
        await connect(b, a)
        await refusal(lambda: c.dial(a.addresses[0]))
        assert (list(a.peers), dict(c.peers)) == ([b.me], {})
        async with await Intruder(a.addresses[0]).tcp() as stream:
            await stream.send_all(line(MULTISTREAM) + line("/noise"))
            await stream.send_eof()
            assert MULTISTREAM.encode() not in await rest(stream)
        await exchange(a, b)


async def test_who_has_the_key_but_is_not_listed_learns_nothing() -> None:
    async with lab("a", "b") as a, lab("b", "a") as b, lab("c", "a", "b") as c:
        await connect(b, a)
        for attempt in (
            lambda: c.dial(a.addresses[0]),
            lambda: c.dial(b.addresses[0]),
            lambda: a.dial(c.addresses[0]),
        ):
            await refusal(attempt)
        secured = await Intruder(a.addresses[0], psk=LAB_KEY).bare()
        with suppress(Exception):
            await secured.write(frame(0, 1, 1, 60, line(MULTISTREAM) + line(IDENTIFY) + bytes(24)))
        assert await all_of(secured) == b""
        assert (list(a.peers), list(b.peers), dict(c.peers)) == ([b.me], [a.me], {})
        await exchange(a, b)


# Start and end


async def test_a_port_that_is_taken_is_an_error_to_explain() -> None:
    opens: Any = over_mesh()
    async with opens("a") as a:
        port = a.addresses[0].split("/")[4]
        with pytest.raises(ConfigError, match="already in use"):
            async with open_mesh(
                seed=seed_of("b"), topic=TOPIC, handlers=ECHO, listen=[f"/ip4/127.0.0.1/tcp/{port}"]
            ):
                pass


async def test_what_is_announced_is_what_the_user_said() -> None:
    async with open_mesh(
        seed=seed_of("a"),
        topic=TOPIC,
        handlers=ECHO,
        listen=LOOPBACK,
        announce=["/dns/seed.example.org/tcp/4717"],
    ) as a:
        peer = peer_id(public_of("a"))
        assert a.addresses == (f"/dns/seed.example.org/tcp/4717/p2p/{peer}",)


async def test_another_version_of_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "version", lambda _: "0.9.0")
    with pytest.raises(SkepError, match=r"libp2p 0\.9\.0 is installed"):
        async with open_mesh(seed=seed_of("a"), topic=TOPIC, handlers=ECHO):
            pass


def test_the_library_is_imported_late_and_leaves_logging_alone() -> None:
    code = """
import logging, sys, trio
from tests.gossip.swarms import *
assert "libp2p" not in sys.modules

async def main():
    async with over_mesh()("a") as a, over_mesh()("b") as b:
        await connect(a, b)
        await a.request(b.me, SYNC, b"ab")
    assert "libp2p" in sys.modules
    print(logging.getLogger().handlers)

trio.run(main)
"""
    child = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, check=False
    )
    assert (child.stdout, child.stderr) == ("[]\n", "")
