"""Taking one edit back out of a program that has had others since. Pure.

The edit is merged in backwards: the program that it led to is the base, and the one that it was
made from is what is wanted. An edit that later ones have overwritten is not there to be taken
out, and one that they stand on cannot be; whether the program does without it only runs can tell.
"""

import ast

from msgspec import Struct

from skep.constants import outline
from skep.errors import PatchError
from skep.merge import merge
from skep.patch import apply, make
from skep.records import SetConstant
from skep.source import parse


class Part(Struct, frozen=True, kw_only=True):
    """An edit that can be taken out by itself.

    Attributes:
        name: of the constant that it sets, where its step sets several; else empty.
        source: a program with it.
        base: the same without.
    """

    name: str
    source: str
    base: str


def parts(source: str, base: str) -> tuple[Part, ...]:
    """What a step consists of: each constant that it sets, or all of it where it changes code.

    Lines that were changed together may need one another, and stay together. Parses both.

    Raises:
        PatchError: one of them is not Python.
    """
    edits = make(base, source)
    settings = [edit for edit in edits if isinstance(edit, SetConstant)]
    if len(settings) < 2 or len(settings) < len(edits):
        return (Part(name="", source=source, base=base),)
    before = outline(base).constants
    back = [SetConstant(edit.name, before[edit.name].value) for edit in settings]
    return tuple(Part(name=one.name, source=source, base=apply(source, [one])) for one in back)


def without(program: str, source: str, base: str) -> str | None:
    """A program without an edit; None if it does not hold it. Parses.

    Args:
        program: with the edit, and others.
        source: a program that the edit led to.
        base: what it was made from.

    Raises:
        PatchError: other edits stand on the same lines.
    """
    less = merge(source, program, base)
    return None if less == program else less


def is_simpler(program: str, other: str) -> bool:
    """Whether a program with one edit less is simpler than the other, which has it.

    Code is measured by the nodes of its tree. A number is as simple as another, so that where
    nothing but numbers differ one edit less is enough. Parses both.

    Raises:
        PatchError: one of them is not Python.
    """
    if all(isinstance(edit, SetConstant) for edit in make(other, program)):
        return True
    return nodes(program) < nodes(other)


def nodes(source: str) -> int:
    """How much code a program is: nodes of its syntax tree, texts that do nothing left out.

    Raises:
        PatchError: it is not Python.
    """
    tree = parse(source)
    idle = sum(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for node in ast.walk(tree)
    )
    return sum(1 for _ in ast.walk(tree)) - 2 * idle


def is_held(program: str, source: str, base: str) -> bool:
    """Whether a program holds an edit, be it so that it cannot be taken out. Parses."""
    try:
        return without(program, source, base) is not None
    except PatchError:
        return True
