"""A checkpoint's frame is right or it is refused, whatever the file holds."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.checkpoint import BITS, TENSORS_MAX, BadCheckpoint, check_header, open_checkpoint

HALF = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
WHOLE = {"dtype": "F32", "shape": [], "data_offsets": [12, 16]}
GOOD = {"a": HALF, "b": WHOLE, "none": {"dtype": "I64", "shape": [0, 5], "data_offsets": [0, 0]}}


def header(entries: Any) -> bytes:
    return json.dumps(entries).encode()


def accepted(entries: bytes, data_bytes: int) -> bool:
    try:
        check_header(entries, data_bytes)
    except BadCheckpoint:
        return False
    return True


def with_entry(name: str = "a", **changes: object) -> bytes:
    """The good header with one entry changed."""
    return header({**GOOD, name: {**GOOD[name], **changes}})


def test_a_good_header_is_accepted() -> None:
    assert accepted(header(GOOD), 16)
    assert accepted(header(GOOD) + b"   ", 16)
    assert accepted(b"{}", 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_what_safetensors_writes_is_accepted(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "weights"
    tensors = {"one": torch.zeros(3, 2), "two": torch.zeros(()), "three": torch.zeros(0)}
    safetensors.torch.save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, path)
    with open(open_checkpoint(path), "rb") as file:
        assert set(safetensors.torch.load(file.read())) == set(tensors)


@pytest.mark.parametrize(
    ("entries", "data_bytes"),
    [
        (header(GOOD), 15),
        (header(GOOD), 17),
        (with_entry(dtype="F33"), 16),
        (with_entry(dtype=4), 16),
        (with_entry(shape=[2, 4]), 16),
        (with_entry(shape=[-2, -3]), 16),
        (with_entry(shape=[2.0, 3]), 16),
        (with_entry(shape=[True, 6]), 16),
        (with_entry(shape=[1] * 33), 16),
        (with_entry(shape=[2**41, 0], data_offsets=[0, 0]), 16),
        (with_entry(data_offsets=[12, 0]), 16),
        (with_entry(data_offsets=[0, 12, 12]), 16),
        (with_entry("b", data_offsets=[8, 12]), 12),
        (with_entry("b", data_offsets=[13, 17]), 17),
        (with_entry(more=1), 16),
        (header({**GOOD, "": HALF}), 16),
        (header({**GOOD, "x" * 513: GOOD["none"]}), 16),
        (header({**GOOD, "c": HALF}), 16),
        (header({**GOOD, "__metadata__": {"format": "pt"}}), 16),
        (header(GOOD)[:-1] + b', "b": ' + header(WHOLE) + b"}", 16),
        (header([GOOD]), 16),
        (header(GOOD).decode().encode("utf-16"), 16),
        (b"[" * 500_000, 16),
        (b'{"a":' * 200_000, 16),
        (b"9" * 5000, 16),
        (b"", 0),
    ],
)
def test_a_header_that_does_not_fit_is_refused(entries: bytes, data_bytes: int) -> None:
    assert not accepted(entries, data_bytes)


def test_there_are_not_too_many_tensors() -> None:
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    assert accepted(header({str(number): entry for number in range(TENSORS_MAX)}), 0)
    assert not accepted(header({str(number): entry for number in range(TENSORS_MAX + 1)}), 0)


def loaded(entries: bytes, data_bytes: int) -> set[str]:
    """The tensors that safetensors finds in a file with this header."""
    return set(safetensors.torch.load(content(entries, data_bytes)))


def content(entries: bytes, data_bytes: int) -> bytes:
    return len(entries).to_bytes(8, "little") + entries + bytes(data_bytes)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_a_header_or_refused(garbage: bytes, data_bytes: int) -> None:
    assert not accepted(garbage, data_bytes) or loaded(garbage, data_bytes) == set()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)
SHAPES = st.dictionaries(
    st.text(min_size=1, max_size=3),
    st.tuples(st.sampled_from(sorted(BITS)), st.lists(st.integers(0, 3), max_size=3)),
    max_size=4,
)
"""Type and shape by name."""
CHANGES = {
    "dtype": st.sampled_from(["F32", "BOOL", "F4"]) | JSON,
    "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
    "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2) | JSON,
}


def one_after_another(shapes: dict[str, tuple[str, list[int]]]) -> tuple[dict[str, Any], int]:
    """Entries of tensors that fill a file in this order, and its bytes."""
    entries, end = {}, 0
    for name, (dtype, shape) in shapes.items():
        start, end = end, end + math.prod(shape) * BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    return entries, end


@given(SHAPES)
def test_tensors_that_fill_the_file_are_accepted_and_can_be_loaded(
    shapes: dict[str, tuple[str, list[int]]],
) -> None:
    entries, data_bytes = one_after_another(shapes)
    assert accepted(header(entries), data_bytes)
    assert loaded(header(entries), data_bytes) == set(entries)


@given(SHAPES.filter(bool), st.data())
def test_what_is_accepted_after_a_change_can_be_loaded(
    shapes: dict[str, tuple[str, list[int]]], data: st.DataObject
) -> None:
    entries, data_bytes = one_after_another(shapes)
    field = data.draw(st.sampled_from(sorted(CHANGES)))
    entries[data.draw(st.sampled_from(sorted(entries)))][field] = data.draw(CHANGES[field])
    if accepted(header(entries), data_bytes):
        assert loaded(header(entries), data_bytes) == set(entries)


@given(st.binary(max_size=64), st.integers(0, 100) | st.integers(0, 2**64 - 1))
def test_a_file_of_garbage_is_refused(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, size: int
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "checkpoint"
    path.write_bytes(size.to_bytes(8, "little") + b"garbage" + garbage)
    with pytest.raises(BadCheckpoint):
        open_checkpoint(path)


def test_a_descriptor_stands_at_the_beginning_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(content(header(GOOD), 16))
    with open(open_checkpoint(path), "rb") as file:
        assert file.read() == path.read_bytes()


def test_a_sparse_giant_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadCheckpoint, match="1099511627776 bytes"):
        open_checkpoint(path)
