"""Edits apply exactly or not at all, and the patch made of two programs leads to the second."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.errors import PatchError
from skep.patch import apply, make
from skep.records import Edit, Hunk, SetConstant

PROGRAM = """\
# Größe und Breite
DEPTH, WIDTH = 3, 64
LR: float = 3e-3  # per step
BETAS = (0.9, 0.95)
TOTAL = 2**19
OFFSET = -1.5


@dataclass
class Config:
    layers: int = 12
    rate = 0.1


def main():
    LR = 5
    return LR
"""

LINES = st.lists(
    st.sampled_from(["A = 1\n", "B = 2\n", "\n", "def f():\n", "    pass\n", "é = 'ü'\n"])
)
ENDS = st.sampled_from(["", "A = 3", "x"])
TEXTS = st.builds(lambda lines, end: "".join(lines) + end, LINES, ENDS) | st.text()
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = NUMBERS | st.lists(NUMBERS, min_size=1, max_size=4).map(tuple)


@given(TEXTS, TEXTS)
def test_a_made_patch_leads_from_parent_to_child_character_for_character(
    parent: str, child: str
) -> None:
    assert apply(parent, make(parent, child)) == child


@given(st.sampled_from(["LR", "BETAS", "TOTAL", "DEPTH", "WIDTH", "Config.layers"]), VALUES)
def test_a_set_constant_is_made_again_from_the_texts(name: str, value: object) -> None:
    edit = SetConstant(name, value)  # type: ignore[arg-type]
    child = apply(PROGRAM, [edit])
    assert make(PROGRAM, child) in ((edit,), ())
    assert len(child.splitlines()) == len(PROGRAM.splitlines())


@given(st.permutations(make(PROGRAM, PROGRAM.replace("12", "8").replace("0.95", "0.99"))))
def test_the_order_of_edits_does_not_matter(edits: list[SetConstant]) -> None:
    child = apply(PROGRAM, edits)
    assert child == PROGRAM.replace("12", "8").replace("0.95", "0.99")


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (SetConstant("DEPTH", 4), "DEPTH, WIDTH = 3, 64", "DEPTH, WIDTH = 4, 64"),
        (SetConstant("WIDTH", 128), "DEPTH, WIDTH = 3, 64", "DEPTH, WIDTH = 3, 128"),
        (SetConstant("LR", 0.012), "LR: float = 3e-3  # per", "LR: float = 0.012  # per"),
        (SetConstant("BETAS", (0.8, 0.99)), "(0.9, 0.95)", "(0.8, 0.99)"),
        (SetConstant("TOTAL", 262144), "2**19", "262144"),
        (SetConstant("OFFSET", -2.0), "-1.5", "-2.0"),
        (SetConstant("Config.layers", 6), "layers: int = 12", "layers: int = 6"),
        (SetConstant("Config.rate", 0.5), "rate = 0.1", "rate = 0.5"),
    ],
)
def test_setting_a_constant_replaces_exactly_its_value(
    edit: SetConstant, before: str, after: str
) -> None:
    assert apply(PROGRAM, [edit]) == PROGRAM.replace(before, after)


def test_columns_count_characters_where_the_tree_counts_bytes() -> None:
    assert apply("é = 'ß'; LR = 1\n", [SetConstant("LR", 2)]) == "é = 'ß'; LR = 2\n"


def test_a_tuple_without_parentheses_is_set_as_a_whole() -> None:
    assert apply("BETAS = 0.9, 0.95\n", [SetConstant("BETAS", (0.8, 0.9))]) == (
        "BETAS = (0.8, 0.9)\n"
    )


@pytest.mark.parametrize(
    "program",
    [
        "LR = 1\nif fast:\n    LR = 2\n",
        "LR = 1\ndef f():\n    global LR\n    LR = 2\n",
        "LR = 1\nLR += 1\n",
        "LR = 1\nfor LR in range(3):\n    pass\n",
        "import LR\nLR = 1\n",
        "LR = OTHER = 1\n",
        "LR = True\n",
        "LR = '1'\n",
        "LR = 1 if fast else 2\n",
        "LR = rate * 2\n",
        "LR = 9**9**9\n",
        "LR = 1 / 0\n",
        "LR = (-8) ** 0.5\n",
        "LR = ()\n",
        "LR = (1, 'x')\n",
        "lr = 1\n",
        "LR, *REST = 1, 2, 3\n",
        "LR = 1\r\n",
        "if fast:\n    LR = 1\n",
    ],
)
def test_what_is_not_one_plain_number_bound_once_cannot_be_set(program: str) -> None:
    with pytest.raises(PatchError, match="no constant 'LR' that could be set"):
        apply(program, [SetConstant("LR", 2)])


@pytest.mark.parametrize("value", [math.inf, math.nan, True, 2**63, (), (1, math.inf), "1", None])
def test_only_finite_numbers_are_values(value: object) -> None:
    with pytest.raises(PatchError, match="'LR' is set to"):
        apply(PROGRAM, [SetConstant("LR", value)])  # type: ignore[arg-type]


def test_a_missing_constant_is_told_with_the_nearest_name() -> None:
    with pytest.raises(PatchError, match=r"no constant 'BETA' that.*nearest is BETAS"):
        apply(PROGRAM, [SetConstant("BETA", 0.9)])


def test_a_change_of_several_constants_is_made_of_settings() -> None:
    child = PROGRAM.replace("3, 64", "4, 64").replace("0.95", "0.99")
    assert make(PROGRAM, child) == (SetConstant("DEPTH", 4), SetConstant("BETAS", (0.9, 0.99)))


def test_a_number_written_another_way_is_made_of_a_hunk() -> None:
    child = PROGRAM.replace("3e-3", "1.2e-2")
    assert make(PROGRAM, child) == (
        Hunk(3, "LR: float = 3e-3  # per step\n", "LR: float = 1.2e-2  # per step\n"),
    )


def test_hunks_hold_the_changed_lines_alone() -> None:
    parent = "a = 1\nb = 2\nc = 3\nd = 4\n"
    child = "a = 1\nc = 3\nd = 5\nd = 6\nnew = 7\n"
    assert make(parent, child) == (
        Hunk(2, "b = 2\n", ""),
        Hunk(4, "d = 4\n", "d = 5\nd = 6\nnew = 7\n"),
    )


def test_a_text_equals_itself_without_edits() -> None:
    assert make(PROGRAM, PROGRAM) == ()


def test_settings_and_hunks_of_one_patch_both_speak_of_the_parent() -> None:
    edits: list[Edit] = [
        Hunk(1, "", "import math\n"),
        SetConstant("B", 3),
        Hunk(3, "", "C = 4\n"),
    ]
    assert apply("A = 1\nB = 2\n", edits) == "import math\nA = 1\nB = 3\nC = 4\n"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Hunk(2, "c = 3\n", ""), "line 2 is 'b = 2', not 'c = 3'. The expected text stands at li"),
        (
            Hunk(1, "a = 1 \n", ""),
            "line 1 is 'a = 1', not 'a = 1 '. The nearest is line 1: 'a = 1'",
        ),
        (Hunk(3, "c = 3\nd = 4\n", ""), "line 4 is missing, not 'd = 4'"),
        (Hunk(1, "@@@@@@@@@\n", ""), "There is no line like it"),
        (Hunk(0, "a = 1\n", ""), "an edit starts at line 0 of a program of 3 lines"),
        (Hunk(5, "", "d = 4\n"), "an edit starts at line 5 of a program of 3 lines"),
        (Hunk(2, "b = 2\n", "b = 3"), "the edit at line 2 would join two lines"),
        (Hunk(1, "a = 1\nb", "x = 1\n"), "line 2 is 'b = 2', not 'b'"),
    ],
)
def test_a_hunk_that_does_not_fit_exactly_is_an_error(edit: Hunk, message: str) -> None:
    with pytest.raises(PatchError) as caught:
        apply("a = 1\nb = 2\nc = 3\n", [edit])
    assert message in str(caught.value)


def test_a_line_cannot_be_added_to_one_without_an_end() -> None:
    with pytest.raises(PatchError, match="would join two lines"):
        apply("a = 1", [Hunk(2, "", "b = 2\n")])


@pytest.mark.parametrize(
    "edits",
    [
        [SetConstant("A", 2), SetConstant("A", 3)],
        [SetConstant("A", 2), Hunk(1, "A = 1\n", "A = 2\n")],
        [Hunk(1, "A = 1\nB = 2\n", ""), Hunk(2, "B = 2\n", "B = 3\n")],
        [Hunk(2, "", "C = 3\n"), Hunk(2, "", "D = 4\n")],
    ],
)
def test_edits_that_overlap_are_an_error(edits: list[Edit]) -> None:
    with pytest.raises(PatchError, match="overlap"):
        apply("A = 1\nB = 2\n", edits)


@pytest.mark.parametrize(
    "program",
    ["LR = (", "LR = 1\0", "(" * 5000, "-" * 60_000 + "1", "1" * 5000, "'\ud800'", "é\n é"],
)
def test_no_text_gets_more_out_of_the_parser_than_a_patch_error(program: str) -> None:
    with pytest.raises(PatchError):
        apply(program, [SetConstant("LR", 2)])
