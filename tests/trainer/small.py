"""A task small enough to train in a blink, and an executor for it that many tests share."""

import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import TypeVar

import psutil
import trio

from skep.ports import Code, Draw, Order, Outcome, Progress, Scored, Subject
from trainer.executors.local import LocalExecutor
from trainer.policy import Consent, Policy
from trainer.sandbox import Backend
from trainer.task import Task, load

T = TypeVar("T")

BUDGET_MS = 200

TASK = """
name = "small"
scored_by = "harness"
budget_s = 0.2
[limits]
memory_mib = 700
timeout_s = 4
"""

VOCABULARY, CONTEXT = 32, 16

AROUND_A_TEXT = f"""
import numpy as np

VOCABULARY, CONTEXT = {VOCABULARY}, {CONTEXT}

def keep(data, tokens):
    data.mkdir(parents=True, exist_ok=True)
    tokens.astype("<u2").tofile(data / "train.bin")

def meta(data):
    return {{"vocab": VOCABULARY, "context": CONTEXT}}

def train_tokens(data):
    return np.memmap(data / "train.bin", "<u2", "r")

def windows(tokens):
    inputs, targets = tokens[:-1].reshape(-1, CONTEXT), tokens[1:].reshape(-1, CONTEXT)
    return inputs, targets, np.full(inputs.shape, 2, np.int32)
"""
"""What a prepare.py has besides its texts: every token stands for 2 bytes."""

PREPARE = f"""{AROUND_A_TEXT}
def prepare(data, report):
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 5000)
    tokens[1::2] = (tokens[::2] + 1) % VOCABULARY
    keep(data, tokens)

def validation(data, split, seed):
    rng = np.random.default_rng([seed, split == "heldout"])
    return windows(rng.integers(0, VOCABULARY, 40 * CONTEXT + 1))
"""

PROGRAM = """
import torch
from torch.nn import functional as F

LR = 0.1

def build_model(meta):
    return torch.nn.Sequential(torch.nn.Embedding(meta["vocab"], meta["vocab"]))

def train(run):
    model = build_model(run.meta)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    tokens = torch.from_numpy(run.tokens.astype("int64"))
    for progress in run.steps():
        start = torch.randint(len(tokens) - 200, ()).item()
        logits = model(tokens[start : start + 199])
        loss = F.cross_entropy(logits, tokens[start + 1 : start + 200])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        run.log(loss, 199)
    return model
"""


def program(train: str, top: str = "") -> str:
    """The program with another body of `train`, which may end by calling `honest(run)`."""
    honest = PROGRAM.replace("def train(run)", "def honest(run)")
    body = "".join(f"    {line}\n" for line in dedent(train).strip().splitlines())
    return f"{honest}\n{dedent(top)}\ndef train(run):\n{body}"


def make_task(folder: Path, prepare: str = PREPARE) -> Task:
    """The small task, or one with other data; the data are made."""
    pack = folder / "small"
    pack.mkdir()
    for name, text in (("task.toml", TASK), ("prepare.py", prepare), ("train.py", PROGRAM)):
        (pack / name).write_text(text)
    task = load(str(pack), home=folder)
    names: dict[str, object] = {}
    exec(prepare, names)  # noqa: S102 - the text above
    names["prepare"](task.data, print)  # type: ignore[operator]
    return task


def processes_of(file: str) -> list[psutil.Process]:
    """Those below this process whose Python runs a file of this name, and forks of them."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # gone meanwhile, or about to go
            command = process.cmdline()
            if command[:1] == [sys.executable] and any(p.endswith(f"/{file}") for p in command):
                found.append(process)
    return found


class Bench:
    """An executor that runs in a thread of its own, so that a whole module can share it."""

    def __init__(
        self,
        task: Task,
        folder: Path,
        sandbox: Backend,
        policy: Policy = Policy("none", Consent(own=True, strangers=True)),  # noqa: B008 - frozen
    ) -> None:
        self.task = task
        self._policy = policy
        self.folder = folder
        self._sandbox = sandbox
        self._jobs = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))

    def __enter__(self) -> "Bench":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()

    async def _main(self) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        try:
            async with LocalExecutor.open(
                self.task,
                self.folder,
                jobs=1,
                device="cpu",
                sandbox=self._sandbox,
                policy=self._policy,
            ) as self.executor:
                self._ready.set()
                await self._stop.wait()
        finally:
            self._ready.set()

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run an async function beside the executor."""
        return trio.from_thread.run(function, trio_token=self._token)

    def order(
        self,
        source: str = PROGRAM,
        *,
        code: Code = "own",
        seed: int = 1,
        steps: int | None = None,
    ) -> Order:
        """An order with a folder of its own."""
        self._jobs += 1
        folder = self.folder / f"job-{self._jobs}"
        folder.mkdir()
        return Order(
            job=folder.name,
            source=source,
            code=code,
            seed=seed,
            budget_ms=BUDGET_MS,
            steps=steps,
            folder=folder,
        )

    def train(
        self,
        source: str = PROGRAM,
        *,
        seed: int = 1,
        steps: int | None = None,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> Outcome:
        """Train a program."""
        order = self.order(source, seed=seed, steps=steps)
        return self.call(lambda: self.executor.train(0, order, report))

    def score(self, source: str, checkpoint: Path, *draws: Draw, probe: bool = True) -> Scored:
        """Score one model."""
        subjects = [Subject(source, checkpoint, "own")]
        texts = draws or [Draw(0)]
        return self.call(lambda: self.executor.score(0, subjects, texts, probe=probe))[0]
