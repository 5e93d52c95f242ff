"""The text of a reply before its edits are read: thinking cut off, ideas told apart. Pure."""

import re
from typing import Literal

from msgspec import Struct

from skep.errors import PatchError
from strategies.plain import one_line

Format = Literal["blocks", "functions", "settings"]
"""SEARCH/REPLACE blocks, whole functions, or numbers for constants."""

REPLY_MAX = 64 * 1024
"""Characters; models are told to stop far earlier."""
IDEAS_MAX = 8
TAB = "    "
HEADER_MAX = 600
"""No more of a line is looked at to see whether it begins an idea."""

THINKING = re.compile(r"<(think|thinking|thought|reasoning)>", re.IGNORECASE)
THOUGHT = re.compile(r"</(think|thinking|thought|reasoning)>", re.IGNORECASE)
FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*([\w+.-]*)")
HEADER = r"[\s>#*_\d.)-]*+\**{word}\b[\s#*_]*+\d*+[\s*_)]*+[:.–—-]++[\s*_]*+(?P<text>.*)"
WORDS = ("idea", "hypothesis")
"""What the line of an idea begins with; the second only where the first never occurs."""


class Header(Struct, frozen=True):
    """How the line that begins an idea looks in one reply."""

    pattern: re.Pattern[str]

    def hypothesis(self, line: str) -> str | None:
        """What stands on a line that begins an idea; None for any other line."""
        found = self.pattern.fullmatch(line[:HEADER_MAX].strip())
        return one_line(found["text"].strip(" *_")) if found else None


def cleaned(reply: str) -> list[str]:
    """Lines of a reply, without what the model thought before it answered.

    Raises:
        PatchError: it is too long, or ends before the answer begins.
    """
    if len(reply) > REPLY_MAX:
        raise PatchError(f"the reply has {len(reply)} characters, over {REPLY_MAX}", "Be brief.")
    ends = list(THOUGHT.finditer(reply))
    answer = reply[ends[-1].end() :] if ends else reply
    if THINKING.match(answer.lstrip()):
        raise PatchError("the reply ends in the middle of thinking", "Answer without thinking.")
    return answer.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")


def header_of(rows: list[str]) -> Header:
    """How ideas begin in this reply."""
    patterns = [re.compile(HEADER.format(word=word), re.IGNORECASE) for word in WORDS]
    for pattern in patterns:
        header = Header(pattern)
        if any(header.hypothesis(row) is not None for row in rows):
            return header
    return Header(patterns[0])


def is_fence(row: str) -> bool:
    """Whether a line opens or closes a block of code in Markdown."""
    return FENCE.fullmatch(row.strip()) is not None


def names_language(row: str) -> bool:
    """Whether a fence can only be an opening one."""
    found = FENCE.fullmatch(row.strip())
    return found is not None and bool(found[2])


def spaced(row: str) -> str:
    """A line with spaces where it begins with tabs."""
    content = row.lstrip(" \t")
    return row[: len(row) - len(content)].replace("\t", TAB) + content
