"""`skep export archive` and `skep import`: everything a home knows, as one file."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gossip.identity import Identity, friendly_name
from gossip.store import Store
from gossip.swarms import PUBLIC_SWARM, SOLO_SWARM
from node.archive import Imported, Progress, Refused, export_archive, import_archive
from node.cli import EXIT_ERROR
from node.cli.output import AsJson, emit, say
from node.cli.reading import reading
from node.config import home_folder, load
from node.home import hold
from node.labs import read_lab

LISTED_MAX = 20
PROGRESS_S = 0.5
STORING_FROM = 0.5


def write(file: Path, *, solo: bool, json: bool) -> None:
    """Write an archive of the home and say what is in it.

    Raises:
        HomeError: it cannot be written.
    """
    with reading() as home:
        contents = export_archive(home.ledger, file, solo=solo)
    if json:
        found = {"records": contents.records, "programs": contents.programs}
        emit({"file": str(file), **found, "bytes": file.stat().st_size})
    else:
        say(f"wrote {file}: {contents.records} records, {contents.programs} programs")


def import_(file: Path, /, *, json: AsJson = False) -> int:
    """Take in the records and programs of an archive, after verifying every one of them.

    No node may be running on the home.

    Args:
        file: what `skep export archive` wrote, on this machine or another.
        json: print a JSON object.
    """
    settings = load(home_folder())
    lab = read_lab(settings.home)
    swarms = {lab.swarm if lab else PUBLIC_SWARM, SOLO_SWARM}
    with hold(settings.home) as home:
        author = Identity.load(home.root).public
        with contextlib.closing(Store.open(home.database)) as store, _progress() as progress:
            limit = settings.archive_bytes
            found = import_archive(file, store, author, limit, progress, swarms)
    emit(_document(found)) if json else _show(found)
    if found.whole:
        return 0
    print(f"skep: not everything in {file.name} could be taken", file=sys.stderr)
    return EXIT_ERROR


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Shows on a terminal how far the work is, on a line that is gone afterwards."""
    shown = sys.stderr.isatty()
    last = time.monotonic()

    def tell(part: float) -> None:
        nonlocal last
        if shown and time.monotonic() - last > PROGRESS_S:
            last = time.monotonic()
            step = "checking" if part < STORING_FROM else "storing"
            print(f"\r{step} {part:4.0%}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown:
            print("\r" + " " * 20, end="\r", file=sys.stderr, flush=True)


def _document(found: Imported) -> dict[str, object]:
    return {
        "records": found.records,
        "programs": found.programs,
        "known": found.known,
        "chains": found.chains,
        "refused": [
            {
                "author": one.author.hex(),
                "session": one.session.hex(),
                "records": one.records,
                "reason": one.reason,
            }
            for one in found.refused
        ],
        "unreadable": found.unreadable,
        "mismatched": found.mismatched,
    }


def _show(found: Imported) -> None:
    say(f"took {found.records} records and {found.programs} programs")
    if found.known:
        say(f"{found.known} records were known already")
    for one in found.refused[:LISTED_MAX]:
        say(f"refused {_line(one)}")
    if len(found.refused) > LISTED_MAX:
        say(f"refused records of {len(found.refused) - LISTED_MAX} more chains")
    if found.unreadable:
        say(f"refused {found.unreadable} entries that do not read back")
    if found.mismatched:
        say(f"refused {found.mismatched} programs that are not what their id says")


def _line(one: Refused) -> str:
    chain = f"{friendly_name(one.author)}, session {one.session.hex()[:8]}"
    return f"{one.records} records of {chain}: {one.reason}"
