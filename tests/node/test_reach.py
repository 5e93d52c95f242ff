"""`skep doctor` on the swarm: each weakness is named with what to do, and nothing is changed."""

import socket
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gossip.addresses import Scope
from gossip.remembered import PEERS_FILE
from node.check import Check
from node.config import Settings
from node.home import Home
from node.reach import NOBODY_KNOWN, OPEN_A_PORT, SET_CLOCK, addresses, clock, examine
from node.swarm import SHIPPED, bootstrap_addresses
from tests.node.strangers import BOB, EVE

NOW = 1_790_000_000_000
HOUR = 3_600_000
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)


async def checks(home: Path, **settings: Any) -> dict[str, Check]:
    fields = {"listen": LOOPBACK, "bootstrap": (), **settings}
    found = await examine(Home(home), Settings(home=home, **fields), NOW)
    return {one.name: one for one in found}


def at(port: int, peer: str) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"


async def test_a_node_that_researches_alone_leaves_the_network_alone(tmp_path: Path) -> None:
    assert set(await checks(tmp_path, solo=True)) == {"clock"}


async def test_without_known_peers_it_says_how_to_come_by_one(tmp_path: Path) -> None:
    found = await checks(tmp_path / "nowhere")
    assert list(found) == ["port", "addresses", "clock", "peers"]
    assert found["peers"] == Check("peers", "warn", "no address of a peer is known", NOBODY_KNOWN)
    assert found["port"] == Check("port", "ok", "can listen on /ip4/127.0.0.1/tcp/0")
    assert not (tmp_path / "nowhere").exists()


async def test_known_peers_that_answer_are_counted(tmp_path: Path, nursery: trio.Nursery) -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.aclose()

    serve = partial(trio.serve_tcp, host="127.0.0.1")
    (listener,) = await nursery.start(serve, hang_up, 0)
    port = listener.socket.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as gone:
        silent = at(gone.getsockname()[1], EVE.peer_id)
    (tmp_path / PEERS_FILE).write_bytes(msgspec.json.encode([silent]))
    found = await checks(tmp_path, bootstrap=(at(port, BOB.peer_id),))
    assert found["peers"] == Check("peers", "ok", "1 of 2 known addresses answer")
    found = await checks(tmp_path, bootstrap=(silent,))
    assert (found["peers"].state, found["peers"].finding) == (
        "warn",
        "0 of 1 known addresses answer",
    )


def test_the_file_of_public_peers_is_shipped_and_reads() -> None:
    assert bootstrap_addresses(()) == (), "there are no public peers yet"
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included[SHIPPED] == f"node/{SHIPPED}"


async def test_a_wrong_address_is_bad(tmp_path: Path) -> None:
    found = await checks(tmp_path, bootstrap=("/ip4/nowhere/tcp/1/p2p/x",))
    assert found["peers"].state == "bad"


async def test_a_port_that_somebody_has_is_bad(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        found = (await checks(tmp_path, listen=(address,)))["port"]
    assert (found.state, found.fix) == ("bad", "Choose another port with --listen")
    assert found.finding.startswith(f"cannot listen on {address}: ")


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (
            [Scope.network, Scope.internet],
            Check(
                "addresses",
                "ok",
                "2, 1 of them on the internet, if firewalls let the port through",
            ),
        ),
        ([Scope.network], Check("addresses", "warn", "1, in the local network only", OPEN_A_PORT)),
        ([Scope.machine], Check("addresses", "warn", "1, on this machine only", OPEN_A_PORT)),
        (
            [],
            Check("addresses", "ok", "none: others cannot connect to this node, it reaches out"),
        ),
    ],
)
def test_addresses_are_counted_by_who_can_use_them(scopes: list[Scope], expected: Check) -> None:
    assert addresses(scopes) == expected


@pytest.mark.parametrize(
    ("now", "own", "others", "unheard", "finding"),
    [
        (NOW, NOW - HOUR, [NOW - HOUR, NOW + HOUR, NOW + HOUR], 0, ""),
        (NOW, 0, [NOW + HOUR, NOW + 2 * HOUR, NOW + 9 * HOUR], 0, "3 authors are about 120 min"),
        (NOW, NOW + HOUR, [], 0, "shows a time 60 min before this node's own last record"),
        (0, 0, [], 0, "shows a time before 2025"),
        (NOW, 0, [], 2, "no announcement of 2 peers counts: "),
    ],
)
def test_a_clock_is_doubted_for_a_reason(
    now: int, own: int, others: list[int], unheard: int, finding: str
) -> None:
    found = clock(now, own, others, unheard)
    if finding:
        assert (found.state, found.fix) == ("warn", SET_CLOCK)
        assert found.finding.startswith(finding)
    else:
        assert found == Check("clock", "ok", "agrees with what is recorded")
