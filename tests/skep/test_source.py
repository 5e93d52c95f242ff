"""The byte rules: nobody can write a program that reads differently to a person and to Python."""

import pytest

from skep.errors import PatchError
from skep.patch import check_source

FORBIDDEN = (
    "\0\x01\x07\x08\x0b\x0c\r\x1c\x1f\x7f\x80\x85\x9f\xad\u061c\u180e\u200b\u200c\u200d\u200e\u200f"
    "\u2028\u2029\u202a\u202e\u2060\u2066\u2069\ufeff\ud800\udfff\U000e0041"
)


@pytest.mark.parametrize("character", FORBIDDEN, ids=lambda character: f"U+{ord(character):04X}")
def test_invisible_and_control_characters_are_refused_wherever_they_stand(character: str) -> None:
    for program in (f"{character}x = 1\n", f"x = 1\n# {character}\n", f"x = 'a{character}'"):
        with pytest.raises(
            PatchError, match=rf"line \d holds the character U\+{ord(character):04X}"
        ):
            check_source(program)


@pytest.mark.parametrize(
    "program",
    [
        "",
        "x = 1",
        "\tx = 'ä'  # ReLU² ½ …\n",
        '"""Ångström, ﬁne, ① ⚠️"""\n',
        "größe = 1  # é\nprint(f'{größe} → é')\n",
        "x = rb'a'; y = '''²\n²'''  # ²\n",
        "x = 1\ny = 2\n# coding: utf-8\n",
        "x" * 2000 + "\n",
        "\n" * 4000,
        "\n" * 3999 + "x = 1",
        ("#" * 1023 + "\n") * 64,
    ],
)
def test_programs_people_write_pass(program: str) -> None:
    check_source(program)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("\uff4f\uff53 = 1\n", "line 1: .* is not in the normal form"),
        ("x = 1\nx = ﬁle\n", "line 2"),
        ("x = '²'\ny = ²\n", "line 2"),
        ("x = f'{\uff45val}'\n", "line 1"),
        ("x = (rF'''\n{ﬁle}''')\n", "line 2"),
        ("e\u0301 = 1\n", "line 1"),
        ("x\ufe0f = 1\n", "line 1"),
        ("# -*- coding: utf-7 -*-\n", "line 1 declares a coding"),
        ("#!/usr/bin/python\n# vim: set fileencoding=latin-1 :\n", "line 2 declares a coding"),
        ("x" * 2001, "line 1 is over 2000 characters"),
        ("\n" * 4001, "4001 lines, over 4000"),
        (("#" * 1023 + "\n") * 64 + "#", "65537 bytes, over 65536"),
        ("# " + "ä" * 511 + "\n" + ("#" * 1023 + "\n") * 63, "65537 bytes, over 65536"),
        ("x = '''ä\n", "cannot be tokenised"),
        ("if x:\n        ä\n    ö\n", "cannot be tokenised"),
    ],
)
def test_texts_that_deceive_or_are_too_long_are_refused(program: str, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        check_source(program)
