"""Cuts a document into passages: paragraphs put together, each with its heading. Pure."""

import re
from collections.abc import Iterator

from msgspec import Struct

PASSAGE_CHARS = 800
"""Length that paragraphs are put together to; the longest there is."""

_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+")


class Cut(Struct, frozen=True):
    """A piece of a document.

    Attributes:
        section: the heading above it, may be empty.
        text: at most `PASSAGE_CHARS`, on one line; may be empty for a document of a title only.
    """

    section: str
    text: str


def cut(text: str) -> list[Cut]:
    """Cut a text; headings are those of Markdown. At least one piece."""
    found: list[Cut] = []
    for section, paragraphs in _sections(text):
        held = ""
        for piece in (piece for one in paragraphs for piece in _pieces(one)):
            if held and len(held) + 1 + len(piece) > PASSAGE_CHARS:
                found.append(Cut(section, held))
                held = ""
            held = f"{held} {piece}" if held else piece
        if held:
            found.append(Cut(section, held))
    return found or [Cut("", "")]


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Headings, and the paragraphs below each."""
    section, paragraphs, lines, fenced = "", list[str](), list[str](), False
    for line in [*text.splitlines(), ""]:
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else _HEADING.fullmatch(line.rstrip())
        if heading or not line.strip():
            paragraphs += [" ".join(" ".join(lines).split())] if lines else []
            lines = []
        else:
            lines.append(line)
        if heading:
            yield section, paragraphs
            section, paragraphs = heading[2], []
    yield section, paragraphs


def _pieces(paragraph: str) -> Iterator[str]:
    """A paragraph, by sentences if it is too long, and by words if those are."""
    if len(paragraph) <= PASSAGE_CHARS:
        yield paragraph
        return
    for sentence in _SENTENCE.split(paragraph):
        rest = sentence
        while len(rest) > PASSAGE_CHARS:
            at = rest.rfind(" ", 1, PASSAGE_CHARS + 1)
            at = at if at > 0 else PASSAGE_CHARS
            yield rest[:at]
            rest = rest[at:].lstrip()
        if rest:
            yield rest
