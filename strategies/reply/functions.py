"""Whole definitions in place of those of the same name: an edit for models that quote badly. Pure.

    IDEA: <hypothesis>
    ```python
    def name(...):
        ...all of it...
    ```

A method is named by a line `METHOD: Class.name` before its code, or by itself where only one class
has it. A constant stands alone: `NAME = value`. New functions and constants are taken where
something given with them uses them. All else that a program may hold must be as it is there.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from textwrap import dedent, indent

from msgspec import Struct

from skep.errors import PatchError
from skep.fingerprint import digest
from skep.source import parse
from strategies.reply.elision import leaves_out
from strategies.reply.text import spaced
from strategies.shown import Change

PIECES_MAX = 16
LINES_MAX = 1200
"""Of the code of one idea."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Piece(Struct, frozen=True):
    """A block of code of a reply, and the method that it is said to be; empty where none is."""

    code: tuple[str, ...]
    method: str = ""


class _Program(Struct, frozen=True):
    """What may be replaced in a program, by name; methods are `Class.name`."""

    tree: ast.Module
    definitions: Mapping[str, Definition]
    constants: Mapping[str, ast.Assign | ast.AnnAssign]
    statements: frozenset[bytes]


class _Named(Struct, frozen=True):
    """A statement of a reply, and where its name stands in the program."""

    name: str
    node: ast.stmt
    code: str


def changes(text: str, pieces: Sequence[Piece]) -> list[Change]:
    """What the code of one idea changes in a program.

    Args:
        text: the program as the model was shown it.
        pieces: the code; parsed here, so it should be what an own model wrote.

    Raises:
        PatchError: it is not Python, names nothing, or leaves something out.
    """
    if len(pieces) > PIECES_MAX or sum(len(piece.code) for piece in pieces) > LINES_MAX:
        raise PatchError("an idea holds too much code", "Give only the functions that change.")
    _check_whole(text, pieces)
    program = _read(text)
    found = [named for piece in pieces for named in _statements(piece, program)]
    if not found:
        raise PatchError("an idea holds no code that differs", "Give whole functions, fenced.")
    names = [named.name for named in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PatchError(f"{twice} is given twice", "Give it once.")
    old = [named for named in found if _old(program, named.name) is not None]
    new = [named for named in found if _old(program, named.name) is None]
    _check_new(program, old, new)
    replaced = [_replace(program, text, named) for named in old]
    if new:
        first = min(_start(_old(program, named.name.partition(".")[0])) - 1 for named in old)
        rows = [row for named in new for row in (*named.code.split("\n"), "", "")]
        replaced.append(Change(first, first, tuple(rows)))
    return replaced


def _read(text: str) -> _Program:
    tree = parse(text)
    definitions: dict[str, Definition] = {}
    constants: dict[str, ast.Assign | ast.AnnAssign] = {}
    for node in tree.body:
        if isinstance(node, DEFINITIONS):
            definitions[node.name] = node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, DEFINITIONS):
                    definitions[f"{node.name}.{inner.name}"] = inner
        elif name := _assigned(node):
            assert isinstance(node, ast.Assign | ast.AnnAssign)  # noqa: S101 - `_assigned` says so
            constants[name] = node
    return _Program(tree, definitions, constants, frozenset(map(digest, tree.body)))


def _assigned(node: ast.stmt) -> str:
    """The name of `NAME = value`; empty for anything else."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    plain = isinstance(node, ast.Assign | ast.AnnAssign) and len(targets) == 1
    return targets[0].id if plain and isinstance(targets[0], ast.Name) else ""


def _old(program: _Program, name: str) -> ast.stmt | None:
    return program.definitions.get(name) or program.constants.get(name)


def _statements(piece: Piece, program: _Program) -> Iterator[_Named]:
    """What a block of code defines, named; what stands in the program as it is, is left out."""
    code = dedent("\n".join(spaced(row.rstrip()) for row in piece.code))
    rows = code.split("\n")
    for node in parse(code).body:
        if digest(node) in program.statements or _is_text(node):
            continue
        own = "\n".join(rows[_start(node) - 1 : node.end_lineno])
        yield _Named(_name(node, piece.method, program), node, own)


def _check_whole(text: str, pieces: Sequence[Piece]) -> None:
    """Refuse code with a line that stands for others, unless the program has that very line."""
    known = {row.strip() for row in text.split("\n")}
    for row in (row for piece in pieces for row in piece.code):
        if leaves_out(row) and row.strip() not in known:
            raise PatchError(
                f"the code leaves lines out: {row.strip()[:80]!a}", "Give whole functions."
            )


def _start(node: ast.stmt | None) -> int:
    """The line where a statement begins, its decorators included."""
    assert node is not None  # noqa: S101 - the caller has asked
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _name(node: ast.stmt, method: str, program: _Program) -> str:
    """What a statement replaces, or the name it brings."""
    if isinstance(node, ast.ClassDef):
        return _complete(node, program)
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if name := _assigned(node):
            return name
        raise PatchError(
            f"the code has a statement that cannot be put anywhere: {_head(node)}",
            "Give whole functions and constants.",
        )
    if method:
        if method not in program.definitions or method.rpartition(".")[2] != node.name:
            raise PatchError(f"the code is not that of a method {method[:80]!a}", _like(program))
        return method
    first = node.args.args[0].arg if node.args.args else ""
    homes = [name for name in program.definitions if name.endswith(f".{node.name}")]
    if node.name in program.definitions and first != "self":
        return node.name
    if first == "self" or (homes and node.name not in program.definitions):
        if len(homes) != 1:
            raise PatchError(
                f"it is not clear of which class {node.name} is a method",
                "Write a line `METHOD: Class.name` before its code.",
            )
        return homes[0]
    return node.name


def _complete(node: ast.ClassDef, program: _Program) -> str:
    """The name of a class that lacks nothing the program's has."""
    old = program.definitions.get(node.name)
    if isinstance(old, ast.ClassDef):
        given = {_member(inner) for inner in node.body}
        for name in map(_member, old.body):
            if name and name not in given:
                raise PatchError(
                    f"the class {node.name} is given without its {name}",
                    "Give all of it, or only a method after a line `METHOD: Class.name`.",
                )
    return node.name


def _member(node: ast.stmt) -> str:
    return node.name if isinstance(node, DEFINITIONS) else _assigned(node)


def _check_new(program: _Program, old: Sequence[_Named], new: Sequence[_Named]) -> None:
    """What is new must be used by something else that is given: names are easily mistaken."""
    for named in new:
        given = [other.node for other in (*old, *new) if other is not named]
        used = {n.id for node in given for n in ast.walk(node) if isinstance(n, ast.Name)}
        if not old or named.name not in used:
            raise PatchError(f"the program has no {named.name[:80]!a} to replace", _like(program))


def _like(program: _Program) -> str:
    names = ", ".join([*program.definitions, *program.constants])
    return f"It has {names[:400]}."


def _replace(program: _Program, text: str, named: _Named) -> Change:
    """A statement in the place of that of its name, as far right as that stood."""
    node = _old(program, named.name)
    assert node is not None  # noqa: S101 - the caller has asked
    assert node.end_lineno is not None  # noqa: S101 - parsed trees have it
    start = _start(node)
    rows = text.split("\n")
    last = rows[node.end_lineno - 1].encode()
    if rows[start - 1][: node.col_offset].strip() or (
        last[node.end_col_offset :].split(b"#")[0].strip()
    ):
        raise PatchError(f"{named.name} shares a line with other code", "Edit something else.")
    own = indent(named.code, " " * node.col_offset)
    if digest(parse(dedent(own)).body[0]) != digest(named.node):
        raise PatchError(f"{named.name} holds a text that cannot be indented", "Join its lines.")
    return Change(start - 1, node.end_lineno, tuple(own.split("\n")))


def _head(node: ast.stmt) -> str:
    return ascii(ast.unparse(node).split("\n")[0][:80])
