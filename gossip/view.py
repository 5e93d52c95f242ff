"""Reading the ledger: records, runs, programs and jobs as they lie in a home's database.

It changes nothing and needs no lock, so the command line reads beside a running node with it. Kept
in memory is what a node works with all the time: its own runs, its jobs, and the programs asked for
last. What others said is read anew each time, piece by piece: there may be a thousand times as much
of it.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

from gossip.jobs import Job
from gossip.positions import Holding, Position, Stock
from gossip.statements import Program
from gossip.store import PAGE_ROWS, Reader
from gossip.wire import ID_BYTES
from skep.records import Run, SignedRecord

PROGRAMS_MAX_BYTES = 32 << 20
"""Texts of programs kept in memory."""


class LedgerView:
    """Reading.

    Attributes:
        me: public key whose home this is; empty in a home that no node has used yet.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._programs = Programs(reader)
        self._own: dict[bytes, dict[bytes, Run]] = {}
        self.me = reader.author() or b""

    def record(self, content_id: bytes) -> SignedRecord:
        """A record by its id.

        Raises:
            KeyError: there is none.
        """
        found = self._reader.record(content_id)
        if found is None:
            raise KeyError(content_id.hex())
        return found

    def knows(self, content_id: bytes) -> bool:
        """Whether there is a record of this id, or was one before it was pruned."""
        return self._reader.knows(content_id)

    def find(self, prefix: str) -> list[bytes]:
        """Ids of all records and programs whose hexadecimal form starts with `prefix`.

        A prefix that is not hexadecimal, or longer than an id, is that of nothing.
        """
        digits = ID_BYTES * 2
        try:
            low, high = (bytes.fromhex(prefix.ljust(digits, fill)) for fill in "0f")
        except ValueError:
            return []
        return self._reader.matching(low, high) if len(low) == ID_BYTES else []

    def runs(self, task: bytes, author: bytes | None = None) -> list[tuple[bytes, Run]]:
        """Runs of one author (this node, if none is given) with their record ids, oldest first."""
        if author is None or author == self.me:
            return list(self._runs(task).items())
        return [(one.id, one.run) for one in self._reader.said_by(author, task, "run")]

    def all_runs(self, task: bytes) -> Iterator[tuple[bytes, bytes, Run]]:
        """Runs of everybody as (record id, author, run), in the order they arrived here.

        They are read while the caller goes through them; those that arrive meanwhile come, too.
        """
        return ((one.id, one.record.author, one.run) for one in self._reader.said(task, "run"))

    def said(self, task: bytes, kind: str) -> list[SignedRecord]:
        """Records of a kind (`claim`, `note`, …) under a task, in the order they arrived here."""
        return list(self._reader.said(task, kind))

    def all_said(self, task: bytes, kind: str) -> Iterator[SignedRecord]:
        """The same, read while the caller goes through them."""
        return self._reader.said(task, kind)

    def said_by(self, author: bytes, task: bytes, kind: str) -> list[SignedRecord]:
        """Records of a kind of one author under a task, in the order they arrived here."""
        return self._reader.said_by(author, task, kind)

    def arrived(
        self, arrival: int, limit: int, task: bytes, kinds: Collection[str]
    ) -> tuple[int, list[SignedRecord]]:
        """What others said, a piece at a time, in the order it arrived here.

        Whoever goes on behind the number returned gets every record once, those included that
        arrive meanwhile.

        Args:
            arrival: number behind which to begin; 0 for the first.
            limit: how many records of all sorts to go past.
            task: under which they were said.
            kinds: of them.

        Returns:
            the number to go on behind, the one given if that was all; and the records.
        """
        return self._reader.arrived(arrival, limit, task, kinds, self.me)

    def positions(self, swarm: bytes) -> Iterator[Position]:
        """Places of all records of a swarm, pruned or not, in order of author, session, seq, id."""
        return self._reader.positions(swarm)

    def feeds(self) -> Iterator[SignedRecord]:
        """All records of all swarms, in order of author, session, seq and id."""
        return self._reader.feeds()

    def chain(
        self,
        author: bytes,
        session: bytes,
        start: int,
        stop: int,
        limit_bytes: int,
        limit: int = PAGE_ROWS,
    ) -> list[bytes]:
        """Records of one chain as `signature + body`, in order of seq.

        Args:
            author: public key.
            session: which chain.
            start, stop: range of seq; `stop` is not included.
            limit_bytes: where to end. Those of the first place come however long they are, so
                that whoever asks again behind the last one always gets on.
            limit: how many records at most; one more where two share the last place.

        Returns:
            what is there of the range, without what was pruned; of records that share a place, two
            in order of id, always together.
        """
        return self._reader.chain(author, session, start, stop, limit_bytes, limit)

    def holdings(self) -> dict[bytes, Holding]:
        """How much there is of each author, this node included."""
        return self._reader.holdings()

    def stock(self, swarm: bytes) -> list[Stock]:
        """How much there is of each chain of a swarm; no record is read for it."""
        return self._reader.stock(swarm)

    def kinds(self, swarm: bytes) -> dict[tuple[bytes, str], int]:
        """How many records of a swarm there are, by task and kind."""
        return self._reader.kinds(swarm)

    def last_run(self, author: bytes, session: bytes) -> Run | None:
        """The latest run of a chain, if there is one among its last records."""
        found = self._reader.last_run(author, session)
        return found.run if found else None

    def last_swarm(self, besides: bytes) -> bytes | None:
        """The swarm of the record that arrived last, one swarm left out; None without any."""
        return self._reader.last_swarm(besides)

    def program(self, content_id: bytes) -> str:
        """Source of a program.

        Raises:
            KeyError: it is not known here.
        """
        return self._programs[content_id].source

    def programs(self) -> Mapping[bytes, Program]:
        """All programs known here by content id, oldest first; texts are read when asked for."""
        return self._programs

    def jobs(self) -> list[Job]:
        """All jobs, in the order they were queued."""
        return list(self._jobs.values())

    @cached_property
    def _jobs(self) -> dict[str, Job]:
        return {job.name: job for job in self._reader.jobs()}

    def _runs(self, task: bytes) -> dict[bytes, Run]:
        if task not in self._own:
            found = self._reader.said_by(self.me, task, "run")
            self._own[task] = {one.id: one.run for one in found}
        return self._own[task]

    def _hold(self, signed: SignedRecord) -> None:
        """Keep an own run in memory, if those of its task are kept. Twice is as good as once."""
        record = signed.record
        if (record.author, record.kind) == (self.me, "run") and record.task in self._own:
            self._own[record.task][signed.id] = signed.run


class Programs(Mapping[bytes, Program]):
    """The programs of a home by content id, oldest first.

    Texts are read when they are asked for; the last ones stay in memory, `PROGRAMS_MAX_BYTES` of
    them.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._kept: dict[bytes, Program] = {}
        self._size = 0

    def __getitem__(self, content_id: bytes) -> Program:
        program = self._kept.get(content_id)
        if program is None:
            program = self._reader.program(content_id)
            if program is None:
                raise KeyError(content_id.hex())
            self._keep(content_id, program)
        return program

    def __contains__(self, content_id: object) -> bool:
        if content_id in self._kept:
            return True
        return isinstance(content_id, bytes) and self._reader.knows_program(content_id)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._reader.program_ids())

    def __len__(self) -> int:
        return len(self._reader.program_ids())

    def _keep(self, content_id: bytes, program: Program) -> None:
        if not program.fingerprint:
            return  # Somebody may be about to look at it.
        self._kept[content_id] = program
        self._size += len(program.source)
        while self._size > PROGRAMS_MAX_BYTES:
            self._size -= len(self._kept.pop(next(iter(self._kept))).source)
