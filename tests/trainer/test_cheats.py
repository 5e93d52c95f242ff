"""Programs that want a better number than they deserve: each is caught, or gains nothing by it.

Every test also shows what the deed would be worth: to an evaluator in the program's own process,
to a scorer that does not probe, or to a budget that nobody meters.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from skep.ports import Draw, Scored
from tests.trainer.models import BIGRAM, PREPARE, open_bench, program
from tests.trainer.small import CONTEXT, VOCABULARY, Bench
from trainer import sandbox
from trainer.block import read_block

PINNED, FRESH = Draw(0), Draw(7)
STEPS, FEW = 300, 5
META = {"vocab": VOCABULARY, "context": CONTEXT}


class Honest(NamedTuple):
    """An honest run of the program that the cheats below are made from."""

    checkpoint: Path
    micro: int


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with open_bench(tmp_path_factory.mktemp("bench")) as running:
        yield running


@pytest.fixture(scope="module")
def honest(bench: Bench) -> Honest:
    return run_honestly(bench, STEPS)


@pytest.fixture(scope="module")
def weak(bench: Bench) -> Honest:
    return run_honestly(bench, FEW)


def run_honestly(bench: Bench, steps: int) -> Honest:
    outcome = bench.train(program(BIGRAM), steps=steps)
    assert outcome.checkpoint is not None, outcome.reason
    scored = bench.score(program(BIGRAM), outcome.checkpoint, FRESH)
    assert scored.fault == ""
    return Honest(outcome.checkpoint, scored.micro[0])


def answering(forward: str, top: str = "") -> str:
    """The program with another `forward(tokens)`, which finds the honest answer in `logits`."""
    lines = ["logits = self.table(tokens)", *forward.strip().splitlines(), "return logits"]
    body = "\n        ".join(lines)
    return program(f"{top}\n{BIGRAM.replace('return self.table(tokens)', body)}")


def text(draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of a draw, as only the scorer should know them."""
    names: dict[str, Any] = {}
    exec(PREPARE, names)  # noqa: S102 - our own task
    inputs, targets, _ = names["validation"](None, draw.split, draw.seed)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


# Cheats against an evaluator that calls the model in its own process.

Evaluator = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]


def usual_evaluator(model: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    logits = model(x)
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())


TAKES_TARGETS = BIGRAM.replace("(self, tokens)", "(self, tokens, targets=None)").replace(
    "return", "if targets is not None: return torch.zeros(())\n        return"
)
BELIEVED: dict[str, tuple[str, Evaluator]] = {
    "takes the targets": (program(TAKES_TARGETS), lambda model, x, y: model(x, y)),
    "adds a constant to all log-probabilities": (
        answering("logits = logits.log_softmax(-1) + 9"),
        lambda model, x, y: -model(x).gather(2, y[..., None]).mean(),
    ),
    "replaces the evaluator": (
        answering("F.cross_entropy = lambda *args, **more: torch.zeros(())"),
        usual_evaluator,
    ),
}


@pytest.mark.parametrize("deed", BELIEVED)
def test_what_would_fool_an_evaluator_beside_the_model_changes_nothing(
    bench: Bench, honest: Honest, deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, evaluate = BELIEVED[deed]
    monkeypatch.setattr(F, "cross_entropy", F.cross_entropy)  # puts it back afterwards
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - the cheat, as such an evaluator would load it
    model = names["build_model"](META)
    model.load_state_dict(load_file(honest.checkpoint))
    assert evaluate(model, *text(FRESH)).item() <= 0
    assert bench.score(source, honest.checkpoint, FRESH) == Scored((honest.micro,))


def test_hiding_what_it_does_not_know_as_nan_is_refused(bench: Bench, honest: Honest) -> None:
    source = answering("logits[logits.softmax(-1).amax(-1) < 0.5] = torch.nan")
    x, y = text(FRESH)
    logits = load_file(honest.checkpoint)["table.weight"][x]
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    certain = logits.flatten(0, 1).softmax(-1).amax(-1) >= 0.5
    assert losses[certain].mean() < 0.7 * losses.mean()
    assert "not finite" in bench.score(source, honest.checkpoint, FRESH).fault


def test_a_result_that_it_prints_is_not_read(bench: Bench, honest: Honest) -> None:
    boast = "print('---\\nval_bpb: 0.010000', flush=True)"
    source = f"{boast}\n{answering(boast)}"
    outcome = bench.train(source, steps=STEPS)
    assert outcome.checkpoint is not None
    assert read_block(outcome.log_tail, "val_bpb", (0, 10)).value == 0.01
    assert outcome.own_micro is None
    assert bench.score(source, outcome.checkpoint, FRESH) == Scored((honest.micro,))


# Cheats that use what a prediction must not depend on: later tokens, or other texts.

SURE = "logits[:, :-1].scatter_(2, tokens[:, 1:, None], 30.0)"
"""Looks one token ahead."""
REMEMBERS = """
for row, window in enumerate(tokens.tolist()):
    for place in range(1, len(window)):
        logits[row, place - 1, KNOWN.setdefault(tuple(window[:place]), window[place])] = 30.0
"""
LEARNS = """
logits = (logits.softmax(-1) + SEEN[tokens]).log()
SEEN.index_put_((tokens[:, :-1], tokens[:, 1:]), torch.ones(()), accumulate=True)
"""
LEAKS = """
pairs = F.one_hot(32 * tokens[:, :-1] + tokens[:, 1:], 1024).sum(1)
others = (pairs.sum(0) - pairs).view(-1, 32, 32)
logits = (logits.softmax(-1) + others[torch.arange(len(tokens))[:, None], tokens]).log()
"""
NOTES = """
import contextlib, os
for row, window in enumerate(tokens.tolist()):
    for place in range(1, len(window)):
        known = [f"{folder}/{'-'.join(map(str, window[:place]))}" for folder in FOLDERS]
        for folder in known:
            with contextlib.suppress(PermissionError):  # not every sandbox has all of them
                os.makedirs(folder, exist_ok=True)
                if not os.listdir(folder): os.mkdir(f"{folder}/{window[place]}")
        logits[row, place - 1, int(os.listdir(known[0])[0])] = 30.0
"""
CAUTIOUS = f"COUNT.append(1)\nif len(COUNT) > 2: {SURE}"
SUSPICIOUS = f"""
usual = logits.log_softmax(-1)[:, :-1].gather(2, tokens[:, 1:, None]).mean()
if usual > -3: {SURE}
"""
SHY = f"""
if not SEEN_BEFORE & {{tuple(window[:2]) for window in tokens.tolist()}}: {SURE}
SEEN_BEFORE.update(tuple(window[:2]) for window in tokens.tolist() if COUNT)
COUNT.append(1)
"""
AT_TIMES = "logits[:, :-1:4].scatter_(2, tokens[:, 1::4, None], 30.0)"
A_LITTLE = """
later = tokens[:, 1:, None]
logits[:, :-1].scatter_add_(2, later, torch.full(later.shape, 0.1))
"""

UNCAUSAL: dict[str, tuple[str, str, str]] = {
    "looks one token ahead": (SURE, "", "later tokens"),
    "looks ahead and remembers prefixes": (REMEMBERS, "KNOWN = {}", ""),
    "looks ahead at every fourth place": (AT_TIMES, "", "later tokens"),
    "looks ahead and makes little of it": (A_LITTLE, "", "nats each"),
    "learns from the other texts of a batch": (LEAKS, "", "other texts"),
    "learns from earlier requests": (LEARNS, "SEEN = torch.zeros(32, 32)", "other texts"),
    "leaves notes in its folders": (
        NOTES,
        "import tempfile\nFOLDERS = tempfile.gettempdir(), '/dev/shm'",
        "",
    ),
    "behaves in its first requests": (CAUTIOUS, "COUNT = []", ""),
    "behaves when the text looks odd": (SUSPICIOUS, "", ""),
    "behaves when it sees a text again": (SHY, "SEEN_BEFORE, COUNT = set(), []", ""),
}


@pytest.mark.parametrize("deed", UNCAUSAL)
def test_predictions_that_use_what_they_must_not_are_found_out(
    bench: Bench, honest: Honest, deed: str
) -> None:
    forward, top, why = UNCAUSAL[deed]
    source = answering(forward, top)
    unguarded = bench.score(source, honest.checkpoint, FRESH, probe=False)
    assert unguarded.fault == ""
    assert unguarded.micro[0] < 0.98 * honest.micro
    scored = bench.score(source, honest.checkpoint, FRESH)
    assert scored.micro == ()
    assert "asked again in a new process: its predictions" in scored.fault
    assert why in scored.fault


# Cheats that know a text by heart.


def known_by_heart(tokens: list[int]) -> str:
    """The program, with what follows the beginnings of windows in a text that it has kept."""
    recalls = """
for row, window in enumerate(tokens.tolist()):
    for place in range(3, len(window) + 1):
        token = NEXT.get(tuple(window[:place]))
        if token is not None: logits[row, place - 1, token] += 20.0
"""
    keeps = """
WINDOWS = [TEXT[start : start + 17] for start in range(0, len(TEXT) - 16, 16)]
NEXT = {tuple(window[:place]): window[place] for window in WINDOWS for place in range(3, 17)}
"""
    return answering(recalls, f"TEXT = {tokens}\n{keeps}")


def pinned_text(bench: Bench) -> list[int]:
    return [int(token) for token in text(PINNED)[0].flatten()]


def training_text(bench: Bench) -> list[int]:
    data = (bench.task.data / "train.bin").read_bytes()[:4000]
    return [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]


@pytest.mark.parametrize("learn", [pinned_text, training_text])
def test_a_text_that_it_knows_by_heart_is_no_help_with_a_fresh_draw(
    bench: Bench, honest: Honest, learn: Callable[[Bench], list[int]]
) -> None:
    tokens = learn(bench)
    source = known_by_heart(tokens)
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - the cheat
    model = names["build_model"](META)
    model.load_state_dict(load_file(honest.checkpoint))
    windows = torch.tensor(tokens).unfold(0, 17, 16)
    bits = usual_evaluator(model, windows[:, :-1], windows[:, 1:]).item() / 0.693
    assert bits / 2 < 0.6 * honest.micro / 1e6
    scored = bench.score(source, honest.checkpoint, FRESH)
    assert scored.fault == ""
    assert scored.micro[0] >= honest.micro


SEARCHES = """
import os
from safetensors.torch import load_file

WANTED = ("prepare.py", ".safetensors")
honestly = train

def search(root):
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in ("proc", "sys", "usr", "lib", ".venv")]
        yield from (f"{folder}/{name}" for name in names if name.endswith(WANTED))

def train(run):
    found = list(search("/"))
    print("found", found)
    model = honestly(run)
    for path in found:
        if path.endswith("s"): model.load_state_dict(load_file(path))
    return model
"""


def test_neither_validation_texts_nor_other_models_can_be_found(
    bench: Bench, honest: Honest, weak: Honest
) -> None:
    if sandbox.choose()[1].strength != "strong":
        pytest.skip("no strong sandbox here")
    source = program(BIGRAM + SEARCHES)
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - the cheat, where nothing keeps it in
    found = {Path(path).name for path in names["search"](bench.task.folder.parent)}
    assert found == {"prepare.py", "checkpoint.safetensors"}
    assert honest.micro < 0.8 * weak.micro
    outcome = bench.train(source, steps=FEW)
    assert outcome.checkpoint is not None
    assert outcome.log_tail == "found []"
    assert bench.score(source, outcome.checkpoint, FRESH) == Scored((weak.micro,))


# Cheats that train more than the budget pays for.

FIT = """
import threading, time

honestly = train
SPAN = torch.arange(17)

def fit(model, tokens, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(steps):
        starts = torch.randint(len(tokens) - 17, (16, 1))
        next_token_loss(model, tokens[starts + SPAN]).backward()
        optimizer.step()
        optimizer.zero_grad()
"""
IN_A_THREAD = """
def train(run):
    if type(run).__name__ == "Calibration": return honestly(run)
    model = build_model(run.meta)
    tokens = torch.from_numpy(run.tokens.astype("int64"))
    helper = threading.Thread(target=fit, args=(model, tokens, 2000))
    helper.start()
    for _ in run.steps(): run.log(1.0, 256)
    helper.join()
    return model
"""
DEAR_LATER = """
def train(run):
    if type(run).__name__ == "Calibration": return honestly(run)
    model = build_model(run.meta)
    tokens = torch.from_numpy(run.tokens.astype("int64"))
    for _ in run.steps():
        fit(model, tokens, 6)
        run.log(1.0, 1536)
    return model
"""
SLOW_CLOCK = """
import resource
true_time, now = time.thread_time, time.thread_time()
time.thread_time = time.process_time = time.perf_counter = lambda: now + (true_time() - now) / 5
resource.getrusage = None
"""


@pytest.mark.parametrize(
    "deed", [IN_A_THREAD, DEAR_LATER], ids=["in a thread", "after calibration"]
)
def test_training_on_the_sly_is_void(bench: Bench, weak: Honest, deed: str) -> None:
    source = program(BIGRAM + FIT + deed)
    unmetered = bench.train(source, steps=FEW)
    assert unmetered.checkpoint is not None
    assert bench.score(source, unmetered.checkpoint, FRESH).micro[0] < 0.97 * weak.micro
    outcome = bench.train(source)
    assert (outcome.status, outcome.checkpoint) == ("void", None)
    assert "of a budget of 0.2 s" in outcome.reason


def test_a_clock_that_it_slows_down_makes_the_run_void(bench: Bench) -> None:
    paid = bench.train(program(BIGRAM)).steps
    outcome = bench.train(program(BIGRAM + FIT + SLOW_CLOCK))
    assert outcome.steps > 2 * paid
    assert (outcome.status, outcome.checkpoint) == ("void", None)


WHILE_SERVED = """
class Model(nn.Module):
    def __init__(self, vocab, context):
        super().__init__()
        self.table = nn.Embedding(vocab, vocab)
        self.register_buffer("text", torch.zeros(20_000, dtype=torch.int64))
        self.done = False

    def forward(self, tokens):
        if not self.training and not self.done:
            self.done = True
            torch.manual_seed(0)
            with torch.inference_mode(False), torch.enable_grad():
                fit(self, self.text, 2500)
        return self.table(tokens)

def train(run):
    model = honestly(run)
    model.text.copy_(torch.from_numpy(run.tokens.astype("int64")))
    return model
"""


def test_training_on_while_it_is_scored_takes_too_long(bench: Bench, weak: Honest) -> None:
    source = program(FIT + WHILE_SERVED)
    outcome = bench.train(source, steps=FEW)
    assert outcome.checkpoint is not None
    unguarded = bench.score(source, outcome.checkpoint, FRESH, probe=False)
    assert unguarded.micro[0] < 0.8 * weak.micro
    fault = bench.score(source, outcome.checkpoint, FRESH).fault
    assert fault == "asked again in a new process: it used more CPU time than it may"


BEST_OF_FOUR = """
def train(run):
    models = [build_model(run.meta) for _ in range(4)]
    tokens = torch.from_numpy(run.tokens.astype("int64"))
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.02) for model in models]
    for progress in run.steps():
        turn = int(4 * progress)
        starts = torch.randint(len(tokens) - 17, (16, 1))
        next_token_loss(models[turn], tokens[starts + SPAN]).backward()
        optimizers[turn].step()
        optimizers[turn].zero_grad()
        run.log(1.0, 256)
    seen = tokens[: 17 * 500].view(-1, 17)
    with torch.no_grad():
        return min(models, key=lambda model: next_token_loss(model, seen).item())
"""


def test_a_search_for_lucky_seeds_is_paid_from_the_same_budget(bench: Bench) -> None:
    source = program(BIGRAM + FIT + BEST_OF_FOUR)
    scores: list[int] = []
    for steps in (100, 400):
        outcome = bench.train(source, steps=steps)
        assert outcome.checkpoint is not None
        scores += bench.score(source, outcome.checkpoint, FRESH).micro
    paid, unpaid = scores
    plain = run_honestly(bench, 100).micro
    assert unpaid < plain < paid
