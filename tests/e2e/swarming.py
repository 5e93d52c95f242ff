"""Swarms of real processes on the loopback interface, and ways to look at what they hold.

Each member is a `tests.e2e.speaker`; what it said and heard is read from its home, from outside, so
that a member that was killed can be asked as well. Used by tests, benchmarks and soaks.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.params import NODE
from gossip.swarms import PUBLIC_SWARM

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Member:
    """A process of the swarm; several nodes in it, if `company` is given."""

    def __init__(
        self,
        home: Path,
        *,
        bootstrap: Sequence[str] = (),
        wide: bool = False,
        company: int = 0,
        prefix: Sequence[str] = (),
        host: str = "127.0.0.1",
        compare_s: float = NODE.compare_s,
    ) -> None:
        self.home = home
        self._bootstrap = bootstrap
        self._compare_s = compare_s
        home.mkdir(parents=True, exist_ok=True)
        self.homes = [home, *(home.with_name(f"{home.name}.{n}") for n in range(1, company + 1))]
        port = 0 if company else free_port()
        self.identity = Identity.load(home)
        self.address = f"/ip4/{host}/tcp/{port}/p2p/{self.identity.peer_id}"
        options = ["--listen", f"/ip4/{host}/tcp/{port}", *(["--wide"] if wide else [])]
        options += ["--compare", str(compare_s)]
        options += [part for one in bootstrap for part in ("--bootstrap", one)]
        module = [sys.executable, "-m", "tests.e2e.speaker"]
        self._command = [*prefix, *module, *map(str, self.homes), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; the member must have been started."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, or start it again."""
        with (self.home / "stderr.log").open("ab") as errors:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                if self._process.stdin:
                    self._process.stdin.close()
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def connections(self, port: int) -> int:
        """How many TCP connections of its process are on this port."""
        found = psutil.Process(self.pid).net_connections("tcp")
        return sum(one.status == "ESTABLISHED" and one.laddr.port == port for one in found)

    def listens(self) -> bool:
        """Whether somebody can connect to it."""
        host, port = self.address.split("/")[2], int(self.address.split("/")[4])
        with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
            return True
        return False

    def say(self, count: int, seconds: float = 0.0) -> None:
        """Let it publish so many records within so many seconds."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"say {count} {seconds}\n".encode())
        self._process.stdin.flush()

    def log(self, name: str) -> dict[str, int]:
        """What was `said` or `heard`: nanosecond by record id. A torn last line is left out."""
        path = self.home / f"{name}.log"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = (line.split() for line in lines if line.endswith("\n"))
        return {content_id: int(moment) for content_id, moment in whole}

    def ids(self) -> set[bytes]:
        """Ids of all records in its ledger."""
        with Ledger.read(self.home) as ledger:
            return {one.id for one in ledger.positions(PUBLIC_SWARM)}

    def forks(self) -> int:
        """How many chains it holds that are forked."""
        with Ledger.read(self.home) as ledger:
            places = Counter((p.author, p.session, p.seq) for p in ledger.positions(PUBLIC_SWARM))
        return sum(count > 1 for count in places.values())

    def copied(self, home: Path) -> "Member":
        """Another member with a copy of this one's home as it is now, and a port of its own."""
        shutil.copytree(self.home, home, ignore=shutil.ignore_patterns("*.log"))
        return Member(home, bootstrap=self._bootstrap, compare_s=self._compare_s)

    def notices(self) -> str:
        """What it told the person watching."""
        path = self.home / "notices.log"
        return path.read_text() if path.exists() else ""

    def complaints(self) -> str:
        """What it wrote to standard error; a healthy member writes nothing."""
        path = self.home / "stderr.log"
        return path.read_text() if path.exists() else ""


@contextlib.contextmanager
def swarm(
    folder: Path, size: int, prefix: Sequence[str] = (), compare_s: float = NODE.compare_s
) -> Iterator[list[Member]]:
    """Members that all meet at the first, not started; all are ended with the block."""
    first = Member(folder / "0", wide=True, prefix=prefix, compare_s=compare_s)
    others = [
        Member(folder / str(number), bootstrap=[first.address], prefix=prefix, compare_s=compare_s)
        for number in range(1, size)
    ]
    with ended([first, *others]) as members:
        yield members


@contextlib.contextmanager
def ended(members: list[Member]) -> Iterator[list[Member]]:
    """End these members with the block, and those that were added to the list."""
    try:
        yield members
    finally:
        for member in members:
            member.kill()


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> float:
    """Poll until something holds; the seconds it took.

    Raises:
        AssertionError: it did not in time.
    """
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < limit_s, f"waited {limit_s} s in vain: {what}"
        time.sleep(0.1)
    return time.monotonic() - begun


def together(members: Sequence[Member], records: int, limit_s: float) -> float:
    """Wait until each holds the same records, and so many; the seconds it took."""

    def equal() -> bool:
        assert all(member.alive for member in members), [m.complaints() for m in members]
        held = [member.ids() for member in members]
        return len(held[0]) >= records and all(one == held[0] for one in held)

    return wait_until(equal, limit_s, f"{records} records everywhere")


def connected(members: Sequence[Member], limit_s: float) -> float:
    """Let the first member speak until everybody hears it; the seconds it took."""

    def hear() -> bool:
        if not members[0].log("said"):
            members[0].say(1)
            wait_until(lambda: bool(members[0].log("said")), limit_s, "the first word")
        return all(member.log("heard") for member in members[1:])

    return wait_until(hear, limit_s, "company")


def delays(
    speakers: Sequence[Member], listeners: Sequence[Member], since_ns: int = 0
) -> list[float]:
    """Seconds from saying to hearing, of every record that got somewhere, sorted."""
    heard = [member.log("heard") for member in listeners]
    said = {one: at for member in speakers for one, at in member.log("said").items()}
    return sorted(
        (log[one] - at) / 1e9
        for log in heard
        for one, at in said.items()
        if one in log and at >= since_ns
    )
