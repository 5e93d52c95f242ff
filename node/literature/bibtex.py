"""Reads the entries of a BibTeX file, as far as a search needs them. Pure.

Values in braces, in quotes and bare ones, joined by `#`; accents become letters, other commands go.
Not here: abbreviations by `@string`, which stand for journals, and cross-references.
"""

import re
import unicodedata
from collections.abc import Iterator

from skep.errors import ConfigError

_ENTRY = re.compile(r"@\s*(\w+)\s*([{(])")
_FIELD = re.compile(r"\s*,?\s*([\w-]+)\s*=\s*")
_BARE = re.compile(r"[^\s,#{}\"]+")
_JOIN = re.compile(r"\s*#\s*")
_ACCENT = re.compile(r"\\([\"'`^~=.c])\s*\{?\s*\\?([a-zA-Z])\s*\}?")
_COMMAND = re.compile(r"\\([a-zA-Z]+)\s*|\\(.)")
_MARKS = {
    '"': "\u0308",
    "'": "\u0301",
    "`": "\u0300",
    "^": "\u0302",
    "~": "\u0303",
    "=": "\u0304",
    ".": "\u0307",
    "c": "\u0327",
}
NO_ENTRIES = ("comment", "preamble", "string")


def entries(text: str) -> Iterator[dict[str, str]]:
    """Fields of every entry, by names in lower case.

    Raises:
        ConfigError: an entry does not end.
    """
    at = 0
    while begun := _ENTRY.search(text, at):
        at = _end(text, begun.end(), ")" if begun[2] == "(" else "}")
        if begun[1].lower() not in NO_ENTRIES:
            yield dict(_fields(text[begun.end() : at - 1]))


def _end(text: str, start: int, closing: str) -> int:
    """Where what began with an open brace ends, behind its closing one."""
    depth = 0
    for at in range(start, len(text)):
        one = text[at]
        if one == closing and depth == 0:
            return at + 1
        depth += (one == "{") - (one == "}")
    line = text.count("\n", 0, start) + 1
    raise ConfigError(f"the BibTeX entry at line {line} does not end", "Close its brackets")


def _fields(body: str) -> Iterator[tuple[str, str]]:
    at = body.find(",") + 1  # Behind the key.
    while at and (name := _FIELD.match(body, at)):
        parts, at = [], name.end()
        while True:
            part, at = _value(body, at)
            parts.append(part)
            joined = _JOIN.match(body, at)
            if not joined:
                break
            at = joined.end()
        yield name[1].lower(), plain("".join(parts))


def _value(body: str, at: int) -> tuple[str, int]:
    opening = body[at : at + 1]
    if opening and opening in '{"':
        end = _end(body, at + 1, "}" if opening == "{" else '"')
        return body[at + 1 : end - 1], end
    bare = _BARE.match(body, at)
    return (bare[0], bare.end()) if bare else ("", at)


def plain(text: str) -> str:
    """TeX as it is read aloud: `Schr{\\"o}dinger` with its letter, emphasis without its command."""
    text = _ACCENT.sub(lambda found: found[2] + _MARKS[found[1]], text)
    text = _COMMAND.sub(lambda found: found[2] or "", text)
    text = text.replace("{", "").replace("}", "").replace("~", " ").replace("$", "")
    return unicodedata.normalize("NFC", text).strip()
