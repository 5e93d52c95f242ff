"""Edits of a program: `set NAME = value` and text hunks, found and applied exactly.

All edits of one patch speak of the parent's text, may not touch one another, and apply in any
order; one that does not fit is an error, never a guess. This module neither merges nor decides
which edits are worth making, and a program that it accepts need not be a sensible one. Functions
that parse say so; the text of strangers they should only see in a limited child.
"""

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from skep.constants import Outline, is_number, outline, shown
from skep.errors import PatchError
from skep.fingerprint import digest, fingerprint
from skep.records import Edit, Hunk, SetConstant
from skep.source import check_source, line_of, lines

__all__ = ["apply", "change_of", "check_source", "fingerprint", "hunks", "make"]

Span = tuple[int, int, str]
"""Replace the characters from start to stop by a text."""


def apply(source: str, edits: Sequence[Edit]) -> str:
    """The program that a patch makes of its parent. Parses where a constant is set.

    Args:
        source: the parent.
        edits: what to change; each speaks of the parent's text, whatever the others do.

    Raises:
        PatchError: an edit does not fit exactly, or two overlap; names the line.
    """
    spans = [_hunk_span(source, edit) for edit in edits if isinstance(edit, Hunk)]
    settings = [edit for edit in edits if isinstance(edit, SetConstant)]
    if settings:
        spans += _set_spans(source, settings)
    return _splice(source, spans)


def change_of(edits: Sequence[Edit]) -> bytes:
    """Names what edits do, wherever they stand (12 bytes): the same change of two programs.

    Constants that are set, in any order, and lines that are replaced, in theirs, by what.
    """
    settings = sorted((e.name, repr(e.value)) for e in edits if isinstance(e, SetConstant))
    texts = [(edit.before, edit.after) for edit in edits if isinstance(edit, Hunk)]
    return hashlib.sha256(repr((settings, texts)).encode()).digest()[:12]


def _splice(source: str, spans: list[Span]) -> str:
    pieces: list[str] = []
    reached, last = 0, None
    for start, stop, text in sorted(spans):
        if start < reached or last == (start, stop):
            line = line_of(source, start)
            raise PatchError(f"two edits overlap at line {line}", "Make them one edit.")
        pieces += source[reached:start], text
        reached, last = stop, (start, stop)
    return "".join([*pieces, source[reached:]])


def _hunk_span(source: str, hunk: Hunk) -> Span:
    rows, before = lines(source), lines(hunk.before)
    if not 1 <= hunk.line <= len(rows) + 1:
        raise PatchError(
            f"an edit starts at line {hunk.line} of a program of {len(rows)} lines",
            "Lines count from 1; the line after the last stands for the end.",
        )
    first = hunk.line - 1
    found = rows[first : first + len(before)]
    for number, (want, have) in enumerate(zip_longest(before, found, fillvalue="")):
        if want != have:
            raise PatchError(
                f"line {hunk.line + number} is {_quoted(have)}, not {_quoted(want)}",
                _nearest(rows, before, number),
            )
    start = sum(len(row) for row in rows[:first])
    stop = start + len(hunk.before)
    open_end = not hunk.after.endswith("\n") and stop < len(source)
    open_start = start > 0 and source[start - 1] != "\n"
    if hunk.after and (open_end or open_start):
        raise PatchError(
            f"the edit at line {hunk.line} would join two lines", "Edits are made of whole lines."
        )
    return start, stop, hunk.after


def _nearest(rows: Sequence[str], before: Sequence[str], number: int) -> str:
    """Where the expected text stands instead, or the line most like its line `number`."""
    size = len(before)
    places = [i + 1 for i in range(len(rows) - size + 1) if rows[i : i + size] == before]
    if places:
        return f"The expected text stands at line {', '.join(map(str, places[:3]))}."
    close = difflib.get_close_matches(before[number], rows, n=1)
    if close:
        return f"The nearest is line {rows.index(close[0]) + 1}: {_quoted(close[0])}."
    return "There is no line like it."


def _quoted(line: str) -> str:
    text = line.rstrip("\n")
    return ascii(text if len(text) <= 80 else text[:77] + "...") if line else "missing"


def _set_spans(source: str, settings: Sequence[SetConstant]) -> list[Span]:
    before = outline(source)
    for edit in settings:
        _check_value(edit)
        if edit.name not in before.constants:
            close = difflib.get_close_matches(edit.name, before.constants, n=1)
            raise PatchError(
                f"the program has no constant {edit.name!a} that could be set",
                f"The nearest is {close[0]}." if close else "",
            )
    places = [(before.constants[edit.name], edit.value) for edit in settings]
    spans = [(place.start, place.stop, repr(value)) for place, value in places]
    _check_rest(before, outline(_splice(source, spans)), settings)
    return spans


def _check_value(edit: SetConstant) -> None:
    items = edit.value if isinstance(edit.value, tuple) else (edit.value,)
    if not items or not all(is_number(item) for item in items):
        raise PatchError(
            f"{edit.name!a} is set to {shown(edit.value)}",
            "Only finite numbers of at most 64 bits, and tuples of them, can be set.",
        )


def _check_rest(before: Outline, after: Outline, settings: Sequence[SetConstant]) -> None:
    """Whatever was spliced in, nothing but the values of the named constants may differ."""
    names = [edit.name for edit in settings]
    values = [repr(edit.value) for edit in settings]
    now = [after.constants[name] for name in names if name in after.constants]
    if [repr(constant.value) for constant in now] != values or (
        digest(before.tree, [before.constants[name].expression for name in names])
        != digest(after.tree, [constant.expression for constant in now])
    ):
        raise PatchError(f"setting {', '.join(names)} would change more than the value")


def make(parent: str, child: str) -> tuple[Edit, ...]:
    """A patch such that `apply(parent, make(parent, child)) == child`, character for character.

    Constants are set where that explains the whole change, else changed lines are replaced.
    Parses.
    """
    return _settings(parent, child) or tuple(hunks(parent, child))


def _settings(parent: str, child: str) -> tuple[SetConstant, ...]:
    """The constants to set, or nothing where that does not reproduce the child."""
    try:
        old, new = outline(parent).constants, outline(child).constants
        edits = tuple(
            SetConstant(name, new[name].value)
            for name in old
            if name in new and repr(old[name].value) != repr(new[name].value)
        )
        return edits if apply(parent, edits) == child else ()
    except PatchError:
        return ()


def hunks(parent: str, child: str) -> Iterator[Hunk]:
    """What was changed line by line, in order."""
    old, new = lines(parent), lines(child)
    start = _shared(old, new)  # Thousands of equal lines take the matcher seconds.
    stop = _shared(old[start:][::-1], new[start:][::-1])
    old, new = old[start : len(old) - stop], new[start : len(new) - stop]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, first, last, new_first, new_last in matcher.get_opcodes():
        if kind != "equal":
            before, after = "".join(old[first:last]), "".join(new[new_first:new_last])
            yield Hunk(start + first + 1, before, after)


def _shared(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines both begin with."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(len(old), len(new)))
