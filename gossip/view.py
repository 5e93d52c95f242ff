"""Reading the ledger: records, runs, programs and jobs as they lie in a home's database.

It changes nothing and needs no lock, so the command line reads beside a running node with it.
"""

from collections.abc import Mapping
from functools import cached_property

from gossip.jobs import Job
from gossip.store import Program, Reader
from gossip.wire import ID_BYTES
from skep.records import Run, SignedRecord


class LedgerView:
    """Reading. What is asked for is loaded from the database once and kept in memory.

    Attributes:
        me: public key whose home this is; empty in a home that no node has used yet.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.me = reader.author() or b""
        self._loaded: dict[bytes, dict[bytes, tuple[bytes, Run]]] = {}

    def record(self, content_id: bytes) -> SignedRecord:
        """A record by its id.

        Raises:
            KeyError: there is none.
        """
        found = self._reader.record(content_id)
        if found is None:
            raise KeyError(content_id.hex())
        return found

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
        wanted = self.me if author is None else author
        return [(one, run) for one, (by, run) in self._runs(task).items() if by == wanted]

    def all_runs(self, task: bytes) -> list[tuple[bytes, bytes, Run]]:
        """Runs of everybody as (record id, author, run), in the order they arrived here."""
        return [(one, author, run) for one, (author, run) in self._runs(task).items()]

    def program(self, content_id: bytes) -> str:
        """Source of a program.

        Raises:
            KeyError: it is not known here.
        """
        return self._programs[content_id].source

    def programs(self) -> Mapping[bytes, Program]:
        """All programs known here by content id, oldest first."""
        return self._programs

    def jobs(self) -> list[Job]:
        """All jobs, in the order they were queued."""
        return list(self._jobs.values())

    @cached_property
    def _programs(self) -> dict[bytes, Program]:
        return self._reader.programs()

    @cached_property
    def _jobs(self) -> dict[str, Job]:
        return {job.name: job for job in self._reader.jobs()}

    def _runs(self, task: bytes) -> dict[bytes, tuple[bytes, Run]]:
        if task not in self._loaded:
            self._loaded[task] = {one.id: _said(one) for one in self._reader.runs(task)}
        return self._loaded[task]

    def _hold(self, signed: SignedRecord) -> None:
        """Keep a run in memory, if those of its task are kept. Twice is as good as once."""
        if signed.record.kind == "run" and signed.record.task in self._loaded:
            self._loaded[signed.record.task][signed.id] = _said(signed)


def _said(signed: SignedRecord) -> tuple[bytes, Run]:
    return signed.record.author, signed.run
