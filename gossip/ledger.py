"""The ledger: everything durable that a node says, hears, knows of programs, and has yet to run.

Reading is `gossip.view`; this is opening and writing. What this node says goes to the own feed
first and to the database second, and is acknowledged when both are on the medium. Whoever waits
meanwhile shares the next pair of syncs (group commit). What others said goes to the database alone,
in larger groups, of which at most one ever stands before anything of this node's own.

No verdicts are kept here: they are folds over `runs`.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import overload

import trio

from gossip.feeds import APPEND_MAX_RECORDS, Feed, Link
from gossip.identity import Identity
from gossip.intake import ARCHIVE_BYTES, Intake
from gossip.jobs import ATTEMPTS_MAX, Job, job_of
from gossip.reconcile import reconcile
from gossip.statements import (
    Program,
    Statement,
    drop_job,
    keep_job,
    keep_program,
    keep_record,
)
from gossip.store import Reader, Store
from gossip.view import LedgerView
from gossip.wire import encode
from skep.errors import RecordError
from skep.records import (
    KINDS,
    RECORD_VERSION,
    Payload,
    Record,
    Run,
    SignedRecord,
    program_id,
)
from skep.words import reworded

KIND_OF = {payload: kind for kind, payload in KINDS.items()}

DATABASE_FILE = "skep.db"
FEED_FOLDER = "feed"

ADMIT_MAX_RECORDS = 1000
"""Records of others in one transaction; bounds what a record of this node's own has to wait for."""


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


class _Delivery:
    """Records from elsewhere that somebody waits for, and what came of them."""

    def __init__(self, records: Sequence[SignedRecord]) -> None:
        self.records = records
        self.fresh: list[SignedRecord] = []
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
        archive_bytes: int,
    ) -> None:
        super().__init__(reader)
        self._feed = feed
        self._store = store
        self._identity = identity
        self._swarm = swarm
        self._clock = clock
        self._intake = Intake(store, identity.public, archive_bytes)
        self._waiting: list[_Change] = []
        self._arriving: list[_Delivery] = []
        self._turn = trio.Lock()
        self.told: Callable[[SignedRecord], object] = lambda _: None
        """Called with every record this node has said, once it is on the medium."""
        self._door = trio.Lock()
        self.wording: Callable[[str], str] = lambda text: text
        """What becomes of the words of everything that is published here."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        home: Path,
        identity: Identity,
        *,
        swarm: bytes,
        clock: Callable[[], int],
        archive_bytes: int = ARCHIVE_BYTES,
    ) -> AsyncIterator["Ledger"]:
        """Open the ledger of a home, made on first use, for the one node that runs on it.

        Args:
            home: the home folder.
            identity: signs what is published.
            swarm: 32-byte id of the swarm that new records belong to.
            clock: milliseconds since the epoch; goes into records, for display only.
            archive_bytes: how much may be kept of what others said; see `gossip.quota`.

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
                reconcile(feed, store, identity.public)
                reader = files.enter_context(closing(Reader.open(home / DATABASE_FILE)))
                return cls(feed, store, reader, identity, swarm, clock, archive_bytes)

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

    async def publish(self, payload: Payload, task: bytes, not_before: int = 0) -> SignedRecord:
        """Sign what is to be said, append it to the feed and store it; a run settles its job.

        Args:
            payload: what.
            task: under which task.
            not_before: earliest time (milliseconds since the epoch) to date it, should the clock
                have been set back.

        Raises:
            RecordError: a field of the payload is out of its range.
            HomeError: it could not be written.
        """
        now = max(self._clock(), not_before)
        said = reworded(payload, self.wording)
        draft = partial(self._sign, payload=said, task=task, time=now)
        signed = (await self._commit(_Change([], draft))).signed
        assert signed is not None  # noqa: S101 - a change with a draft is signed or has raised
        return signed

    async def admit(self, records: Sequence[SignedRecord]) -> int:
        """Store records that came from elsewhere; the caller has verified them.

        They settle no jobs. One that is known changes nothing; of two with one (author, session,
        seq) both are kept. Own ones that came back after a restore are in the own feed from the
        next start on. Cancelling leaves what is stored by then.

        Returns:
            how many were new.

        Raises:
            ArchiveFull: there is no room for the rest of them, and nothing that may be pruned.
            HomeError: the rest of them could not be written.
        """
        fresh = 0
        for start in range(0, len(records), ADMIT_MAX_RECORDS):
            delivery = _Delivery(records[start : start + ADMIT_MAX_RECORDS])
            await self._deliver(delivery)
            fresh += len(delivery.fresh)
        return fresh

    async def add_program(self, source: str, fingerprint: bytes) -> bytes:
        """Store a program and return its content id.

        One that is known stays as it is, except that a missing fingerprint is added.

        Args:
            source: its text.
            fingerprint: see `skep.fingerprint`; empty for a text that nobody has looked at yet.

        Raises:
            HomeError: it could not be written.
        """
        content_id = program_id(source)
        known = self._programs.get(content_id)
        if known is None or (fingerprint and not known.fingerprint):
            program = Program(source, fingerprint)
            await self._commit(_Change([keep_program(content_id, program)]))
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

    async def _deliver(self, delivery: _Delivery) -> None:
        """Store a delivery, together with all others that are waiting.

        Only one of them at a time, the one at the door, waits for the turn.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._arriving.append(delivery)
        with trio.CancelScope(shield=True):
            async with self._door:
                if not delivery.settled:
                    batch = self._next_deliveries()
                    async with self._turn:
                        await trio.to_thread.run_sync(self._take_in, batch)
                    for signed in (one for other in batch for one in other.fresh):
                        self._hold(signed)
        if delivery.error is not None:
            raise delivery.error

    def _next_deliveries(self) -> list[_Delivery]:
        """Those that waited longest, as many as fit into one transaction."""
        batch = [self._arriving.pop(0)]
        room = ADMIT_MAX_RECORDS - len(batch[0].records)
        while self._arriving and len(self._arriving[0].records) <= room:
            room -= len(self._arriving[0].records)
            batch.append(self._arriving.pop(0))
        return batch

    def _take_in(self, batch: list[_Delivery]) -> None:
        """Store deliveries. All of them, or none."""
        for delivery in batch:
            delivery.settled = True
        records = [one for delivery in batch for one in delivery.records]
        here = (self._identity.public, self._feed.link.session)
        said_here = [one for one in records if (one.record.author, one.record.session) == here]
        try:
            if not all(self._store.knows(one.id) for one in said_here):
                # This session went on behind the back of this home: a restored image of a disk.
                self._feed.renew()
            new = {one.id: one for one in self._intake.take(records)}
        except Exception as error:
            for delivery in batch:
                delivery.error = error
            return
        for delivery in batch:
            known = (new.pop(one.id, None) for one in delivery.records)
            delivery.fresh = [one for one in known if one is not None]

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

    def _sign(self, link: Link, payload: Payload, task: bytes, time: int) -> SignedRecord:
        record = Record(
            v=RECORD_VERSION,
            swarm=self._swarm,
            task=task,
            author=self._identity.public,
            session=link.session,
            seq=link.seq,
            prev=link.prev,
            time=time,
            kind=KIND_OF[type(payload)],
            payload=payload,
        )
        body = encode(record)
        return SignedRecord(record, body, self._identity.sign(body))

    def _remember(self, batch: list[_Change]) -> None:
        """Bring what is in memory up to what was written, in the order of the feed."""
        for change in batch:
            if change.signed is not None and change.error is None:
                record = change.signed.record
                self._hold(change.signed)
                self.told(change.signed)
                if isinstance(record.payload, Run):
                    self._jobs.pop(job_of(record.task, record.payload), None)
