"""`skep status`, `pause`, `resume` and `finish` against the real socket of a (staged) node."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from node.cli import main
from node.cli.control import model_line
from node.control import serve
from node.spending import Account, Tally, cost_of
from node.status import Status
from skep.events import Judged, Paused, Progressed, Started
from skep.ports import Progress
from tests.factories import content_id
from tests.node.recorded import small_search

Skep = Callable[..., Awaitable[str]]


@pytest.fixture
def skep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Skep:
    """Run a command line in a thread of its own: its output."""
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))

    async def run(*arguments: str) -> str:
        code = await trio.to_thread.run_sync(main, arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


def staged() -> Status:
    """A node with two slots: one trains, the other one decides what to do."""
    status = Status(
        task="stories", metric="val_bpb", slots=2, champion=content_id("champion"), sandbox="bwrap"
    )
    started = Started(
        slot=1,
        job="job",
        program=content_id("new"),
        strategy="tune",
        purpose="screen",
        note="LR 0.003 → 0.012",
    )
    progress = Progress(phase="training", step=51, steps=57, loss=5.1034, left_s=12.0)
    status.take(started)
    status.take(Progressed(slot=1, job="job", progress=progress))
    return status


def answers(status: Status) -> dict[str, Callable[[], Awaitable[dict[str, Any]]]]:
    """What the node's own commands do to the picture."""

    async def report() -> dict[str, Any]:
        return status.answer()

    async def pause() -> dict[str, Any]:
        status.take(Paused(True))
        return status.answer()

    async def resume() -> dict[str, Any]:
        status.take(Paused(False))
        return status.answer()

    async def finish() -> dict[str, Any]:
        status.finishing()
        return status.answer()

    return {"status": report, "pause": pause, "resume": resume, "finish": finish}


async def test_status_shows_what_every_slot_does(
    skep: Skep, tmp_path: Path, nursery: trio.Nursery
) -> None:
    status = staged()
    await nursery.start(serve, tmp_path, answers(status))
    first, head, *slots = (await skep("status")).splitlines()
    assert first.startswith("researching on stories for ")
    assert head.split() == ["slot", "phase", "step", "loss", "left", "program", "experiment"]
    assert slots[0].split() == ["0", "idle", "-", "-", "-"]
    assert " ".join(slots[1].split()) == "1 training 51/57 5.103 12 s 6e65772e LR 0.003 → 0.012"
    verdict = Judged(program=content_id("new"), number=1, verdict="keep", reason="why", note="what")
    status.take(verdict)
    assert "last: keep: what (why)\n" in await skep("status")


async def test_status_adds_up_the_node_and_its_results(
    skep: Skep, tmp_path: Path, nursery: trio.Nursery
) -> None:
    await small_search().write(tmp_path)
    await nursery.start(serve, tmp_path, answers(staged()))
    found = json.loads(await skep("status", "--json"))
    assert (found["running"], found["paused"], found["finishing"]) == (True, False, False)
    assert found["slots"][1]["loss"] == 5.1034
    assert (found["experiments"], found["kept"], found["runs"]) == (4, 1, 8)
    assert found["this_start"] == {"runs": 0, "judged": 0, "kept": 0}


async def test_a_node_is_paused_resumed_and_finished(
    skep: Skep, tmp_path: Path, nursery: trio.Nursery
) -> None:
    await nursery.start(serve, tmp_path, answers(staged()))
    assert await skep("pause") == "paused; `skep resume` goes on\n"
    assert (await skep("status")).startswith("paused on stories")
    assert json.loads(await skep("resume", "--json"))["paused"] is False
    assert (await skep("finish")).startswith("finishing: the node ends when")
    assert (await skep("status")).startswith("finishing on stories")


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((0, 0, 0, 0), "0 tried, 0 kept, 0 confirmed"),
        (
            (4, 1, 0, 0),
            "1 tried, 0 kept, 0 confirmed; 5,000 tokens and 30 s of thinking for each idea",
        ),
        (
            (4, 3, 2, 0),
            "3 tried, 2 kept, 0 confirmed; 10,000 tokens and 60 s of thinking for each kept gain",
        ),
        (
            (4, 3, 2, 1),
            "3 tried, 2 kept, 1 confirmed; "
            "20,000 tokens and 120 s of thinking for each confirmed gain",
        ),
    ],
)
def test_it_says_what_the_ideas_of_a_model_cost(counts: tuple[int, ...], told: str) -> None:
    ideas, runs, kept, confirmed = counts
    account = Account(
        {"large": Tally(seconds=120.0, prompt_tokens=15_000, reply_tokens=5_000, ideas=ideas)}
    )
    cost = cost_of(account, runs=runs, kept=kept, confirmed=confirmed)
    assert model_line(msgspec.to_builtins(cost)) == told
