"""Two edits in one program: constants by name, lines by place, and never a guess."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.errors import PatchError
from skep.merge import merge
from skep.patch import apply
from skep.records import SetConstant

BASE = """\
LR = 3e-3
WIDTH = 64
BETAS = (0.9, 0.95)


def loss(x):
    y = x * x
    return y


def step(model):
    return model * LR
"""


def with_(text: str, **values: float) -> str:
    return apply(text, [SetConstant(name, value) for name, value in values.items()])


def test_constants_of_both_sides_come_together() -> None:
    merged = merge(BASE, with_(BASE, LR=0.01), with_(BASE, WIDTH=128))
    assert merged == BASE.replace("3e-3", "0.01").replace("64", "128")


def test_a_constant_that_both_have_set_stays_ours() -> None:
    merged = merge(BASE, with_(BASE, LR=0.01), with_(BASE, LR=0.02, WIDTH=32))
    assert merged == BASE.replace("3e-3", "0.01").replace("64", "32")


def test_lines_of_one_side_meet_constants_and_lines_of_the_other() -> None:
    ours = with_(BASE, LR=0.01).replace("y = x * x", "y = abs(x)")
    theirs = BASE.replace("return model * LR", "return model * LR / 2").replace("64", "96")
    merged = merge(BASE, ours, theirs)
    expected = BASE.replace("3e-3", "0.01").replace("64", "96").replace("y = x * x", "y = abs(x)")
    assert merged == expected.replace("model * LR", "model * LR / 2")


def test_a_changed_line_beside_a_set_constant_is_no_conflict() -> None:
    ours = with_(BASE, WIDTH=32)
    theirs = BASE.replace("LR = 3e-3\n", "LR = 3e-3\nWARMUP = 10\n")
    assert merge(BASE, ours, theirs) == BASE.replace("3e-3\n", "3e-3\nWARMUP = 10\n").replace(
        "64", "32"
    )


def test_where_theirs_only_sets_constants_its_comments_and_layout_are_not_looked_at() -> None:
    ours = BASE.replace("    y = x * x\n    return y\n", "    return abs(x)\n")
    theirs = "# tuned\n" + with_(BASE, LR=0.01).replace(
        "    y = x * x\n", "    y = x*x  # square\n"
    )
    assert merge(BASE, ours, theirs) == with_(ours, LR=0.01)


def test_what_is_there_already_changes_nothing() -> None:
    ours = with_(BASE, LR=0.01).replace("y = x * x", "y = abs(x)")
    assert merge(BASE, ours, BASE.replace("y = x * x", "y = abs(x)")) == ours
    assert merge(BASE, ours, BASE) == ours
    assert merge(BASE, BASE, ours) == ours


@pytest.mark.parametrize(
    "theirs",
    [
        BASE.replace("y = x * x", "y = x + x"),
        BASE.replace("    y = x * x\n    return y\n", "    return x\n"),
        "def\n",
    ],
)
def test_the_same_lines_changed_twice_and_what_is_no_program_are_refused(theirs: str) -> None:
    ours = BASE.replace("y = x * x", "y = abs(x)")
    with pytest.raises(PatchError):
        merge(BASE, ours, theirs)


def test_two_insertions_at_one_place_are_a_conflict_unless_they_are_equal() -> None:
    one = BASE.replace("WIDTH", "DEPTH = 2\nWIDTH")
    other = BASE.replace("WIDTH", "HEADS = 2\nWIDTH")
    assert merge(BASE, one, one) == one
    with pytest.raises(PatchError, match="overlap"):
        merge(BASE, one, other)


NUMBERS = st.integers(1, 9)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from("ABCD"), NUMBERS),
    st.dictionaries(st.sampled_from("ABCD"), NUMBERS),
)
def test_constants_merge_like_dictionaries(mine: dict[str, int], new: dict[str, int]) -> None:
    old = dict.fromkeys("ABCD", 0)

    def text(values: dict[str, int]) -> str:
        return "".join(f"{name} = {value}\n" for name, value in values.items())

    assert merge(text(old), text(old | mine), text(old | new)) == text(old | new | mine)
