"""Writing everything a home knows of its swarms into one file, and taking such a file in.

Exporting reads beside a running node. Importing goes through the file twice: first everything is
verified, then what is good is stored, so that a file which turns out to be damaged half way has
changed nothing. Memory stays small however large the file is.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from gossip.archive import Contents, Entry, Text, read_archive, write_archive
from gossip.identity import verify
from gossip.incoming import Incoming
from gossip.intake import Intake
from gossip.statements import Program, keep_program
from gossip.store import Store
from gossip.swarms import SOLO_SWARM
from gossip.view import LedgerView
from node.home import replacing
from skep.errors import ConfigError, PatchError, RecordError
from skep.patch import fingerprint
from skep.records import Claim, Note, Run, SignedRecord, program_id

BATCH_RECORDS = 1000
BATCH_PROGRAMS = 100

Progress = Callable[[float], None]
"""Told now and then which part of the work is done, from 0 to 1."""

Item = TypeVar("Item")


class Refused(Struct, frozen=True):
    """A chain of which not everything was taken.

    Attributes:
        author: public key.
        session: which of its chains.
        records: how many of its records were left out.
        stop: seq from which on they were.
        reason: what is wrong, in a clause.
    """

    author: bytes
    session: bytes
    records: int
    stop: int
    reason: str


class Imported(Struct, frozen=True, kw_only=True):
    """What came of importing an archive.

    Attributes:
        records, programs: how many were new to this home.
        known: records that it had already.
        chains: how many chains the archive holds.
        refused: those of which not everything was taken.
        unreadable: records and texts that do not read back.
        mismatched: programs that are not what their id says.
    """

    records: int
    programs: int
    known: int
    chains: int
    refused: tuple[Refused, ...]
    unreadable: int
    mismatched: int

    @property
    def whole(self) -> bool:
        """Whether everything in the archive was taken or known."""
        return not (self.refused or self.unreadable or self.mismatched)


class _Findings(Struct):
    """What is known of an archive once it was gone through."""

    chains: int = 0
    unreadable: int = 0
    mismatched: int = 0
    refused: dict[tuple[bytes, bytes], Refused] = {}


def export_archive(ledger: LedgerView, path: Path, *, solo: bool) -> Contents:
    """Write all records of the swarms of a home, and the programs they speak of.

    Args:
        ledger: what the home holds.
        path: the file; it is replaced once the archive is complete.
        solo: also the own records of solo research.

    Raises:
        HomeError: the file cannot be written, or the home does not read back.
    """
    known = set(ledger.programs())
    spoken: set[bytes] = set()

    def records() -> Iterator[SignedRecord]:
        for signed in ledger.feeds():
            alone = signed.record.swarm == SOLO_SWARM
            if not alone or (solo and signed.record.author == ledger.me):
                spoken.update(known.intersection(_programs_of(signed)))
                yield signed

    def programs() -> Iterator[tuple[bytes, str]]:
        for content_id in sorted(spoken):  # complete only when the records are through
            yield content_id, ledger.program(content_id)

    with replacing(path) as file:
        return write_archive(file, records(), programs())


def import_archive(
    path: Path,
    store: Store,
    author: bytes,
    archive_bytes: int,
    progress: Progress,
    swarms: Collection[bytes],
) -> Imported:
    """Verify an archive and store what is good in it.

    Args:
        path: the archive.
        store: database of a home that no node runs on.
        author: public key of that home.
        archive_bytes: how much this home keeps of others, and an archive may hold unpacked.
        progress: called now and then.
        swarms: ids of those whose records belong into that home; others are refused.

    Raises:
        ConfigError: there is no such file, or it is no archive, or damaged: nothing was stored.
        ArchiveFull: there is no room for more; what was stored by then is good.
        HomeError: the home cannot be written; the same.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    with file:
        size = max(file.seek(0, 2), 1)

        def entries(done: float) -> Iterator[Entry]:
            file.seek(0)
            for number, entry in enumerate(read_archive(file, path.name, archive_bytes)):
                if number % BATCH_RECORDS == 0:
                    progress(done + file.tell() / size / 2)
                yield entry

        findings = _inspect(entries(0.0), store, swarms)
        intake = Intake(store, author, archive_bytes)
        return _store(entries(0.5), findings, store, intake, author)


def _inspect(entries: Iterable[Entry], store: Store, swarms: Collection[bytes]) -> _Findings:
    """Check every signature, hash and link."""
    findings = _Findings()
    chain: Incoming | None = None
    for entry in entries:
        if isinstance(entry, RecordError):
            findings.unreadable += 1
        elif isinstance(entry, Text):
            findings.mismatched += program_id(entry.source) != entry.id
        else:
            record = entry.record
            if chain is None or (chain.author, chain.session) != (record.author, record.session):
                _note(findings, chain)
                chain = Incoming(entry, store.places(record.author, record.session))
            genuine = verify(record.author, entry.body, entry.signature)
            chain.follow(entry, genuine=genuine, here=record.swarm in swarms)
    _note(findings, chain)
    return findings


def _note(findings: _Findings, chain: Incoming | None) -> None:
    """Add what a chain came to, now that it has ended."""
    if chain is None:
        return
    findings.chains += 1
    if chain.stop is not None:
        findings.refused[chain.author, chain.session] = Refused(
            author=chain.author,
            session=chain.session,
            records=chain.records - chain.good,
            stop=chain.stop,
            reason=chain.fault,
        )


def _store(
    entries: Iterable[Entry], findings: _Findings, store: Store, intake: Intake, author: bytes
) -> Imported:
    """Store what the findings do not speak against."""
    own: set[bytes] = set()
    good = fresh = programs = 0

    def records() -> Iterator[SignedRecord]:
        for entry in entries:
            if isinstance(entry, Text):
                texts.append(entry)
                return
            if isinstance(entry, SignedRecord):
                record = entry.record
                refused = findings.refused.get((record.author, record.session))
                if refused is None or record.seq < refused.stop:
                    if record.author == author:
                        own.update(_programs_of(entry))
                    yield entry

    texts: list[Text] = []
    entries = iter(entries)
    for batch in _batches(records(), BATCH_RECORDS):
        good += len(batch)
        fresh += len(intake.take(batch))
    rest = (entry for part in (texts, entries) for entry in part if isinstance(entry, Text))
    for group in _batches(rest, BATCH_PROGRAMS):
        sound = [one for one in group if program_id(one.source) == one.id]
        new = [one for one in sound if not store.knows_program(one.id)]
        store.commit(keep_program(one.id, _program(one, own)) for one in new)
        programs += len(new)
    return Imported(
        records=fresh,
        programs=programs,
        known=good - fresh,
        chains=findings.chains,
        refused=tuple(findings.refused.values()),
        unreadable=findings.unreadable,
        mismatched=findings.mismatched,
    )


def _program(text: Text, own: set[bytes]) -> Program:
    """A text to be stored. That of a stranger is not parsed: see `skep.source`."""
    try:
        return Program(text.source, fingerprint(text.source) if text.id in own else b"")
    except PatchError:
        return Program(text.source, b"")


def _programs_of(signed: SignedRecord) -> set[bytes]:
    """Ids of the programs that a record speaks of."""
    match signed.record.payload:
        case Run(program=program, parent=parent) | Claim(program=program, parent=parent):
            return {program} if parent is None else {program, parent}
        case Note(about=about) if about is not None:
            return {about}
    return set()


def _batches(items: Iterable[Item], length: int) -> Iterator[list[Item]]:
    """Lists of up to that many, until nothing is left."""
    source = iter(items)
    while batch := list(islice(source, length)):
        yield batch
