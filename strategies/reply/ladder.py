"""Where in a program the lines stand that a model quotes, and what the program becomes. Pure.

Rungs, each tried only where the one before found nothing: the lines as they are; without trailing
blanks; moved right or left as a whole; nearly so, for the lines that the edit keeps. On every rung
there must be one place exactly. What an edit keeps stays as it stands in the program, however it
was quoted; what it changes must have been quoted right, but for comments and blanks.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import NamedTuple

from skep.errors import PatchError
from strategies.reply.blocks import Block
from strategies.reply.elision import leaves_out
from strategies.reply.text import spaced
from strategies.shown import Change

ALIKE_MIN = 0.9
"""Of a quotation and a place, by their tokens: twice what they share over what both have."""

PLACES_SHOWN = 3
NEAREST_LINES = 12
QUOTED_MAX = 120
LOOKED_AT = 400
"""Characters of a line that are compared where it need not be the same."""

TOKEN = re.compile(r""""(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\w++|#.*+|\S""")
Op = tuple[str, int, int, int, int]


class Place(NamedTuple):
    """Where the quoted lines begin (from 0), and how far right of the quotation they stand."""

    first: int
    shift: int = 0


class Line(NamedTuple):
    """A line taken apart: leading blanks (None without content), content, its tokens."""

    indent: int | None
    content: str
    tokens: tuple[str, ...]


def change(rows: Sequence[str], block: Block) -> Iterator[Change]:
    """What a block changes in a program.

    Args:
        rows: the program's lines as the model was shown them, without line ends.
        block: the quotation and what it becomes.

    Raises:
        PatchError: there is no such place, or more than one; or lines were left out.
    """
    _check(rows, block)
    place, used = _find(rows, block)
    _check_shift(used, place.shift)
    operations = _operations(used)
    if all(kind == "equal" for kind, *_ in operations):
        raise PatchError("a REPLACE is the same as its SEARCH", "Write what the lines become.")
    for kind, start, stop, new_start, new_stop in operations:
        if kind != "equal":
            after = tuple(_moved(row, place.shift) for row in used.replace[new_start:new_stop])
            yield Change(place.first + start, place.first + stop, after)


def _check(rows: Sequence[str], block: Block) -> None:
    if not any(row.strip() for row in block.search):
        raise PatchError("a SEARCH is empty", "Quote the lines next to which to insert.")
    known = {row.strip() for row in (*rows, *block.search)}
    for row in block.replace:
        if leaves_out(row) and row.strip() not in known:
            raise PatchError(
                f"a REPLACE leaves lines out: {_quoted(row)}", "Write out every line it stands for."
            )


def _find(rows: Sequence[str], block: Block) -> tuple[Place, Block]:
    """The place, and the block as it fits there."""
    place = _only(_same(rows, block.search, str), "SEARCH")
    if place is not None:
        return place, block
    if any(leaves_out(row) for row in block.search):
        raise PatchError("a SEARCH leaves lines out", "Quote consecutive lines, all of them.")
    trimmed = _trimmed(block)
    place = _only(_same(rows, trimmed.search, str.rstrip), "SEARCH")
    if place is not None:
        return place, trimmed
    spaced = trimmed if any(row.startswith("\t") for row in rows) else _spaced(trimmed)
    program, quoted = [_line(row) for row in rows], [_line(row) for row in spaced.search]
    place = _only(_moved_places(program, quoted), "SEARCH, moved as a whole,")
    if place is None:
        place = _only(_alike(program, quoted, _operations(spaced)), "SEARCH, nearly,")
    if place is None:
        raise PatchError("the lines of a SEARCH are not in the program", _nearest(rows, spaced))
    return place, spaced


def _only(places: Iterator[Place], what: str) -> Place | None:
    found = list(islice(places, PLACES_SHOWN))
    if len(found) > 1:
        numbers = " and ".join(str(place.first + 1) for place in found)
        raise PatchError(
            f"the lines of a {what} stand at more than one place: at lines {numbers}",
            "Quote more lines around them.",
        )
    return found[0] if found else None


def _same(
    rows: Sequence[str], search: Sequence[str], form: Callable[[str], str]
) -> Iterator[Place]:
    program, wanted = [form(row) for row in rows], [form(row) for row in search]
    for first in range(len(program) - len(wanted) + 1):
        if program[first : first + len(wanted)] == wanted:
            yield Place(first)


def _moved_places(program: Sequence[Line], quoted: Sequence[Line]) -> Iterator[Place]:
    contents, wanted = [line.content for line in program], [line.content for line in quoted]
    for first in range(len(contents) - len(wanted) + 1):
        if contents[first : first + len(wanted)] == wanted:
            shift = _shift(program, quoted, first)
            if shift is not None:
                yield Place(first, shift)


def _shift(program: Sequence[Line], quoted: Sequence[Line], first: int) -> int | None:
    """How far the program's lines stand right of the quoted ones; None if not all the same way."""
    found: int | None = None
    for place, line in enumerate(quoted, first):
        own = program[place].indent
        if line.indent is not None and own is not None and line.tokens:
            if found is not None and own - line.indent != found:
                return None
            found = own - line.indent
    return found


def _alike(
    program: Sequence[Line], quoted: Sequence[Line], operations: Sequence[Op]
) -> Iterator[Place]:
    """Places where the lines that change are quoted right, and the others nearly."""
    anchors = sorted({i for op in operations for i in _touched(op) if 0 <= i < len(quoted)})
    if not any(quoted[i].tokens for i in anchors):
        return
    numbers: dict[tuple[str, ...], int] = {}  # so that long lines are compared once only
    own = [numbers.setdefault(line.tokens, len(numbers)) for line in program]
    wanted = [numbers.setdefault(line.tokens, len(numbers)) for line in quoted]
    texts = list(numbers)

    @cache
    def shared(one: int, other: int) -> int:
        return _shared(texts[one], texts[other])

    for first in range(len(program) - len(quoted) + 1):
        if any(own[first + i] != wanted[i] for i in anchors):
            continue
        pairs = list(zip(own[first : first + len(wanted)], wanted, strict=True))
        size = sum(len(texts[one]) + len(texts[other]) for one, other in pairs)
        if 2 * sum(shared(*pair) for pair in pairs) >= ALIKE_MIN * size:
            shift = _shift(program, quoted, first)
            if shift is not None:
                yield Place(first, shift)


def _touched(operation: Op) -> range:
    """Quoted lines that an operation changes; of an insertion, those on both sides."""
    kind, start, stop, *_ = operation
    if kind == "equal":
        return range(0)
    return range(start - 1, start + 1) if kind == "insert" else range(start, stop)


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return (Counter(one) & Counter(other)).total()


def _line(row: str) -> Line:
    content = row.strip()
    indent = len(row) - len(row.lstrip()) if content else None
    tokens = tuple(token for token in TOKEN.findall(content[:LOOKED_AT]) if token[0] != "#")
    return Line(indent, content, (*tokens, content[LOOKED_AT:]) if content[LOOKED_AT:] else tokens)


def _operations(block: Block) -> Sequence[Op]:
    search, replace = ([row.rstrip() for row in rows] for rows in (block.search, block.replace))
    return difflib.SequenceMatcher(None, search, replace, autojunk=False).get_opcodes()


def _trimmed(block: Block) -> Block:
    """Without the empty lines at both ends of the quotation, and as many of what it becomes."""
    search, replace = list(block.search), list(block.replace)
    for end in (0, -1):
        while search and not search[end].strip():
            del search[end]
            if replace and not replace[end].strip():
                del replace[end]
    return Block(tuple(search), tuple(replace))


def _spaced(block: Block) -> Block:
    """With spaces where lines begin with tabs."""
    return Block(tuple(map(spaced, block.search)), tuple(map(spaced, block.replace)))


def _check_shift(block: Block, shift: int) -> None:
    """Refuse to move lines of which it is not clear where they belong."""
    filled = [row for row in block.replace if row.strip()]
    if not shift or not filled:
        return
    first = next(row for row in block.search if row.strip())
    if _line(first).indent != _line(filled[0]).indent:
        raise PatchError(
            "a SEARCH is not indented as the program is, and its REPLACE in another way",
            f"In the program the line is indented by {(_line(first).indent or 0) + shift}.",
        )
    if any((_line(row).indent or 0) + shift < 0 for row in filled):
        raise PatchError("a REPLACE is indented less than its SEARCH", "Indent as the program is.")
    if any('"""' in row or "'''" in row for row in filled):
        raise PatchError("a text over several lines would be moved", "Indent as the program is.")


def _moved(row: str, shift: int) -> str:
    return " " * shift + row if shift > 0 and row.strip() else row[-shift:] if shift < 0 else row


def _nearest(rows: Sequence[str], block: Block) -> str:
    """The lines of the program that are most like the quoted ones, for the model to quote."""
    wanted = [_line(row).tokens for row in block.search]
    places: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        if tokens := _line(row).tokens:
            places.setdefault(tokens, []).append(place)
    votes = Counter(
        max(place - i, 0) for i, tokens in enumerate(wanted) for place in places.get(tokens, ())
    )
    if votes:
        first = min(votes, key=lambda place: (-votes[place], place))
    else:
        telling = max(wanted, key=len)
        best = max(places, key=lambda own: _likeness(own, telling), default=())
        if not best or _likeness(best, telling) < 1 / 3:
            return "There are no lines like them; quote the program exactly."
        first = places[best][0]
    last = min(first + min(len(block.search), NEAREST_LINES), len(rows))
    shown = "\n".join(row[:QUOTED_MAX] for row in rows[first:last])
    return f"The nearest are lines {first + 1} to {last}; quote them exactly:\n{shown}"


def _likeness(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    return 2 * _shared(one, other) / max(len(one) + len(other), 1)


def _quoted(row: str) -> str:
    return ascii(row.strip()[:80])
