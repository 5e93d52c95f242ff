"""What a swarm of real processes does on one machine: how fast, through kills, and at what cost.

    PYTHONPATH=. python scripts/bench/swarm.py --json numbers.json
    PYTHONPATH=. python scripts/bench/swarm.py --only propagation idle

Members are `tests.e2e.speaker`s on the loopback interface, which has no latency and loses nothing:
what is measured is the software. Late joining includes the start of the process; the cost of a node
is that of one with 20 peers and nothing to do, whose bytes are counted by the kernel.
"""

import argparse
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import trio

from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.swarms import PUBLIC_SWARM
from tests.e2e.swarming import Member, connected, delays, ended, swarm, together, wait_until
from tests.gossip.scenes import chain_by

SIZE = 6
LATE_RECORDS = 5000
LATE_AUTHORS = 50
BURST, BURST_S = 300, 20.0
AWAY_S = (1, 10, 60)
COMPANY = 20
PATIENCE_S = 120.0


def at_share(values: list[float], share: float) -> float:
    """The value below which this share of a sorted list is."""
    return values[min(len(values) - 1, int(len(values) * share))]


def propagation(folder: Path) -> dict[str, Any]:
    """Six nodes that all speak: how long a record takes to each of the others."""
    with swarm(folder, SIZE) as members:
        for member in members:
            member.start()
        met = connected(members, PATIENCE_S)
        time.sleep(5)
        began = time.time_ns()
        for member in members:
            member.say(30, 30.0)
        time.sleep(30)
        together(members, 30 * SIZE + 1, PATIENCE_S)
        found = delays(members, members, began)
        pairs = 30 * SIZE * (SIZE - 1)
        return {
            "company_s": met,
            "delivered": len(found) / pairs,
            "median_s": at_share(found, 0.5),
            "p99_s": at_share(found, 0.99),
            "longest_s": found[-1],
        }


async def fill(home: Path, records: int) -> None:
    """Put records of invented authors into a home."""
    per_author = records // LATE_AUTHORS
    async with Ledger.open(
        home, Identity.load(home), swarm=PUBLIC_SWARM, clock=lambda: 1
    ) as ledger:
        for number in range(LATE_AUTHORS):
            key = Identity(number.to_bytes(32, "big"))
            await ledger.admit(chain_by(key, per_author, swarm=PUBLIC_SWARM))


def late(folder: Path) -> dict[str, Any]:
    """A node that starts empty beside some that hold thousands of records."""
    with swarm(folder, 3) as members:
        for member in members:
            trio.run(fill, member.home, LATE_RECORDS)
            member.start()
        wait_until(
            lambda: all(one.listens() for one in members), PATIENCE_S, "somebody who listens"
        )
        comer = Member(folder / "late", bootstrap=[one.address for one in members])
        members.append(comer)
        comer.start()
        began = time.time()
        taken = together(members, LATE_RECORDS, PATIENCE_S)
        heard = comer.log("heard").values()
        first = min(heard) / 1e9 - began
        return {"records": LATE_RECORDS, "start_s": first, "everything_s": taken}


def kills(folder: Path, away_s: float) -> dict[str, Any]:
    """Two of six are killed in the middle of a burst and come back."""
    with swarm(folder, SIZE) as members:
        for member in members:
            member.start()
        connected(members, PATIENCE_S)
        speaker, *victims = members[3:]
        speaker.say(BURST, BURST_S)
        time.sleep(3)
        for victim in victims:
            victim.kill()
        time.sleep(away_s)
        for victim in victims:
            victim.start()
        wait_until(lambda: len(speaker.log("said")) >= BURST, PATIENCE_S, "the end of the burst")
        healed = together(members, BURST, PATIENCE_S)
        held = [member.ids() for member in members]
        said = {bytes.fromhex(one) for one in speaker.log("said")}
        return {
            "equal_s": healed,
            "delivered": min(len(said & one) for one in held) / len(said),
            "complaints": sum(bool(member.complaints()) for member in members),
        }


def wire_bytes(port: int) -> dict[str, int]:
    """Bytes that went through each connection of a listening port, both ways, by its other end."""
    command = ["ss", "-tinHO", f"( sport = :{port} )"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        line.split()[4]: sum(map(int, re.findall(r"bytes_(?:sent|received):(\d+)", line)))
        for line in out.splitlines()
    }


def idle(folder: Path, seconds: float = 60.0) -> dict[str, Any]:
    """One process with twenty peers, which are in another."""
    hub = Member(folder / "hub", wide=True)
    crowd = Member(folder / "crowd", bootstrap=[hub.address], company=COMPANY - 1)
    with ended([hub, crowd]):
        hub.start()
        crowd.start()
        port = int(hub.address.split("/")[4])
        wait_until(lambda: hub.connections(port) >= COMPANY, PATIENCE_S, "twenty peers")
        time.sleep(20)
        process = psutil.Process(hub.pid)
        before, cpu = wire_bytes(port), sum(process.cpu_times()[:2])
        time.sleep(seconds)
        return {
            "peers": hub.connections(port),
            # What a connection carried that has ended meanwhile is not known.
            "kilobytes_s": sum(n - before.get(end, 0) for end, n in wire_bytes(port).items())
            / seconds
            / 1000,
            "core_percent": 100 * (sum(process.cpu_times()[:2]) - cpu) / seconds,
            "megabytes": process.memory_info().rss / 1e6,
        }


MEASURED: dict[str, Any] = {
    "propagation": propagation,
    "late": late,
    **{f"kills-{away}s": lambda folder, away=away: kills(folder, away) for away in AWAY_S},
    "idle": idle,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(MEASURED), default=list(MEASURED))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    numbers: dict[str, Any] = {}
    for name in chosen.only:
        with tempfile.TemporaryDirectory() as folder:
            numbers[name] = MEASURED[name](Path(folder))
        for what, value in numbers[name].items():
            print(f"{name:14} {what:14} {value:10.3f}", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
