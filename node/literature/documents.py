"""Reads what people have of literature: text, Markdown, BibTeX and JSON exports. Pure.

A text or Markdown file is one document, an export as many as it has entries. PDF is none of them:
what `pdftotext` makes of one is.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import msgspec
from msgspec import Struct

from node.literature.bibtex import entries
from skep.errors import ConfigError

TITLE_MAX = 200
LISTS = ("items", "results", "entries", "papers", "data", "documents")
"""Names under which exports keep their list."""

_MARK = re.compile(r"^#{1,6}\s+", re.M)
_FRONT = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)\n", re.S)


class Document(Struct, frozen=True, kw_only=True):
    """Something to read.

    Attributes:
        title: one line, never empty.
        text: all of it, or its abstract; may be empty where only the title is known.
        by: authors and year, as far as they are known.
    """

    title: str
    text: str
    by: str = ""

    @property
    def digest(self) -> bytes:
        """Names its content: equal for equal title and text, from whatever file."""
        return hashlib.sha256(f"{self.title}\0{self.text}".encode()).digest()


def documents_in(name: str, raw: bytes) -> list[Document]:
    """What a file holds.

    Args:
        name: of the file; its ending says what it is.
        raw: its bytes.

    Raises:
        ConfigError: it is no text, or not what its ending says.
    """
    path = PurePath(name)
    if b"\0" in raw:
        raise ConfigError(f"{name} is a binary file", "Make it text first, with pdftotext or so")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{name} is not UTF-8 text (byte {error.start})", "Convert it, with iconv or so"
        ) from None
    read = READERS[path.suffix.lower()]
    found = [one for one in read(path, _clean(text)) if one.title]
    if not found:
        raise ConfigError(f"{name} holds no document", "An entry needs a title or an abstract")
    return found


def _text(path: PurePath, text: str) -> Iterator[Document]:
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if first:
        yield Document(title=first if len(first) <= TITLE_MAX else path.stem, text=text.strip())


def _markdown(path: PurePath, text: str) -> Iterator[Document]:
    body = _FRONT.sub("", text).strip()
    mark = _MARK.search(body)
    title = _line(body[mark.end() :].partition("\n")[0]) if mark else path.stem
    if body:
        yield Document(title=title or path.stem, text=body)


def _bibtex(path: PurePath, text: str) -> Iterator[Document]:
    for entry in entries(text):
        yield _entry(entry.get("title", ""), entry.get("abstract", ""), entry)


def _json(path: PurePath, text: str) -> Iterator[Document]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is no JSON ({error})", "Export it again") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deep", "Export it again") from None
    if isinstance(found, dict):
        found = next((found[name] for name in LISTS if isinstance(found.get(name), list)), [found])
    yield from _objects(found)


def _json_lines(path: PurePath, text: str) -> Iterator[Document]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield from _objects([msgspec.json.decode(line)])
            except (msgspec.DecodeError, RecursionError):
                raise ConfigError(f"{path}: line {number} is no JSON", "Export it again") from None


def _objects(found: object) -> Iterator[Document]:
    for one in found if isinstance(found, list) else []:
        if isinstance(one, dict):
            texts = (one.get(key) for key in ("abstract", "summary", "text", "content"))
            text = next((text for text in texts if isinstance(text, str)), "")
            yield _entry(_words(one.get("title")), text, one)


def _entry(title: str, text: str, entry: dict[str, Any]) -> Document:
    text = text.strip()
    authors = _authors(entry.get("author") or entry.get("authors"))
    year = _words(entry.get("year") or entry.get("date") or entry.get("published"))[:4]
    return Document(
        title=_line(title) or _line(text)[:80],
        text=text,
        by=_line(" ".join(part for part in (authors, year) if part)),
    )


def _authors(value: object) -> str:
    """`A and B`, a list of names, or one of objects with parts of names."""
    if isinstance(value, list):
        return "; ".join(filter(None, map(_authors, value)))
    if isinstance(value, dict):
        return " ".join(_words(value[key]) for key in ("name", "given", "family") if key in value)
    return _words(value).replace(" and ", "; ")


def _words(value: object) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _line(text: str) -> str:
    return " ".join(text.split())[:TITLE_MAX]


def _clean(text: str) -> str:
    """Without what steers a terminal; lines end in one way."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join(c for c in text if c == "\n" or c.isprintable())


READERS: dict[str, Callable[[PurePath, str], Iterator[Document]]] = {
    ".txt": _text,
    ".text": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".bib": _bibtex,
    ".json": _json,
    ".jsonl": _json_lines,
}
"""What can be read, by the ending of the file's name."""
