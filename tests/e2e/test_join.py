"""A node from the outside: real processes, real experiments, what a user sees and keeps."""

import os
import signal
import time
from pathlib import Path

from tests.e2e.nodes import quick_task, skep, skep_json, skep_process


def wait_for(condition: object, process: object, limit_s: float = 60) -> None:
    """Poll until a condition holds; the process must stay alive meanwhile."""
    end = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        assert process.poll() is None, process.communicate()  # type: ignore[attr-defined]
        time.sleep(0.05)


def test_asked_for_four_proposals_it_judges_four_and_stops(tmp_path: Path) -> None:
    task = quick_task(tmp_path / "task")
    home = tmp_path / "home"
    out = skep(home, "join", "--solo", "--task", str(task), "--experiments", "4", "--jobs", "2")
    assert str(home) in out
    runs = skep_json(home, "runs")
    assert sum(row["verdict"] in ("keep", "discard", "crash") for row in runs) == 4
    assert sum(row["verdict"] == "baseline" for row in runs) == 1
    lines = (home / "results.tsv").read_text().splitlines()
    assert lines[0] == "commit\tval_bpb\tmemory_gb\tstatus\tdescription"
    assert len(lines) == 1 + 1 + 4


def test_a_second_start_goes_on_where_the_first_ended(tmp_path: Path, home: Path) -> None:
    task = quick_task(tmp_path / "task")
    command = ["join", "--solo", "--task", str(task), "--experiments", "1"]
    skep(home, *command)
    first = skep_json(home, "runs")
    skep(home, *command)
    second = skep_json(home, "runs")
    assert [row["program"] for row in second[: len(first)]] == [row["program"] for row in first]
    assert sum(row["verdict"] != "baseline" for row in second) == 2


def test_ctrl_c_stops_within_three_seconds_with_a_summary_and_leaves_no_process(
    tmp_path: Path, home: Path
) -> None:
    slow = "import time\ntime.sleep(600)\nLR = 0.1\n"
    task = quick_task(tmp_path / "task", slow)
    process = skep_process(home, "join", "--solo", "--task", str(task))
    wait_for(lambda: any((home / "runs").glob("*/program.py")), process)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert time.monotonic() - begun < 3
    assert process.returncode == 130
    assert "0 experiments judged, 0 kept, 0 runs" in out
    assert err == ""
    assert not leftovers(home)


def test_ctrl_c_ends_a_paused_node_too(tmp_path: Path, home: Path) -> None:
    slow = "import time\ntime.sleep(600)\nLR = 0.1\n"
    task = quick_task(tmp_path / "task", slow)
    process = skep_process(home, "join", "--solo", "--task", str(task))
    wait_for(lambda: any((home / "runs").glob("*/program.py")), process)
    skep(home, "pause")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert "0 experiments judged" in out
    assert not leftovers(home)


def test_finishing_a_paused_node_ends_it(tmp_path: Path, home: Path) -> None:
    task = quick_task(tmp_path / "task")
    process = skep_process(home, "join", "--solo", "--task", str(task))
    wait_for(lambda: (home / "control.sock").exists(), process)
    skep(home, "pause")
    skep(home, "finish")
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_node_answers_while_it_runs_and_finishes_when_told(tmp_path: Path, home: Path) -> None:
    task = quick_task(tmp_path / "task")
    process = skep_process(home, "join", "--solo", "--task", str(task))
    wait_for(lambda: (home / "control.sock").exists(), process)
    assert skep_json(home, "status")["running"] is True
    skep(home, "pause")
    assert skep_json(home, "status")["paused"] is True
    skep(home, "resume")
    skep(home, "finish")
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert skep_json(home, "status")["running"] is False


def test_two_nodes_on_one_home_are_refused_and_the_first_goes_on(
    tmp_path: Path, home: Path
) -> None:
    task = quick_task(tmp_path / "task")
    process = skep_process(home, "join", "--solo", "--task", str(task))
    wait_for(lambda: (home / "control.sock").exists(), process)
    error = skep(home, "join", "--solo", "--task", str(task), expect=1)
    assert error.count("\n") == 1
    assert f"pid {process.pid}" in error
    assert skep_json(home, "status")["running"] is True
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)


def test_a_program_that_always_crashes_stops_the_node_with_its_last_line(tmp_path: Path) -> None:
    task = quick_task(tmp_path / "task", "LR = 0.1\nraise RuntimeError('no such planet')\n")
    error = skep(tmp_path / "home", "join", "--solo", "--task", str(task), expect=1)
    assert "failed 3 times in a row" in error
    assert "no such planet" in error
    assert error.count("\n") == 1


def test_a_candidate_can_win_and_the_champion_is_what_the_evidence_says(
    tmp_path: Path, home: Path
) -> None:
    task = quick_task(tmp_path / "task")
    process = skep_process(home, "join", "--solo", "--task", str(task), "--experiments", "30")
    assert process.stdout is not None
    seen = (line.split() for line in process.stdout)
    assert any(words[0] == "best" and float(words[2]) > 8.0 for words in seen), (
        "the start program scores 7.2, the optimum 10"
    )
    skep(home, "finish")
    process.communicate(timeout=60)
    assert process.returncode == 0
    best = skep_json(home, "best")
    assert best["value"] > 8.0
    kept = [row for row in skep_json(home, "runs") if row["verdict"] == "keep"]
    assert kept
    assert best["program"] == kept[-1]["program"]


def leftovers(home: Path) -> list[str]:
    """Command lines of processes that still use a home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(home).encode() in (entry / "cmdline").read_bytes():
                found.append((entry / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return [line for line in found if str(os.getpid()) not in line]
