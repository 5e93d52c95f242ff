"""The numbers in a program that a patch can set: where they stand, and what they are.

A constant is a module-level UPPERCASE name, or a class-level default, that is bound exactly once,
to a number, to arithmetic of numbers (`2**19`), or to a tuple of those. Whether a search should
touch it is not decided here.
"""

import ast
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeGuard

from msgspec import Struct

from skep.records import Number
from skep.source import line_starts, parse

INTEGER_MAX = 2**63 - 1
"""What a record can hold."""

OUTLINES_CACHED = 4
FOLD_DEPTH_MAX = 8
FOLD_POWER_MAX = 64

SIGNS: dict[type[ast.unaryop], Callable[[Number], Number]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
OPERATORS: dict[type[ast.operator], Callable[[Number, Number], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}

SETTABLE = re.compile(r"_?[A-Z][A-Z0-9_]*")
Value = Number | tuple[Number, ...]


class Constant(Struct, frozen=True):
    """A number in a program that `SetConstant` can set.

    Attributes:
        name: `NAME` of a module-level constant, `Class.field` of a class-level default.
        value: what it is now.
        expression: its value in the tree.
        start, stop: where its value stands in the text, in characters.
        field: it is a default in a dataclass.
    """

    name: str
    value: Value
    expression: ast.expr
    start: int
    stop: int
    field: bool

    @property
    def numbers(self) -> Sequence[ast.expr]:
        """The expressions of its numbers: one, or one for each element of a tuple."""
        found = self.expression
        return found.elts if isinstance(found, ast.Tuple) else [found]


class Outline(Struct, frozen=True):
    """A program's tree, and the constants in it by name, in the order of the text."""

    tree: ast.Module
    constants: Mapping[str, Constant]


@lru_cache(maxsize=OUTLINES_CACHED)
def outline(source: str) -> Outline:
    """Parse a program and find the constants that can be set.

    Nobody changes an outline: a merge asks for four of them ten times, and gets the same ones.

    Raises:
        PatchError: it is not Python, or nested too deeply.
    """
    tree = parse(source)
    found: dict[str, Constant] = {}
    if "\r" in source or "\f" in source:  # Python's lines and columns are not those of the text.
        return Outline(tree, found)
    starts = line_starts(source)
    everywhere = Counter(name for node in tree.body for name in _bound(node))
    everywhere.update(
        name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names
    )
    for name, expression in _assignments(tree):
        if everywhere[name] == 1 and SETTABLE.fullmatch(name):
            _add(found, name, expression, source, starts)
    for scope in tree.body:
        if isinstance(scope, ast.ClassDef) and everywhere[scope.name] == 1:
            inside = Counter(name for node in scope.body for name in _bound(node))
            for name, expression in _assignments(scope):
                if inside[name] == 1:
                    label = f"{scope.name}.{name}"
                    _add(found, label, expression, source, starts, field=_is_dataclass(scope))
    return Outline(tree, found)


def _add(
    found: dict[str, Constant],
    name: str,
    expression: ast.expr,
    source: str,
    starts: Sequence[int],
    *,
    field: bool = False,
) -> None:
    value = _value_of(expression)
    if value is not None:
        start, stop = _offsets(expression, source, starts)
        found[name] = Constant(name, value, expression, start, stop, field)


def _assignments(scope: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """`NAME = value`, `NAME: type = value`, and `A, B = 1, 2` taken apart."""
    for node in scope.body:
        if isinstance(node, ast.AnnAssign):
            target: ast.expr = node.target
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        else:
            continue
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            same = len(target.elts) == len(node.value.elts)
            pairs = list(zip(target.elts, node.value.elts, strict=True)) if same else []
        for name, value in pairs:
            if isinstance(name, ast.Name) and value is not None:
                yield name.id, value


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a statement binds in its own scope, as often as it does."""
    waiting: list[ast.AST] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield part.name
        elif isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
            yield part.id
        elif isinstance(part, ast.alias):
            yield part.asname or part.name.partition(".")[0]
        else:
            if isinstance(part, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and part.name:
                yield part.name
            elif isinstance(part, ast.MatchMapping) and part.rest:
                yield part.rest
            waiting += ast.iter_child_nodes(part)


def _is_dataclass(scope: ast.ClassDef) -> bool:
    """Whether it is decorated by something called dataclass."""
    plain = [node.func if isinstance(node, ast.Call) else node for node in scope.decorator_list]
    return any(
        "dataclass" in (getattr(node, "id", ""), getattr(node, "attr", "")) for node in plain
    )


def _value_of(expression: ast.expr) -> Value | None:
    """The number or the tuple of numbers that an expression stands for."""
    if not isinstance(expression, ast.Tuple):
        return _fold(expression, FOLD_DEPTH_MAX)
    items = [_fold(item, FOLD_DEPTH_MAX) for item in expression.elts]
    whole = tuple(item for item in items if item is not None)
    return whole if whole and len(whole) == len(items) else None


def _fold(node: ast.expr, depth: int) -> Number | None:
    """The value of an arithmetic expression of plain numbers; None for anything else."""
    value: Number | None = None
    if isinstance(node, ast.Constant):
        value = node.value if is_number(node.value) else None
    elif isinstance(node, ast.UnaryOp) and type(node.op) in SIGNS and depth:
        inner = _fold(node.operand, depth - 1)
        value = None if inner is None else SIGNS[type(node.op)](inner)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and depth:
        left, right = _fold(node.left, depth - 1), _fold(node.right, depth - 1)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Pow) and abs(right) > FOLD_POWER_MAX:
            return None  # 9**9**9 is a way to hang the reader
        try:
            result = OPERATORS[type(node.op)](left, right)
        except (ArithmeticError, TypeError, ValueError):
            return None
        value = result if is_number(result) else None
    return value if is_number(value) else None


def is_number(value: object) -> TypeGuard[Number]:
    """A finite float or an integer that a record can hold; no bool."""
    if type(value) is int:
        return abs(value) <= INTEGER_MAX
    return type(value) is float and math.isfinite(value)


def shown(value: object) -> str:
    """Whatever was given as a value, for a message: at most 80 ASCII characters."""
    try:
        return ascii(value)[:80]
    except (ValueError, RecursionError):  # too many digits, nested too deeply
        return f"{type(value).__name__} too long to show"


def _offsets(node: ast.expr, source: str, starts: Sequence[int]) -> tuple[int, int]:
    """Where an expression stands in the text; the tree counts columns in UTF-8 bytes."""

    def offset(line: int, column: int) -> int:
        start = starts[line - 1]
        # A character has at least one byte, so `column` characters hold the bytes before it.
        before = source[start : start + column].encode()[:column]
        return start + len(before.decode())

    assert node.end_lineno is not None  # noqa: S101 - parsed trees have it
    assert node.end_col_offset is not None  # noqa: S101
    return offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset)
