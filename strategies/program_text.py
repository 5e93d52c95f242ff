"""A change of program.md that a model suggests: what of its answer a person is asked to read. Pure.

No change is made here, and none can do harm by itself: what an experiment may do is decided by
checks and the sandbox, not by this text. What is refused is what a person would not want to have
to find in a diff: hidden characters, addresses, marks of prompts, and changed prohibitions.
"""

import difflib
import re
from collections.abc import Iterator

from msgspec import Struct

from skep.errors import PatchError
from skep.source import FORBIDDEN
from strategies.reply import Miss, read
from strategies.shown import whole
from strategies.tokens import tokens

LINES_CHANGED_MAX = 40
"""Taken away and added together."""
TOKENS_MAX = 4000
"""Of the whole text: a third of what a prompt may have."""
LINE_MAX = 400

HEADING = re.compile(r"#{1,6}\s")
FORBIDS = re.compile(r"\b(?:not|never|no|forbidden|rules?)\b", re.IGNORECASE)
"""In a heading: what stands below it is the user's alone to change."""
ADDRESS = re.compile(r"\w://|\bwww\.|\b[\w.+-]+@[\w-]+\.\w|\]\(")
MARK = re.compile(r"</?\s*data\b|<\|", re.IGNORECASE)
NOTHING = re.compile(r"\W*none\W*", re.IGNORECASE)


class Suggestion(Struct, frozen=True):
    """A program.md that a model would rather have, and why, in one line."""

    why: str
    text: str


def suggested(reply: str, current: str, *, complete: bool) -> Suggestion | None:
    """The change that a reply asks for; None where it says that nothing should change.

    Args:
        reply: all that the model wrote.
        current: program.md as it is.
        complete: whether the model came to an end by itself.

    Raises:
        PatchError: it cannot be used; the model can act on the reason.
    """
    if complete and NOTHING.fullmatch(reply):
        return None
    first, *more = read(reply, whole(current), "blocks", complete=complete)
    if isinstance(first, Miss):
        raise PatchError(first.why.rstrip("."))
    if more:
        raise PatchError("the reply holds more than one change", "Write the best one alone.")
    _check(first.source, current)
    return Suggestion(first.hypothesis, first.source)


def diff(old: str, new: str) -> str:
    """The change from one text to another as a unified diff."""
    rows = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "program.md", "program.md, suggested", lineterm=""
    )
    return "\n".join(rows)


def added(old: str, new: str) -> list[str]:
    """Lines that a change brings."""
    return [row for sign, row in _changed(old, new) if sign == "+"]


def _check(new: str, old: str) -> None:
    changed = list(_changed(old, new))
    if not changed:
        raise PatchError("the change changes nothing", "Change something, or answer `NONE`.")
    if len(changed) > LINES_CHANGED_MAX:
        raise PatchError(
            f"the change takes away and adds {len(changed)} lines, over {LINES_CHANGED_MAX}",
            "Change less at once.",
        )
    if tokens(new) > max(TOKENS_MAX, tokens(old)):
        raise PatchError("program.md would become too long", "Say it in fewer words.")
    if _forbidding(new) != _forbidding(old):
        raise PatchError(
            "the change touches a section that forbids something",
            "Only its author changes that; change another section.",
        )
    for row in added(old, new):
        _check_line(row)


def _check_line(row: str) -> None:
    if FORBIDDEN.search(row) or not row.replace("\t", " ").isprintable():
        raise PatchError("an added line holds a hidden character", "Write plain text.")
    if len(row) > LINE_MAX:
        raise PatchError(f"an added line is over {LINE_MAX} characters", "Break it.")
    if ADDRESS.search(row) or MARK.search(row):
        raise PatchError(
            f"an added line holds an address or a mark: {row[:80]!a}", "Leave that out."
        )


def _changed(old: str, new: str) -> Iterator[tuple[str, str]]:
    """Lines that go and come, each behind its sign."""
    before, after = old.splitlines(), new.splitlines()
    for kind, i, j, k, m in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
        if kind != "equal":
            yield from (("-", row) for row in before[i:j])
            yield from (("+", row) for row in after[k:m])


def _forbidding(text: str) -> list[list[str]]:
    """Sections under headings that forbid, each with its heading, without blank lines."""
    sections: list[list[str]] = [[]]
    for row in text.splitlines():
        if HEADING.match(row):
            sections.append([])
        if row.strip():
            sections[-1].append(row.rstrip())
    return [one for one in sections if one and HEADING.match(one[0]) and FORBIDS.search(one[0])]
