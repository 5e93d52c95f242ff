"""The examiner: strangers' edits are applied and parsed in a child, and nothing they do reaches us.

Where a child has to misbehave, a stand-in takes its place: that of one taken over by what it read.
"""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from skep.errors import PatchError, TrainerFault
from skep.patch import apply, fingerprint
from skep.records import Hunk, SetConstant, program_id
from tests.skep.hostile import GROUPS, KNOBS, SEED, Hostile
from tests.trainer.small import processes_of
from trainer.examination import EXAMINER, Examined, Examiner, Refusal
from trainer.launcher import Launcher

ROOT = Path(__file__).parents[2]
FASTER = [SetConstant("LR", 0.02)]
CHILD = SEED.replace("0.01", "0.02")
GOOD = (SEED, FASTER, program_id(CHILD))
ANSWER = Examined(CHILD, fingerprint(CHILD), {"LR": 0.02})
PLAIN_IN_A_MESSAGE = {"list", "tuple that prints as code"}
"""Attacks by an object, of which a message carries the number only."""


@asynccontextmanager
async def open_examiner() -> AsyncIterator[Examiner]:
    """An examiner for SEED, with a launcher of its own."""
    async with Launcher.open() as launcher, Examiner.open(launcher, SEED, KNOBS) as examiner:
        yield examiner


def children() -> list[psutil.Process]:
    """The examiners that run now."""
    return processes_of(EXAMINER.name)


def only_child() -> psutil.Process:
    (child,) = children()
    return child


def announced(patch: Hostile) -> bytes:
    """The id that comes with a patch, where there is anything that could have one."""
    try:
        text = apply(patch.parent, patch.edits) if patch.announced is None else patch.announced
        return program_id(text)
    except (PatchError, UnicodeEncodeError):
        return bytes(32)


async def test_no_hostile_patch_gets_past_the_examiner_and_their_twins_do() -> None:
    async with open_examiner() as examiner:
        for name, group in GROUPS.items():
            for attack, patch in group.attacks.items():
                answer = await examiner.examine(patch.parent, patch.edits, announced(patch))
                assert isinstance(answer, Refusal), attack
                by_hash = name == "hashes" or attack in PLAIN_IN_A_MESSAGE
                assert ("announced" in answer.why) == by_hash, attack
                assert answer.why.isprintable()
            twin = group.twin
            answer = await examiner.examine(twin.parent, twin.edits, announced(twin))
            assert isinstance(answer, Examined), name
            assert answer.source == apply(twin.parent, twin.edits)


async def test_numbers_of_the_knobs_come_with_a_rendering_and_with_nothing_else() -> None:
    url = Hunk(5, 'URL = "https://example.org/data"\n', 'URL = "https://example.com/data"\n')
    edited = apply(SEED, [*FASTER, url])
    async with open_examiner() as examiner:
        assert await examiner.examine(*GOOD) == ANSWER
        assert await examiner.examine(SEED, [*FASTER, url], program_id(edited)) == (
            Examined(edited, fingerprint(edited), None)
        )


async def test_one_child_serves_many_requests_and_is_replaced_after_so_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.examination.REQUESTS_MAX", 3)
    seen = []
    async with open_examiner() as examiner:
        for _ in range(5):
            assert await examiner.examine(*GOOD) == ANSWER
            seen.append({child.pid for child in children()})
    assert seen[0] == seen[1] != seen[3] == seen[4]
    assert seen[2] == set()


async def test_a_child_is_limited_and_knows_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKEP_NOT_PASSED_ON", "1")
    async with open_examiner() as examiner:
        await examiner.examine(*GOOD)
        child = only_child()
        assert child.environ() == {}
        limits = {"AS": 512 << 20, "CPU": 60, "FSIZE": 0, "NOFILE": 4, "NPROC": 0, "CORE": 0}
        for name, limit in limits.items():
            assert child.rlimit(getattr(psutil, f"RLIMIT_{name}")) == (limit, limit)


@pytest.mark.parametrize(
    ("deed", "end"),
    [
        ("bytes(600 << 20)", "MemoryError"),
        ("open('/dev/null')", "Too many open files"),
        ("os.dup(0)", "Too many open files"),
        ("os.write(3, b'x')", "File too large"),
        ("while True: pass", ""),
    ],
)
def test_the_limits_bind(deed: str, end: str, tmp_path: Path) -> None:
    script = f"""
import os, resource
from trainer import examiner
os.dup2(os.open("file", os.O_CREAT | os.O_WRONLY), 3)
os.closerange(4, 64)
examiner.CPU_S = 1
examiner.limit()
{deed}
"""
    argv = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){script}"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if end else -signal.SIGKILL)
    assert end in done.stderr


@pytest.mark.parametrize(
    "request_",
    [
        ("#" * 65_537, FASTER, bytes(32)),
        (SEED, FASTER * 129, bytes(32)),
        (SEED, [Hunk(1, "", "x" * (1 << 20))], bytes(32)),
        (SEED, [SetConstant("LR", 1j)], bytes(32)),  # type: ignore[arg-type]
        (SEED, [SetConstant("LR", 10**5000)], bytes(32)),
        ("\ud800", [], bytes(32)),
    ],
    ids=["parent", "edits", "text", "value", "digits", "surrogate"],
)
async def test_a_request_that_is_too_large_or_cannot_be_sent_never_reaches_a_child(
    request_: tuple[str, list[SetConstant], bytes],
) -> None:
    async with open_examiner() as examiner:
        assert isinstance(await examiner.examine(*request_), Refusal)
        assert children() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_child_that_dies_of_what_came_before_is_no_verdict(number: signal.Signals) -> None:
    answers = []

    async def examine() -> None:
        answers.append(await examiner.examine(*GOOD))

    async with open_examiner() as examiner:
        await examiner.examine(*GOOD)
        child = only_child()
        child.suspend()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(examine)
            await wait_all_tasks_blocked()
            child.send_signal(number)
            with suppress(psutil.NoSuchProcess):  # killed, it needs no leave to end
                child.resume()
        assert answers == [ANSWER]
        assert only_child().pid != child.pid


async def test_a_child_that_hangs_is_killed_and_the_next_one_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.examination.ANSWER_S", 2.0)
    async with open_examiner() as examiner:
        await examiner.examine(*GOOD)
        child = only_child()
        child.suspend()
        assert await examiner.examine(*GOOD) == ANSWER
        assert only_child().pid != child.pid


async def test_cancelling_leaves_an_examiner_that_can_be_used() -> None:
    async with open_examiner() as examiner:
        await examiner.examine(*GOOD)
        only_child().suspend()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(examiner.examine, *GOOD)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert children() == []
        assert await examiner.examine(*GOOD) == ANSWER


async def test_requests_at_the_same_time_get_their_own_answers() -> None:
    answers: dict[str, Examined | Refusal] = {}

    async def examine(rate: str) -> None:
        edited = program_id(SEED.replace("0.01", rate))
        answers[rate] = await examiner.examine(SEED, [SetConstant("LR", float(rate))], edited)

    async with open_examiner() as examiner, trio.open_nursery() as nursery:
        for rate in ("0.02", "0.03", "0.04"):
            nursery.start_soon(examine, rate)
    for rate in ("0.02", "0.03", "0.04"):
        edited = SEED.replace("0.01", rate)
        assert answers[rate] == Examined(edited, fingerprint(edited), {"LR": float(rate)})


STAND_IN = f"""
import os, signal, socket, sys, time
sys.path.insert(0, {str(ROOT)!r})
from skep.patch import fingerprint
from trainer import examiner, frames
node = socket.socket(fileno=3)
frames.send(node, {{"ready": True}})
request, _ = frames.receive(node)
good = examiner.examine(request)
"""
MISDEEDS = {
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "leaves": "sys.exit(0)",
    "hangs": "time.sleep(1000)",
    "loops": "while True: pass",
    "stops in the middle": "node.sendall(frames.pack(good)[:-1]); sys.exit(0)",
    "announces too much": "node.sendall(b'\\x7f\\xff\\xff\\xff'); time.sleep(1000)",
    "writes no JSON": "node.sendall(b'\\0\\0\\0\\5hello')",
    "writes no UTF-8": "node.sendall(b'\\0\\0\\0\\2\"\\xff')",
    "nests": "body = b'[' * 100_000; node.sendall(frames.HEADER.pack(len(body)) + body)",
    "answers with a list": "frames.send(node, [good])",
    "answers with numbers": "frames.send(node, {**good, 'numbers': {}})",
    "answers with another type": "frames.send(node, {**good, 'source': 1})",
    "names another program": "frames.send(node, {**good, 'source': request['parent']})",
    "names no program": 'body = b\'{"source": "\\\\ud800"}\'; '
    "node.sendall(frames.HEADER.pack(len(body)) + body)",
    "makes up a fingerprint": "frames.send(node, {**good, 'fingerprint': '00'})",
    "writes no fingerprint": "frames.send(node, {**good, 'fingerprint': 'x' * 64})",
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
async def test_a_child_that_misbehaves_is_a_refusal_and_the_next_request_gets_another(
    misdeed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "examiner.py"
    async with open_examiner() as examiner:
        with monkeypatch.context() as patch:
            patch.setattr("trainer.examination.EXAMINER", stand_in)
            patch.setattr("trainer.examination.ANSWER_S", 1.0)
            stand_in.write_text(f"{STAND_IN}\n{MISDEEDS[misdeed]}\n")
            why = "the edits are more than the examiner can bear"
            assert await examiner.examine(*GOOD) == Refusal(why)
        assert await examiner.examine(*GOOD) == ANSWER


async def test_the_stand_in_would_pass_if_it_behaved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "examiner.py"
    stand_in.write_text(f"{STAND_IN}\nframes.send(node, good)\n")
    monkeypatch.setattr("trainer.examination.EXAMINER", stand_in)
    async with open_examiner() as examiner:
        assert await examiner.examine(*GOOD) == ANSWER


async def test_what_a_child_says_is_one_line_that_cannot_steer_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "examiner.py"
    stand_in.write_text(
        f"{STAND_IN}\nframes.send(node, {{'refused': 'a\\n\\x1b[2K\\u202eb' + 'c' * 900}})\n"
    )
    monkeypatch.setattr("trainer.examination.EXAMINER", stand_in)
    async with open_examiner() as examiner:
        answer = await examiner.examine(*GOOD)
    assert answer == Refusal("a [2Kb" + "c" * 294)


async def test_an_examiner_that_cannot_start_says_nothing_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_examiner() as examiner:
        with monkeypatch.context() as patch:
            patch.setattr("trainer.examination.EXAMINER", Path("/no/such/examiner.py"))
            with pytest.raises(TrainerFault, match=r"did not start: .*No such file"):
                await examiner.examine(*GOOD)
        assert await examiner.examine(*GOOD) == ANSWER
