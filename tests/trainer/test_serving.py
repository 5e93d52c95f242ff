"""Whatever a model does while it is scored ends in a fault, soon, and the slot goes on."""

import os
import re
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

SLOW = {
    "computes for ever": "while True: pass",
    "sleeps": "time.sleep(1000)",
    "is slow every time": "time.sleep(0.5)",
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
}
TOO_SLOW = {
    "scoring took too long",
    "it took longer than it may",
    "it used more CPU time than it may",
}
"""Three clocks watch a model; the machine decides which of them is up first."""

DEEDS = {
    "eats memory": (
        "hoard = []\nwhile True: hoard.append(bytearray(os.urandom(1)) * 2**25)",
        "it used more memory than it may",
    ),
    "asks for a petabyte": ("torch.empty(2**48)", "can't allocate memory"),
    "answers gibberish": (  # and fails when it is hung up on, if not before
        SENDS % b"?",
        "^(the process that serves the model ended|BrokenPipeError|ConnectionResetError)",
    ),
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
    with open_bench(tmp_path_factory.mktemp("bench")) as running:
        yield running


@pytest.fixture(scope="module")
def checkpoint(bench: Bench) -> Path:
    outcome = bench.train(program(BIGRAM), steps=100)
    assert outcome.checkpoint is not None, outcome.reason
    return outcome.checkpoint


@pytest.fixture(scope="module")
def honest(bench: Bench, checkpoint: Path) -> Scored:
    """The score of the model that the others are made from."""
    scored = bench.score(program(BIGRAM), checkpoint)
    assert scored.fault == ""
    assert scored.micro[0] < 0.9 * UNIFORM
    return scored


def doing(deed: str) -> str:
    """A program whose model does something before it answers with `logits`."""
    lines = ["logits = self.table(tokens)", *deed.splitlines(), "return logits"]
    forward = "\n        ".join(lines)
    return f"import os, signal, socket, stat, time\n{program(BIGRAM)}".replace(
        "return self.table(tokens)", forward
    )


@pytest.mark.parametrize("deed", DEEDS)
def test_a_model_that_misbehaves_is_a_fault_and_the_slot_goes_on(
    bench: Bench, checkpoint: Path, honest: Scored, deed: str
) -> None:
    body, fault = DEEDS[deed]
    scored = bench.score(doing(body), checkpoint)
    assert scored.micro == ()
    assert re.search(fault, scored.fault)
    assert bench.score(program(BIGRAM), checkpoint, probe=False) == honest


@pytest.mark.parametrize("deed", SLOW)
def test_a_model_that_takes_too_long_is_a_fault_and_the_slot_goes_on(
    bench: Bench, checkpoint: Path, honest: Scored, deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(serving, "SCORE_S", 0.5)
        scored = bench.score(doing(SLOW[deed]), checkpoint)
    assert scored.micro == ()
    assert scored.fault in TOO_SLOW
    assert bench.score(program(BIGRAM), checkpoint, probe=False) == honest


def test_answers_that_come_before_the_question_gain_nothing(
    bench: Bench, checkpoint: Path, honest: Scored
) -> None:
    scored = bench.score(doing(SENDS % (b"k" * 99)), checkpoint, probe=False)
    assert scored.fault == ""
    assert scored.micro[0] >= honest.micro[0]


def test_a_model_that_does_not_leave_is_seen_off_with_its_score(
    bench: Bench, checkpoint: Path, honest: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SCORE_S", 1000.0)
    monkeypatch.setattr(serving, "LEAVE_S", 0.1)

    async def score() -> list[Scored]:
        lingering = Subject(doing("") + LINGERS, checkpoint, "own")
        with trio.fail_after(60):
            return await bench.executor.score(0, [lingering], [Draw(0)], probe=True)

    assert bench.call(score) == [honest]


def test_a_model_that_ignores_its_children_is_charged_for_them(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it could go on training in them while it is scored."""
    monkeypatch.setattr(serving, "SCORE_S", 1000.0)
    helped = """signal.signal(signal.SIGCHLD, signal.SIG_IGN)
reader, writer = os.pipe()
if os.fork() == 0:
    while time.process_time() < 0.6: pass
    os._exit(0)
os.close(writer)
os.read(reader, 1)"""
    assert bench.score(doing(helped), checkpoint, probe=False).fault == ""
    assert "more CPU time than it may" in bench.score(doing(helped), checkpoint).fault


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
