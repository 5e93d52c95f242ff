"""SEARCH/REPLACE blocks in the lines of a reply, by idea. Pure; where they apply, `ladder` finds.

    IDEA: <hypothesis>
    <<<<<<< SEARCH
    lines of the program
    =======
    what they become
    >>>>>>> REPLACE

Chatter between blocks is passed over. A marker at the wrong place, a block without its end and code
in a fence of its own are faults of the idea in which they stand: half an idea is never applied.
"""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from strategies.reply.text import Header, is_fence, names_language

BLOCKS_MAX = 8
SEARCH_LINES_MAX = 80
REPLACE_LINES_MAX = 240

OPEN = re.compile(r"<{5,9}\s*+SEARCH\b\s*+[>:]?\s*+(?:[\w./-]+\.py)?", re.IGNORECASE)
DIVIDER = re.compile(r"={5,9}")
CLOSE = re.compile(r">{5,9}\s*+REPLACE\b\s*+[<:]?\s*+(?:[\w./-]+\.py)?", re.IGNORECASE)
LIKE_A_MARKER = re.compile(r"<{4}|>{4}|[-+=]{4,}+\s*+(?:SEARCH|REPLACE)\b", re.IGNORECASE)
FILE_NAME = re.compile(r"[#\s*`]*+[\w./-]+\.py\b[:`*\s]*+")

OUTSIDE = "There is code outside of a SEARCH/REPLACE block."


class Block(Struct, frozen=True):
    """Lines to be found, and what they become; no line ends."""

    search: tuple[str, ...]
    replace: tuple[str, ...]


class Draft(Struct):
    """What a reply says of one idea so far.

    Attributes:
        hypothesis: one line; empty where there is none.
        blocks: what to change.
        fault: the first reason why it cannot be used; empty where there is none.
    """

    hypothesis: str
    blocks: list[Block]
    fault: str = ""

    def fail(self, why: str) -> None:
        """Note a reason, unless there is one."""
        self.fault = self.fault or why


class _Reader:
    """Takes the lines of a reply one by one."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.drafts: list[Draft] = []
        self._search: list[str] | None = None
        """Lines of a block that is open."""
        self._replace: list[str] | None = None
        """The same, behind its divider."""
        self._opened = 0
        self._in_fence = self._marked = False
        """Whether a fence is open, and whether it holds a block or the line of an idea."""
        self._code = False
        """Whether the fence that is open holds anything else."""

    @property
    def _draft(self) -> Draft:
        if not self.drafts:
            self.drafts.append(Draft("", []))
        return self.drafts[-1]

    def take(self, number: int, row: str) -> None:
        """Take a line; `number` counts from 1."""
        marker = row.strip()
        if self._search is None:
            self._outside(number, row, marker)
        elif self._replace is None and DIVIDER.fullmatch(marker):
            self._replace = []
        elif self._replace is not None and CLOSE.fullmatch(marker):
            self._close()
        elif DIVIDER.fullmatch(marker) or LIKE_A_MARKER.match(marker):
            self._break(number, row, marker)
        else:
            (self._search if self._replace is None else self._replace).append(row)

    def end(self) -> None:
        """There are no more lines."""
        if self._search is not None:
            self._draft.fail(f"The reply ends within the block of its line {self._opened}.")
        elif self._code:
            self._fence(opens=False)

    def _outside(self, number: int, row: str, marker: str) -> None:
        hypothesis = self._header.hypothesis(row)
        if OPEN.fullmatch(marker):
            self._mark()
            self._search, self._replace, self._opened = [], None, number
        elif hypothesis is not None:
            self._mark()
            self._begin(hypothesis)
        elif LIKE_A_MARKER.match(marker):
            self._draft.fail(f"Line {number} of the reply is no good marker: {marker[:60]!a}.")
        elif is_fence(row):
            self._fence(opens=not self._in_fence or names_language(row))
        elif self._in_fence and not self._marked and marker and not FILE_NAME.fullmatch(marker):
            self._code = True

    def _begin(self, hypothesis: str) -> None:
        """Start an idea; one that is announced a second time goes on."""
        if not self.drafts or self.drafts[-1].hypothesis != hypothesis:
            self.drafts.append(Draft(hypothesis, []))

    def _close(self) -> None:
        search, replace = self._search or [], self._replace or []
        self._search = self._replace = None
        draft = self._draft
        draft.blocks.append(Block(tuple(_unfenced(search)), tuple(_unfenced(replace))))
        if len(draft.blocks) > BLOCKS_MAX:
            draft.fail(f"An idea may have {BLOCKS_MAX} blocks. Write a smaller edit.")
        if len(search) > SEARCH_LINES_MAX or len(replace) > REPLACE_LINES_MAX:
            draft.fail(
                f"The block of line {self._opened} of the reply has over {SEARCH_LINES_MAX} lines "
                f"of SEARCH or {REPLACE_LINES_MAX} of REPLACE. Quote fewer lines."
            )

    def _break(self, number: int, row: str, marker: str) -> None:
        """A marker where there may be none: the idea is lost, what follows may be the next."""
        swallowed = [*(self._search or []), *(self._replace or [])]
        self._draft.fail(
            f"The block of line {self._opened} of the reply is broken by line {number}: "
            f"{marker[:60]!a}."
        )
        self._search = self._replace = None
        announced = [found for line in swallowed if (found := self._header.hypothesis(line))]
        if announced:
            self._begin(announced[-1])
        if OPEN.fullmatch(marker):
            self._outside(number, row, marker)

    def _mark(self) -> None:
        """The fence that is open, if one is, holds more than code; a preamble is no code."""
        if self._code and self.drafts:
            self._draft.fail(OUTSIDE)
        self._marked, self._code = True, False

    def _fence(self, *, opens: bool) -> None:
        """A fence opens or closes; what stood in the one before must not have been code."""
        if self._code:
            self._draft.fail(OUTSIDE)
        self._in_fence, self._marked, self._code = opens, False, False


def drafts(rows: Sequence[str], header: Header) -> Iterator[Draft]:
    """The ideas of a reply in order. What is announced without any edit is left to the caller."""
    reader = _Reader(header)
    for number, row in enumerate(rows, 1):
        reader.take(number, row)
    reader.end()
    yield from reader.drafts


def _unfenced(rows: list[str]) -> list[str]:
    """Lines without a fence around all of them."""
    filled = [place for place, row in enumerate(rows) if row.strip()]
    if len(filled) >= 2 and is_fence(rows[filled[0]]) and is_fence(rows[filled[-1]]):
        return rows[filled[0] + 1 : filled[-1]]
    return rows
