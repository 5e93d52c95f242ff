"""What a running node tells of its swarm, and how commands show it: over real sockets."""

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from gossip.feeds import Link
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.messages import Presence
from gossip.params import MEETING_PLACE
from gossip.protocol import Core
from gossip.replica import Replica
from gossip.swarms import PUBLIC_SWARM
from gossip.transport import Connected
from node.cli import main
from node.cli.peers import document
from node.company import Company, groups
from node.config import Settings
from node.control import ANSWER_MAX_BYTES, ask
from node.home import Home
from node.reach import examine
from node.relay import relay
from skep.errors import ConfigError
from tests.factories import content_id
from tests.gossip.scenes import chain_by
from tests.gossip.swarm_scenes import archive_of, author, chain
from tests.node.strangers import BOB, EVE
from tests.node.test_cli_docs import SECTIONS

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
PATIENCE_S = 30.0
NOW = 1_790_000_000_000

Answer = dict[str, Any]
Shown = Callable[..., Awaitable[str]]


@pytest.fixture
def shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shown:
    """Run a command line in a thread of its own, on the home of the meeting place: its output."""
    monkeypatch.setenv("SKEP_HOME", str(tmp_path / "meeting"))

    async def run(*arguments: str) -> str:
        code = await trio.to_thread.run_sync(main, arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


async def until(home: Path, verb: str, condition: Callable[[Answer], bool]) -> Answer:
    """The node's answer, as soon as it is as it should be."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                answer = await ask(home, verb)
            except ConfigError:
                answer = {}
            if answer and condition(answer):
                return answer
            await trio.sleep(0.05)


async def meet(tmp_path: Path, nursery: trio.Nursery) -> tuple[Path, str]:
    """A meeting place with two peers, one of which brought records; its home and address."""
    home = tmp_path / "meeting"
    await fill(tmp_path / "one")

    def start(folder: Path, bootstrap: tuple[str, ...], *, wide: bool = False) -> None:
        settings = Settings(home=folder, listen=LOOPBACK, bootstrap=bootstrap, mdns=False)

        async def run() -> None:
            await relay(settings, lambda _: None, wide=wide)

        nursery.start_soon(run)

    start(home, (), wide=True)
    (address,) = (await until(home, "swarm", lambda found: bool(found["addresses"])))["addresses"]
    for name in ("one", "other"):
        start(tmp_path / name, (address,))
    await until(home, "swarm", lambda found: found["present_total"] == 2 and found["records"] == 4)
    return home, address


async def fill(home: Path) -> None:
    """Records of two authors, one of whom said two things at once."""
    trunk = chain_by(BOB, 2, swarm=PUBLIC_SWARM)
    place = Link(trunk[1].record.session, 1, trunk[1].record.prev)
    fork = chain_by(BOB, 1, place, swarm=PUBLIC_SWARM, time=5)
    await trio.Path(home).mkdir()
    identity = Identity.load(home)
    async with Ledger.open(home, identity, swarm=PUBLIC_SWARM, clock=lambda: NOW) as ledger:
        await ledger.admit([*trunk, *fork, *chain_by(EVE, 3, swarm=PUBLIC_SWARM)])


def documented(section: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", SECTIONS[section]))


async def test_a_meeting_place_with_two_peers_is_seen_from_every_side(
    tmp_path: Path, shown: Shown, nursery: trio.Nursery
) -> None:
    home, address = await meet(tmp_path, nursery)
    names = {Identity.load(tmp_path / name).name for name in ("one", "other")}

    lines = (await shown("peers")).splitlines()
    assert lines[0] == "2 peers of the public swarm"
    assert {line.split()[0] for line in lines[2:4]} == names
    assert all(line.split()[1] == "in" for line in lines[2:4])
    assert f"  {address}  (on this machine only)" in lines
    found = json.loads(await shown("peers", "--json"))
    assert (found["running"], found["addresses"], found["peers_total"]) == (True, [address], 2)
    assert {one["name"] for one in found["peers"]} == names
    assert {one["role"] for one in found["peers"]} == {"relay"}
    assert {*found, *found["peers"][0], *found["known"][0]} <= documented("peers")

    for verb in ("pause", "resume"):
        with pytest.raises(ConfigError, match="this node runs no experiments"):
            await ask(home, verb)

    lines = (await shown("swarm")).splitlines()
    assert lines[:2] == [
        "the public swarm, as this node sees it",
        "2 other nodes present, connected to 2",
    ]
    assert lines[-1].startswith(f"2 feeds, 1 forked: {BOB.name} said two things at once; ")
    found = json.loads(await shown("swarm", "--json"))
    assert (found["authors"], found["records"], found["lag"]) == (2, 6, 0)
    keys = {*found, *found["groups"][0], *found["tiers"][0], *found["tasks"][0]}
    assert {*keys, *found["forked"][0]} <= documented("swarm")

    status = await shown("status")
    assert status.startswith("keeping and passing on records for ")
    assert "\n2 peers in the public swarm; 2 others present; 4 records\n" in status
    known = documented("status") | documented("peers") | documented("swarm") | {"behind"}
    assert set(json.loads(await shown("status", "--json"))["swarm"]) <= known

    top = await shown("top")
    assert "the public swarm  ·  2 peers  ·  2 others present  ·  4 records" in top
    assert all(name in top for name in names)

    checks = await examine(Home(home), Settings(home=home, listen=LOOPBACK), NOW)
    found = {one.name: (one.state, one.finding) for one in checks}
    assert found["port"] == ("ok", "the node that runs on this home listens")
    assert found["addresses"] == ("warn", "1, on this machine only")
    nursery.cancel_scope.cancel()


def presence(number: int, **fields: Any) -> Presence:
    return Presence(
        **{
            "swarm": PUBLIC_SWARM,
            "author": content_id(str(number)),
            "instance": bytes(8),
            "number": 1,
            "time": NOW,
            "lasts_s": 60,
            "role": "full",
            "tier": "cpu",
            "task": b"t",
            "records": number,
            "running": (bytes(32),),
            "software": "skep",
            **fields,
        }
    )


def test_those_present_are_grouped_largest_group_first() -> None:
    relays = [presence(9, role="relay", tier="", task=b"", running=())]
    assert groups([*relays, presence(1), presence(2)]) == [
        {"role": "full", "tier": "cpu", "task": "74", "nodes": 2, "running": 2},
        {"role": "relay", "tier": "", "task": "", "nodes": 1, "running": 0},
    ]


class Around:
    """What `Company` looks at: a core that thousands have come to, under no transport."""

    transport = None

    def __init__(self, nodes: int) -> None:
        archive = archive_of()
        self.core = Core(
            me=bytes(32),
            swarm=PUBLIC_SWARM,
            replica=Replica(),
            archive=archive,
            shelf=archive,
            known={},
            params=MEETING_PLACE,
            instance=bytes(8),
            now=0.0,
            wall_ms=NOW,
            seed=1,
        )
        for number in range(nodes):
            key = Identity(number.to_bytes(32, "big"))
            address = f"/ip4/9.9.9.9/tcp/{number + 1}/p2p/{key.peer_id}"
            self.core.handle(0.0, Connected(key.public, address, inbound=False))
            self.core.rendezvous.add([address], "found")
            here = presence(number, author=key.public, tier=f"{number:04}" + "\N{HONEYBEE}" * 124)
            self.core.attendance.hear(0.0, NOW, here)


def test_in_a_large_swarm_answers_are_cut_and_say_how_many_there_are() -> None:
    around = Around(1100)
    company = Company(around, "it", PUBLIC_SWARM)  # type: ignore[arg-type]
    found = company.document(0.0)
    assert len(json.dumps(found)) < ANSWER_MAX_BYTES
    for name, cut, total in (
        ("peers", 500, len(around.core.peers)),
        ("present", 500, 1100),
        ("groups", 100, 1100),
        ("known", 500, 512),
    ):
        assert (len(found[name]), found[f"{name}_total"]) == (cut, total), name
    assert len(around.core.peers) > 500
    assert found["announced"] == 1099
    glance = company.glance(0.0)
    assert (len(glance["peers"]), len(glance["groups"]), glance["groups_total"]) == (12, 12, 1100)


def test_records_per_minute_are_those_of_the_last_minutes() -> None:
    around = Around(0)
    company = Company(around, "it", PUBLIC_SWARM)  # type: ignore[arg-type]
    company.sample(0.0)
    assert company.glance(5.0)["per_minute"] is None
    for signed in chain(author(1), 60):
        around.core.replica.put(signed)
    assert company.glance(60.0)["per_minute"] == 60.0
    for second in range(60, 1000):
        company.sample(float(second))
    assert company.glance(1000.0)["per_minute"] == 0.0


def test_without_a_node_the_remembered_peers_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    address = f"/ip4/203.0.113.7/tcp/4601/p2p/{BOB.peer_id}"
    (tmp_path / "peers.json").write_text(json.dumps([address]))
    assert main(["peers"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"no node is running on {tmp_path}",
        "",
        "remembered from last time: 1, of which 1 answered when last tried",
        f"  {address}  (remembered)",
    ]
    assert main(["peers", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["running"], found["peers"], found["known_total"]) == (False, [], 1)


def test_a_node_that_researches_alone_has_no_peers() -> None:
    found = document({"swarm": None}, [])
    assert (found["running"], found["swarm"], found["peers"]) == (True, None, [])


def test_peers_say_how_far_they_are_ahead_and_addresses_come_nearest_last() -> None:
    addresses = ["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/9.9.9.9/tcp/1"]
    answer = {
        "swarm": "it",
        "peer_id": "me",
        "addresses": addresses,
        "records": 10,
        "peers": [{"records": 7}, {"records": 12}, {"records": None}],
        "peers_total": 3,
        "known": [],
        "known_total": 0,
    }
    found = document(answer, [])
    assert [one["ahead"] for one in found["peers"]] == [-3, 2, None]
    assert found["addresses"] == addresses[::-1]
