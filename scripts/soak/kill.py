"""Kills a node 200 times with SIGKILL at random moments and says what was lost.

python scripts/soak/kill.py [KILLS] [SEED]
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e.killing import Campaign
from tests.e2e.nodes import quick_task


def main() -> None:
    """Run the campaign; the first violation ends it with the seed that repeats it."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder, "home"), quick_task(Path(folder, "task")), seed)
        for number in range(1, kills + 1):
            campaign.kill_once()
            if number % 10 == 0:
                print(f"{number} kills, {campaign.check()} runs, seed {seed}", flush=True)
        told, found = campaign.acknowledged.total(), campaign.check()
        print(f"{kills} kills: {told} runs acknowledged, {found} recorded, none lost or doubled")


if __name__ == "__main__":
    main()
