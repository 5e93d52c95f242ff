"""`skep library`: papers and notes of this machine's owner, to be searched."""

import contextlib
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from node.cli import EXIT_ERROR
from node.cli.output import AsJson, emit, say, short, table
from node.cli.reading import ID_DIGITS_MIN
from node.config import home_folder
from node.home import Home
from node.literature.adding import add_file, files_of
from node.literature.shelf import Shelf, Shelved, opened
from skep.errors import ConfigError, UnknownId

EMPTY = "the library is empty: add papers and notes with `skep library add FILE`"
PASSAGES = 8
WIDTH = 100
PROGRESS_S = 0.5

Limit = Annotated[int, Parameter(name="--limit")]


def add(path: Path, /, *more: Path, json: AsJson = False) -> int:
    """Add papers, notes and exports of abstracts. They stay on this machine.

    Adding a file again takes over what was changed in it.

    Args:
        path: a file (.txt, .md, .bib, .json, .jsonl), or a folder with such files.
        more: further ones.
        json: print a JSON object.
    """
    files = [file for one in (path, *more) for file in files_of(one)]
    new = known = gone = 0
    refused: list[tuple[Path, ConfigError]] = []
    with opened(_path(), write=True) as shelf, _progress(len(files)) as tell:
        for done, file in enumerate(files):
            tell(done)
            try:
                added = add_file(shelf, file)
                new, known, gone = new + added.new, known + added.known, gone + added.gone
            except ConfigError as error:
                if len(files) == 1:
                    raise
                refused.append((file, error))
    if json:
        reasons = [{"file": str(file), "reason": why.what} for file, why in refused]
        emit({"files": len(files), "new": new, "known": known, "gone": gone, "refused": reasons})
    else:
        for _, why in refused:
            say(f"passed over: {why}")
        was = f", {known} known already" if known else ""
        went = f", {gone} gone from their files" if gone else ""
        say(f"added {new} {'document' if new == 1 else 'documents'}{was}{went}")
    return EXIT_ERROR if refused else 0


def remove(name: str, /, *more: str) -> None:
    """Remove documents.

    Args:
        name: id of a document, or the file or folder that it came from.
        more: further ones.
    """
    with opened(_path(), write=True) as shelf:
        found = {digest for one in (name, *more) for digest in _meant(shelf, one)}
        count = shelf.remove(found)
    say(f"removed {count} {'document' if count == 1 else 'documents'}")


def list_documents(*, json: AsJson = False) -> None:
    """Every document that is kept, by title.

    Args:
        json: print a JSON array.
    """
    with opened(_path()) as shelf:
        found = shelf.documents()
    if json:
        emit([_document(one) for one in found])
    elif not found:
        say(EMPTY)
    else:
        rows = [(short(one.digest), str(one.passages), one.title, one.by) for one in found]
        table(("id", "passages", "title", "by"), rows, words=("id", "title", "by"))


def search(*query: str, limit: Limit = PASSAGES, json: AsJson = False) -> None:
    """The passages that fit some words best.

    Args:
        query: words, none of which has to occur; "words in quotes" belong together.
        limit: passages at most.
        json: print a JSON array.
    """
    if limit < 1:
        raise ConfigError("--limit takes a number from 1")
    with opened(_path()) as shelf:
        found = shelf.passages(" ".join(query), limit)
        empty = not found and not shelf.documents()
    if json:
        keys = ("title", "by", "heading", "text")
        emit(
            [
                {"document": one.document.hex(), **{key: getattr(one, key) for key in keys}}
                for one in found
            ]
        )
    elif not found:
        say(EMPTY if empty else f"no passage has any word of {' '.join(query) or 'no words'}")
    for one in () if json else found:
        say(f"{short(one.document)}  {one.heading}{f' ({one.by})' if one.by else ''}")
        say(textwrap.fill(one.text, WIDTH, initial_indent="  ", subsequent_indent="  "))


def _path() -> Path:
    return Home(home_folder()).library


def _meant(shelf: Shelf, name: str) -> list[bytes]:
    """Digests of the documents that a person names.

    Raises:
        UnknownId: there is none, or more than one.
    """
    documents, source = shelf.documents(), os.path.abspath(name)
    found = [
        one.digest
        for one in documents
        if one.source == source or one.source.startswith(source + os.sep)
    ]
    if found:
        return found
    named = [one.digest for one in documents if one.digest.hex().startswith(name.lower())]
    if len(name) >= ID_DIGITS_MIN and len(named) == 1:
        return named
    if len(name) >= ID_DIGITS_MIN and named:
        raise UnknownId(f"{name} is ambiguous", "Give more digits.")
    raise UnknownId(f"{name} is no document of the library", "See `skep library list`.")


def _document(one: Shelved) -> dict[str, object]:
    return {
        "id": one.digest.hex(),
        "title": one.title,
        "by": one.by,
        "source": one.source,
        "passages": one.passages,
    }


@contextlib.contextmanager
def _progress(files: int) -> Iterator[Callable[[int], None]]:
    """Shows on a terminal how many files are done, on a line that is gone afterwards."""
    shown = sys.stderr.isatty()
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if shown and time.monotonic() - last > PROGRESS_S:
            last = time.monotonic()
            print(f"\radding file {done + 1} of {files}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown:
            print("\r" + " " * 40, end="\r", file=sys.stderr, flush=True)
