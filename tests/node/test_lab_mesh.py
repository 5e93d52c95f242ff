"""Labs as they run: real nodes on loopback through the shipped mesh, driver and door."""

from pathlib import Path

import pytest
import trio

from gossip.chains import HEAD_BYTES
from gossip.mesh import node as mesh_node
from gossip.mesh import open_mesh
from gossip.messages import Compare, Records, Rows, Same, Want, pack, unpack_request
from gossip.replica import Row, chain_key
from gossip.swarms import PUBLIC_SWARM
from gossip.validate import RECORD
from node import door, swarm
from node.labs import create_lab
from node.swarm import TOPIC
from skep.errors import NoHandshake, TransportError
from skep.members import roots
from skep.records import SignedRecord
from tests.gossip.intruder import IDENTIFY, MULTISTREAM, Intruder, all_of, frame, line
from tests.gossip.swarms import LOOPBACK
from tests.node.labs import Machine, invited, let_in, running, show_out, until


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look, and give up, sooner than out there."""
    monkeypatch.setattr(door, "LOOK_S", 0.05)
    monkeypatch.setattr(swarm, "LOOK_S", 0.05)
    monkeypatch.setattr(mesh_node, "DIAL_TIMEOUT_S", 1.0)


async def share(one: Machine, other: Machine, text: str) -> SignedRecord:
    """What one says reaches the other."""
    signed = await one.notes(text)
    await until(lambda: other.knows(signed))
    return signed


async def test_a_machine_with_an_invite_waits_and_is_let_in_without_a_restart(
    tmp_path: Path,
) -> None:
    async with running(create_lab(tmp_path / "f", "physics")) as founder:
        root = invited(founder, tmp_path / "n")
        secret = await founder.notes("for members alone")
        async with running(root) as newcomer:
            mine = newcomer.me.peer_id
            request = f"skep lab allow physics {mine}"
            await until(lambda: founder.told(f"{mine} (", "waits: " + request))
            await until(lambda: newcomer.told("send the founder this line", request))
            own = await newcomer.notes("said while waiting")
            assert (newcomer.peers, founder.peers) == (set(), set())
            assert not newcomer.knows(secret)
            let_in(founder, root)
            await until(lambda: newcomer.knows(secret) and founder.knows(own))
            await until(lambda: newcomer.told("2 members; this machine is one of them"))
            assert sum("waits: skep lab allow" in one for one in founder.said) == 1
            assert founder.membership.answer()["lab"]["waiting"] == []
            await share(newcomer, founder, "hello")
            both = roots(newcomer.me.public, newcomer.membership.door.members)  # type: ignore[union-attr]
            assert both == {founder.me.public, newcomer.me.public}


async def test_an_invite_lets_a_newcomer_meet_members_while_the_founder_is_away(
    tmp_path: Path,
) -> None:
    async with running(create_lab(tmp_path / "f", "physics")) as founder:
        ann, bob = (invited(founder, tmp_path / name) for name in "ab")
        let_in(founder, ann)
        let_in(founder, bob)
        async with running(ann) as member:
            await until(lambda: len(member.membership.answer()["lab"]["members"]) == 3)
            late = invited(founder, tmp_path / "late", addresses=(member.address,))
            let_in(founder, late)
            await until(lambda: len(member.membership.answer()["lab"]["members"]) == 4)
            async with running(late) as newcomer:
                await until(lambda: newcomer.peers >= {member.me.public})
                await share(member, newcomer, "met without the founder's address")
                await until(lambda: newcomer.told("4 members; this machine is one of them"))


async def test_a_revoked_member_is_cut_off_everywhere_and_gets_nothing_more(
    tmp_path: Path,
) -> None:
    async with running(create_lab(tmp_path / "f", "physics")) as founder:
        ann, eve = (invited(founder, tmp_path / name) for name in "ae")
        let_in(founder, ann)
        let_in(founder, eve)
        await until(lambda: founder.told("list of 3 members said"))
        async with (
            running(ann) as member,
            running(eve, bootstrap=(member.address,)) as revoked,
        ):
            await until(lambda: revoked.peers == {founder.me.public, member.me.public})
            await share(founder, revoked, "while listed")
            show_out(founder, eve)
            gone = revoked.me.public
            await until(lambda: gone not in founder.peers and gone not in member.peers)
            await until(lambda: not revoked.peers)
            after = await founder.notes("after it was revoked")
            of_member = await member.notes("by another member")
            await until(lambda: member.knows(after) and founder.knows(of_member))
            rounds = revoked.membership.swarm.core.rendezvous
            await until(lambda: all(known.failures > 3 for known in rounds._known.values()))
            assert revoked.peers == set()
            assert not revoked.knows(after)
            assert not revoked.knows(of_member)
            assert not founder.told("waits: skep lab allow physics " + revoked.me.peer_id)


async def test_a_revoked_member_is_let_in_again_when_it_is_listed_again(tmp_path: Path) -> None:
    async with running(create_lab(tmp_path / "f", "physics")) as founder:
        root = invited(founder, tmp_path / "a")
        let_in(founder, root)
        async with running(root) as member:
            await until(lambda: bool(member.peers))
            show_out(founder, root)
            await until(lambda: not founder.peers and not member.peers)
            secret = await founder.notes("said meanwhile")
            let_in(founder, root)
            await until(lambda: member.knows(secret))


async def test_what_the_founder_changed_while_away_is_said_at_the_next_start(
    tmp_path: Path,
) -> None:
    home = create_lab(tmp_path / "f", "physics")
    async with running(home) as founder:
        root = invited(founder, tmp_path / "a")
        let_in(founder, root)
        await until(lambda: founder.told("list of 2 members said"))
    show_out(founder, root)
    async with running(home) as founder:
        await until(lambda: founder.told("list of 1 member said"))
    async with running(home) as founder:
        await until(lambda: founder.told("1 member; you are its founder"))
        assert not founder.told("said to the lab")


async def test_with_another_key_nothing_comes_about_and_the_owner_is_told_why(
    tmp_path: Path,
) -> None:
    async with running(create_lab(tmp_path / "f", "physics")) as founder:
        root = invited(founder, tmp_path / "a", key=bytes(32))
        let_in(founder, root)
        async with running(root) as stranger:
            with trio.fail_after(5), pytest.raises(NoHandshake):
                await stranger.transport.dial(founder.address)
            await until(lambda: stranger.told("its key may be another one"))
            assert (founder.peers, stranger.peers) == (set(), set())
            assert not founder.told("waits")
            assert not founder.knows(await stranger.notes("into the void"))


async def test_who_has_the_key_and_is_not_listed_gets_not_even_a_greeting(
    tmp_path: Path,
) -> None:
    async with running(create_lab(tmp_path / "f", "physics")) as founder:
        root = invited(founder, tmp_path / "a")
        let_in(founder, root)
        async with running(root) as member:
            await until(lambda: bool(member.peers))
            lab = founder.membership._place.lab
            assert lab is not None
            for machine in (founder, member):
                secured = await Intruder(machine.address, psk=lab.key).bare()
                asked = [IDENTIFY, "/meshsub/1.1.0", "/skep/sync/1", "/skep/peers/1"]
                try:
                    for number, protocol in enumerate(asked):
                        words = line(MULTISTREAM) + line(protocol)
                        await secured.write(frame(0, 1, 1 + 2 * number, len(words), words))
                except Exception:  # noqa: S110 - cut off already, as it should be
                    pass
                assert await all_of(secured) == b""
            await share(founder, member, "undisturbed")


async def test_a_lab_and_the_public_swarm_on_one_machine_exchange_nothing(tmp_path: Path) -> None:
    async with (
        running(create_lab(tmp_path / "f", "physics")) as founder,
        running(tmp_path / "public") as public,
        running(tmp_path / "other", bootstrap=(public.address,)) as other,
    ):
        await until(lambda: bool(other.peers))
        assert founder.me.public != public.me.public
        for one, another in ((founder, public), (public, founder)):
            with pytest.raises(TransportError):
                await one.transport.dial(another.address)
        secret = await founder.notes("of the lab")
        common = await share(public, other, "of everybody")
        await founder.transport.publish(RECORD + common.signature + common.body)
        await share(other, public, "still among themselves")
        assert (founder.knows(common), public.knows(secret)) == (False, False)
        assert (founder.peers, public.peers) == (set(), {other.me.public})


async def test_records_of_a_lab_are_refused_by_the_public_swarm_whoever_brings_them(
    tmp_path: Path,
) -> None:
    """A peer that has got hold of some offers them by gossip and by comparison."""
    async with (
        running(create_lab(tmp_path / "f", "physics")) as founder,
        running(tmp_path / "public") as public,
    ):
        leaked = await founder.notes("of the lab")
        record = leaked.record
        row = Row(chain_key(record.author, record.session), 1, leaked.id[:HEAD_BYTES], forked=False)
        asked_for: list[bytes] = []

        async def offers(peer: bytes, request: bytes) -> bytes:
            asked = unpack_request(request)
            if isinstance(asked, Want):
                asked_for.append(peer)
                return pack(Records((leaked.signature + leaked.body,)))
            return pack(Rows(row.packed(), more=False) if isinstance(asked, Compare) else Same())

        async with open_mesh(
            seed=bytes(32),
            topic=TOPIC.format(swarm=PUBLIC_SWARM.hex()),
            handlers={"/skep/sync/1": offers},
            listen=LOOPBACK,
        ) as leak:
            await leak.dial(public.address)
            await until(lambda: leak.me in public.peers)
            await leak.publish(RECORD + leaked.signature + leaked.body)
            await until(lambda: len(asked_for) > 0 and leak.me not in public.peers)
        assert not public.knows(leaked)
