"""A program as a model is shown it: of strangers' code without its comments and docstrings. Pure.

What a peer wrote into a comment would be read by the model as if somebody had told it so. Whole
lines are left out, and it is remembered which, so that an edit of the lines that were shown is an
edit of the program itself. Comments and docstrings that also stand in a trusted text are kept.
String constants are code and stay; in the prompt they stand within a block of quoted text.
"""

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from itertools import pairwise

from msgspec import Struct

from skep.errors import PatchError
from skep.fingerprint import fingerprint
from skep.source import check_source, lines, parse

DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Change(Struct, frozen=True, order=True):
    """Shown lines `first` to `stop` (from 0, the last not included) become `after`.

    The lines of `after` have no line ends. Where `first` is `stop`, they go in front of that line.
    """

    first: int
    stop: int
    after: tuple[str, ...]


class Shown(Struct, frozen=True):
    """A program and what is shown of it.

    Attributes:
        source: the program.
        rows: the lines that are shown, without line ends.
        places: the lines of the program, from 0, that each of them stands for: first, and the one
            after the last.
    """

    source: str
    rows: tuple[str, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def text(self) -> str:
        """What is shown, each line with its end."""
        return "".join(row + "\n" for row in self.rows)

    def edited(self, changes: Iterable[Change]) -> str:
        """The program with some of the shown lines changed.

        Raises:
            PatchError: two changes touch the same line.
        """
        ordered = sorted(changes)
        for one, other in pairwise(ordered):
            if other.first < one.stop or (other.first, other.stop) == (one.first, one.stop):
                raise PatchError(
                    f"two edits of one idea change line {other.first + 1}", "Make them one edit."
                )
        rows = lines(self.source)
        if rows and not rows[-1].endswith("\n"):
            rows[-1] += "\n"
        for change in reversed(ordered):
            start, stop = self._span(change, len(rows))
            rows[start:stop] = [row + "\n" for row in change.after]
        return "".join(rows)

    def _span(self, change: Change, size: int) -> tuple[int, int]:
        """Lines of the program that a change replaces; hidden ones between them go with them."""
        start = self.places[change.first][0] if change.first < len(self.places) else size
        if change.first == change.stop:
            return start, start
        return start, self.places[change.stop - 1][1]


def whole(source: str) -> Shown:
    """All of a program."""
    rows = tuple(row.rstrip("\n") for row in lines(source))
    return Shown(source, rows, tuple((place, place + 1) for place in range(len(rows))))


def bare(source: str, trusted: str) -> Shown:
    """A program without comments and docstrings that do not also stand in a trusted text.

    Args:
        source: of strangers; it must have been parsed before in a limited child.
        trusted: a program whose every word may be shown, e.g. the task's seed program.

    Raises:
        PatchError: one of the two is no program.
    """
    check_source(source)
    known = {comment for *_, comment in _comments(trusted)}
    rows: list[str | None] = [row.rstrip("\n") for row in lines(source)]
    stops = list(range(1, len(rows) + 1))
    for line, column, comment in _comments(source):
        row = rows[line]
        if comment not in known and row is not None:
            rows[line] = row[:column].rstrip() or None
    known = {text for *_, text in _docstrings(trusted)}
    for node, alone, text in _docstrings(source):
        if text in known or node.end_lineno is None:
            continue
        rows[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
        if alone:
            rows[node.lineno - 1] = " " * node.col_offset + "pass"
            stops[node.lineno - 1] = node.end_lineno
    kept = [(place, row) for place, row in enumerate(rows) if row is not None]
    places = tuple((place, stops[place]) for place, _ in kept)
    shown = Shown(source, tuple(row for _, row in kept), places)
    if fingerprint(shown.text) != fingerprint(source) and not _had_to_pass(shown, source):
        raise PatchError("the program cannot be shown without its comments")
    return shown


def _had_to_pass(shown: Shown, source: str) -> bool:
    """Whether a body that was a docstring alone had to become a `pass`."""
    return any(alone for _, alone, _ in _docstrings(source)) and bool(parse(shown.text))


def _comments(source: str) -> Iterator[tuple[int, int, str]]:
    """(line from 0, column, text) of every comment."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0] - 1, token.start[1], token.string
    except (tokenize.TokenError, SyntaxError) as error:
        raise PatchError(f"the program cannot be tokenised: {error}") from None


def _docstrings(source: str) -> Iterator[tuple[ast.stmt, bool, str]]:
    """Every docstring that has its lines for itself, whether its body holds nothing else, text."""
    rows = lines(source)
    for node in ast.walk(parse(source)):
        if not isinstance(node, DEFINITIONS):
            continue
        text = ast.get_docstring(node, clean=True)
        if text is None:
            continue
        first = node.body[0]
        last = first.end_lineno or first.lineno
        before = rows[first.lineno - 1].encode()[: first.col_offset].strip()
        after = rows[last - 1].encode()[first.end_col_offset :].strip()
        if before or after.partition(b"#")[0]:
            raise PatchError(
                f"line {first.lineno} has a docstring and something else",
                "A program of strangers is only shown without its docstrings.",
            )
        yield first, len(node.body) == 1 and not isinstance(node, ast.Module), text
