"""A fingerprint is shared by texts that are the same program, and by no others."""

import pytest

from skep.errors import PatchError
from skep.patch import fingerprint

EVERYTHING = '''\
"""Docstring."""
from __future__ import annotations
import math as m
from . import sibling
LR, BETAS = 3e-3, (0.9, 0.95)
flags = {**{}, "a": None, b"b": ..., 1j: True}
@decorated
class Config(Base, metaclass=Meta): pass
async def run(a, /, b=1, *args, c, d=None, **kw) -> int:
    """Docstring."""
    global x
    async with open(a) as f, g():
        x = f"{a!r:>{b}} and {c:.3f}" "more" f"{d=}" f"{a:}"
    match a:
        case {"k": [1, *rest], **other} if rest: return rest
        case Point(x=0) | None: return (yield)
    try:
        del x[1:2, ::3]
    except* ValueError as e:
        raise e from None
    else:
        x = [await i async for i in a if i not in b]
    return lambda *q: (w := -q[0]) if q else 0x10000000000000000
'''


def test_the_fingerprint_of_a_program_is_pinned() -> None:
    # The value was computed with Python 3.11; every supported version must agree.
    assert fingerprint(EVERYTHING).hex() == (
        "f81dc1612fffa3a672955f078ccd7192ded73735db8eaa83bde61da443d0c9aa"
    )


@pytest.mark.parametrize(
    "twin",
    [
        "def f(a):\n    return a + 1\n",
        "def f(a):\n  # why\n  return (a + 1)\n",
        'def f(a):\n    """What it does."""\n    return a + 1',
        '"""Module."""\n\n\ndef f(\n    a,\n):\n    return a + 0x1\n',
    ],
)
def test_layout_comments_and_docstrings_do_not_count(twin: str) -> None:
    assert fingerprint(twin) == fingerprint("def f(a): return a + 1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("x = 'None'", "x = None"),
        ("x = [None]", "x = []"),
        ("x = -0.0", "x = 0.0"),
        ("x = {**a}", "x = {a: a}"),
        ("def f(a, *, b): pass", "def f(a, b): pass"),
        ("x = f'{a}b'", "x = f'a{b}'"),
        ("x = f'{a!r}'", "x = f'{a}'"),
        ("x = 'string'; 'no docstring'", "x = 'string'"),
        ("from . import a", "from .. import a"),
        ("match x:\n case None: pass", "match x:\n case True: pass"),
        ("a.b = 1", "b.a = 1"),
    ],
)
def test_different_programs_differ(one: str, other: str) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_pieces_of_an_f_string_do_not_count() -> None:
    assert fingerprint("x = f'ab{c}' 'd' f''") == fingerprint("x = 'a' f'b{c:}d'")


def test_an_invalid_escape_is_the_program_s_affair() -> None:
    assert fingerprint("x = '\\d'") == fingerprint("x = '\\\\d'")


def test_depth_does_not_depend_on_the_caller() -> None:
    def nested(depth: int) -> bytes:
        return fingerprint("x = " + "-" * 500 + "1") if depth == 0 else nested(depth - 1)

    assert nested(0) == nested(400)


@pytest.mark.parametrize("source", ["def", "x = 1\0", "(" * 1000, "[" * 90 + "]", "x = '\ud800'"])
def test_what_is_not_python_is_a_patch_error(source: str) -> None:
    with pytest.raises(PatchError):
        fingerprint(source)
