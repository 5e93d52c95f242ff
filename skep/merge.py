"""Two edits of one program in one: a three-way merge of constants, and then of lines. Pure.

Constants that only one side has set are taken from it; where both have set one differently, ours
stays. What is left is merged line by line, and where both sides changed the same lines there is a
conflict, never a guess. Whether the result is any better only a run can tell.
"""

from skep.constants import outline
from skep.patch import apply, hunks
from skep.records import SetConstant
from skep.source import check_source


def merge(base: str, ours: str, theirs: str) -> str:
    """Our program with what theirs changed in the base. Parses all three.

    Args:
        base: the program that `theirs` was made from, and `ours`, by however many edits, too.
        ours: stays as it is, but for what theirs brings.
        theirs: base with the edit that is wanted.

    Raises:
        PatchError: one is not Python, or both changed the same lines.
    """
    base, ours, theirs = _with_equal_constants(base, ours, theirs)
    merged = apply(base, list(dict.fromkeys([*hunks(base, ours), *hunks(base, theirs)])))
    check_source(merged)
    outline(merged)
    return merged


def _with_equal_constants(base: str, ours: str, theirs: str) -> tuple[str, str, str]:
    """The three programs, each with the values that the merged one shall have."""
    values = [
        {name: one.value for name, one in outline(text).constants.items()}
        for text in (base, ours, theirs)
    ]
    old, mine, new = values
    settled = {
        name: new[name] if repr(mine[name]) == repr(old[name]) else mine[name]
        for name in old
        if name in mine and name in new
    }
    texts = []
    for text, known in zip((base, ours, theirs), values, strict=True):
        edits = [
            SetConstant(name, value)
            for name, value in settled.items()
            if repr(known[name]) != repr(value)
        ]
        texts.append(apply(text, edits))
    return texts[0], texts[1], texts[2]
