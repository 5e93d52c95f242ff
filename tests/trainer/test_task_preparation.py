"""Preparing data happens once, in a child process, and fails with a reason."""

from pathlib import Path

import pytest
import trio

from skep.errors import TaskError
from trainer.task import Task, is_prepared, load, prepare

TASK = 'name = "fed"\n'
PREPARE = """\
import os, sys
from pathlib import Path

def prepare(data, report):
    report("making it")
    assert sys.flags.isolated and "trainer" not in sys.modules
    (data / "train.bin").write_text(str(os.getpid()))
    print("half way\\rdone\\n\\n", end="")
"""


def fed(folder: Path, prepare_py: str) -> Task:
    (folder / "task.toml").write_text(TASK)
    (folder / "train.py").write_text("print(1)\n")
    (folder / "prepare.py").write_text(prepare_py)
    return load(str(folder), home=folder / "home")


async def test_the_data_is_made_once_by_a_child(tmp_path: Path) -> None:
    task, lines = fed(tmp_path, PREPARE), list[str]()
    assert not is_prepared(task)
    await prepare(task, lines.append)
    assert lines == ["making it", "half way", "done"]
    assert is_prepared(task)

    made = (task.data / "train.bin").read_text()
    await prepare(task, lines.append)
    assert len(lines) == 3
    assert (task.data / "train.bin").read_text() == made


async def test_a_failure_carries_the_last_line_and_can_be_repeated(tmp_path: Path) -> None:
    lines: list[str] = []
    task = fed(tmp_path, "def prepare(data, report):\n    raise ValueError('hash is off')\n")
    with pytest.raises(TaskError, match=r"prepare\.py failed: ValueError: hash is off"):
        await prepare(task, lines.append)
    assert lines[0] == "Traceback (most recent call last):"
    assert not is_prepared(task)

    task = fed(tmp_path, "def prepare(data, report):\n    import os; os._exit(3)\n")
    with pytest.raises(TaskError, match=r"prepare\.py failed: exit status 3"):
        await prepare(task, lines.append)


async def test_a_folder_that_cannot_be_made_is_a_task_error(tmp_path: Path) -> None:
    task = fed(tmp_path, PREPARE)
    (tmp_path / "home").write_text("a file stands in the way")
    with pytest.raises(TaskError, match="the data of the task cannot be prepared: "):
        await prepare(task, print)


async def test_cancelling_ends_the_child_and_leaves_nothing_done(tmp_path: Path) -> None:
    forever = "import time\ndef prepare(data, report):\n    report('begun')\n    time.sleep(600)\n"
    task = fed(tmp_path, forever)
    with trio.CancelScope() as scope:
        await prepare(task, lambda line: scope.cancel())
    assert scope.cancelled_caught
    assert not is_prepared(task)


async def test_a_task_without_a_prepare_function_is_always_prepared(tmp_path: Path) -> None:
    task = fed(tmp_path, "import nothing_that_exists\n")
    assert is_prepared(task)
    await prepare(task, print)
    assert not task.data.exists()
