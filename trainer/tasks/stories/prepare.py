"""Data, tokenizer and validation text of the task `stories`. Fixed: no experiment edits this file.

    prepare(data, report)           makes `train.bin` and `tokenizer.tiktoken` in the folder `data`
    meta(data)                      what a model must know of the data
    train_tokens(data)              the training text, one long row of token ids
    validation(data, split, seed)   a validation text that exists only once its seed is known

The text comes from `corpus.py` beside this file, so nothing is downloaded. What must come out is
pinned by the hashes in task.toml. Who calls this loads it by its path, in a process that prepares
or scores; neither the node nor a candidate's code ever imports it.
"""

import base64
import hashlib
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rustbpe
import tiktoken

CONTEXT = 128
VOCABULARY = 1024
END = VOCABULARY - 1
"""The one token that stands for no bytes: it precedes every story."""
CORPUS_BYTES = 16_000_000
VALIDATION_BYTES = 100_000
PATTERN = r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+|\s+"
"""A token never spans two words, and digits stand alone so that sums can be learned."""

TRAIN, TOKENIZER = "train.bin", "tokenizer.tiktoken"

Tokens = npt.NDArray[np.int64]


def prepare(data: Path, report: Callable[[str], None]) -> None:
    """Make the training tokens and the tokenizer in `data`; does nothing where they are right.

    Args:
        data: folder for the results, made if missing.
        report: is told what goes on, a line at a time.

    Raises:
        ValueError: something that was made has another hash than task.toml pins.
        OSError: the folder cannot be written.
    """
    pins = tomllib.loads(Path(__file__).with_name("task.toml").read_text("utf-8"))["data"]
    if all(_has(data / name, pins[name]) for name in (TOKENIZER, TRAIN)):
        return
    report(f"writing {CORPUS_BYTES // 1_000_000} MB of stories")
    texts = list(_text("train", 0, CORPUS_BYTES))
    _check("corpus", "".join(texts).encode(), pins)
    report(f"learning a vocabulary of {VOCABULARY} tokens")
    ranks = _learn(texts)
    _check(TOKENIZER, ranks, pins)
    report("encoding the stories")
    train = _encode(_encoding(ranks), texts).astype("<u2").tobytes()
    _check(TRAIN, train, pins)
    data.mkdir(parents=True, exist_ok=True)
    _write(data / TOKENIZER, ranks)
    _write(data / TRAIN, train)


def meta(data: Path) -> dict[str, int]:
    """What `build_model` is told: size of the vocabulary and the longest input in tokens."""
    return {"vocab": VOCABULARY, "context": CONTEXT}


def train_tokens(data: Path) -> "np.memmap[tuple[int], np.dtype[np.uint16]]":
    """The training text as token ids, 1-D, memory-mapped read-only."""
    return np.memmap(data / TRAIN, dtype="<u2", mode="r")


def validation(data: Path, split: str, seed: int) -> tuple[Tokens, Tokens, npt.NDArray[np.int32]]:
    """The validation text of one draw, cut into windows.

    Args:
        data: folder that `prepare` has filled.
        split: `dev` or `heldout`; texts of different splits are different.
        seed: names the draw; 0 is the pinned one.

    Returns:
        inputs int64 [n, T], targets int64 [n, T] (the next token each), and int32 [n, T]: how many
        bytes of text a target stands for, 0 where it is not counted.

    Raises:
        ValueError: no such split.
    """
    if split not in ("dev", "heldout"):
        raise ValueError(f"no such split: {split}")
    encoding = _encoding((data / TOKENIZER).read_bytes())
    tokens = _encode(encoding, list(_text(split, seed, VALIDATION_BYTES)))
    windows = (len(tokens) - 1) // CONTEXT
    inputs = tokens[: windows * CONTEXT].reshape(windows, CONTEXT)
    targets = tokens[1 : windows * CONTEXT + 1].reshape(windows, CONTEXT)
    sizes = [len(encoding.decode_single_token_bytes(token)) for token in range(END)]
    return inputs, targets, np.array([*sizes, 0], dtype=np.int32)[targets]


@cache
def _stories() -> Callable[[int], Iterator[str]]:
    """`stories` of the sibling file, loaded by path: this folder is no package on anyone's path."""
    spec = spec_from_file_location(f"{__name__}_corpus", Path(__file__).with_name("corpus.py"))
    if spec is None or spec.loader is None:
        raise ImportError("corpus.py cannot be loaded")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    stories: Callable[[int], Iterator[str]] = module.stories
    return stories


def _text(split: str, seed: int, size: int) -> Iterator[str]:
    """Stories of one draw until there are `size` characters.

    Split and seed are hashed to the generator's 64 bits, so that no choice of seed can make two
    texts overlap, except with a probability that is nil (~2**-40).
    """
    stream = hashlib.sha256(f"stories:{split}:{seed}".encode()).digest()[:8]
    for story in _stories()(int.from_bytes(stream, "big")):
        yield story
        size -= len(story)
        if size <= 0:
            return


def _learn(texts: Iterable[str]) -> bytes:
    """Byte-pair encoding by rustbpe, as lines of `base64(token) rank` (tiktoken's own format)."""
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(texts), vocab_size=END, pattern=PATTERN)
    ranks = sorted((rank, token) for token, rank in tokenizer.get_mergeable_ranks())
    return b"".join(b"%b %d\n" % (base64.b64encode(bytes(token)), rank) for rank, token in ranks)


def _encoding(ranks: bytes) -> tiktoken.Encoding:
    """The tokenizer of a file of ranks."""
    lines = (line.split() for line in ranks.splitlines())
    return tiktoken.Encoding(
        "stories",
        pat_str=PATTERN,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens={"<|end|>": END},
    )


def _encode(encoding: tiktoken.Encoding, texts: list[str]) -> Tokens:
    """The texts as one row of tokens, `END` before each."""
    batches = encoding.encode_ordinary_batch(texts, num_threads=1)
    return np.fromiter(chain.from_iterable((END, *batch) for batch in batches), dtype=np.int64)


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _check(name: str, content: bytes, pins: dict[str, str]) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != pins[name]:
        raise ValueError(f"{name} has sha256 {found}, but task.toml pins {pins[name]}")


def _write(path: Path, content: bytes) -> None:
    """All or nothing: a file that is there is whole, also after a crash."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
