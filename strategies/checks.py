"""What a model's program must be before it may be trained: new, whole, and within its business.

Pure, and no matter of trust: what such a program could do to the machine is the sandbox's business.
It saves runs that would teach nothing, and each refusal says what the model could do instead.
"""

import ast
from collections import Counter
from collections.abc import Collection, Iterator

from skep.constants import outline
from skep.errors import PatchError
from skep.fingerprint import digest, fingerprint
from skep.patch import make
from skep.records import Hunk
from skep.source import check_source

EDITED_BYTES_MAX = 24 * 1024
"""Of all lines that an edit takes and brings: what fits into a record with the rest of a run."""
EDITS_MAX = 128
"""As many as a record can carry."""

DYNAMIC = frozenset({"__import__", "compile", "eval", "exec", "globals", "importlib"})
"""Names that bring in what cannot be seen in the text."""

Bound = Counter[tuple[str, bytes]]


def check(
    source: str, parent: str, *, known: Collection[bytes] = (), deny: Collection[str] = ()
) -> bytes:
    """Fingerprint (32 bytes) of a program that may be tried.

    Args:
        source: the program that a model wrote.
        parent: the program it was made from.
        known: fingerprints of what was run, is pending, or was announced.
        deny: names that no strategy may touch, as in `TaskFacts`.

    Raises:
        PatchError: why it may not, one reason, usable in a repair.
    """
    check_source(source)
    tree, old = outline(source).tree, outline(parent).tree
    found = fingerprint(source)
    if found == fingerprint(parent):
        raise PatchError(
            "the edit changes nothing that runs",
            "Comments, docstrings and layout make no experiment.",
        )
    if found in known:
        raise PatchError("this very program was tried before", "Try something else.")
    _check_imports(tree, old)
    _check_denied(tree, old, frozenset(deny))
    _check_size(source, parent)
    return found


def _check_imports(tree: ast.Module, old: ast.Module) -> None:
    """What is installed is what there is: only parts of packages that the parent imports."""
    new = _packages(tree) - _packages(old)
    if new:
        raise PatchError(
            f"the edit imports {', '.join(sorted(new))[:200]}",
            f"Use only what the program imports: {', '.join(sorted(_packages(old)))[:200]}.",
        )
    names = (_names(tree) - _names(old)) & DYNAMIC
    if names:
        raise PatchError(f"the edit uses {', '.join(sorted(names))}", "Write plain code.")


def _packages(tree: ast.Module) -> set[str]:
    """Top-level packages that are imported anywhere; relative ones as `.`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").partition(".")[0])
    return found


def _names(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _check_denied(tree: ast.Module, old: ast.Module, deny: frozenset[str]) -> None:
    before, after = _bindings(tree, deny), _bindings(old, deny)
    touched = sorted({name for name, _ in (before - after) + (after - before)})
    if touched:
        raise PatchError(
            f"the edit touches {', '.join(touched)[:200]}",
            "Budget, evaluation, data and seed stay as they are.",
        )


def _bindings(tree: ast.Module, deny: frozenset[str]) -> Bound:
    """How often each denied name is bound, by what statement or expression."""
    found: Bound = Counter()
    plain = frozenset(name.rpartition(".")[2] for name in deny)
    for node in ast.walk(tree):
        for name in set(_bound(node)) & plain:
            found[name, digest(node)] += 1
    return found


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that a node gives a meaning by itself; those of statements with their values."""
    targets: list[ast.AST] = []
    if isinstance(node, ast.Assign):
        targets = list(node.targets)
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr | ast.For | ast.AsyncFor):
        targets = [node.target]
    elif isinstance(node, ast.withitem) and node.optional_vars:
        targets = [node.optional_vars]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg | ast.keyword) and node.arg:
        yield node.arg
    elif isinstance(node, ast.Global | ast.Nonlocal):
        yield from node.names
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.Delete):
        targets = list(node.targets)
    for target in targets:
        for part in ast.walk(target):
            if isinstance(part, ast.Name | ast.Attribute):
                yield part.id if isinstance(part, ast.Name) else part.attr


def _check_size(source: str, parent: str) -> None:
    """Whether the edit can be told to others in one record."""
    edits = make(parent, source)
    size = sum(len((e.before + e.after).encode()) for e in edits if isinstance(e, Hunk))
    if len(edits) > EDITS_MAX or size > EDITED_BYTES_MAX:
        raise PatchError(
            f"the edit changes {size} bytes at {len(edits)} places",
            f"At most {EDITED_BYTES_MAX} at {EDITS_MAX} can be published; change less at once.",
        )
