"""The task `stories`: its text, its data and its seed program."""

import ast
import hashlib
import math
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from trainer import program
from trainer.task import PACKS, load

PACK = PACKS / "stories"
SEED_PROGRAM = (PACK / "train.py").read_text()


def by_path(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus() -> Any:
    return by_path(PACK / "corpus.py")


@pytest.fixture(scope="module")
def pack() -> Any:
    return by_path(PACK / "prepare.py")


@pytest.fixture(scope="module")
def prepared(pack: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real data: made once for this file, in about three seconds."""
    folder = tmp_path_factory.mktemp("stories") / "prepared"
    pack.prepare(folder, lambda line: None)
    return folder


@pytest.fixture(scope="module")
def some(corpus: Any) -> list[str]:
    return list(islice(corpus.stories(1), 2000))


# The text


def test_the_generator_is_splitmix64(corpus: Any) -> None:
    stream = corpus.Stream(0)
    drawn = [stream.below(1 << 64) for _ in range(3)]
    assert drawn == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_a_seed_always_tells_the_same_stories(corpus: Any, some: list[str]) -> None:
    assert hashlib.sha256("".join(some).encode()).hexdigest() == (
        "3f55ac83ca22060c7cb73359de0fc328745bad797ad3d35927644958e7588eef"
    )
    assert list(islice(corpus.stories(2), 3)) != some[:3]


def test_nothing_in_the_generator_depends_on_platform_or_release() -> None:
    tree = ast.parse((PACK / "corpus.py").read_text())
    nodes = list(ast.walk(tree))
    assert not [node for node in nodes if isinstance(node, ast.Div | ast.Set | ast.SetComp)]
    assert not [n for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, float)]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert modules == {"bisect", "collections.abc", "functools", "itertools", "typing"}
    assert not [node for node in nodes if isinstance(node, ast.Import)]
    called = {node.func.id for node in nodes if isinstance(node, ast.Call)
              and isinstance(node.func, ast.Name)}  # fmt: skip
    assert not called & {"hash", "id", "set", "frozenset", "float", "round", "sorted"}


def test_stories_are_plain_text(some: list[str]) -> None:
    text = "".join(some)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert all(story.startswith("# ") and story.endswith("\n") for story in some)


def test_sums_and_lists_said_backwards_are_right(some: list[str]) -> None:
    text = "".join(some)
    sums = re.findall(r"wrote (\d+) ([+-]) (\d+) = (\d+) on", text)
    assert len(sums) > 500
    assert all(
        int(a) + int(b) == int(c) if sign == "+" else int(a) - int(b) == int(c)
        for a, sign, b, c in sums
    )
    lists = re.findall(r"The list said ([a-z, ]+)\. Backwards it said ([a-z, ]+)\.", text)
    assert len(lists) > 500
    assert all(there.split(", ")[::-1] == back.split(", ") for there, back in lists)


def test_facts_hold_over_all_stories(some: list[str]) -> None:
    text = "".join(some)
    for pattern in (
        r"Everybody knew that (\w+) of (\w+ made \w+ \w+)\.",
        r"for (\w+) on the (\w+, where \w+) was the elder",
        r"paid ([a-z-]+) coins for (an? \w+) and",
    ):
        facts = re.findall(pattern, text)
        keys = {fact[1] if "paid" in pattern else fact[0] for fact in facts}
        assert len(facts) > 2 * len(keys) > 100
        assert len(set(facts)) == len(keys)


def test_a_story_remembers_what_was_said_and_kept(corpus: Any, some: list[str]) -> None:
    recalled = passwords = 0
    for story in some:
        for match in re.finditer(r'had said: ("[^"]+")', story):
            assert story.index(match[1]) < match.start()
            recalled += 1
        said = re.findall(r"The password of (\w+ was \w+)", story)
        assert len(set(said)) <= 1
        passwords += len(said)
    assert recalled > 500
    assert passwords > 500


def test_money_adds_up(corpus: Any, some: list[str]) -> None:
    number = {word: i for i, word in enumerate(corpus.NUMBERS)}
    earned = re.findall(r"had (\S+) coins and earned (\S+) more: (\S+) coins", "".join(some))
    assert len(earned) > 500
    assert all(number[a] + number[b] == number[c] for a, b, c in earned)


# The data


def test_what_is_prepared_is_what_is_pinned(pack: Any, prepared: Path) -> None:
    pins = load("stories", home=prepared).manifest
    for name in ("train.bin", "tokenizer.tiktoken"):
        assert hashlib.sha256((prepared / name).read_bytes()).hexdigest() == pins[name]
    assert sorted(path.name for path in prepared.iterdir()) == ["tokenizer.tiktoken", "train.bin"]
    tokens = pack.train_tokens(prepared)
    assert (tokens.dtype, tokens.shape) == (np.uint16, (4_792_098,))
    assert int(tokens.max()) == 1023
    assert pack.meta(prepared) == {"vocab": 1024, "context": 128}


def test_preparing_again_does_nothing_and_mends_what_is_broken(pack: Any, prepared: Path) -> None:
    lines: list[str] = []
    pack.prepare(prepared, lines.append)
    assert lines == []
    whole = (prepared / "tokenizer.tiktoken").read_bytes()
    (prepared / "tokenizer.tiktoken").write_bytes(whole[:-1])
    pack.prepare(prepared, lines.append)
    assert len(lines) == 3
    assert (prepared / "tokenizer.tiktoken").read_bytes() == whole


def test_another_text_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "pack"
    shutil.copytree(PACK, copy)
    toml = (copy / "task.toml").read_text()
    (copy / "task.toml").write_text(re.sub('corpus = "....', 'corpus = "0000', toml))
    with pytest.raises(ValueError, match=r"corpus has sha256 5f91.*, but task\.toml pins 0000"):
        by_path(copy / "prepare.py").prepare(tmp_path / "data", print)
    assert not (tmp_path / "data").exists()


def test_a_validation_draw_is_a_text_cut_into_windows(pack: Any, prepared: Path) -> None:
    inputs, targets, sizes = pack.validation(prepared, "dev", 0)
    assert inputs.dtype == targets.dtype == np.int64
    assert sizes.dtype == np.int32
    assert inputs.shape == targets.shape == sizes.shape
    assert inputs.shape[1] == 128
    assert (inputs.reshape(-1)[1:] == targets.reshape(-1)[:-1]).all()
    assert inputs[0, 0] == 1023
    assert ((sizes == 0) == (targets == 1023)).all()
    assert 99_000 < sizes.sum() < 104_000
    again = pack.validation(prepared, "dev", 0)
    assert (again[0] == inputs).all()


def test_the_bytes_of_the_targets_are_the_bytes_of_the_text(pack: Any, prepared: Path) -> None:
    _, targets, sizes = pack.validation(prepared, "dev", 5)
    text = "".join(pack._text("dev", 5, pack.VALIDATION_BYTES)).encode()
    assert int(sizes.sum()) <= len(text)
    encoding = pack._encoding((prepared / pack.TOKENIZER).read_bytes())
    decoded = b"".join(
        b"" if token == 1023 else encoding.decode_single_token_bytes(int(token))
        for token in targets.reshape(-1)
    )
    assert len(decoded) == sizes.sum()
    assert text.startswith(decoded)


def test_no_two_draws_share_a_story_with_each_other_or_with_training(pack: Any) -> None:
    seen = set(pack._text("train", 0, pack.CORPUS_BYTES))
    for split in ("dev", "heldout"):
        for seed in range(10):
            stories = set(pack._text(split, seed, pack.VALIDATION_BYTES))
            assert len(stories) > 50
            assert not stories & seen
            seen |= stories


def test_a_split_that_does_not_exist_is_refused(pack: Any, prepared: Path) -> None:
    with pytest.raises(ValueError, match="no such split: test"):
        pack.validation(prepared, "test", 0)


def test_loading_the_pack_leaves_no_trace_in_the_process(prepared: Path) -> None:
    modules, path = set(sys.modules), list(sys.path)
    by_path(PACK / "prepare.py").validation(prepared, "dev", 3)
    assert set(sys.modules) == modules
    assert sys.path == path


# The seed program


class Run:
    """What a training program is given, with a fixed number of steps."""

    device = "cpu"

    def __init__(self, tokens: Any, seed: int, count: int) -> None:
        self.meta = {"vocab": 1024, "context": 128}
        self.tokens, self.seed, self.count = tokens, seed, count
        self.logged: list[tuple[float, int]] = []

    def steps(self) -> Iterator[float]:
        for step in range(self.count):
            yield step / self.count
            assert len(self.logged) == step + 1

    def log(self, loss: Any, tokens: int) -> None:
        self.logged.append((float(loss), tokens))


@pytest.fixture
def train_run(pack: Any, prepared: Path) -> Run:
    return Run(pack.train_tokens(prepared), seed=1, count=12)


def seed_program(**constants: str) -> Any:
    source = SEED_PROGRAM
    for name, value in constants.items():
        source, count = re.subn(rf"(?m)^{name} = [^#\n]*", f"{name} = {value}  ", source)
        assert count == 1
    module = ModuleType("seed_program")
    exec(compile(source, "train.py", "exec"), module.__dict__)  # noqa: S102 - our own pack
    return module


def test_the_model_has_the_announced_size_and_knows_nothing_yet() -> None:
    torch.manual_seed(0)
    model = seed_program().build_model({"vocab": 1024, "context": 128})
    assert sum(parameter.numel() for parameter in model.parameters()) == 287_616
    tokens = torch.randint(1024, (2, 128))
    logits = model(tokens)
    assert (logits.shape, logits.dtype) == ((2, 128, 1024), torch.float32)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(math.log(1024), abs=0.01)


def test_no_logit_depends_on_later_tokens(train_run: Run) -> None:
    model = seed_program(BATCH_SIZE="2").train(train_run).eval()
    tokens = torch.randint(1024, (2, 128))
    for length in (1, 64, 127):
        changed = tokens.clone()
        changed[:, length:] = torch.randint(1024, (2, 128 - length))
        with torch.inference_mode():
            before, after = model(tokens), model(changed)
        assert torch.equal(before[:, :length], after[:, :length])
        assert not torch.equal(before[:, length:], after[:, length:])


def test_training_learns_and_is_deterministic(train_run: Run) -> None:
    other = Run(train_run.tokens, seed=1, count=12)
    weights = [seed_program().train(run).state_dict() for run in (train_run, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert train_run.logged == other.logged
    assert {tokens for _, tokens in train_run.logged} == {2048}
    losses = [loss for loss, _ in train_run.logged]
    assert losses[0] == pytest.approx(math.log(1024), abs=0.05)
    assert losses[-1] < losses[0] - 0.5


def test_another_seed_is_another_run(train_run: Run) -> None:
    other = Run(train_run.tokens, seed=2, count=2)
    same = Run(train_run.tokens, seed=1, count=2)
    seed_program().train(same)
    seed_program().train(other)
    assert same.logged != other.logged


def test_a_loss_that_is_not_finite_ends_the_run(train_run: Run) -> None:
    with pytest.raises(FloatingPointError, match="the loss is nan at 8% of the run"):
        seed_program(LR="float('inf')").train(train_run)


def test_the_schedule_rises_stays_and_falls() -> None:
    plain = seed_program()
    assert {plain.schedule(progress) for progress in (0.0, 0.5, 0.99)} == {1.0}
    shaped = seed_program(WARMUP_FRAC="0.2", WARMDOWN_FRAC="0.4")
    rates = [shaped.schedule(progress) for progress in (0.0, 0.1, 0.2, 0.6, 0.8, 0.9)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 1.0, 0.5, 0.25])


def test_every_constant_of_the_seed_program_is_a_knob() -> None:
    knobs = load("stories", home=Path()).facts.knobs
    assert set(program.constants(ast.parse(SEED_PROGRAM))) == set(knobs)


KNOB_SETTINGS = {
    "DEPTH": "2", "WIDTH": "32", "HEADS": "4", "MLP_MULT": "2", "NORM_EPS": "1e-2",
    "EMBED_INIT": "0.5", "POSITION_INIT": "0.5", "MATRIX_INIT": "0.5", "OUTPUT_INIT": "0.5",
    "HEAD_INIT": "0.1", "LR": "1e-2", "EMBED_LR_SCALE": "3.0", "HEAD_LR_SCALE": "3.0",
    "BETAS": "(0.8, 0.99)", "ADAM_EPS": "1e-3", "WEIGHT_DECAY": "4.0", "GRAD_CLIP": "0.001",
    "WARMUP_FRAC": "0.5", "WARMDOWN_FRAC": "1.0", "BATCH_SIZE": "8", "WINDOW": "64",
}  # fmt: skip


def test_every_knob_does_something(train_run: Run) -> None:
    assert set(KNOB_SETTINGS) == set(load("stories", home=Path()).facts.knobs)

    def losses(**constants: str) -> list[tuple[float, int]]:
        run = Run(train_run.tokens, seed=1, count=3)
        seed_program(**{"BATCH_SIZE": "2"} | constants).train(run)
        return run.logged

    plain = losses()
    assert [name for name, value in KNOB_SETTINGS.items() if losses(**{name: value}) == plain] == []
