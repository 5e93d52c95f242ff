"""A live node among enemies: it stores nothing wrong, shows them the door and goes on with friends.

Driver, mesh and ledger are the shipped ones. During every attack an honest pair goes on exchanging
records; afterwards the node lives its first life, and holds what honest authors said and no more.
What is said below the protocol is `test_mesh_hostile`'s.
"""

import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec import Struct

from gossip.feeds import Link
from gossip.identity import peer_id
from gossip.messages import (
    ROWS_MAX,
    Answer,
    Compare,
    Have,
    Peers,
    Presence,
    Programs,
    Records,
    Rows,
    Same,
    Want,
    WantPeers,
    pack,
    unpack_request,
)
from gossip.presence import AUTHORS_MAX
from gossip.replica import Row, chain_key
from gossip.transport import Handler, Heard, Service, Transport
from gossip.validate import PRESENCE, RECORD
from skep.errors import Refused, TransportError
from skep.records import SignedRecord, program_id
from tests.gossip.live import Node, enemy, node, understand
from tests.gossip.scenes import chain_by
from tests.gossip.swarm_scenes import SWARM, author, branch, chain, signed_by
from tests.gossip.swarms import PROGRAM, SYNC, public_of, until

PEERS: Service = "/skep/peers/1"
EVE = author(66)


class Scene(Struct):
    """A node under attack and its friend."""

    victim: Node
    friend: Node

    async def banned(self, transport: Transport) -> None:
        """Wait until the victim has parted with this enemy, and takes it back no more."""
        mesh: Any = self.victim.transport
        with trio.fail_after(30):
            while mesh.admits(transport.me):  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.02)
        await until(lambda: transport.me not in mesh.peers)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene that has to be well during the attack and after it."""
    async with (
        node(tmp_path, "victim") as victim,
        node(tmp_path, "friend", victim.address) as friend,
    ):
        await understand(victim, friend)
        yield Scene(victim, friend)
        await understand(victim, friend)
        mesh: Any = victim.transport
        assert mesh.restarts == 0
        assert victim.notices == friend.notices == []
        eve_may = {EVE.public} if victim.swarm.core.replica.chain(EVES_CHAIN) else set()
        assert victim.authors() - eve_may == {public_of("victim"), public_of("friend")}


EVES_CHAIN = chain_key(EVE.public, b"session1")
HERS = chain(EVE, 4)


def always(data: bytes) -> dict[Service, Handler]:
    """Handlers that give one answer to everything."""

    async def answer(peer: bytes, request: bytes) -> bytes:
        return data

    return {SYNC: answer, PROGRAM: answer, PEERS: answer}


def answering(respond: Callable[[Any], Answer]) -> dict[Service, Handler]:
    """Handlers that answer a request, once it is read, with what the test thinks of."""

    async def answer(peer: bytes, request: bytes) -> bytes:
        return pack(respond(unpack_request(request)))

    return {SYNC: answer, PROGRAM: answer, PEERS: answer}


def rows(count: int, after: bytes = b"", rng: random.Random = random.Random(1)) -> bytes:  # noqa: B008
    """Rows of chains that nobody has ever heard of, in order."""
    keys = sorted(rng.randbytes(16) for _ in range(count))
    return b"".join(Row(max(key, after), 9, key, forked=False).packed() for key in keys)


def bit_flips(signed: SignedRecord) -> list[bytes]:
    """The record with a bit changed in its signature and all over its body."""
    whole = signed.signature + signed.body
    places = [0, 63, *range(64, len(whole), max(1, len(whole) // 40))]
    return [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]


NESTED = b"\x91" * 5000 + b"\xc0"
HUGE = b"\xcf" + b"\xff" * 8
NOT_A_NUMBER = b"\xcb\x7f\xf8" + bytes(6)
BODIES = [
    NESTED,
    b"\x8b" + NESTED,
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    HERS[0].body.replace(b"\xa3seq\x00", b"\xa3seq" + HUGE),
    HERS[0].body.replace(b"\xa3seq\x00", b"\xa3seq" + NOT_A_NUMBER),
]

LIES: dict[str, dict[Service, Handler]] = {
    "garbage": always(b"\xc1garbage" * 100),
    "nothing that ends": always(pack(Records((HERS[0].signature + HERS[0].body,)))[:-9]),
    "deep nesting": always(NESTED),
    "half of a row": always(pack(Rows(bytes(27), more=False))),
    "one row twice": always(pack(Rows(rows(1) * 2, more=False))),
    "rows out of order": always(pack(Rows(rows(1) + rows(1), more=False))),
    "pages that go back": answering(
        lambda asked: (
            Rows(rows(9, rng=random.Random(2)), more=True)
            if isinstance(asked, Compare)
            else honest(asked)
        )
    ),
    "answers to other questions": answering(
        lambda asked: Peers(()) if isinstance(asked, Compare) else Rows(b"", more=False)
    ),
    "a record of another swarm": answering(
        lambda asked: offering(
            asked, [r.signature + r.body for r in chain_by(EVE, 1, swarm=b"x" * 32)]
        )
    ),
    "a wrong signature": answering(lambda asked: offering(asked, [bytes(64) + HERS[0].body])),
    "records that nobody asked for": answering(
        lambda asked: offering(asked, [r.signature + r.body for r in chain(author(67), 2)])
    ),
    "long lists of addresses": always(pack(Peers(("/ip4/10.0.0.1",) * 65))),
}


def offering(asked: Any, signed: list[bytes]) -> Answer:
    """Say that Eve's chain is here, and give these when asked for it."""
    if isinstance(asked, Compare):
        return Rows(Row(EVES_CHAIN, 2, b"a head of a row.", forked=False).packed(), more=False)
    return Records(tuple(signed)) if isinstance(asked, Want) else honest(asked)


def honest(asked: Any) -> Answer:
    """What nobody is blamed for: nothing to tell."""
    return Peers(()) if isinstance(asked, WantPeers) else Same()


@pytest.mark.parametrize("lie", LIES)
async def test_who_answers_with_lies_is_shown_the_door(scene: Scene, lie: str) -> None:
    async with enemy(scene.victim, LIES[lie]) as liar:
        await understand(scene.victim, scene.friend)
        await scene.banned(liar)


async def test_records_broken_in_any_place_are_not_stored(scene: Scene) -> None:
    bodies = [EVE.sign(body) + body for body in BODIES]
    nobody = b"nobody".ljust(32)
    for signed in [*bit_flips(HERS[0]), *bodies]:
        scene.victim.swarm.core.handle(trio.current_time(), Heard(nobody, RECORD + signed))
        assert scene.victim.swarm.core.validator.record(signed).answer != "accept"
    async with enemy(scene.victim) as forger:
        for signed in bit_flips(HERS[0])[:4]:
            await forger.publish(RECORD + signed)
        await scene.banned(forger)


async def test_rows_of_chains_that_do_not_exist_cost_little(scene: Scene) -> None:
    """Full pages for ever: each is looked into, none is kept for long, friends go on."""
    pages = itertools.count()

    def respond(asked: Any) -> Answer:
        if isinstance(asked, Compare):
            next(pages)
            low = int.from_bytes(asked.after.ljust(16, b"\0"), "big") + 1
            keys = [(low + n).to_bytes(16, "big") for n in range(ROWS_MAX)]
            packed = [Row(key, 2**30, key, forked=False).packed() for key in keys]
            return Rows(b"".join(packed), more=True)
        return Records(()) if isinstance(asked, Want) else Peers(())

    async with enemy(scene.victim, answering(respond)) as liar:
        await until(lambda: next(pages) > 0)
        for _ in range(3):
            await understand(scene.victim, scene.friend)
        fetch = scene.victim.swarm.core.sync._fetches.get(liar.me)
        assert fetch is None or (len(fetch.rows) <= 8192 and len(fetch.failed) <= 8192)


async def test_a_peer_that_never_answers_holds_nobody_up(scene: Scene, tmp_path: Path) -> None:
    """It claims to have what another has, and more, and lets the question for it wait."""
    wanted = trio.Event()

    async def slow(peer: bytes, request: bytes) -> bytes:
        asked = unpack_request(request)
        if isinstance(asked, Compare):
            ahead = Row(EVES_CHAIN, 1000, b"a head of a row.", forked=False)
            return pack(Rows(ahead.packed(), more=False))
        if isinstance(asked, Want):
            wanted.set()
        await trio.sleep_forever()
        return b""

    async with node(tmp_path, "late") as late:
        await late.ledger.admit(HERS)
    async with enemy(scene.victim, {SYNC: slow, PEERS: slow, PROGRAM: slow}):
        with trio.fail_after(20):
            await wanted.wait()
        async with node(tmp_path, "late", scene.victim.address):
            await until(lambda: all(scene.victim.ledger.knows(one.id) for one in HERS))


async def test_branches_of_one_author_end_as_one_fork_everywhere(scene: Scene) -> None:
    trunk = chain(EVE, 6)
    branches = [trunk, branch(trunk, 3, 2, 500), branch(trunk, 3, 3, 900)]
    async with enemy(scene.victim) as one, enemy(scene.friend, name="other") as other:
        for signed in [*branches[0], *branches[1]]:
            await one.publish(RECORD + signed.signature + signed.body)
        for signed in branches[2]:
            await other.publish(RECORD + signed.signature + signed.body)
        both = [side.swarm.core.replica for side in (scene.victim, scene.friend)]
        with trio.fail_after(30):
            while not all((c := r.chain(EVES_CHAIN)) and c.fork for r in both) or (
                both[0].digest() != both[1].digest()
            ):
                await understand(scene.victim, scene.friend)
        found = both[0].chain(EVES_CHAIN)
        assert found is not None
        assert found.next == 3


async def test_gaps_are_asked_for_and_nobody_is_blamed_who_passed_them_on(scene: Scene) -> None:
    """Records far ahead of anything, also at the end of what a position can be."""
    async with enemy(scene.friend) as liar:
        for seq in (5, 9, 2**31 - 2, 2**31 - 1, 2**31, 2**63 - 1, *range(100, 150)):
            signed = signed_by(EVE, Link(seq.to_bytes(8, "big"), seq, b"\1" * 32))
            await liar.publish(RECORD + signed.signature + signed.body)
        for _ in range(3):
            await understand(scene.victim, scene.friend)
    assert scene.friend.transport.me in scene.victim.swarm.core.peers
    assert scene.victim.swarm.core.standing.points(trio.current_time(), public_of("friend")) == 0
    assert scene.friend.swarm.core.standing.points(trio.current_time(), public_of("victim")) == 0


def announcement(number: int, key: Any, **fields: Any) -> bytes:
    """A presence, signed by this key."""
    values: dict[str, Any] = {
        "swarm": SWARM,
        "author": key.public,
        "instance": b"instance",
        "number": number,
        "time": 1,
        "lasts_s": 3600,
        "role": "full",
        "tier": "",
        "task": b"",
        "records": 0,
        "running": (),
        "software": "",
    }
    body = pack(Presence(**{**values, **fields}))
    return PRESENCE + key.sign_presence(body) + body


async def test_announcements_in_another_name_are_held_against_who_sent_them(scene: Scene) -> None:
    async with enemy(scene.victim) as liar:
        for number in range(4):
            await liar.publish(announcement(number, EVE, author=public_of("friend")))
        await scene.banned(liar)


async def test_old_announcements_of_this_node_are_no_twin(scene: Scene) -> None:
    """Played back after a restart: the fixture checks that the owner is told nothing."""
    core = scene.victim.swarm.core
    mine = scene.victim.swarm._identity
    async with enemy(scene.victim) as liar:
        await liar.publish(announcement(1, mine, time=core._wall_ms - 600_000))
        await understand(scene.victim, scene.friend)


async def test_a_flood_of_announcements_is_bounded(scene: Scene) -> None:
    core = scene.victim.swarm.core
    now, wall = trio.current_time(), core._wall_ms
    for number in range(AUTHORS_MAX + 50):
        who = number.to_bytes(32, "big")
        one = Presence(SWARM, who, b"instance", 1, wall, 3600, "full", "", b"", 0, (), "")
        core.attendance.hear(now, wall, one)
    assert len(core.present(now)) == AUTHORS_MAX
    core._announce()
    assert core._announce_at - now < 3600, "a node still announces itself among so many"
    await understand(scene.victim, scene.friend)


async def test_programs_that_are_not_what_was_asked_for_are_refused(scene: Scene) -> None:
    wanted = program_id("LR = 1\n")
    for number, text in enumerate((b"LR = 2\n", b"#" * (64 * 1024 + 1))):
        liar = always(pack(Programs((text,))))
        async with enemy(scene.victim, {PROGRAM: liar[PROGRAM]}, name=f"liar{number}") as one:
            scene.victim.swarm.missing([wanted])
            await scene.banned(one)
    assert scene.victim.texts == {}


async def test_floods_of_requests_leave_room_for_others(scene: Scene) -> None:
    have = pack(Have(SWARM, rows(256)))
    compare = pack(Compare(SWARM, bytes(32)))
    refused = trio.Event()
    async with enemy(scene.victim) as flooder, trio.open_nursery() as nursery:

        async def ask(data: bytes) -> None:
            while flooder.me in scene.victim.transport.peers:
                try:
                    await flooder.request(scene.victim.transport.me, SYNC, data)
                except Refused:
                    refused.set()
                except TransportError:
                    pass

        for data in (have, compare) * 8:
            nursery.start_soon(ask, data)
        with trio.fail_after(20):
            await refused.wait()
        for _ in range(3):
            await understand(scene.victim, scene.friend)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "request_",
    [
        pack(Compare(b"x" * 32, bytes(32))),
        pack(WantPeers(SWARM, ())),
        b"\xc1",
        NESTED,
        pack(Have(SWARM, rows(257))),
    ],
    ids=["another swarm", "another service", "garbage", "deep nesting", "a long announcement"],
)
async def test_requests_that_make_no_sense_are_held_against_the_peer(
    scene: Scene, request_: bytes
) -> None:
    async with enemy(scene.victim) as fool:
        for _ in range(5):
            with suppress(TransportError):
                await fool.request(scene.victim.transport.me, SYNC, request_)
        await scene.banned(fool)


async def test_addresses_of_strangers_are_few_and_tried_a_few_at_a_time(scene: Scene) -> None:
    told = itertools.count()

    def respond(asked: Any) -> Answer:
        if not isinstance(asked, WantPeers):
            return Rows(b"", more=False)
        names = [peer_id(next(told).to_bytes(32, "big")) for _ in range(64)]
        return Peers(tuple(f"/ip4/192.0.2.1/tcp/9/p2p/{name}" for name in names))

    core = scene.victim.swarm.core
    for number in range(10):
        async with enemy(scene.victim, answering(respond), name=f"teller{number}"):
            await until(lambda number=number: next(told) >= number * 64)  # type: ignore[misc]
    assert len(core.rendezvous._known) <= core._params.addresses_max
    assert len(core.rendezvous._dialling) <= core._params.dials
    await understand(scene.victim, scene.friend)
