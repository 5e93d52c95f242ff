"""Whatever a model does while it is scored ends in a fault, soon, and the slot goes on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from skep.ports import Draw, Scored, Subject
from tests.trainer.models import BIGRAM, UNIFORM, open_bench, program
from tests.trainer.small import Bench
from trainer import serving

SENDS = """
for fd in os.listdir("/proc/self/fd"):
    if os.path.exists(f"/proc/self/fd/{fd}") and stat.S_ISSOCK(os.stat(int(fd)).st_mode):
        os.write(int(fd), %r)
"""

DEEDS = {
    "computes for ever": ("while True: pass", "than it may"),
    "sleeps": ("time.sleep(1000)", "took"),
    "is slow every time": ("time.sleep(0.5)", "took"),
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", "took"),
    "eats memory": (
        "hoard = []\nwhile True: hoard.append(bytearray(os.urandom(1)) * 2**25)",
        "",  # of memory or, on a slow machine, of time
    ),
    "asks for a terabyte": ("torch.empty(2**40)", "can't allocate memory"),
    "answers gibberish": (SENDS % b"?", ""),
    "hangs up": ("os.closerange(3, 64)", "ended early"),
    "leaves a child in its place": (
        "if os.fork() == 0: time.sleep(1000)\nos._exit(0)",
        "the process that serves the model ended",
    ),
    "gives too few logits": ("logits = logits[:, :-1]", "ValueError: logits of shape"),
    "gives too many": ("logits = logits.repeat(1, 1, 2)", "ValueError: logits of shape"),
    "gives none": ("logits = None", "AttributeError"),
    "is not sure of anything": ("logits = logits * torch.nan", "not finite"),
    "is too sure": ("logits[..., 3] = torch.inf", "not finite"),
    "excludes something": ("logits[..., 3] = -torch.inf", "not finite"),
}
LINGERS = """
receive = socket.socket.recv

def recv(self, *args):
    received = receive(self, *args)
    while not received: time.sleep(1)
    return received

socket.socket.recv = recv
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with (
        pytest.MonkeyPatch.context() as patch,
        open_bench(tmp_path_factory.mktemp("bench")) as running,
    ):
        patch.setattr(serving, "SCORE_S", 0.5)
        patch.setattr(serving, "LEAVE_S", 0.1)
        yield running


@pytest.fixture(scope="module")
def checkpoint(bench: Bench) -> Path:
    found = bench.train(program(BIGRAM), steps=1).checkpoint
    assert found is not None
    return found


def doing(deed: str) -> str:
    """A program whose model does something before it answers with `logits`."""
    lines = ["logits = self.table(tokens)", *deed.splitlines(), "return logits"]
    forward = "\n        ".join(lines)
    return f"import os, signal, socket, stat, time\n{program(BIGRAM)}".replace(
        "return self.table(tokens)", forward
    )


@pytest.mark.parametrize("deed", DEEDS)
def test_a_model_that_misbehaves_is_a_fault_and_the_slot_goes_on(
    bench: Bench, checkpoint: Path, deed: str
) -> None:
    body, fault = DEEDS[deed]
    scored = bench.score(doing(body), checkpoint)
    assert scored == Scored((), scored.fault or "some fault")
    assert fault in scored.fault
    assert bench.score(program(BIGRAM), checkpoint, probe=False).fault == ""


def test_answers_that_come_before_the_question_are_no_better_than_a_guess(
    bench: Bench, checkpoint: Path
) -> None:
    scored = bench.score(doing(SENDS % (b"k" * 99)), checkpoint)
    assert scored.fault or scored.micro[0] >= UNIFORM


def test_a_model_that_does_not_leave_is_seen_off_with_its_score(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SCORE_S", 1000.0)
    honest = bench.score(program(BIGRAM), checkpoint)
    assert honest.fault == ""

    async def score() -> list[Scored]:
        lingering = Subject(doing("") + LINGERS, checkpoint, "own")
        with trio.fail_after(60):
            return await bench.executor.score(0, [lingering], [Draw(0)], probe=True)

    assert bench.call(score) == [honest]


@pytest.mark.parametrize("kind", ["missing", "link", "folder", "pipe", "empty", "garbage"])
def test_a_checkpoint_that_is_none_is_a_fault(
    bench: Bench, checkpoint: Path, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    if kind == "link":
        path.symlink_to(checkpoint)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes(b"\xff" * 100 if kind == "garbage" else b"")
    scored = bench.score(program(BIGRAM), path)
    assert scored == Scored((), scored.fault)
    assert scored.fault.startswith("the checkpoint")
