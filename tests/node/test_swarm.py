"""The node's part in a swarm when something beside the mesh fails: the research goes on."""

import itertools
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


async def test_what_went_well_for_long_is_tried_again_as_soon_as_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    began: list[float] = []

    async def lasting(*_: Any) -> None:
        began.append(trio.current_time())
        await trio.sleep(swarm.BACK_OFF_MAX_S + 1 if len(began) == 3 else 0)
        raise RuntimeError("gone")

    async with open_ledger(tmp_path) as ledger, trio.open_nursery() as nursery:
        membership = Membership(
            home=tmp_path,
            place=Place(swarm=SWARM, name="a swarm"),
            identity=KEY,
            ledger=ledger,
            research=NoResearch(),
            doing=lambda: Doing("relay", "", b"", "skep"),
            emit=lambda event: None,
        )
        monkeypatch.setattr(membership.swarm, "run", lasting)
        nursery.start_soon(membership.run)
        while len(began) < 5:  # noqa: ASYNC110 - no event says so
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    pauses = [round(b - a) for a, b in itertools.pairwise(began)]
    assert pauses == [5, 10, 301 + 5, 10]
