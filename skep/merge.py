"""Two edits of one program in one: a three-way merge of constants, and then of lines. Pure.

Constants that only one side has set are taken from it; where both have set one differently, ours
stays. What is left is merged line by line, and where both sides changed the same lines there is a
conflict, never a guess. Whether the result is any better only a run can tell.
"""

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from skep.constants import Value, outline
from skep.fingerprint import digest
from skep.patch import apply, hunks
from skep.records import SetConstant
from skep.source import check_source

FORMS_CACHED = 512


def merge(base: str, ours: str, theirs: str) -> str:
    """Our program with what theirs changed in the base. Parses all three.

    Where theirs changed nothing but constants its comments and its layout are not looked at.

    Args:
        base: the program that `theirs` was made from, and `ours`, by however many edits, too.
        ours: stays as it is, but for what theirs brings.
        theirs: base with the edit that is wanted.

    Raises:
        PatchError: one is not Python, or both changed the same lines.
    """
    old, mine, new = (_form(text) for text in (base, ours, theirs))
    settled = {
        name: new.values[name] if repr(mine.values[name]) == repr(value) else mine.values[name]
        for name, value in old.values.items()
        if name in mine.values and name in new.values
    }
    if new.skeleton == old.skeleton:
        return _with(ours, mine, settled)
    base, theirs = _with(base, old, settled), _with(theirs, new, settled)
    ours = _with(ours, mine, settled)
    merged = apply(base, list(dict.fromkeys([*hunks(base, ours), *hunks(base, theirs)])))
    check_source(merged)
    outline(merged)
    return merged


class _Form(Struct, frozen=True):
    """A program's constants by name, and a digest of everything else."""

    values: Mapping[str, Value]
    skeleton: bytes


@lru_cache(maxsize=FORMS_CACHED)
def _form(source: str) -> _Form:
    found = outline(source)
    numbers = [number for one in found.constants.values() for number in one.numbers]
    values = {name: one.value for name, one in found.constants.items()}
    return _Form(values, digest(found.tree, numbers))


def _with(source: str, form: _Form, settled: Mapping[str, Value]) -> str:
    """A program with the values that the merged one shall have."""
    edits = [
        SetConstant(name, value)
        for name, value in settled.items()
        if repr(form.values[name]) != repr(value)
    ]
    return apply(source, edits) if edits else source
