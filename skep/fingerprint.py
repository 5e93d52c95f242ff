"""When two programs are the same experiment: a hash of what Python reads, not of what is written.

`ast.dump` prints the same tree differently in Python 3.11 and 3.13, so the tree is written out
here in a form of its own.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator
from itertools import groupby

from skep.source import parse

PREFIX = b"skep/program/1\0"
IGNORED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Follow from the rest of the tree, or mean nothing at run time."""

WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def fingerprint(source: str) -> bytes:
    """SHA-256 (32 bytes) of the program's tree without docstrings, comments and layout.

    Equal on Python 3.11 to 3.13.

    Raises:
        PatchError: it is not Python, or nested too deeply.
    """
    return digest(parse(source))


def digest(tree: ast.AST, blank: Collection[ast.AST] = ()) -> bytes:
    """SHA-256 (32 bytes) of a tree.

    Args:
        tree: what `parse` returned.
        blank: nodes of the tree whose content shall not count.
    """
    blanked = {id(node) for node in blank}
    parts: list[str] = []
    waiting: list[ast.AST | str] = [tree]
    while waiting:  # A stack of our own: how deep a tree may be must not depend on the caller.
        item = waiting.pop()
        if isinstance(item, str):
            parts.append(item)
        elif id(item) in blanked:
            parts.append("?")
        else:
            waiting += reversed([type(item).__name__, "(", *_content(item), ")"])
    return hashlib.sha256(PREFIX + "".join(parts).encode("ascii")).digest()


def _content(node: ast.AST) -> Iterator[ast.AST | str]:
    """The fields of a node in order, empty ones left out: newer Pythons add fields."""
    if isinstance(node, ast.Constant):
        yield _leaf(node.value)
        return
    for name, value in ast.iter_fields(node):
        if name in IGNORED_FIELDS:
            continue
        if name == "body" and isinstance(node, WITH_DOCSTRING):
            value = value[1:] if _is_docstring(value) else value
        elif isinstance(node, ast.JoinedStr):
            value = _joined(value)
        elif name == "format_spec" and value is not None and not _joined(value.values):
            continue  # `f"{x:}"` has an empty format in some versions and none in others
        if value is None or value == []:
            continue
        yield f"{name}="
        yield from _value(value)


def _value(value: object) -> Iterator[ast.AST | str]:
    if isinstance(value, list):
        yield "["
        for item in value:
            yield from _value(item)
            yield ","
        yield "]"
    else:
        yield value if isinstance(value, ast.AST) else _leaf(value)


def _leaf(value: object) -> str:
    """A constant or an identifier as ASCII, its type included: 1, 1.0 and True differ."""
    text = f"{value:x}" if isinstance(value, int) else ascii(value)
    return f"{type(value).__name__}:{text}"


def _is_docstring(body: list[ast.stmt]) -> bool:
    return (
        bool(body)
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def _joined(parts: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts in one piece, which versions cut apart."""
    whole: list[ast.expr] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, ast.Constant)):
        pieces = list(group)
        if is_text:
            text = "".join(str(piece.value) for piece in pieces if isinstance(piece, ast.Constant))
            pieces = [ast.Constant(text)] if text else []
        whole += pieces
    return whole
