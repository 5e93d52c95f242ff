"""The ledger: everything durable that a node says, knows of programs, and has yet to run.

Reading is `gossip.view`; this is opening and writing. What is written goes to the own feed first
and to the database second, and is acknowledged when both are on the medium. Whoever waits meanwhile
shares the next pair of syncs (group commit). At the start the two are made equal, so that what
either of them lost in a crash, a restore or a deletion comes back from the other.

No verdicts are kept here: they are folds over `runs`.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import overload

import trio

from gossip.feeds import APPEND_MAX_RECORDS, Feed, Link
from gossip.identity import Identity, verify
from gossip.jobs import ATTEMPTS_MAX, Job, job_of
from gossip.store import (
    Program,
    Reader,
    Statement,
    Store,
    drop_job,
    keep_author,
    keep_job,
    keep_program,
    keep_record,
)
from gossip.view import LedgerView
from gossip.wire import SIGNATURE_BYTES, decode, encode
from skep.errors import RecordError, StoreCorrupt
from skep.records import RECORD_VERSION, Record, Run, SignedRecord, program_id, record_id

DATABASE_FILE = "skep.db"
FEED_FOLDER = "feed"

_CATCH_UP_RECORDS = 1000
"""Records of one transaction when the database is filled from the feed."""


class _Change:
    """A change of the ledger that somebody waits for, and what came of it."""

    def __init__(
        self, statements: list[Statement], draft: Callable[[Link], SignedRecord] | None = None
    ) -> None:
        self.statements = statements
        self.draft = draft
        self.signed: SignedRecord | None = None
        self.error: Exception | None = None
        self.settled = False


class Ledger(LedgerView):
    """Reading and writing: one at a time per home, opened by `Ledger.open`.

    No write can be cancelled half way: once begun it completes, and then is known to have
    happened. An error means that nothing has.
    """

    def __init__(
        self,
        feed: Feed,
        store: Store,
        reader: Reader,
        identity: Identity,
        swarm: bytes,
        clock: Callable[[], int],
    ) -> None:
        super().__init__(reader)
        self._feed = feed
        self._store = store
        self._identity = identity
        self._swarm = swarm
        self._clock = clock
        self._waiting: list[_Change] = []
        self._turn = trio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, home: Path, identity: Identity, *, swarm: bytes, clock: Callable[[], int]
    ) -> AsyncIterator["Ledger"]:
        """Open the ledger of a home, made on first use, for the one node that runs on it.

        Args:
            home: the home folder.
            identity: signs what is published.
            swarm: 32-byte id of the swarm that new records belong to.
            clock: milliseconds since the epoch; goes into records, for display only.

        Raises:
            HomeInUse: another process has it open for writing.
            StoreCorrupt: feed or database is damaged.
            HomeError: the home cannot be written, or a newer Skep wrote it.
        """

        with ExitStack() as files:

            def opened() -> "Ledger":
                feed = files.enter_context(
                    closing(Feed.open(home / FEED_FOLDER, identity.public, swarm))
                )
                store = files.enter_context(closing(Store.open(home / DATABASE_FILE)))
                _reconcile(feed, store, identity.public)
                reader = files.enter_context(closing(Reader.open(home / DATABASE_FILE)))
                return cls(feed, store, reader, identity, swarm, clock)

            yield await trio.to_thread.run_sync(opened)

    @staticmethod
    @contextmanager
    def read(home: Path) -> Iterator[LedgerView]:
        """Read the ledger of a home, whether a node runs on it or not, and change nothing.

        A home that no node has used yet, or that does not exist, reads as empty.

        Raises:
            StoreCorrupt: the database is damaged.
            HomeError: it cannot be read, or a newer Skep wrote it.
        """
        with closing(Reader.open(home / DATABASE_FILE)) as reader:
            yield LedgerView(reader)

    async def publish(self, run: Run, task: bytes) -> SignedRecord:
        """Sign a run, append it to the feed, store it, and settle the job it belongs to.

        Raises:
            RecordError: a field of the run is out of its range.
            HomeError: it could not be written.
        """
        now = self._clock()
        draft = partial(self._sign, run=run, task=task, time=now)
        signed = (await self._commit(_Change([], draft))).signed
        assert signed is not None  # noqa: S101 - a change with a run is signed or has raised
        return signed

    async def add_program(self, source: str, fingerprint: bytes) -> bytes:
        """Store a program and return its content id. One that is known stays as it is.

        Raises:
            HomeError: it could not be written.
        """
        content_id = program_id(source)
        if content_id not in self._programs:
            program = Program(source, fingerprint)
            await self._commit(_Change([keep_program(content_id, program)]))
            self._programs[content_id] = program
        return content_id

    async def queue(self, job: Job) -> None:
        """Store a job at the end of the queue.

        One that is there already keeps its place and takes the given state: a job that was started
        is put back without a trace by queueing it as it was before.

        Raises:
            HomeError: it could not be written.
        """
        await self._keep(job)

    async def start(self, job: Job) -> Job:
        """Note that a job is running now, before it does.

        Raises:
            HomeError: it could not be written.
        """
        running = job.started()
        await self._keep(running)
        return running

    @overload
    async def finish(self, job: Job, run: Run) -> SignedRecord: ...

    @overload
    async def finish(self, job: Job, run: None) -> None: ...

    async def finish(self, job: Job, run: Run | None) -> SignedRecord | None:
        """Remove a job and, in the same transaction, publish its run if there is one.

        Raises:
            RecordError: a field of the run is out of its range.
            HomeError: it could not be written; the job is still there.
            ValueError: the run is not one of this job.
        """
        if run is not None:
            if job_of(job.task, run) != job.name:
                raise ValueError("the run has not the program and the seed of the job")
            return await self.publish(run, job.task)
        await self._commit(_Change([drop_job(job.name)]))
        self._jobs.pop(job.name, None)
        return None

    async def requeue_interrupted(self) -> tuple[list[Job], list[Job]]:
        """Put back the jobs that were running when the node died; call it before any is started.

        Returns:
            the jobs queued again, and those dropped because it was not the first time.

        Raises:
            HomeError: it could not be written.
        """
        interrupted = [job for job in self.jobs() if job.state == "running"]
        again = [job.requeued() for job in interrupted if job.attempts < ATTEMPTS_MAX]
        dropped = [job for job in interrupted if job.attempts >= ATTEMPTS_MAX]
        if interrupted:
            statements = [*map(keep_job, again), *(drop_job(job.name) for job in dropped)]
            await self._commit(_Change(statements))
            self._jobs.update((job.name, job) for job in again)
            for job in dropped:
                del self._jobs[job.name]
        return again, dropped

    async def _keep(self, job: Job) -> None:
        await self._commit(_Change([keep_job(job)]))
        self._jobs[job.name] = job

    async def _commit(self, change: _Change) -> _Change:
        """Make a change durable, together with all others that are waiting.

        Whoever gets the turn writes for everybody who is waiting by then; the others find their
        change settled when their turn comes.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._waiting.append(change)
        with trio.CancelScope(shield=True):
            async with self._turn:
                if not change.settled:
                    batch = self._waiting[:APPEND_MAX_RECORDS]
                    del self._waiting[:APPEND_MAX_RECORDS]
                    await trio.to_thread.run_sync(self._write, batch)
                    self._remember(batch)
        if change.error is not None:
            raise change.error
        return change

    def _write(self, batch: list[_Change]) -> None:
        """Write a batch to feed and database. All of it happens, or none."""
        link = self._feed.link
        for change in batch:
            change.settled = True
            if change.draft is not None:
                try:
                    change.signed = change.draft(link)
                except RecordError as error:
                    change.error = error
                    continue
                change.statements = keep_record(change.signed, own=True)
                link = link.after(change.signed.body)
        valid = [change for change in batch if change.error is None]
        signed = [change.signed for change in valid if change.signed is not None]
        try:
            if signed:
                self._feed.append(signed)
            try:
                self._store.commit(one for change in valid for one in change.statements)
            except BaseException:
                if signed:
                    self._feed.undo()
                raise
        except Exception as error:
            for change in valid:
                change.error = error

    def _sign(self, link: Link, run: Run, task: bytes, time: int) -> SignedRecord:
        record = Record(
            v=RECORD_VERSION,
            swarm=self._swarm,
            task=task,
            author=self._identity.public,
            session=link.session,
            seq=link.seq,
            prev=link.prev,
            time=time,
            kind="run",
            payload=run,
        )
        body = encode(record)
        return SignedRecord(record, body, self._identity.sign(body))

    def _remember(self, batch: list[_Change]) -> None:
        """Bring what is in memory up to what was written, in the order of the feed."""
        for change in batch:
            if change.signed is not None and change.error is None:
                record = change.signed.record
                self._hold(change.signed)
                if isinstance(record.payload, Run):
                    self._jobs.pop(job_of(record.task, record.payload), None)


def _reconcile(feed: Feed, store: Store, author: bytes) -> None:
    """Make feed and database hold the same records of this node.

    The feed is ahead after a crash between the two writes, or with an older database; the database
    is ahead when the feed was lost, cut or replaced by an older one.
    """
    if store.author() != author:
        store.commit([keep_author(author)])
    fed: set[bytes] = set()
    missing: list[SignedRecord] = []
    for entry in feed.entries():
        content_id = record_id(entry[SIGNATURE_BYTES:])
        fed.add(content_id)
        if not store.knows(content_id):
            missing.append(_verified(entry))
        if len(missing) == _CATCH_UP_RECORDS:
            _keep_all(store, missing)
            missing = []
    _keep_all(store, missing)
    lost = [one for one in store.ids_of(author) if one not in fed]
    if lost:
        feed.restore([one for one in map(store.record, lost) if one is not None])


def _keep_all(store: Store, records: list[SignedRecord]) -> None:
    store.commit(statement for signed in records for statement in keep_record(signed, own=True))


def _verified(entry: bytes) -> SignedRecord:
    """A record of the own feed that the database does not have."""
    try:
        signed = decode(entry)
    except RecordError as error:
        raise _unreadable(str(error)) from error
    if not verify(signed.record.author, signed.body, signed.signature):
        raise _unreadable("its signature is wrong")
    return signed


def _unreadable(why: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"The own feed holds a record that does not read back: {why}",
        "If a newer Skep wrote it, update; otherwise move feed/own.feed away and start again",
    )
