"""Makes edits of a program that change nothing: other names, other order, equal arithmetic.

Every edit has its own AST (another fingerprint), so that only the statistics can tell that it is
worth nothing. Not a test corpus: `nulls.py` trains them for real.
"""

import ast
import random
from collections.abc import Iterator

from skep.patch import check_source, fingerprint


def null_edits(source: str, count: int, seed: int = 0) -> list[str]:
    """`count` programs that compute what `source` computes, all with different fingerprints."""
    rng = random.Random(seed)
    seen = {fingerprint(source)}
    found: list[str] = []
    variants = list(_single_edits(source))
    while len(found) < count:
        text = rng.choice(variants)
        for _ in range(rng.randrange(3)):  # Some change one thing, some several.
            text = rng.choice(list(_single_edits(text)))
        mark = fingerprint(text)
        if mark not in seen:
            check_source(text)
            seen.add(mark)
            found.append(text)
    return found


def _single_edits(source: str) -> Iterator[str]:
    yield from _renamed(source)
    for change in (_swap_operands, _split_number, _name_a_result, _reorder_keywords):
        sites = change(ast.parse(source), None)
        for site in range(sites):
            tree = ast.parse(source)
            change(tree, site)
            yield ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _renamed(source: str) -> Iterator[str]:
    """Every local variable under another name; arguments keep theirs, callers may use them."""
    tree = ast.parse(source)
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        stored = {
            n.id
            for n in ast.walk(function)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        arguments = {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
        for name in sorted(stored - arguments):
            copy = ast.parse(source)
            twin = next(
                n
                for n in ast.walk(copy)
                if isinstance(n, ast.FunctionDef) and n.lineno == function.lineno
            )
            for node in ast.walk(twin):
                if isinstance(node, ast.Name) and node.id == name:
                    node.id = f"{name}_value"
            yield ast.unparse(copy) + "\n"


def _swap_operands(tree: ast.Module, site: int | None) -> int:
    """a + b becomes b + a, which IEEE arithmetic rounds alike."""
    nodes = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.BinOp)
        and isinstance(n.op, ast.Add | ast.Mult)
        and not any(isinstance(side, ast.Constant | ast.Tuple) for side in (n.left, n.right))
    ]
    if site is not None:
        nodes[site].left, nodes[site].right = nodes[site].right, nodes[site].left
    return len(nodes)


def _split_number(tree: ast.Module, site: int | None) -> int:
    """A float constant becomes its half plus its half."""
    holders = [
        n
        for n in tree.body
        if isinstance(n, ast.Assign)
        and isinstance(n.value, ast.Constant)
        and isinstance(n.value.value, float)
    ]
    if site is not None:
        half = ast.Constant(holders[site].value.value / 2)
        holders[site].value = ast.BinOp(half, ast.Add(), half)
    return len(holders)


def _name_a_result(tree: ast.Module, site: int | None) -> int:
    """`return expression` becomes `answer = expression; return answer`."""
    bodies = [
        (node.body, i)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for i, line in enumerate(node.body)
        if isinstance(line, ast.Return) and line.value is not None
    ]
    if site is not None:
        body, i = bodies[site]
        line = body[i]
        assert isinstance(line, ast.Return)
        assert line.value is not None
        body[i : i + 1] = [
            ast.Assign([ast.Name("answer", ast.Store())], line.value),
            ast.Return(ast.Name("answer", ast.Load())),
        ]
    return len(bodies)


def _reorder_keywords(tree: ast.Module, site: int | None) -> int:
    """f(a=1, b=2) becomes f(b=2, a=1)."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and len(n.keywords) > 1]
    if site is not None:
        calls[site].keywords.reverse()
    return len(calls)
