"""What many end-to-end tests need: a home on which a node has found out what this machine is."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.nodes import quick_task, skep


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a first start notes of this machine: made once for all workers of a run.

    A start that finds it need not load torch, which takes longer than all that the test is about.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "machine"
    with (shared / "machine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            home = shared / "machine.new" / "home"
            task = quick_task(home.with_name("task"))
            skep(home, "join", "--solo", "--task", str(task), "--experiments", "1")
            keep = {"machine.json", "cache", "facts.json"}
            shutil.copytree(
                home,
                folder,
                ignore=lambda _, names: [name for name in names if name not in keep],
            )
    return folder


@pytest.fixture
def home(tmp_path: Path, machine: Path) -> Path:
    """A home without records on which a node has started before."""
    return Path(shutil.copytree(machine, tmp_path / "home"))
