"""The text of a program: which texts are one, its lines, and its syntax tree. Nothing is run.

Parsing the text of strangers belongs in a limited child: deep nesting can exhaust the parser,
which here ends in a PatchError.
"""

import ast
import io
import re
import tokenize
import unicodedata
import warnings
from collections.abc import Iterator
from itertools import accumulate

from skep.errors import PatchError
from skep.records import PROGRAM_MAX_BYTES

LINES_MAX = 4000
LINE_MAX_CHARACTERS = 2000
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed; CR, FF, VT, next line
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0"  # invisible
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, writing direction
    "\ud800-\udfff\ufeff\ufff0-\ufffb"  # surrogates, BOM, annotations
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # formats of shorthand and of music
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"  # tags, and what else is ignorable by default
)
CODING_COOKIE = re.compile(r"[ \t\f]*#.*?coding[:=]", re.ASCII)
F_STRING = re.compile("[A-Za-z]*[Ff]")
WORD = re.compile("[A-Za-z0-9_\x80-\U0010ffff]+")
VARIATION_SELECTOR = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def check_source(text: str) -> None:
    """Refuse a program whose text could be read in two ways, or does not fit into a record.

    Says nothing of its syntax, unless the text holds more than ASCII and cannot be tokenised.

    Raises:
        PatchError: names the line and the rule.
    """
    found = FORBIDDEN.search(text)
    if found:
        raise PatchError(
            f"line {line_of(text, found.start())} holds the character U+{ord(found[0]):04X},"
            " which no program may hold",
            "Remove it; lines end in a line feed alone.",
        )
    size, rows = len(text.encode()), lines(text)
    if size > PROGRAM_MAX_BYTES:
        raise PatchError(f"the program has {size} bytes, over {PROGRAM_MAX_BYTES}", "Shorten it.")
    if len(rows) > LINES_MAX:
        raise PatchError(f"the program has {len(rows)} lines, over {LINES_MAX}", "Shorten it.")
    for number, line in enumerate(rows, 1):
        if len(line.rstrip("\n")) > LINE_MAX_CHARACTERS:
            raise PatchError(f"line {number} is over {LINE_MAX_CHARACTERS} characters", "Break it.")
        if number <= 2 and CODING_COOKIE.match(line):
            raise PatchError(f"line {number} declares a coding", "Remove it; programs are UTF-8.")
    if not text.isascii():
        _check_names(text)


def _check_names(text: str) -> None:
    """Python reads names NFKC-normalised: they must be written that way already.

    Python 3.11 does not tell names within f-strings apart, so f-strings count as code as a whole.
    """
    for start, code in _code(text):
        for found in WORD.finditer(code):
            word = found[0]
            if unicodedata.normalize("NFKC", word) != word or VARIATION_SELECTOR.search(word):
                raise PatchError(
                    f"line {line_of(text, start + found.start())}: {word!a} is not in the normal"
                    " form (NFKC) of a name",
                    "Outside of comments and plain strings, use plain letters.",
                )


def _code(text: str) -> Iterator[tuple[int, str]]:
    """(offset, text) of every piece that is neither comment nor plain string."""
    starts = line_starts(text)
    reached = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            plain = token.type == tokenize.STRING and not F_STRING.match(token.string)
            if plain or token.type == tokenize.COMMENT:
                (row, column), (end_row, end_column) = token.start, token.end
                yield reached, text[reached : starts[row - 1] + column]
                reached = starts[end_row - 1] + end_column
    except (tokenize.TokenError, SyntaxError) as error:
        raise PatchError(f"the program cannot be tokenised: {error}") from None
    yield reached, text[reached:]


def parse(source: str) -> ast.Module:
    """Syntax tree of a program.

    Raises:
        PatchError: it is not Python, or nested too deeply.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how the program escapes its strings is its affair
            return ast.parse(source)
    except SyntaxError as error:
        raise PatchError(f"line {error.lineno} is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        why = str(error) or "it is nested too deeply"  # the parser's MemoryError says nothing
        raise PatchError(f"the program cannot be parsed: {why}") from None


def lines(text: str) -> list[str]:
    """Lines with their line feeds; no other character ends a line."""
    *whole, rest = text.split("\n")
    return [*(line + "\n" for line in whole), *([rest] if rest else [])]


def line_starts(text: str) -> list[int]:
    """Offset of every line, and of the line after the last."""
    return [0, *accumulate(len(line) for line in lines(text))]


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
