"""`skep top`: what it shows of a node, that it ends when told, and that it outlives the node."""

import io
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console

from node.cli.top import Watched, picture
from node.control import serve
from node.relay import IDLE
from skep.events import Best, Judged
from tests.factories import content_id
from tests.node.test_cli_control import staged

PATIENCE_S = 30.0
ALTERNATE_SCREEN = b"\x1b[?1049h"
BACK = b"\x1b[?1049l"

SWARM: dict[str, Any] = {
    "swarm": "the public swarm",
    "addresses": [],
    "records": 1200,
    "announced": 1212,
    "behind": True,
    "per_minute": 3.5,
    "peers_total": 14,
    "peers": [
        {
            "name": "calm-otter-x7Qp2a",
            "inbound": True,
            "connected_s": 240,
            "role": "full",
            "tier": "cpu\x1b[31m[red]",
            "records": 1212,
        },
        {
            "name": "wild-acorn-C1FUAY",
            "inbound": False,
            "connected_s": 7,
            "role": None,
            "tier": None,
            "records": None,
        },
    ],
    "present_total": 30,
    "groups_total": 1,
    "groups": [{"role": "full", "tier": "cpu", "task": "ab" * 32, "nodes": 30, "running": 61}],
}


def texts(node: dict[str, Any]) -> list[str]:
    """Lines of the picture, with single spaces."""
    paper = Console(file=io.StringIO(), width=120, markup=False, emoji=False)
    with paper.capture() as capture:
        paper.print(picture(node, {"ab" * 32: "stories"}))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_slots_champion_and_verdicts_are_shown() -> None:
    status = staged()
    status.take(Best(program=content_id("best"), value=2.25))
    verdict = Judged(program=content_id("new"), number=1, verdict="keep", reason="why", note="LR")
    status.take(verdict)
    lines = texts({**status.answer(), "swarm": None})
    assert lines[0].startswith("researching on stories · ")
    assert lines[0].endswith(" · bwrap")
    assert lines[1] == (
        "champion 62657374 val_bpb 2.2500, reproduced by me"
        " · 1 judged, 1 kept, 0 runs since the start"
    )
    assert lines[3] == "slot phase progress loss left strategy experiment"
    assert lines[4:6] == [
        "0 idle",
        "1 training 51/57 89 % 5.103 12 s tune 6e65772e LR 0.003 → 0.012",
    ]
    assert lines[7:] == ["6e65772e keep why LR", "", "no swarm: this node researches alone"]


def test_peers_pace_and_who_is_present_are_shown() -> None:
    lines = texts({**IDLE, "pid": 1, "up_s": 7, "swarm": SWARM})
    assert lines == [
        "keeping and passing on records · 7.0 s · pid 1",
        "",
        "the public swarm · 14 peers · 30 others present ·"
        " 1,200 records, 12 behind what a node announces · 3.5 a minute",
        "",
        "peer from since role tier records ahead",
        "calm-otter-x7Qp2a in 4 min full cpu[31m[red] 1,212 +12",
        "wild-acorn-C1FUAY out 7.0 s - - - -",
        "and 12 more",
        "",
        "role tier task nodes running",
        "full cpu stories 30 61",
    ]


async def test_it_outlives_the_node_and_shows_the_next_one(tmp_path: Path) -> None:
    async def status() -> dict[str, Any]:
        return {**staged().answer(), "swarm": None}

    watched = Watched(tmp_path)
    for _ in range(2):
        assert str(await watched.picture()) == f"no node is running on {tmp_path}"
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, tmp_path, {"status": status})
            assert str(await watched.picture()) != f"no node is running on {tmp_path}"
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["key", "signal"])
def test_it_ends_cleanly_and_leaves_the_terminal_as_it_was(tmp_path: Path, how: str) -> None:
    terminal, end = pty.openpty()
    before = termios.tcgetattr(end)
    process = subprocess.Popen(
        [sys.executable, "-m", "node.cli", "top"],
        env={**os.environ, "SKEP_HOME": str(tmp_path), "TERM": "xterm"},
        stdin=end,
        stdout=end,
        stderr=subprocess.PIPE,
    )
    shown = b""
    try:
        while b"no node is running" not in shown:
            shown += os.read(terminal, 4096)
        assert ALTERNATE_SCREEN in shown
        if how == "key":
            os.write(terminal, b"q")
        else:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + PATIENCE_S
        while BACK not in shown and time.monotonic() < deadline:
            shown += os.read(terminal, 4096)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, errors) == (0, b"")
        assert termios.tcgetattr(end) == before
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(end)
