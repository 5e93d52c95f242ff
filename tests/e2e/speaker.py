"""A process of a swarm for tests and benchmarks: the shipped node, told on its input when to speak.

    python -m tests.e2e.speaker HOME... --listen ADDRESS --bootstrap ADDRESS

Membership, driver, mesh and ledger are those of `skep join --no-train`; in place of research are
lists of what was said (HOME/said.log) and heard (HOME/heard.log), with the nanosecond of each. A
line `say COUNT SECONDS` on the input makes the node of the first home publish so many records
within so many seconds. More homes make more nodes in the one process, for company.
"""

import argparse
import sys
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from gossip.driver import Doing
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.params import NODE
from gossip.swarms import PUBLIC_SWARM
from node.app import now_ms
from node.swarm import SOFTWARE, Membership, NoResearch, Place
from skep.events import Event
from skep.records import SignedRecord
from tests.factories import content_id, make_run

TASK = content_id("task")


class Noting(Membership):
    """Writes down what was heard, and when."""

    def __init__(self, *, home: Path, **fields: Any) -> None:
        super().__init__(home=home, **fields)
        self._file = (home / "heard.log").open("a")

    def heard(self, records: Iterable[SignedRecord]) -> None:
        """Note the moment; the records are in the ledger."""
        now = time.time_ns()
        self._file.writelines(f"{one.id.hex()} {now}\n" for one in records)
        self._file.flush()
        super().heard(records)


class Speaker:
    """One node."""

    def __init__(self, home: Path, ledger: Ledger, place: Place, identity: Identity) -> None:
        self._home = home
        self._ledger = ledger
        self._notices = (home / "notices.log").open("a")
        self._said = (home / "said.log").open("a")
        self.membership = Noting(
            home=home,
            place=place,
            identity=identity,
            ledger=ledger,
            research=NoResearch(),
            doing=lambda: Doing("relay", "", b"", SOFTWARE),
            emit=self._note,
        )

    def _note(self, event: Event) -> None:
        self._notices.write(f"{event}\n")
        self._notices.flush()

    async def say(self, count: int, seconds: float) -> None:
        """Publish so many records, evenly spread."""
        begun = trio.current_time()
        for number in range(count):
            await trio.sleep_until(begun + seconds * number / count)
            now = time.time_ns()
            run = make_run("p", pinned=2.0, seed=now % 2**31)
            signed = await self._ledger.publish(run, TASK)
            self._said.write(f"{signed.id.hex()} {now}\n")
            self._said.flush()


async def obey(speaker: Speaker) -> None:
    """Do what the input says, until it ends."""
    async with trio.open_nursery() as nursery:
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            verb, *numbers = line.split()
            if verb != "say":
                raise ValueError(line)
            nursery.start_soon(speaker.say, int(numbers[0]), float(numbers[1]))
    await trio.sleep_forever()


async def live(homes: list[Path], place: Place) -> None:
    """Run one node on each home, for ever."""
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        speakers = []
        for home in homes:
            home.mkdir(parents=True, exist_ok=True)
            identity = Identity.load(home)
            ledger = await stack.enter_async_context(
                Ledger.open(home, identity, swarm=place.swarm, clock=now_ms)
            )
            speakers.append(Speaker(home, ledger, place, identity))
            nursery.start_soon(speakers[-1].membership.run)
        await obey(speakers[0])


def main() -> None:
    """Read the arguments and live."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("homes", type=Path, nargs="+")
    parser.add_argument("--listen", default="/ip4/127.0.0.1/tcp/0")
    parser.add_argument("--bootstrap", action="append", default=[])
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--compare", type=float, default=NODE.compare_s)
    chosen = parser.parse_args()
    place = Place(
        swarm=PUBLIC_SWARM,
        name="the swarm of a test",
        bootstrap=tuple(chosen.bootstrap),
        listen=(chosen.listen,),
    )
    place = place.wide() if chosen.wide else place
    params = replace(place.params, compare_s=chosen.compare)
    trio.run(live, chosen.homes, replace(place, params=params))


if __name__ == "__main__":
    main()
