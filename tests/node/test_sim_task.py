"""The simulator's world as a real task: what its programs score is what their texts are worth.

What real nodes make of it is compared by `scripts/bench/simulated_against_real.py`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from node.simulation.machine import LEVEL
from node.simulation.worlds import SIGMA, Nature, World
from skep.merge import merge
from skep.patch import apply
from tests.benches import bench

HELPFUL = World(gains=1.0, nulls=0.0, deplete=1e9)


def score(folder: Path, source: str, seed: int) -> float:
    """What a program prints in a process of its own."""
    path = folder / "program.py"
    path.write_text(source)
    environment = {"SKEP_SEED": str(seed)}
    command = [sys.executable, "-I", str(path)]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(out.stdout.rpartition("val_bpb: ")[2])


def test_a_program_scores_what_its_edits_are_worth_and_the_noise_of_its_seed(
    tmp_path: Path,
) -> None:
    task = bench("sim_task")
    start = (task.write_task(tmp_path / "task", 0.0) / "train.py").read_text()
    nature, source = Nature(HELPFUL, 1), start
    for _ in range(20):
        source = apply(source, (task.edited(source, nature),))
    assert task.level(start) == 0
    assert -80 < task.level(source) < -15, "twenty gains of 2 sigma on average"
    before, after = score(tmp_path, start, 7), score(tmp_path, source, 7)
    assert after - before == pytest.approx(SIGMA * task.level(source), abs=2e-6)
    assert before != score(tmp_path, start, 8)
    assert abs(before - LEVEL) < 5 * SIGMA


def test_edits_of_two_programs_add_up_when_they_are_merged(tmp_path: Path) -> None:
    task = bench("sim_task")
    start = (task.write_task(tmp_path, 0.0) / "train.py").read_text()
    nature = Nature(HELPFUL, 2)
    one, other = (apply(start, (task.edited(start, nature),)) for _ in range(2))
    both = merge(start, one, other)
    assert task.level(both) == pytest.approx(task.level(one) + task.level(other))
