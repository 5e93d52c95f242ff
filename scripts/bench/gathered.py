"""What it costs a node to keep the swarm's evidence up: memory, taking in, and a verdict.

    PYTHONPATH=. python scripts/bench/gathered.py [--records 100000] [--claims 5000] [--peers]

takes in that many invented records of 100 authors, all of one tier, with three replications of
every claim, as a node does from its ledger. With `--peers` also what each author offers is kept
up, as in a node that looks for something to adopt.
"""

import argparse
import gc
import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from node.gathered import Gathered
from node.offers import Peers
from skep.evidence import replication_seed
from skep.ports import TaskFacts
from skep.records import Claim, Payload, Rescore, Run, Score, SetConstant
from skep.tier import tier
from tests.factories import CPU, content_id, make_run

TASK = TaskFacts(
    name="invented",
    id=bytes(32),
    metric="val_bpb",
    direction="min",
    scored_by="harness",
    budget_ms=20_000,
    sigma=0.01,
    noise=0.01,
    seed_program="",
)
AUTHORS = [content_id(f"author {number}") for number in range(100)]
CLAIMS_OF_A_PARENT = 30
Said = tuple[bytes, bytes, int, Payload]


class Swarm:
    """Invents what a swarm says."""

    def __init__(self) -> None:
        self._rng = random.Random(1)
        self._said: list[Said] = []
        self._count = 0
        self._lines: dict[tuple[str, bytes], list[bytes]] = {}

    def records(self, records: int, claims: int) -> Iterator[Said]:
        """Claims with their replications, and plain runs between them."""
        for number in range(claims):
            self._claim(number)
            while len(self._said) < records // claims:
                edit = make_run(f"plain {self._count}", parent="parent", strategy="tune")
                self._say(self._rng.choice(AUTHORS), _scored(edit, 1.0 + self._rng.random()))
            yield from self._said
            self._said.clear()

    def _say(self, author: bytes, payload: Payload) -> bytes:
        self._count += 1
        content_id = hashlib.sha256(b"%d" % self._count).digest()
        self._said.append((content_id, author, self._count, payload))
        return content_id

    def _claim(self, number: int) -> None:
        parent, name = f"parent {number // CLAIMS_OF_A_PARENT}", f"edit {number}"
        author, *others = self._rng.sample(AUTHORS, 4)
        edit = make_run(name, parent=parent, strategy="tune")
        run = self._say(author, _scored(edit, 0.97))
        claim = Claim(program=edit.program, parent=content_id(parent), run=run, effect=-30_000)
        claimed = self._say(author, claim)
        for other in others:
            old = self._baselines(parent, other)
            again = replace(
                make_run(name, parent=parent, strategy="adopt", claim=claimed),
                seed=replication_seed(claimed, other, 0),
                rescored=tuple(Rescore(one, 7 + number, "heldout", 1_000_000) for one in old),
            )
            self._say(other, _scored(again, 1.0 + self._rng.gauss(-0.01, 0.01), 7 + number))

    def _baselines(self, parent: str, author: bytes) -> list[bytes]:
        if (parent, author) not in self._lines:
            runs = [
                _scored(make_run(parent, seed=seed), self._rng.gauss(1, 0.01)) for seed in (1, 2)
            ]
            self._lines[parent, author] = [self._say(author, run) for run in runs]
        return self._lines[parent, author]


def _scored(run: Run, value: float, draw: int = 0) -> Run:
    rows = [Score(0, "dev", round(value * 1e6))]
    rows += [Score(draw, "heldout", round(value * 1e6))] if draw else []
    return replace(run, scores=tuple(rows), edits=(SetConstant("LR", 0.1),))


def decoded(said: Said) -> Said:
    """The same as it comes from a database: nothing of it shared with other records."""
    content_id, author, at, payload = said
    raw = msgspec.msgpack.encode(payload)
    again = msgspec.msgpack.decode(raw, type=type(payload))
    return bytes(bytearray(content_id)), bytes(bytearray(author)), at, again


def resident_mib() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--claims", type=int, default=5_000)
    parser.add_argument("--peers", action="store_true")
    chosen = parser.parse_args()
    here = tier(CPU)
    evidence, peers = Gathered(TASK, here), Peers(TASK, here, bytes(32))
    before, spent, count = resident_mib(), 0.0, 0
    for said in Swarm().records(chosen.records, chosen.claims):
        content_id, author, at, payload = decoded(said)
        begun = time.process_time()
        evidence.take(content_id, author, at, payload)
        spent, count = spent + time.process_time() - begun, count + 1
        if chosen.peers:
            peers.take(content_id, author, payload)
    gc.collect()
    print(f"records    {count}, {1e6 * spent / count:.1f} µs each")
    print(f"memory     {before:.0f} MiB before, {resident_mib() - before:.0f} more")
    for roots in (AUTHORS[:1], AUTHORS):
        begun = time.process_time()
        known = evidence.verdicts(frozenset(roots))
        took = time.process_time() - begun
        print(f"verdict    {took:.2f} s CPU, {len(known.claims)} claims, {len(roots)} roots")
    print(f"memory     {resident_mib() - before:.0f} MiB more")


if __name__ == "__main__":
    main()
