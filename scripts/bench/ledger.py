"""What a ledger with the records of a whole swarm costs: storing them, starting, memory.

    PYTHONPATH=. python scripts/bench/ledger.py FOLDER --records 100000 --authors 100

makes that many signed runs of invented authors, measures reading and verifying them, admits them to
a new ledger in FOLDER while an own run is published now and then, and opens that ledger again in a
fresh process. Not measured: gossip, and what is computed from the records.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from gossip.feeds import Link
from gossip.identity import Identity, verify
from gossip.ledger import Ledger
from gossip.swarms import PUBLIC_SWARM
from gossip.wire import SESSION_BYTES, decode, encode
from skep.records import NO_PREVIOUS, Record, SignedRecord
from tests.factories import content_id, make_run

TASK = content_id("task")
SAMPLE = 2000
"""Records that reading and verifying is measured on."""

BATCH = 5000
OWN = Identity(bytes(range(32)))


def invented(records: int, authors: int) -> Iterator[SignedRecord]:
    """Runs of many authors, taking turns as they would in a swarm."""
    keys = [Identity(number.to_bytes(32, "big")) for number in range(1, authors + 1)]
    links = [Link(key.public[:SESSION_BYTES], 0, NO_PREVIOUS) for key in keys]
    rng = random.Random(1)
    for number in range(records):
        at = rng.randrange(authors)
        run = make_run(f"p{number}", parent=f"p{number // 9}", seed=number, pinned=2.0)
        record = Record(
            v=1,
            swarm=PUBLIC_SWARM,
            task=TASK,
            author=keys[at].public,
            session=links[at].session,
            seq=links[at].seq,
            prev=links[at].prev,
            time=1_700_000_000_000 + number,
            kind="run",
            payload=run,
        )
        body = encode(record)
        links[at] = links[at].after(body)
        yield SignedRecord(record, body, keys[at].sign(body))


def reading_rate(records: list[SignedRecord]) -> float:
    """Records a second that come in as bytes and go on as verified records."""
    entries = [one.signature + one.body for one in records]
    start = time.perf_counter()
    for entry in entries:
        signed = decode(entry)
        assert verify(signed.record.author, signed.body, signed.signature)
    return len(entries) / (time.perf_counter() - start)


async def fill(folder: Path, records: int, authors: int) -> None:
    """Admit them all, and publish own runs meanwhile."""
    said = invented(records, authors)
    waits: list[float] = []
    spent = 0.0
    seeds = itertools.count()

    async def publish() -> None:
        while True:
            await trio.sleep(0.05)
            start = trio.current_time()
            await ledger.publish(make_run("own", seed=next(seeds), pinned=2.0), TASK)
            waits.append(trio.current_time() - start)

    async with Ledger.open(folder, OWN, swarm=PUBLIC_SWARM, clock=lambda: 1) as ledger:
        while batch := list(itertools.islice(said, BATCH)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish)
                start = time.perf_counter()
                await ledger.admit(batch)
                spent += time.perf_counter() - start
                nursery.cancel_scope.cancel()
    waits.sort()
    print(f"admitted            {records / spent:,.0f} records/s")
    middle, longest = 1000 * waits[len(waits) // 2], 1000 * waits[-1]
    print(f"own records waited  {middle:.0f} ms, {longest:.0f} at most")
    size = (folder / "skep.db").stat().st_size
    print(f"database            {size / 2**20:.0f} MiB, {size / records:.0f} bytes a record")


def resident_mib() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


async def start(folder: Path) -> dict[str, float]:
    """Open the ledger as a node does, and go through all places once."""
    before, begun = resident_mib(), time.perf_counter()
    async with Ledger.open(folder, OWN, swarm=PUBLIC_SWARM, clock=lambda: 1) as ledger:
        opened = time.perf_counter()
        own = ledger.runs(TASK)
        own_read = time.perf_counter()
        memory = resident_mib()
        places = sum(1 for _ in ledger.positions(PUBLIC_SWARM))
        read = time.perf_counter()
        return {
            "opened_s": opened - begun,
            "own_runs": len(own),
            "own_runs_s": own_read - opened,
            "places": places,
            "places_s": read - own_read,
            "mib_before": before,
            "mib_started": memory,
            "mib_after_places": resident_mib(),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--authors", type=int, default=100)
    parser.add_argument("--start-only", action="store_true")
    chosen = parser.parse_args()
    if chosen.start_only:
        print(json.dumps(trio.run(start, chosen.folder)))
        return
    rate = reading_rate(list(invented(SAMPLE, chosen.authors)))
    print(f"decoded, verified   {rate:,.0f} records/s")
    trio.run(fill, chosen.folder, chosen.records, chosen.authors)
    again = [sys.executable, __file__, str(chosen.folder), "--start-only"]
    found = json.loads(subprocess.run(again, check=True, capture_output=True, text=True).stdout)
    print(f"opened in           {found['opened_s']:.2f} s")
    print(f"own runs            {found['own_runs']} in {found['own_runs_s']:.2f} s")
    print(f"places              {found['places']} in {found['places_s']:.2f} s")
    print(
        f"memory              {found['mib_before']:.0f} MiB before, {found['mib_started']:.0f}"
        f" started, {found['mib_after_places']:.0f} after going through the places"
    )


if __name__ == "__main__":
    main()
