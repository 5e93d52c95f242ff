"""A node without a trainer: it keeps what the swarm says and passes it on.

`skep join --no-train` archives and relays; `skep bootstrap` does the same, wide enough for many
others to meet at. No task is opened and no code of anybody is run.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import trio

from gossip.driver import Doing
from gossip.identity import Identity
from gossip.ledger import Ledger
from node.app import now_ms, watch_signals
from node.config import Settings
from node.control import serve
from node.home import hold
from node.swarm import SOFTWARE, Membership, NoResearch, place_of
from skep.errors import ConfigError
from skep.events import Event, Said

IDLE: Mapping[str, Any] = {
    "task": "",
    "metric": "",
    "sandbox": "",
    "paused": False,
    "finishing": False,
    "champion": "",
    "runs": 0,
    "judged": 0,
    "kept": 0,
    "best": None,
    "last_verdict": "",
    "verdicts": [],
    "slots": [],
}
"""What a node without research answers to `skep status`, beside its process."""


async def relay(settings: Settings, show: Callable[[Event], None], *, wide: bool) -> None:
    """Keep and pass on until a signal, or until the minutes of the settings are over.

    Args:
        settings: where to listen, and whom to begin with.
        show: is handed every event.
        wide: for others to meet at.

    Raises:
        HomeError: the home is in use or cannot be written.
        ConfigError: an address makes no sense or cannot be used.
    """
    place = place_of(settings)
    async with trio.open_nursery() as nursery:
        stages = [working := trio.CancelScope()]
        await nursery.start(watch_signals, stages)
        with working, hold(settings.home) as home:
            identity = Identity.load(home.root)
            async with Ledger.open(
                home.root,
                identity,
                swarm=place.swarm,
                clock=now_ms,
                archive_bytes=settings.archive_bytes,
            ) as ledger:
                membership = Membership(
                    home=home.root,
                    place=place.wide() if wide else place,
                    identity=identity,
                    ledger=ledger,
                    research=NoResearch(),
                    doing=lambda: Doing("relay", "", b"", SOFTWARE),
                    emit=show,
                )
                show(Said(f"node     {identity.name}  ({identity.peer_id})"))
                show(Said(f"home     {home.root}"))
                with trio.move_on_after(
                    settings.minutes * 60 if settings.minutes else float("inf")
                ):
                    await _take_part(membership, settings, show)
        nursery.cancel_scope.cancel()


async def _has_no_experiments() -> dict[str, Any]:
    raise ConfigError("this node runs no experiments", "`skep finish` ends it.")


async def _take_part(
    membership: Membership, settings: Settings, show: Callable[[Event], None]
) -> None:
    started = trio.current_time()

    async def status() -> dict[str, Any]:
        up_s = round(trio.current_time() - started)
        return {**IDLE, "pid": os.getpid(), "up_s": up_s, "swarm": membership.glance()}

    async def swarm() -> dict[str, Any]:
        return membership.answer()

    async with trio.open_nursery() as nursery:

        async def finish() -> dict[str, Any]:
            nursery.cancel_scope.cancel()
            return {**await status(), "finishing": True}

        answers = {
            "status": status,
            "swarm": swarm,
            "finish": finish,
            "pause": _has_no_experiments,
            "resume": _has_no_experiments,
        }
        await nursery.start(serve, settings.home, answers)
        nursery.start_soon(membership.run)
        if membership.door:
            show(Said("ready: others can meet here; `skep lab invite NAME` prints an invite"))
        else:
            show(Said("ready: others can meet here; give them one of these lines for --bootstrap"))
        await membership.swarm.opened.wait()
        for address in membership.answer()["addresses"]:
            show(Said(f"  {address}"))
        await trio.sleep_forever()
