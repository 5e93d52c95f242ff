"""The result block that self-scoring programs print."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.block import Block, read_block

UPSTREAM = """\
step 00953 (100.0%) | loss: 2.894134 | lrm: 0.00
---
val_bpb:          0.997900
training_seconds: 300.1
total_seconds:    325.9
peak_vram_mb:     45060.2
mfu_percent:      39.80
total_tokens_M:   499.6
num_steps:        953
num_params_M:     50.3
depth:            8
"""

finite = st.floats(allow_nan=False, allow_infinity=False)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,15}", fullmatch=True)


def test_the_block_of_autoresearch_reads_in_full() -> None:
    block = read_block(UPSTREAM, "val_bpb")
    assert (block.status, block.value) == ("done", 0.9979)
    assert block.numbers["num_steps"] == 953
    assert len(block.numbers) == 9


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", Block("crash", None, {})),
        ("Traceback (most recent call last):\nKeyError: 'x'\n", Block("crash", None, {})),
        ("val_bpb: 0.9\n", Block("crash", None, {})),
        ("---\ntraining_seconds: 12\n", Block("crash", None, {"training_seconds": 12.0})),
        ("---\nval_bpb: N/A\n", Block("crash", None, {})),
        ("---\nval_bpb: 0.9 or so\n", Block("crash", None, {})),
        ("---\nval_bpb:\n", Block("crash", None, {})),
        ("step 12 loss 173.0\nFAIL\n", Block("nan", None, {})),
        ("FAIL: no such file\n", Block("crash", None, {})),
        ("---\r\n  val_bpb:\t1.5e-1 \r\n", Block("done", 0.15, {"val_bpb": 0.15})),
        ("---\nval_bpb: -.5\n", Block("done", -0.5, {"val_bpb": -0.5})),
        ("---\nval_bpb: 2\n---\nbye\n", Block("done", 2.0, {"val_bpb": 2.0})),
        ("---\nval_bpb: 2\n---\nval_bpb: 3\n", Block("done", 3.0, {"val_bpb": 3.0})),
        ("FAIL\n---\nval_bpb: 2\n", Block("done", 2.0, {"val_bpb": 2.0})),
    ],
)
def test_a_number_counts_only_as_a_line_of_the_block(output: str, expected: Block) -> None:
    assert read_block(output, "val_bpb") == expected


@pytest.mark.parametrize("number", ["nan", "NaN", "-inf", "inf", "1e999"])
def test_a_number_that_is_none_has_diverged(number: str) -> None:
    block = read_block(f"---\nval_bpb: {number}\n", "val_bpb")
    assert (block.status, block.value) == ("nan", None)


def test_a_number_that_nobody_can_believe_has_diverged() -> None:
    output = "---\naccuracy: 1.7\n"
    assert read_block(output, "accuracy").value == 1.7
    assert read_block(output, "accuracy", (0.0, 1.0)).status == "nan"
    assert read_block("---\naccuracy: 1\n", "accuracy", (0.0, 1.0)).value == 1.0


@given(st.dictionaries(keys, finite, min_size=1), st.data(), st.text())
def test_every_printed_block_reads_back(
    numbers: dict[str, float], data: st.DataObject, before: str
) -> None:
    metric = data.draw(st.sampled_from(sorted(numbers)))
    lines = [f"{key}: {value!r}" for key, value in numbers.items()]
    block = read_block("\n".join([before, "---", *lines]), metric)
    assert block == Block("done", numbers[metric], numbers)


@given(st.text(), st.text(alphabet="-\n: valbp0.1efni", max_size=60))
def test_no_output_is_an_error_and_done_means_a_finite_number(before: str, tail: str) -> None:
    block = read_block(before + tail, "val")
    assert (block.status == "done") == (block.value is not None)
    assert block.value is None or math.isfinite(block.value)
