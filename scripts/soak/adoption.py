"""Two real nodes, the real trainer and the real mesh: what one finds the other re-runs and adopts.

    PYTHONPATH=. python scripts/soak/adoption.py

Node A is led to a good edit and keeps it. It then serves what it said while node B, which knows
nothing but its address, hears of the edit, re-runs and adopts it, and then builds on it;
A sees that it did. The two homes share the measurement of the machine, and so their tier.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[2]))

from gossip.identity import Identity
from tests.e2e.nodes import skep, skep_json, skep_process
from tests.e2e.swarming import free_port, wait_until
from tests.e2e.test_adoption import BUDGET_S, find

LIMIT_S = 300.0


def main() -> None:
    """Run both, and look at what they know."""
    with tempfile.TemporaryDirectory() as folder:
        a, b = Path(folder, "a"), Path(folder, "b")
        found = trio.run(find, a)
        print(f"A keeps {found.hex()[:8]}", flush=True)
        place = f"/ip4/127.0.0.1/tcp/{free_port()}"
        address = f"{place}/p2p/{Identity.load(a).peer_id}"
        server = skep_process(
            a, "join", "--no-train", "--listen", place, "--bootstrap", address, "--no-mdns"
        )
        try:
            wait_until(lambda: (a / "control.sock").exists(), LIMIT_S, "A")
            b.mkdir()
            shutil.copy(a / "machine.json", b)
            options = ["--budget", str(BUDGET_S), "--jobs", "1", "--device", "cpu"]
            options += ["--no-mdns", "--bootstrap", address, "--experiments"]
            begun = time.monotonic()
            # By itself it might find something better before it has tried what it hears of.
            out = skep(b, "join", *options, "1", "--verify-only", timeout_s=LIMIT_S)
            print(out, flush=True)
            assert "adopted from" in out
            shown = skep_json(b, "show", found.hex())
            assert shown["experiment"]["verdict"] == "keep"
            skep(b, "join", *options, "2", timeout_s=LIMIT_S)
            later = [row for row in skep_json(b, "runs") if row["parent"] == found.hex()]
            assert later, "the search goes on from what was adopted"
            time.sleep(2)
            runners = skep_json(a, "show", found.hex())["found"]["runners"]
            name = Identity.load(b).name
            assert name in {one["author"]["name"] for one in runners if not one["me"]}, runners
            print(f"B ran, adopted and built on it in {time.monotonic() - begun:.0f} s; A sees it")
        finally:
            server.terminate()
            server.communicate(timeout=30)


if __name__ == "__main__":
    main()
