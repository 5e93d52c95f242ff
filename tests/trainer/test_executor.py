"""What the local executor promises of honest programs: budgets, determinism, scores."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio
from msgspec.structs import replace

from skep.errors import ConfigError
from skep.ports import Draw, Outcome, Pace, Progress, Scored
from tests.trainer.small import BUDGET_MS, PROGRAM, Bench, make_task, program
from trainer import sandbox
from trainer.executors.local import LocalExecutor
from trainer.policy import Policy
from trainer.sandbox.none import NoSandbox

UNIFORM = """
import torch

class Uniform(torch.nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(vocab))

    def forward(self, tokens):
        return ANSWER

def build_model(meta):
    return Uniform(meta["vocab"])

def train(run):
    for _ in run.steps():
        run.log(1.0, 1)
    return build_model(run.meta)
"""
HONEST = "self.scale.expand(*tokens.shape, -1)"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with Bench(make_task(folder), folder, sandbox.choose()[0]) as running:
        yield running


def answering(expression: str) -> str:
    """A program whose model answers with an expression of `self` and `tokens`."""
    return UNIFORM.replace("ANSWER", expression)


def test_a_budget_becomes_steps_that_cost_about_as_much(bench: Bench) -> None:
    outcome = bench.train()
    assert outcome.status == "done", outcome.reason
    assert outcome.steps > 10
    assert outcome.tokens == 199 * outcome.steps
    assert outcome.parameters == 32 * 32
    assert 0 < outcome.spent_ms < 2 * 200
    assert outcome.peak_kib > 50_000


def test_steps_given_are_steps_done(bench: Bench) -> None:
    assert bench.train(steps=7).steps == 7


def test_same_seed_and_steps_give_the_same_bytes(bench: Bench) -> None:
    first, again, other = (bench.train(seed=seed, steps=20) for seed in (1, 1, 2))
    assert first.weights == again.weights
    assert first.weights != other.weights


def test_the_weights_are_the_hash_of_the_checkpoint(bench: Bench) -> None:
    outcome = bench.train(steps=3)
    assert outcome.checkpoint is not None
    assert outcome.weights == hashlib.sha256(outcome.checkpoint.read_bytes()).digest()


def test_log_and_curve_are_kept_beside_the_checkpoint(bench: Bench) -> None:
    order = bench.order(
        program('print("hello \\x1b[31m", flush=True)\nreturn honest(run)'), steps=2
    )
    bench.call(lambda: bench.executor.train(0, order, lambda _: None))
    assert (order.folder / "log.txt").read_text() == "hello [31m\n"
    assert (order.folder / "curve.json").read_text().startswith("[[0, ")
    assert (order.folder / "checkpoint.safetensors").is_file()


def test_progress_tells_the_phases_in_order(bench: Bench) -> None:
    seen: list[Progress] = []
    outcome = bench.train(report=seen.append)
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases == ["starting", "calibrating", "training"]
    assert seen[-1].steps == outcome.steps


def test_a_pace_spares_the_calibration(bench: Bench) -> None:
    seen: list[Progress] = []
    order = replace(bench.order(), pace=Pace(steps=10, spent_ms=2 * BUDGET_MS))
    outcome = bench.call(lambda: bench.executor.train(0, order, seen.append))
    assert [progress.phase for progress in seen][:2] == ["starting", "training"]
    assert outcome.steps == 5


def test_tied_weights_survive_the_checkpoint(bench: Bench) -> None:
    tied = """
    class Tied(torch.nn.Module):
        def __init__(self, vocab):
            super().__init__()
            self.embedding = torch.nn.Embedding(vocab, 8)
            self.head = torch.nn.Linear(8, vocab, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens):
            return self.head(self.embedding(tokens))

    def build_model(meta):
        return Tied(meta["vocab"])
    """
    source = program("return honest(run)", tied)
    outcome = bench.train(source, steps=5)
    assert outcome.checkpoint is not None, outcome.reason
    assert outcome.parameters == 8 * 32
    assert bench.score(source, outcome.checkpoint).fault == ""


def test_a_uniform_model_scores_the_bits_of_a_choice(bench: Bench) -> None:
    source = answering(HONEST)
    outcome = bench.train(source, steps=1)
    assert outcome.checkpoint is not None
    # 32 equally likely tokens are 5 bits, and each stands for 2 bytes.
    draws = [Draw(0), Draw(7), Draw(7, "heldout")]
    assert bench.score(source, outcome.checkpoint, *draws) == Scored((2_500_000,) * 3)


def test_draws_and_splits_are_different_texts(bench: Bench) -> None:
    outcome = bench.train(steps=50)
    assert outcome.checkpoint is not None
    draws = [Draw(0), Draw(7), Draw(7, "heldout"), Draw(0)]
    micro = bench.score(PROGRAM, outcome.checkpoint, *draws).micro
    assert len(set(micro)) == 3
    assert micro[0] == micro[3]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("self.scale.expand(*tokens.shape, -1) / 0", "the model's logits are not finite"),
        (f"torch.where(tokens[..., None] > 3, {HONEST}, float('inf'))", "not finite"),
        (f"torch.where(tokens[..., None] > 3, {HONEST}, -float('inf'))", "not finite"),
        ("self.scale.expand(*tokens.shape, -1)[:, :-1]", "ValueError: logits of shape"),
        ("exec('raise KeyError(7)')", "KeyError: 7"),
        ("__import__('os')._exit(0)", "the process that serves the model ended"),
    ],
)
def test_a_model_that_cannot_be_scored_says_why(bench: Bench, answer: str, fault: str) -> None:
    source = answering(HONEST)
    outcome = bench.train(source, steps=1)
    assert outcome.checkpoint is not None
    scored = bench.score(answering(answer), outcome.checkpoint)
    assert scored.micro == ()
    assert fault in scored.fault


def test_a_checkpoint_that_is_none_cannot_be_scored(bench: Bench, tmp_path: Path) -> None:
    spoiled = tmp_path / "checkpoint.safetensors"
    spoiled.write_bytes(b"\xff" * 1000)
    assert "header" in bench.score(PROGRAM, spoiled).fault


def test_a_program_that_hangs_is_stopped_when_its_time_is_up(bench: Bench) -> None:
    outcome = bench.train(program("time.sleep(1000)", "import time"), steps=1)
    assert (outcome.status, outcome.reason) == ("timeout", "it took longer than it may")


def test_pausing_voids_what_was_training(bench: Bench) -> None:
    order = bench.order(program("while True: pass"), steps=1)

    async def pause_while_it_trains() -> Outcome:
        outcomes: list[Outcome] = []
        training = trio.Event()

        def report(progress: Progress) -> None:
            if progress.phase == "training":
                training.set()

        async def train() -> None:
            outcomes.append(await bench.executor.train(0, order, report))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(train)
            await training.wait()
            await bench.executor.pause()
            await bench.executor.resume()
        return outcomes[0]

    outcome = bench.call(pause_while_it_trains)
    assert (outcome.status, outcome.paused, outcome.checkpoint) == ("void", True, None)
    assert bench.train(steps=1).status == "done"


async def test_a_device_that_is_not_there_is_the_users_error(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    with pytest.raises(ConfigError, match="there is no device cuda here"):
        async with LocalExecutor.open(
            task,
            tmp_path,
            jobs=1,
            device="cuda",
            sandbox=sandbox.choose()[0],
            policy=Policy("strong"),
        ):
            pass


def test_without_a_sandbox_limits_still_hold_and_nothing_stays_behind(tmp_path: Path) -> None:
    daemon = program(
        """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print(os.getpid(), flush=True)
                time.sleep(1000)
            os._exit(0)
        os.wait()
        Path(tempfile.gettempdir(), "left").touch()
        return honest(run)
        """,
        "import os, time, tempfile; from pathlib import Path",
    )
    with Bench(make_task(tmp_path), tmp_path, NoSandbox()) as bench:
        outcome = bench.train(daemon, steps=2)
        assert (outcome.status, outcome.reason) == ("done", "")
        assert outcome.checkpoint is not None
        assert bench.score(daemon, outcome.checkpoint).fault == ""
        assert not psutil.pid_exists(int(outcome.log_tail))
        assert list(tmp_path.rglob("left")) == []
        hungry = "hoard = []\nwhile True: hoard.append(b'x' * 2**24)"
        assert bench.train(program(hungry), steps=1).status == "oom"
