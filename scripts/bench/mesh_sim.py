"""A thousand nodes in virtual time: does everything reach everybody, at what cost, twice the same?

    PYTHONPATH=. python scripts/bench/mesh_sim.py --nodes 1000 --records 50

The protocol is the shipped one; network and clock are those of `gossip.simulate`. Announcements of
presence are left out unless asked for: a thousand nodes make a million of them in half an hour.
"""

import argparse
import hashlib
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from gossip.simulate import World
from tests.factories import make_run


def course(nodes: int, records: int, seed: int, *, presence: bool) -> dict[str, Any]:
    """Let them meet, speak for a minute, and settle."""
    begun = time.process_time()
    world = World(nodes, seed=seed, presence=presence)
    world.run(40)
    met = [len(node.links) for node in world.nodes]
    for number in range(records):

        def say(number: int) -> None:
            node = world.rng.choice(world.nodes)
            world.say(node, make_run("p", pinned=2.0, seed=number))

        world.at(world.rng.uniform(0.0, 60.0), partial(say, number))
    world.run(60)
    settled = 0
    while len(world.digests()) > 1 and settled < 120:
        world.run(1)
        settled += 1
    held = [len(node.core.replica) for node in world.nodes if node.core]
    counts = dict(sorted(world.counts.items()))
    whole = repr((counts, sorted(world.digests()), held, met))
    return {
        "cpu_s": time.process_time() - begun,
        "links_least": min(met),
        "settled_s": settled,
        "held_least": min(held),
        "digests": len(world.digests()),
        **counts,
        "course": hashlib.sha256(whole.encode()).hexdigest()[:16],
    }


def main() -> None:
    """Measure twice and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--records", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--presence", action="store_true")
    parser.add_argument("--once", action="store_true", help="do not repeat")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    run = partial(course, chosen.nodes, chosen.records, chosen.seed, presence=chosen.presence)
    numbers = run()
    for what, value in numbers.items():
        print(f"{what:14} {value if isinstance(value, str) else f'{value:,.0f}':>16}", flush=True)
    if not chosen.once:
        same = run()["course"] == numbers["course"]
        print(f"repeated       {'the same' if same else 'DIFFERENT':>16}")
        numbers["repeats"] = same
    if chosen.json:
        chosen.json.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
