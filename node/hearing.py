"""What the node does when records or programs of others come in, beside its experiments.

Records are read from the ledger in the order they arrived there, a hundred at a time, each at the
same small cost however many came before: neither a start with all that was ever said nor a burst of
thousands delays anybody, and none of them waits in memory. Fetching what is wanted is the business
of whoever has peers; trying what is offered that of `node.loop`.
"""

from collections.abc import Callable

import trio

from gossip.ledger import Ledger
from node.library import Examine, Library
from node.notebook import Notebook
from node.thoughts import Thoughts
from skep.errors import TrainerFault
from skep.events import Event, Said
from skep.records import Note

AT_ONCE = 100
"""Records taken in before others get their turn; some milliseconds."""

KINDS = ("run", "claim", "note", "retract")


class Hearing:
    """Takes in what others say, and gets the texts of what they offer.

    Args:
        ledger: holds their records.
        notebook: of the task.
        examine: parses what strangers wrote; None where nothing of them shall ever run.
        wake: called when there may be something new to try.
        emit: called with every event.
    """

    def __init__(
        self,
        ledger: Ledger,
        notebook: Notebook,
        examine: Examine | None,
        *,
        wake: Callable[[], None],
        emit: Callable[[Event], None],
    ) -> None:
        self._ledger = ledger
        self._notebook = notebook
        self.thoughts = Thoughts(ledger.me)
        """What peers think is worth trying."""
        for one in ledger.said_by(ledger.me, notebook.task, "note"):
            self.thoughts.take(one.id, ledger.me, one.record.payload)
        self._library = Library(ledger, notebook.peers, examine) if examine else None
        self._wake = wake
        self._emit = emit
        self._arrival = 0
        self._news = trio.Event()
        self._stale: dict[bytes, None] = {}
        """Authors whose offers have to be looked at anew."""

    @property
    def wanted(self) -> tuple[bytes, ...]:
        """Content ids of programs on offer whose texts cannot be rebuilt from their edits."""
        return self._library.wanted if self._library else ()

    def heard(self) -> None:
        """There are more records in the ledger, to be taken in; returns at once."""
        self._news.set()

    async def take_program(self, content_id: bytes, source: str) -> bool:
        """Take the text of a wanted program; whether it is known now.

        Raises:
            TrainerFault: nothing can be examined at the moment; ask again later.
            HomeError: it could not be stored.
        """
        taken = self._library is not None and await self._library.take(content_id, source)
        if taken:
            self._wake()
        return taken

    async def listen(self) -> None:
        """Take in what is heard, for ever.

        Raises:
            HomeError: a text could not be stored.
        """
        while True:
            while self.take_some():
                await trio.lowlevel.checkpoint()
            self._notebook.adoption.begin()
            try:
                await self._collect()
            except TrainerFault as fault:
                self._emit(Said(f"programs of peers cannot be examined now: {fault}"))
            await self._news.wait()
            self._news = trio.Event()

    def take_some(self) -> bool:
        """Take in the next records of the ledger; False if there were none."""
        before, task = self._arrival, self._notebook.task
        self._arrival, records = self._ledger.arrived(before, AT_ONCE, task, KINDS)
        for signed in records:
            author, payload = signed.record.author, signed.record.payload
            self.thoughts.take(signed.id, author, payload)
            if isinstance(payload, Note):
                continue  # Words are no evidence, and offer nothing.
            self._notebook.peers.take(signed.id, author, payload)
            self._notebook.evidence.take(signed.id, author, signed.record.time, payload)
            self._stale[author] = None
        return self._arrival > before

    async def _collect(self) -> None:
        """Get texts; whoever is idle decides anew when there is one that can be tried."""
        while self._library and self._stale:
            author = next(iter(self._stale))
            leads = self._notebook.adoption.leads([author], self._notebook.research)
            known = await self._library.collect(author, leads)
            del self._stale[author]
            if known:
                self._wake()
            await trio.lowlevel.checkpoint()
