"""The corpus of hostile patches: none applies, each is stopped where it should be; its twin is not.

The same patches go through a real examiner in tests/trainer/test_examination.py.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from skep.errors import PatchError
from skep.knobs import numbers_of, render
from skep.patch import apply, check_source, fingerprint
from skep.records import program_id
from tests.skep.hostile import FAST, GROUPS, KNOBS, SEED, Group, Hostile, Sly, SlyTuple, nested

ATTACKS = [
    pytest.param(group, attack, id=f"{name}: {attack}")
    for name, group in GROUPS.items()
    for attack in group.attacks
]


def refused_at(patch: Hostile) -> tuple[str, str] | None:
    """The check that stops a patch and what it says; None for a patch that applies."""
    stage = "apply"
    try:
        source = apply(patch.parent, patch.edits)
        stage = "text"
        check_source(source)
        stage = "hash"
        if patch.announced is not None and program_id(source) != program_id(patch.announced):
            raise PatchError("the edits do not make the program that was announced")
        stage = "parse"
        fingerprint(source)
    except PatchError as error:
        return stage, str(error)
    return None


@pytest.mark.parametrize("name", GROUPS)
def test_the_benign_twin_of_every_attack_applies(name: str) -> None:
    assert refused_at(GROUPS[name].twin) is None


@pytest.mark.parametrize(("group", "attack"), ATTACKS)
def test_no_hostile_patch_applies(group: Group, attack: str) -> None:
    refused = refused_at(group.attacks[attack])
    assert refused is not None
    stage, why = refused
    assert stage == group.stage
    assert re.search(group.why, why)


NUMBERS: dict[str, Mapping[Any, Any]] = {
    "a URL for a number": {"LR": "https://example.org/evil"},
    "another knob for a URL": {"URL": 1.0},
    "LD_PRELOAD": {"LD_PRELOAD": 1},
    "a forged f-string": {"DEPTH": "{__import__('os').system('id')}"},
    "a statement behind the number": {"DEPTH": "3; import os"},
    "a flipped bool": {"FAST": True},
    "a bool for an integer": {"DEPTH": True},
    "a bool for a float": {"LR": True},
    "depth bomb": {"DEPTH": 10**6},
    "batch bomb": {"DEPTH": 2**63 - 1},
    "5,000 digits": {"DEPTH": 10**5000},
    "not a number": {"LR": math.nan},
    "infinity": {"LR": math.inf},
    "below": {"LR": 9e-5},
    "above": {"LR": 0.1000001},
    "above, in a tuple": {"BETAS": (0.9, 1.0)},
    "not a number, in a tuple": {"BETAS": (0.9, math.nan)},
    "negative zero": {"BETAS": (-0.0, 0.9)},
    "an integer for a float": {"BETAS": (0, 0.9)},
    "a float for an integer": {"DEPTH": 4.0},
    "a number for a tuple": {"BETAS": 0.9},
    "a tuple for a number": {"LR": (0.01,)},
    "a tuple too short": {"BETAS": (0.9,)},
    "a tuple too long": {"BETAS": (0.9, 0.95, 0.9)},
    "no tuple at all": {"BETAS": ()},
    "a nested tuple": {"BETAS": ((0.9, 0.95),)},
    "a deep tuple": {"BETAS": nested(50_000)},
    "a list": {"BETAS": [0.9, 0.95]},
    "a tuple that prints as code": {"BETAS": SlyTuple((1, 2))},
    "a number that prints as code": {"DEPTH": Sly(3)},
    "complex": {"LR": 0.01 + 0j},
    "bytes": {"LR": b"0.01"},
    "a decimal": {"LR": Decimal("0.01")},
    "nothing": {"LR": None},
    "a name in bytes": {b"LR": 0.02},
    "a number for a name": {1: 0.02},
    "nothing for a name": {None: 0.02},
    "lower case": {"lr": 0.02},
    "a blank behind the name": {"LR ": 0.02},
    "a line end behind the name": {"LR\n": 0.02},
    "a full-width name": {"\uff2c\uff32": 0.02},
    "a Cyrillic name": {"D\u0415\u0420TH": 4},
    "a constant that is no knob": {"Config.inner": 2},
    "a surrogate": {"\ud800": 1},
    "a good one first": {"LR": 0.02, "URL": 1},
}


def test_numbers_within_the_table_are_rendered() -> None:
    assert render(SEED, KNOBS, {"BETAS": (0.0, 0.9999), "LR": 0.1, "DEPTH": 8}) == (
        SEED.replace("(0.9, 0.95)", "(0.0, 0.9999)").replace("0.01", "0.1").replace("= 3", "= 8")
    )


@pytest.mark.parametrize("name", NUMBERS)
def test_no_hostile_number_is_rendered(name: str) -> None:
    with pytest.raises(PatchError) as caught:
        render(SEED, KNOBS, NUMBERS[name])
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isascii()


DISGUISED = {
    "another URL": ("example.org", "example.com"),
    "another path": ("https://example.org/data", "/proc/self/environ"),
    "a flipped bool": ("False", "True"),
    "a bool for a number": ("DEPTH = 3", "DEPTH = True"),
    "a string for a number": ("DEPTH = 3", "DEPTH = '3'"),
    "a forged f-string": ("depth {DEPTH}", "{__import__('os')}"),
    "a number that is no knob": ("inner: int = 1", "inner: int = 2"),
    "a statement behind": ("DEPTH = 3\n", "DEPTH = 4; import os\n"),
    "a call": ("DEPTH = 3\n", "DEPTH = 4 .__class__(exit())\n"),
    "a comment behind": ("DEPTH = 3\n", "DEPTH = 4  # coding\n"),
    "a line behind": ("return label\n", "return label\nimport os\n"),
    "no last line end": ("return label\n", "return label"),
    "out of range": ("LR = 0.01", "LR = 1.0"),
    "infinite": ("LR = 0.01", "LR = 1e999"),
    "not a number": ("LR = 0.01", "LR = nan"),
    "another type": ("DEPTH = 3", "DEPTH = 4.0"),
    "an integer for a float": ("(0.9,", "(0,"),
    "negative zero": ("(0.9,", "(-0.0,"),
    "exponent": ("0.01", "2e-2"),
    "no zero": ("0.01", ".02"),
    "one zero more": ("0.01", "0.020"),
    "plus": ("0.01", "+0.02"),
    "two signs": ("0.01", "--0.02"),
    "in brackets": ("0.01", "(0.02)"),
    "underscore": ("DEPTH = 3", "DEPTH = 0_4"),
    "hexadecimal": ("DEPTH = 3", "DEPTH = 0x4"),
    "leading zero": ("DEPTH = 3", "DEPTH = 04"),
    "other digits": ("DEPTH = 3", "DEPTH = \u0664"),
    "arithmetic": ("DEPTH = 3", "DEPTH = 2+2"),
    "difference": ("DEPTH = 3", "DEPTH = 5-1"),
    "5,000 digits": ("DEPTH = 3", "DEPTH = " + "4" * 5000),
    "two points": ("0.01", "0.0.2"),
    "no blank": ("(0.9, 0.95)", "(0.8,0.9)"),
    "no brackets": ("(0.9, 0.95)", "0.8, 0.9"),
    "a list": ("(0.9, 0.95)", "[0.8, 0.9]"),
    "three numbers": ("(0.9, 0.95)", "(0.8, 0.9, 0.9)"),
    "one number": ("(0.9, 0.95)", "(0.8,)"),
    "knob moved": ("LR = 0.01\nDEPTH = 3\n", "DEPTH = 3\nLR = 0.01\n"),
    "knob twice": (FAST, FAST + "LR = 0.02\n"),
    "other line ends": ("\n", "\r\n"),
    "mark in front": ("# A program", "\ufeff# A program"),
}


def test_a_rendering_passes_for_its_numbers() -> None:
    numbers: dict[str, Any] = {"LR": 0.02, "DEPTH": 4, "BETAS": (0.8, 0.9)}
    assert numbers_of(SEED, KNOBS, render(SEED, KNOBS, numbers)) == numbers


@pytest.mark.parametrize("name", DISGUISED)
def test_nothing_else_passes_for_numbers(name: str) -> None:
    before, after = DISGUISED[name]
    assert before in SEED
    assert numbers_of(SEED, KNOBS, SEED.replace(before, after)) is None
