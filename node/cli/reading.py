"""What the reading commands share: the home's ledger, which task is meant, what an id names."""

import contextlib
import re
from collections.abc import Iterator

from msgspec import Struct

from gossip.store import Reader
from gossip.view import LedgerView
from node.config import home_folder
from node.history import History, history
from node.home import Home, known_tasks
from skep.errors import ConfigError, UnknownId
from skep.ports import TaskFacts
from skep.records import Run

ID_DIGITS_MIN = 4
LISTED_MAX = 8
NOTHING_YET = "nothing here yet: start with `skep join --solo`"


class Reading(Struct, frozen=True):
    """An open home, for reading.

    Attributes:
        home: its folder.
        ledger: what is recorded in it.
        tasks: every task it knows, the one joined last first.
    """

    home: Home
    ledger: LedgerView
    tasks: list[TaskFacts]

    def history(self, task: str | None) -> History | None:
        """The experiments of a task (the last one joined if none is named); None without any.

        Raises:
            ConfigError: the home knows no such task.
        """
        facts = self.task(task)
        if facts is None:
            return None
        found = history(self.ledger.runs(facts.id), facts, self.ledger.program)
        return found if found.experiments else None

    def resolve(self, text: str) -> bytes:
        """The id of the one program or run whose id starts with `text`.

        Raises:
            UnknownId: there is none, or more than one.
        """
        if not re.fullmatch(rf"[0-9a-fA-F]{{{ID_DIGITS_MIN},64}}", text):
            raise UnknownId(
                f"{text!r} is no id",
                f"An id has {ID_DIGITS_MIN} to 64 hexadecimal digits; see `skep runs`.",
            )
        found = sorted(set(self.ledger.find(text)))
        if len(found) == 1:
            return found[0]
        if not found:
            raise UnknownId(
                f"no program or run has an id that starts with {text}", "See `skep runs`."
            )
        listed = ", ".join(one.hex()[:16] for one in found[:LISTED_MAX])
        more = f" and {len(found) - LISTED_MAX} more" if len(found) > LISTED_MAX else ""
        raise UnknownId(f"{text} is ambiguous: {listed}{more}", "Give more digits.")

    def program_of(self, content_id: bytes) -> bytes:
        """A program's id as it is; of a run, its program."""
        if content_id in self.ledger.programs():
            return content_id
        return self.run(content_id).program

    def run(self, content_id: bytes) -> Run:
        """The run of a record.

        Raises:
            UnknownId: it is a record of another kind.
        """
        signed = self.ledger.record(content_id)
        if signed.record.kind != "run":
            raise UnknownId(
                f"{content_id.hex()[:8]} is a {signed.record.kind}, no run", "See `skep runs`."
            )
        return signed.run

    def source(self, program: bytes) -> str:
        """Text of a program.

        Raises:
            UnknownId: it is not stored here.
        """
        try:
            return self.ledger.program(program)
        except KeyError:
            raise UnknownId(
                f"the text of program {program.hex()[:16]} is not stored here",
                "It was lost with an earlier database; its runs are still valid.",
            ) from None

    def task(self, name: str | None) -> TaskFacts | None:
        if name is None:
            return self.tasks[0] if self.tasks else None
        for facts in self.tasks:
            if facts.name == name or (
                len(name) >= ID_DIGITS_MIN and facts.id.hex().startswith(name.lower())
            ):
                return facts
        known = ", ".join(f"{facts.name} ({facts.id.hex()[:10]})" for facts in self.tasks)
        raise ConfigError(
            f"this home has no results of a task {name!r}",
            f"It has: {known}." if known else "It has none yet.",
        )


@contextlib.contextmanager
def reading() -> Iterator[Reading]:
    """Open the home for reading, whether a node runs on it or not.

    Raises:
        HomeError: it does not read back.
    """
    home = Home(home_folder())
    with contextlib.closing(Reader.open(home.database)) as reader:
        yield Reading(home, LedgerView(reader), known_tasks(home))
