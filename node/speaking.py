"""What the language model says to others: searched for secrets, bounded, and then published.

A model reads text of strangers, and could be made to say anything. So nothing that it wrote leaves
this machine, neither words nor edits, before it was searched for what must not; what holds any of
it is held back, and the user told.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal

from gossip.ledger import Ledger
from skep.events import Event, Said
from skep.records import Note
from skep.secrets import Scanner
from strategies.plain import one_line

NOTES_PER_HOUR = 12
SPARE = 4
"""Of these, for saying whose hypothesis is being tested."""
HOUR_MS = 3_600_000

CITES_MAX = 8


class Speaker:
    """Publishes notes of one task.

    Args:
        ledger: where to.
        task: 32-byte id.
        scanner: knows the secrets of this machine.
        clock: milliseconds since the epoch.
        emit: called with every event.
    """

    def __init__(
        self,
        ledger: Ledger,
        task: bytes,
        scanner: Scanner,
        clock: Callable[[], int],
        emit: Callable[[Event], None],
    ) -> None:
        self._ledger = ledger
        self._task = task
        self._scanner = scanner
        self._clock = clock
        self._emit = emit
        said = ledger.said_by(ledger.me, task, "note")
        self._times = deque((one.record.time for one in said), maxlen=NOTES_PER_HOUR)
        self._told: set[tuple[str, ...]] = set()
        self.blocked = 0

    def may_leave(self, texts: Iterable[str]) -> bool:
        """Whether texts hold no secret; whoever watches is told once of each kind that they do."""
        found = self._scanner.found("\n".join(texts))
        if not found:
            return True
        self.blocked += 1
        if found not in self._told:
            self._told.add(found)
            words = ", ".join(found)
            self._emit(
                Said(f"held back what the model wrote: it holds {words}. Nothing of it left", True)
            )
        return False

    def has_room(self, spare: int = SPARE) -> bool:
        """Whether one more note may be said within this hour, so many left over."""
        since = self._clock() - HOUR_MS
        return sum(time > since for time in self._times) + spare < NOTES_PER_HOUR

    async def say(
        self,
        role: Literal["hypothesis", "finding"],
        text: str,
        about: bytes | None = None,
        cites: Iterable[bytes] = (),
        spare: int = SPARE,
    ) -> tuple[bytes, Note] | None:
        """Publish a hypothesis or a finding; its id, None where it may not be said or not now.

        Raises:
            HomeError: it could not be written.
        """
        line = one_line(text)
        if not line or not self.has_room(spare) or not self.may_leave([line]):
            return None
        note = Note(
            role=role,
            about=about,
            text=line,
            cites=tuple(dict.fromkeys(cites))[:CITES_MAX],
        )
        self._times.append(self._clock())
        signed = await self._ledger.publish(note, self._task)
        return signed.id, note
