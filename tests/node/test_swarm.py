"""The node's part in a swarm when something beside the mesh fails: the research goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from gossip.driver import Doing
from node import swarm
from node.swarm import Membership, NoResearch, Place
from skep.events import Event, Said
from tests.gossip.scenes import KEY, SWARM, open_ledger


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - no event says so
            await trio.sleep(0.02)


async def test_what_fails_beside_the_mesh_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []

    def broken(*_: Any) -> None:
        raise RuntimeError("no such network")

    monkeypatch.setattr(swarm, "announced", broken)
    monkeypatch.setattr(swarm, "BACK_OFF_S", 0.01)
    async with open_ledger(tmp_path) as ledger, trio.open_nursery() as nursery:
        membership = Membership(
            home=tmp_path,
            place=Place(swarm=SWARM, name="a swarm", mdns=True),
            identity=KEY,
            ledger=ledger,
            research=NoResearch(),
            doing=lambda: Doing("relay", "", b"", "skep"),
            emit=events.append,
        )
        nursery.start_soon(membership.run)
        alarms = [f"the swarm stumbled and goes on: {RuntimeError('no such network')!r}"] * 2
        await until(lambda: [one.text for one in events if isinstance(one, Said)][:2] == alarms)
        nursery.cancel_scope.cancel()
