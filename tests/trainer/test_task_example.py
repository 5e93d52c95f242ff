"""The example of the manual is a task that works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.block import Block, read_block
from trainer.task import Task, load

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "curve"


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load(str(EXAMPLE), home=tmp_path)


def measure(task: Task, seed: int, **constants: str) -> Block:
    """Run the program as a plain process, with some constants set."""
    source = task.facts.seed_program
    for name, value in constants.items():
        source = re.sub(rf"(?m)^{name} = [^#]*", f"{name} = {value}  ", source)
    done = subprocess.run(
        [sys.executable, "-I", "-c", source],
        env={"SKEP_SEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return read_block(done.stdout, task.facts.metric, task.believable)


def test_it_loads_without_data_or_torch(task: Task) -> None:
    assert (task.facts.metric, task.facts.direction) == ("r2", "max")
    assert task.facts.scored_by == "program"
    assert task.command == (sys.executable, "train.py")
    assert "ATTEMPTS" in task.facts.deny
    assert "torch" not in task.facts.seed_program
    assert not task.prepares


def test_a_run_is_a_function_of_program_and_seed(task: Task) -> None:
    first, again, other = (measure(task, seed) for seed in (1, 1, 2))
    assert first.status == "done"
    assert first == again
    assert first.value != other.value


def test_its_constants_are_worth_tuning(task: Task) -> None:
    good = [measure(task, seed).value or 0.0 for seed in range(4)]
    bad = [measure(task, seed, STEP_SCALE="0.01").value or 0.0 for seed in range(4)]
    assert sum(good) > sum(bad) + 1
