"""kill -9 at any moment loses nothing that was acknowledged, and the next start goes on."""

from pathlib import Path

from tests.e2e.killing import Campaign
from tests.e2e.nodes import quick_task, skep

KILLS = 20


def test_twenty_kills_lose_no_record_and_count_no_run_twice(tmp_path: Path) -> None:
    task, home = quick_task(tmp_path / "task"), tmp_path / "home"
    campaign = Campaign(home, task, seed=1)
    for _ in range(KILLS):
        campaign.kill_once()
    assert campaign.acknowledged, "it got somewhere in spite of it"
    recorded = campaign.check()
    skep(home, "join", "--solo", "--task", str(task), "--experiments", "1")
    assert campaign.check() > recorded, "it goes on"
