"""A swarm in three parts that cannot reach one another, each with two nodes; then it heals.

    PYTHONPATH=. python scripts/soak/partition.py [SECONDS]

Needs root and `ip`: every part is a network namespace, a fourth holds the bridge between them, and
a part is cut off by taking its end of the bridge down. Nothing of the machine's own network is
touched, and all of it is gone at the end. Connections are not closed by a cut: they go silent.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e.swarming import Member, connected, ended, together, wait_until

PARTS = 3
RECORDS = 30
HEALED_S = 60.0
PATIENCE_S = 120.0
NAME = f"skep{os.getpid()}"


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True)


@contextmanager
def networks() -> Iterator[list[str]]:
    """Names of the namespaces of the parts; part N has the address 10.77.0.N."""
    middle = f"{NAME}m"
    names = [f"{NAME}p{number}" for number in range(1, PARTS + 1)]
    try:
        ip("netns", "add", middle)
        ip("-n", middle, "link", "add", "bridge", "type", "bridge")
        ip("-n", middle, "link", "set", "bridge", "up")
        for number, name in enumerate(names, 1):
            ip("netns", "add", name)
            ip("-n", middle, "link", "add", f"to{number}", "type", "veth", "peer", "outside")
            ip("-n", middle, "link", "set", "outside", "netns", name)
            ip("-n", middle, "link", "set", f"to{number}", "master", "bridge", "up")
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "outside")
            ip("-n", name, "link", "set", "outside", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in (*names, middle):
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def cut(*, off: bool) -> None:
    """Separate all parts, or join them."""
    for number in range(1, PARTS + 1):
        ip("-n", f"{NAME}m", "link", "set", f"to{number}", "down" if off else "up")


def swarm_of(folder: Path, names: list[str]) -> list[Member]:
    """Two members in each part, who all know the first."""
    members: list[Member] = []
    for number, name in enumerate(names, 1):
        for each in "ab":
            members.append(
                Member(
                    folder / f"{number}{each}",
                    bootstrap=[members[0].address] if members else [],
                    wide=not members,
                    prefix=["ip", "netns", "exec", name],
                    host=f"10.77.0.{number}",
                )
            )
    return members


def main() -> None:
    """Meet, part, speak, join, compare."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with (
        tempfile.TemporaryDirectory() as folder,
        networks() as names,
        ended(swarm_of(Path(folder), names)) as members,
    ):
        for member in members:
            member.start()
        print(f"met after {connected(members, PATIENCE_S):.1f} s", flush=True)
        time.sleep(10)
        cut(off=True)
        for member in members:
            member.say(RECORDS, seconds * 0.8)
        time.sleep(seconds)
        wait_until(
            lambda: (
                sum(len(member.log("said")) for member in members) == RECORDS * len(members) + 1
            ),
            PATIENCE_S,
            "everything said",
        )
        apart = [len(member.ids()) for member in members]
        cut(off=False)
        healed = together(members, RECORDS * len(members) + 1, PATIENCE_S)
        print(f"held while cut off: {apart}; equal {healed:.1f} s after the cut was mended")
        assert max(apart) < RECORDS * len(members), "the parts were not cut off"
        assert healed < HEALED_S
        assert [member.complaints() for member in members] == [""] * len(members)


if __name__ == "__main__":
    main()
