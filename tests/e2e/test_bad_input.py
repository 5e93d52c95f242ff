"""What a user can get wrong, or a disk can do: one clear line, a non-zero exit, nothing lost."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.nodes import QUICK_TASK, quick_task, skep, skep_json, skep_process


def join(home: Path, task: Path | str, *more: str, expect: int = 1) -> str:
    return skep(home, "join", "--solo", "--task", str(task), *more, expect=expect)


def assert_one_line(error: str, *said: str) -> None:
    assert error.count("\n") == 1, error
    assert error.startswith("skep: ")
    for words in said:
        assert words in error


def test_a_task_without_a_program(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "task.toml").write_text(QUICK_TASK)
    assert_one_line(join(tmp_path / "home", folder), "train.py")


def test_a_task_that_is_not_there(tmp_path: Path) -> None:
    assert_one_line(join(tmp_path / "home", "storys"), "storys")


def test_a_program_with_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    task = quick_task(tmp_path / "task", "LR = 0.1\nLR = = 2\n")
    assert_one_line(join(tmp_path / "home", task), "train.py", "line 2")


def test_a_start_program_that_is_not_there(tmp_path: Path) -> None:
    task = quick_task(tmp_path / "task")
    error = join(tmp_path / "home", task, "--program", str(tmp_path / "no.py"))
    assert_one_line(error, "no.py")


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    error = join(tmp_path / "home", quick_task(tmp_path / "task"), "--device", "cuda")
    assert_one_line(error, "there is no device cuda here")


def test_an_option_that_is_no_number_is_a_usage_error(tmp_path: Path) -> None:
    error = skep(tmp_path / "home", "join", "--experiments", "many", expect=2)
    assert_one_line(error, "--experiments", '"many"')


def test_an_option_out_of_range_says_what_was_expected(tmp_path: Path) -> None:
    error = skep(tmp_path / "home", "join", "--experiments", "0", expect=1)
    assert_one_line(error, "--experiments 0: expected int >= 1")


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert_one_line(join(tmp_path / "home", quick_task(tmp_path / "task")), "is not a folder")


def test_a_corrupt_database_is_named_and_everything_comes_back(tmp_path: Path, home: Path) -> None:
    task = quick_task(tmp_path / "task")
    join(home, task, "--experiments", "1", expect=0)
    before = skep_json(home, "runs")
    for leftover in home.glob("skep.db-*"):
        leftover.unlink()
    (home / "skep.db").write_bytes(b"this is no database" * 1000)
    assert_one_line(join(home, task, "--experiments", "1"), "skep.db")
    (home / "skep.db").unlink()
    join(home, task, "--experiments", "1", expect=0)
    after = skep_json(home, "runs")
    assert [row["program"] for row in after[: len(before)]] == [row["program"] for row in before]


def test_a_copied_home_goes_on_without_repeating_a_place_in_the_chain(
    tmp_path: Path, home: Path
) -> None:
    task, copy = quick_task(tmp_path / "task"), tmp_path / "copy"
    join(home, task, "--experiments", "1", expect=0)
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*.sock"))
    join(home, task, "--experiments", "1", expect=0)
    join(copy, task, "--experiments", "1", expect=0)
    notes = [json.loads((one / "feed/session.json").read_text()) for one in (home, copy)]
    assert notes[0]["session"] != notes[1]["session"]
    assert len(skep_json(copy, "runs")) == len(skep_json(home, "runs"))


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb") as file:
        while True:
            file.write(b"x" * 65536)
            file.flush()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that root can make small, full or read-only."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m", "skep-test", path], capture_output=True
    )
    if done.returncode:
        pytest.skip("this root may not mount a file system")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_read_only_home(tmp_path: Path, machine: Path, small_disk: Path) -> None:
    task = quick_task(tmp_path / "task")
    home = Path(shutil.copytree(machine, small_disk / "home"))
    join(home, task, "--experiments", "1", expect=0)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert_one_line(join(home, task), "No permission to write")
    assert len(skep_json(home, "runs")) == 2, "reading goes on"


def test_a_disk_that_fills_up_stops_the_node_and_loses_nothing(
    tmp_path: Path, machine: Path, small_disk: Path
) -> None:
    task = quick_task(tmp_path / "task")
    home = Path(shutil.copytree(machine, small_disk / "home"))
    process = skep_process(home, "join", "--solo", "--task", str(task))
    assert process.stdout is not None
    told = 0
    for line in process.stdout:
        told += line.startswith("run ")
        if told == 3:
            break
    fill(small_disk / "filler")
    out, error = process.communicate(timeout=60)
    told += sum(line.startswith("run ") for line in out.splitlines())
    assert process.returncode == 1
    assert_one_line(error, "space")
    (small_disk / "filler").unlink()
    assert sum(len(row["runs"]) for row in skep_json(home, "runs")) >= told
    join(home, task, "--experiments", "1", expect=0)
