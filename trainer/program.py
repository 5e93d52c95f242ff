"""What the text of a program says without being run: its functions and its constants.

Only for programs that the user has chosen (seed and start programs, prepare.py). The text of
strangers is parsed in a limited child, because deep nesting can exhaust the parser.
"""

import ast
import warnings

from skep.errors import TaskError
from skep.records import PROGRAM_MAX_BYTES, Number

DENIED_NAMES = frozenset(
    {
        "EPOCHS",
        "ITERATIONS",
        "MAX_EPOCHS",
        "MAX_ITERS",
        "MAX_SEQ_LEN",
        "MAX_STEPS",
        "NUM_EPOCHS",
        "NUM_ITERATIONS",
        "NUM_STEPS",
    }
)
"""Constants that stand for budget or evaluation by common usage; a search never sets them."""

DENIED_WORDS = frozenset(
    {
        *("BUDGET", "DEADLINE", "TIMEOUT", "FLOPS"),
        *("EVAL", "EVALUATION", "METRIC", "SCORE", "TEST", "VAL", "VALIDATION"),
        *("DATA", "DATASET", "SEED", "SEEDS", "SHARD", "SHARDS", "TOKENIZER", "VOCAB"),
    }
)
"""Nor a name with one of these words in it; words end at underscores."""


Constant = Number | tuple[Number, ...]


def parse(source: str, name: str) -> ast.Module:
    """Syntax tree of a program.

    Args:
        source: its text.
        name: what the user calls the file; for the message.

    Raises:
        TaskError: it is too long for a record, or not Python.
    """
    size = len(source.encode())
    if size > PROGRAM_MAX_BYTES:
        raise TaskError(
            f"{name} has {size} bytes, and a program may have {PROGRAM_MAX_BYTES}",
            "Move what experiments should not change to another file.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how the program escapes its strings is its affair
            return ast.parse(source)
    except SyntaxError as error:
        raise TaskError(f"{name}, line {error.lineno or 1}: {error.msg}", "Correct it.") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise TaskError(f"{name} cannot be parsed: {error}", "Correct it.") from None


def functions(tree: ast.Module) -> frozenset[str]:
    """Names of the functions that the module defines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def constants(tree: ast.Module) -> dict[str, Constant]:
    """Module-level UPPERCASE names that are given a plain number or a tuple of plain numbers."""
    found: dict[str, Constant] = {}
    for name, value in _assignments(tree):
        try:
            constant = ast.literal_eval(value)
        except (ValueError, TypeError):
            continue
        items = constant if isinstance(constant, tuple) else (constant,)
        if name.isupper() and items and all(type(item) in (int, float) for item in items):
            found[name] = constant
    return found


def denied(tree: ast.Module) -> frozenset[str]:
    """Names in the program that stand for budget, evaluation, seed, data or vocabulary.

    Looks at module-level names and at fields of classes, which is where constants live.
    """
    bodies: list[ast.Module | ast.ClassDef] = [tree]
    bodies += [node for node in tree.body if isinstance(node, ast.ClassDef)]
    names = {name for body in bodies for name, _ in _assignments(body)}
    return frozenset(
        name
        for name in names
        if name.upper() in DENIED_NAMES or DENIED_WORDS & set(name.upper().split("_"))
    )


def _assignments(body: ast.Module | ast.ClassDef) -> list[tuple[str, ast.expr]]:
    """`NAME = value` and `NAME: type = value`, and `A, B = 1, 2` taken apart."""
    pairs: list[tuple[ast.expr, ast.expr]] = []
    for node in body.body:
        if isinstance(node, ast.Assign):
            pairs += [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            pairs.append((node.target, node.value))
    for target, value in list(pairs):
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs += zip(target.elts, value.elts, strict=False)
    return [(target.id, value) for target, value in pairs if isinstance(target, ast.Name)]
