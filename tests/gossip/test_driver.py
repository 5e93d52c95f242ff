"""The driver when its disk fails: it says so once, stays in touch, and catches up by itself."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gossip import driver
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.messages import Compare, pack
from gossip.transport import Connected
from skep.errors import Refused
from skep.records import SignedRecord, program_id
from tests.gossip.live import Node, node, understand
from tests.gossip.scenes import chain_by
from tests.gossip.swarm_scenes import SWARM
from tests.gossip.swarms import SYNC, public_of, seed_of, until


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants to wait for the pauses of real life."""
    monkeypatch.setattr(driver, "RETRY_S", 0.5)
    monkeypatch.setattr(driver, "RETRY_MAX_S", 2.0)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes that know each other."""
    async with node(tmp_path, "one") as one, node(tmp_path, "other", one.address) as other:
        await understand(one, other)
        yield one, other


async def has_complained(one: Node, what: str) -> None:
    """Wait until the owner was told."""
    with trio.fail_after(20):
        while not any(what in notice for notice in one.notices):  # noqa: ASYNC110 - polled
            await trio.sleep(0.02)


async def hears(listener: Node, said: SignedRecord) -> None:
    """Wait until a record is here."""
    with trio.fail_after(20):
        while not listener.ledger.knows(said.id):  # noqa: ASYNC110 - polled
            await trio.sleep(0.02)


async def ask(asked: Node, asking: Node) -> bytes:
    """A node's answer to the other's request."""
    question = pack(Compare(SWARM, bytes(32)))
    return await asking.transport.request(public_of(asked.name), SYNC, question)


async def answers(asked: Node, asking: Node) -> bool:
    """Whether a node answers; what comes while it starts over is refused, so that is not all."""
    with trio.fail_after(10):
        while True:
            with suppress(Refused):
                return bool(await ask(asked, asking))
            await trio.sleep(0.02)


async def test_a_database_that_cannot_be_written_keeps_a_node_from_nothing_else(
    pair: tuple[Node, Node],
) -> None:
    one, other = pair
    store: Any = one.ledger._store
    store._connection.execute("PRAGMA query_only = ON")
    missed = await other.says()
    await has_complained(one, "records of peers cannot be stored")
    assert await answers(one, other)
    assert not one.ledger.knows(missed.id)
    for _ in range(3):
        assert await answers(one, other)
        await other.says()
    assert len(one.notices) <= 4, "it is said now and then"
    store._connection.execute("PRAGMA query_only = OFF")
    await hears(one, missed)
    await understand(one, other)
    assert one.transport.me in other.transport.peers


async def test_an_error_of_our_own_costs_a_pause(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    monkeypatch.setattr(one.swarm.core.sync, "heard", lambda *_: 1 / 0)
    missed = await other.says()
    await has_complained(one, "ZeroDivisionError")
    await hears(one, missed)
    await understand(one, other)


async def test_what_was_asked_before_a_failure_is_refused_and_not_left_open(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    monkeypatch.setattr(one.swarm.core, "_answer", lambda *_: 1 / 0)
    with trio.fail_after(10), pytest.raises(Exception, match="refused"):
        await ask(one, other)
    await understand(one, other)
    assert one.swarm._replies == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of three mebibytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a disk takes root")
    mounting = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk_is_said_in_a_line_and_filled_up_later(
    small_disk: Path, tmp_path: Path
) -> None:
    async with node(small_disk, "one") as one, node(tmp_path, "other", one.address) as other:
        await understand(one, other)
        ballast = small_disk / "ballast"
        left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast.write_bytes(bytes(max(left - 8192, 0)))
        said = [await other.says(seed) for seed in range(60)]
        await has_complained(one, "No space left")
        assert all("\n" not in notice for notice in one.notices)
        assert await answers(one, other)
        ballast.unlink()
        await hears(one, said[-1])
        await understand(one, other)
        assert {two.id for two in one.ledger.feeds()} == {two.id for two in other.ledger.feeds()}


async def test_what_was_wanted_before_a_failure_is_still_asked_for(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    text = "print(1)\n"
    one.swarm.missing([program_id(text)])
    await understand(one, other)
    monkeypatch.setattr(one.swarm.core.sync, "heard", lambda *_: 1 / 0)
    await other.says()
    await has_complained(one, "ZeroDivisionError")
    await other.ledger.add_program(text, bytes(32))
    with trio.fail_after(20):
        while not one.texts:  # noqa: ASYNC110 - polled
            await trio.sleep(0.02)


async def test_who_came_by_himself_may_still_have_to_make_room_after_a_failure(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    broken = one.swarm.core
    monkeypatch.setattr(broken.sync, "heard", lambda *_: 1 / 0)
    await other.says()
    await understand(one, other)
    assert one.swarm.core is not broken
    assert [peer.inbound for peer in one.swarm.core.peers.values()] == [True]


async def test_another_transport_begins_with_what_is_stored_and_nobody_there(
    tmp_path: Path,
) -> None:
    key = Identity(seed_of("one"))
    async with Ledger.open(tmp_path, key, swarm=SWARM, clock=lambda: 1) as ledger:
        here = Node(tmp_path, "one", ledger, ())
        first = here.swarm.core
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.swarm.run, here.open)
            await here.swarm.opened.wait()
            nursery.cancel_scope.cancel()
        # Taken in just before the end, and not stored any more.
        first.sync.taken.clear()
        first.replica.put(chain_by(Identity(bytes(32)), 1)[0])
        ghost = Connected(public_of("ghost"), "/ip4/127.0.0.1/tcp/1", inbound=True)
        here.swarm._events.send_nowait(ghost)
        await here.swarm._room.acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.swarm.run, here.open)
            await until(lambda: here.swarm._inbox.statistics().current_buffer_used == 0)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(here.swarm.core.replica) == 0
            assert not here.swarm.core.peers
            nursery.cancel_scope.cancel()
