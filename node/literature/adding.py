"""Finds the files that a person means, and reads them with a limit to their size."""

import os
from pathlib import Path

from node.literature.documents import READERS, documents_in
from node.literature.shelf import Added, Shelf
from skep.errors import ConfigError

FILE_MAX_BYTES = 8 * 2**20
FILES_MAX = 10_000
KINDS = ", ".join(sorted(READERS))


def files_of(path: Path) -> list[Path]:
    """The file itself, or those in a folder, however deep, that can be read; absolute, in order.

    Hidden files and folders and links to other folders are passed over.

    Raises:
        ConfigError: there is none, or there are too many.
    """
    path = Path(os.path.abspath(path))
    if path.is_file():
        if path.suffix.lower() not in READERS:
            advice = f"Files end in {KINDS}; of a PDF, `pdftotext FILE.pdf` makes one"
            raise ConfigError(f"{path.name} is no kind of file that a library can read", advice)
        return [path]
    if not path.is_dir():
        raise ConfigError(f"{path} is neither a file nor a folder", "Look at its name again")
    found: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
        found += (one for one in files if one.suffix.lower() in READERS and one.is_file())
        if len(found) > FILES_MAX:
            raise ConfigError(f"{path} holds more than {FILES_MAX:,} files", "Add parts of it")
    if not found:
        raise ConfigError(f"{path} holds nothing that a library can read", f"It reads {KINDS}")
    return found


def add_file(shelf: Shelf, file: Path) -> Added:
    """Add one file.

    Raises:
        ConfigError: it cannot be read, or holds nothing.
        HomeError: the library is full.
    """
    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {file} ({error.strerror})") from error
    if len(raw) > FILE_MAX_BYTES:
        limit = f"{FILE_MAX_BYTES // 2**20} MiB"
        raise ConfigError(f"{file.name} is larger than {limit}", "Split it")
    return shelf.add(str(file), documents_in(file.name, raw))
