"""A new database in the place of a damaged one, with what can still be read of its programs.

Records come back from the own feed when the ledger is opened next, and those of others from peers.
"""

import contextlib
import sqlite3
from pathlib import Path

from gossip.disk import FORBIDDEN_ADVICE
from gossip.statements import Program, keep_program
from gossip.store import Store
from skep.errors import HomeError
from skep.records import program_id


def rebuild(path: Path) -> int:
    """Replace a damaged database by a new one; no node may be running on the home.

    The damaged files stay beside it as `….damaged-N`. Records come back from the own feed when the
    ledger is opened next. Programs are not in the feed, so those that can still be read, and still
    hash to their id, are carried over; jobs are not.

    Returns:
        how many programs were carried over.

    Raises:
        HomeError: the files cannot be moved, or the new database cannot be written.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise HomeError(f"Cannot move {path} away: {error.strerror}", FORBIDDEN_ADVICE) from error
    salvaged = _salvage_programs(aside)
    store = Store.open(path)
    try:
        store.commit(keep_program(content_id, program) for content_id, program in salvaged.items())
    finally:
        store.close()
    return len(salvaged)


def _salvage_programs(path: Path) -> dict[bytes, Program]:
    """Programs of a damaged database, up to the first that cannot be read."""
    found: dict[bytes, Program] = {}
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as damaged:
        for content_id, source, fingerprint in damaged.execute(
            "SELECT id, source, fingerprint FROM programs ORDER BY arrival"
        ):
            if isinstance(source, str) and program_id(source) == content_id:
                found[content_id] = Program(source, bytes(fingerprint))
    return found
