"""Text of others as it may stand in a prompt: plain, short, between marks it cannot forge. Pure.

This lowers the odds that a model takes a text for an order. That nothing comes of it if one does,
the rest sees to: the model has no tools and is told no secrets, and what it writes is checked.
"""

import re

from strategies.plain import one_line

TAG = re.compile("[0-9a-f]{16}")
TRACE_LINES = 24
TRACE_LINE_MAX = 200
INDENT_MAX = 40
PATH = re.compile(r"(?:[A-Za-z]:)?[\\/](?:[\w.+@ -]+[\\/])*+(?=[\w.+@-])")


def fenced(tag: str, kind: str, text: str) -> str:
    """A text between marks that only who knows the tag can write.

    Args:
        tag: 16 hex digits that nobody could know before the text was written.
        kind: what the text is, one word of our own.
        text: lines of it; what could pass for a mark is broken up by the caller.

    Raises:
        ValueError: the tag is none, or stands in the text; take another.
    """
    if not TAG.fullmatch(tag) or tag in text.casefold():
        raise ValueError("a tag is 16 hex digits that the text does not hold")
    return f"<data-{tag} {kind}>\n{text.rstrip()}\n</data-{tag}>"


def quoted(text: str) -> str:
    """One line of a stranger: at most 280 printable ASCII characters, without angle brackets."""
    return one_line(text).replace("<", "(").replace(">", ")").replace("`", "'")


def code_line(row: str) -> str:
    """One line of code, with its indentation."""
    content = row.lstrip()
    return " " * min(len(row) - len(content), INDENT_MAX) + one_line(content)


def trace(text: str) -> str:
    """The end of what a program printed: plain lines, without the folders of its files."""
    rows = [one_line(PATH.sub("", row[-4096:]), TRACE_LINE_MAX) for row in text.split("\n")[-200:]]
    rows = [row.replace("<", "(").replace(">", ")") for row in rows if row]
    return "\n".join(rows[-TRACE_LINES:]) or "nothing"
