"""Knobs: the numbers of a record become exactly the seed program with those numbers, or nothing."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.errors import PatchError
from skep.knobs import numbers_of, render
from skep.ports import Knob
from tests.skep.hostile import KNOBS, SEED
from tests.skep.knob_records import campaign, is_seed_with
from trainer.task import load

STORIES = load("stories", home=Path()).facts

numbers = st.fixed_dictionaries(
    {},
    optional={
        "LR": st.floats(1e-4, 0.1),
        "DEPTH": st.integers(1, 8),
        "BETAS": st.tuples(*[st.floats(0.0, 0.9999).filter(lambda x: str(x) != "-0.0")] * 2),
    },
)


def test_nothing_set_is_the_seed_program() -> None:
    assert render(SEED, KNOBS, {}) == SEED
    assert numbers_of(SEED, KNOBS, SEED) == {}


def test_a_number_written_as_in_the_seed_program_is_left_out() -> None:
    source = render(SEED, KNOBS, {"LR": 0.01, "DEPTH": 4})
    assert numbers_of(SEED, KNOBS, source) == {"DEPTH": 4}


def test_the_shipped_task_is_rendered_in_place() -> None:
    source = render(STORIES.seed_program, STORIES.knobs, {"LR": 0.012, "BETAS": (0.8, 0.99)})
    seed = STORIES.seed_program
    assert source == seed.replace("LR = 3e-3", "LR = 0.012").replace("(0.9, 0.95)", "(0.8, 0.99)")
    assert numbers_of(seed, STORIES.knobs, source) == {"LR": 0.012, "BETAS": (0.8, 0.99)}


@pytest.mark.parametrize(
    ("program", "value", "after"),
    [
        ("A = 2**19\n", 7, "A = 7\n"),
        ("B, A = 1, -2\n", 7, "B, A = 1, 7\n"),
        ("A: int = 3; B = A\n", 7, "A: int = 7; B = A\n"),
        ("é = 'ß'; A = 3", 7, "é = 'ß'; A = 7"),
        ("A = 33\n", 3, "A = 3\n"),
        ("A = 3\n", 33, "A = 33\n"),
        ("A = 3\n", -3, "A = -3\n"),
    ],
)
def test_numbers_are_found_wherever_the_seed_program_has_them(
    program: str, value: int, after: str
) -> None:
    knobs = {"A": Knob("int", -(2**20), 2**20)}
    assert render(program, knobs, {"A": value}) == after
    assert numbers_of(program, knobs, after) == {"A": value}
    assert numbers_of(program, knobs, program) == {}


@given(numbers)
def test_numbers_read_back_as_they_were_rendered(given_numbers: dict[str, Any]) -> None:
    source = render(SEED, KNOBS, given_numbers)
    found = numbers_of(SEED, KNOBS, source)
    own = {"LR": 0.01, "DEPTH": 3, "BETAS": (0.9, 0.95)}
    assert found == {name: n for name, n in given_numbers.items() if n != own[name]}


@settings(max_examples=300)
@given(numbers, st.data())
def test_a_changed_rendering_passes_only_as_another_rendering(
    given_numbers: dict[str, Any], data: st.DataObject
) -> None:
    source = render(SEED, KNOBS, given_numbers)
    start = data.draw(st.integers(0, len(source)))
    stop = data.draw(st.integers(start, min(start + 3, len(source))))
    text = data.draw(st.text("0123456789.e-+_(), \n#x'\u0664\uff11", max_size=3))
    changed = source[:start] + text + source[stop:]
    found = numbers_of(SEED, KNOBS, changed)
    assert found is None or is_seed_with(changed, found, SEED, KNOBS)


@given(st.text())
def test_no_text_of_strangers_is_parsed_or_raises(text: str) -> None:
    assert numbers_of(SEED, KNOBS, text) is None
    assert numbers_of(SEED, KNOBS, "(" * 60_000 + text) is None


def test_a_table_that_does_not_fit_the_program_renders_nothing() -> None:
    for knob in (Knob("float", 0, 1), Knob("floats", 0, 1)):
        value = 0.5 if knob.type == "float" else (0.5,)
        with pytest.raises(PatchError):
            render("x = 1\n", {"LR": knob}, {"LR": value})


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"URL": 1}, "'URL' is no knob of the task. Its task.toml lists them under [knobs]."),
        ({"LR": 1}, "the knob LR is set to 1. It takes one float."),
        ({"DEPTH": True}, "the knob DEPTH is set to True. It takes one int."),
        ({"BETAS": 0.9}, "the knob BETAS is set to 0.9. It takes a tuple of floats."),
        ({"BETAS": (0.9,)}, "the knob BETAS is set to (0.9,). In the seed program it is (0.9, 0.9"),
        ({"LR": 0.2}, "the knob LR is set to 0.2, out of its range. It goes from 0.0001 to 0.1."),
        ({"BETAS": (-0.0, 0.9)}, "the knob BETAS is set to -0.0. Zero is written 0.0."),
    ],
)
def test_a_refusal_says_what_and_why(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(PatchError, match=re.escape(message)):
        render(SEED, KNOBS, numbers)


def test_mutated_records_render_the_seed_program_with_their_numbers_or_nothing() -> None:
    ends = campaign(2000, seed=1)
    assert ends.total() == 2000
    assert min(ends["rendered"], ends["out of the table"], ends["no record"]) > 300


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LR = 3e-3", "LR = 0.5"),
        ("LR = 3e-3", "LR = 1"),
        ("LR = 3e-3", "LR = 0.02"),
        ("DEPTH = 3 ", "DEPTH = 4 "),
        ("DEPTH = 3  # blocks", "DEPTH = 3  # coding"),
        ("import math\n", "import os\n"),
        ("    return model\n", "    return model\n\n"),
    ],
)
def test_the_campaign_would_notice_another_program(before: str, after: str) -> None:
    seed = STORIES.seed_program
    assert is_seed_with(seed.replace("LR = 3e-3", "LR = 0.01"), {"LR": 0.01})
    assert not is_seed_with(seed.replace(before, after), {"LR": 0.01})
