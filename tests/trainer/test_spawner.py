"""The spawner: starts, reaps and stops process trees, and lets nothing outlive the node."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest
import trio

from skep.errors import TrainerFault
from trainer.launcher import Launcher
from trainer.log import Log

SHELL = "/bin/sh"
PATH = {"PATH": os.environ["PATH"]}
TREE = "sleep 1000 & setsid sleep 1000 & (sleep 1000 & wait) & echo ready; wait"


async def printed(log: Log, text: str) -> None:
    """Wait until a child has printed something."""
    while text not in log.text:  # noqa: ASYNC110 - the output of a process tells nobody
        await trio.sleep(0.01)


def alive(pids: Iterable[int]) -> list[int]:
    """Those that still run; a zombie does not."""
    running = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
        except psutil.NoSuchProcess:
            continue
    return running


async def gone(pids: list[int]) -> None:
    """Wait until none of them runs."""
    while alive(pids):  # noqa: ASYNC110 - nor does the end of one that is not our child
        await trio.sleep(0.01)


def below(pid: int) -> list[int]:
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]


async def test_the_exit_status_and_the_output_come_back() -> None:
    async with Launcher.open() as launcher:
        child = await launcher.spawn([SHELL, "-c", "echo out; echo err >&2; exit 7"], {}, {})
        await child.ended.wait()
        assert child.status == 7
        await printed(child.log, "out\nerr\n")


async def test_a_signal_is_a_negative_status() -> None:
    async with Launcher.open() as launcher:
        child = await launcher.spawn([SHELL, "-c", "kill -TERM $$"], {}, {})
        await child.ended.wait()
        assert child.status == -signal.SIGTERM


async def test_a_program_that_is_not_there_is_a_fault() -> None:
    async with Launcher.open() as launcher:
        with pytest.raises(TrainerFault, match=r"cannot start /no/such: .*No such file"):
            await launcher.spawn(["/no/such"], {}, {})
        child = await launcher.spawn([SHELL, "-c", "exit 0"], {}, {})
        await child.ended.wait()


async def test_children_get_the_environment_and_descriptors_named_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKEP_NOT_PASSED_ON", "1")
    path = tmp_path / "given"
    path.write_text("text\n")
    script = "cat <&5; env | grep -v ^PWD; ls /proc/self/fd"
    with path.open() as file:
        async with Launcher.open() as launcher:
            child = await launcher.spawn([SHELL, "-c", script], {"A": "b"}, {5: file.fileno()})
            await child.ended.wait()
            await printed(child.log, "\n5\n")
            lines = child.log.text.split()
    assert lines[:2] == ["text", "A=b"]
    assert [name for name in lines[2:] if name not in "01235"] == []


async def test_killing_takes_the_whole_tree() -> None:
    async with Launcher.open() as launcher:
        child = await launcher.spawn([SHELL, "-c", TREE], PATH, {})
        await printed(child.log, "ready")
        tree = [child.pid, *below(child.pid)]
        assert len(tree) >= 4
        await child.kill()
        await gone(tree)


async def test_orphans_of_a_child_that_ended_are_killed() -> None:
    async with Launcher.open() as launcher:
        script = "setsid sleep 1000 & echo $!"
        child = await launcher.spawn([SHELL, "-c", script], PATH, {})
        await child.ended.wait()
        await printed(child.log, "\n")
        await gone([int(child.log.text)])


async def test_closing_the_launcher_ends_everything() -> None:
    async with Launcher.open() as launcher:
        child = await launcher.spawn([SHELL, "-c", TREE], PATH, {})
        await printed(child.log, "ready")
        tree = [child.pid, *below(child.pid)]
        assert len(tree) >= 4
    await gone(tree)


async def test_a_killed_spawner_is_noticed_and_replaced() -> None:
    async with Launcher.open() as launcher:
        child = await launcher.spawn([SHELL, "-c", "exec sleep 1000"], PATH, {})
        spawner = psutil.Process(child.pid).parent()
        assert spawner is not None
        spawner.kill()
        await child.ended.wait()
        assert child.status is None
        await gone([child.pid])
        again = await launcher.spawn([SHELL, "-c", "exit 3"], {}, {})
        await again.ended.wait()
        assert again.status == 3


NODE = """
import os, trio
from trainer.launcher import Launcher

PATH = {"PATH": os.environ["PATH"]}

async def main():
    async with Launcher.open() as launcher:
        child = await launcher.spawn(["/bin/sh", "-c", "sleep 1000 & wait"], PATH, {})
        print(child.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_nothing_outlives_a_node_that_is_killed() -> None:
    command = [sys.executable, "-c", NODE]
    node = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert node.stdout is not None
    async with node.stdout:
        child = int(await node.stdout.receive_some())
        tree = below(node.pid)
        assert child in tree
        node.kill()
        await node.wait()
    await gone(tree)


async def test_a_pipe_that_is_not_read_out_does_not_hold_up_others() -> None:
    async with Launcher.open() as launcher:
        flood = await launcher.spawn([SHELL, "-c", "yes | head -c 3000000; exit 2"], PATH, {})
        with trio.fail_after(60):
            await flood.ended.wait()
        assert flood.status == 2
        assert len(flood.log.text) < 140_000
