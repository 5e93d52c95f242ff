"""An edit comes back out of a program with all others left in, or not at all."""

import pytest

from skep.errors import PatchError
from skep.patch import apply
from skep.records import SetConstant
from skep.undo import is_held, is_simpler, nodes, parts, without

START = """LR = 0.003
WIDTH = 64
DEPTH = 3


def train(run):
    return LR


def score(run):
    return run
"""
WIDE = START.replace("64", "96")
DEEP_TOO = WIDE.replace("DEPTH = 3", "DEPTH = 4")
CODE = DEEP_TOO.replace("return LR", "return LR * 2")


def test_an_edit_is_taken_out_and_later_ones_stay() -> None:
    assert without(CODE, WIDE, START) == CODE.replace("96", "64")
    assert without(CODE, CODE, DEEP_TOO) == DEEP_TOO


def test_what_was_overwritten_or_never_was_there_is_not_held() -> None:
    wider = CODE.replace("96", "128")
    assert without(wider, WIDE, START) is None
    assert not is_held(wider, WIDE, START)
    assert without(START, CODE, DEEP_TOO) is None
    assert is_held(CODE, WIDE, START)


def test_what_others_stand_on_is_held_and_cannot_be_taken_out() -> None:
    further = CODE.replace("return LR * 2", "return LR * 2 + run")
    with pytest.raises(PatchError, match="overlap"):
        without(further, CODE, DEEP_TOO)
    assert is_held(further, CODE, DEEP_TOO)


def test_a_step_of_several_constants_has_a_part_for_each_and_code_stays_together() -> None:
    stack = apply(START, [SetConstant("WIDTH", 96), SetConstant("LR", 0.01)])
    found = parts(stack, START)
    assert [one.name for one in found] == ["LR", "WIDTH"]
    assert [one.base for one in found] == [WIDE, START.replace("0.003", "0.01")]
    (whole,) = parts(CODE, START)
    assert (whole.name, whole.source, whole.base) == ("", CODE, START)
    assert [one.name for one in parts(WIDE, START)] == [""]


def test_less_code_or_one_number_less_is_simpler_and_more_code_is_not() -> None:
    assert is_simpler(START, WIDE)
    assert is_simpler(DEEP_TOO, CODE)
    assert not is_simpler(CODE, DEEP_TOO)
    same = DEEP_TOO.replace("return run", "return all")
    assert not is_simpler(same, DEEP_TOO), "as much code is not less"


def test_code_is_counted_without_texts_that_do_nothing() -> None:
    assert nodes("x = 1\n") == 5
    assert nodes('"""What it does."""\nx = 1  # one\n') == 5
    assert nodes("x = 1\nx = 1 + 1\n") > 5
