"""Texts of programs that peers speak of: rebuilt from their edits, or fetched by whoever has peers.

A record names a program by its content id, with edits against a parent. Where the text of the
parent is known the edits are applied, and must make exactly that program; where it is not, the
program is listed as wanted. Whatever comes in is examined in a limited child before anything here
parses it, and what does not pass is refused: its author's offer is skipped.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

from gossip.ledger import Ledger
from node.offers import Lead, Peers
from skep.records import Edit, Run, program_id
from trainer.examination import Examined, Refusal

CHAIN_MAX = 32
"""Unknown programs in a row that are rebuilt one from the other; longer ways are not worth it."""

REFUSALS_MAX = 8
"""After so many refusals nothing more of an author is examined until the next start."""

WANTED_MAX = 256

Examine = Callable[[str, Sequence[Edit], bytes], Awaitable[Examined | Refusal]]
"""What edits make of a parent, found out where it can do no harm; see `trainer.examination`."""


class Library:
    """Gets the texts of what peers offer into the ledger.

    Args:
        ledger: where programs are kept.
        peers: what their authors say of them.
        examine: parses what strangers wrote.
    """

    def __init__(self, ledger: Ledger, peers: Peers, examine: Examine) -> None:
        self._ledger = ledger
        self._peers = peers
        self._examine = examine
        self._wanted: dict[bytes, dict[bytes, None]] = {}
        self._refused: set[tuple[bytes, bytes]] = set()
        self._refusals: Counter[bytes] = Counter()
        self._hostile: set[bytes] = set()

    @property
    def wanted(self) -> tuple[bytes, ...]:
        """Content ids of programs that cannot be rebuilt here, the latest last."""
        return tuple(self._wanted)

    async def collect(self, author: bytes, leads: Iterable[Lead]) -> bool:
        """Get the texts of what an author offers now; what it no longer offers is not wanted.

        Returns:
            whether any of them is known.

        Raises:
            TrainerFault: nothing can be examined at the moment.
            HomeError: a text could not be stored.
        """
        for program, authors in list(self._wanted.items()):
            authors.pop(author, None)
            if not authors:
                del self._wanted[program]
        known = False
        for lead in leads:
            if self._knows(lead.program):
                known = True
            elif not self._is_refused(lead):
                known |= await self._rebuild(lead)
        return known

    async def take(self, content_id: bytes, source: str) -> bool:
        """Take the text of a wanted program from whoever sent it; whether it is known now.

        Raises:
            TrainerFault: nothing can be examined at the moment.
            HomeError: it could not be stored.
        """
        authors = self._wanted.get(content_id)
        if authors is None or not _is_text_of(content_id, source):
            return self._knows(content_id)
        return await self._look_at(content_id, source, *authors)

    def _knows(self, program: bytes) -> bool:
        """Whether a text is here and was examined: one that only lies here has no fingerprint."""
        known = self._ledger.programs().get(program)
        return known is not None and bool(known.fingerprint)

    async def _look_at(self, program: bytes, source: str, *authors: bytes) -> bool:
        """Examine a whole text that these authors offer, and keep it if it passes."""
        found = await self._examine(source, (), program)
        self._wanted.pop(program, None)
        if isinstance(found, Refusal):
            self._hostile.add(program)
            self._refusals.update(authors)
            return False
        await self._ledger.add_program(found.source, found.fingerprint)
        return True

    def _is_refused(self, lead: Lead) -> bool:
        refused = (lead.author, lead.program) in self._refused or lead.program in self._hostile
        return refused or self._refusals[lead.author] >= REFUSALS_MAX

    async def _rebuild(self, lead: Lead) -> bool:
        """Rebuild a program and what it was made from, as far back as texts are missing."""
        lying = self._ledger.programs().get(lead.program)
        if lying is not None:
            return await self._look_at(lead.program, lying.source, lead.author)
        recipes = self._recipes(lead)
        if not recipes:
            self._want(lead)
            return False
        for recipe in recipes:
            assert recipe.parent is not None  # noqa: S101 - `_recipes` sees to it
            parent = self._ledger.program(recipe.parent)
            found = await self._examine(parent, recipe.edits, recipe.program)
            if isinstance(found, Refusal):
                self._refused.add((lead.author, lead.program))
                self._refusals[lead.author] += 1
                return False
            await self._ledger.add_program(found.source, found.fingerprint)
        return True

    def _recipes(self, lead: Lead) -> list[Run]:
        """The author's runs whose edits lead from a known text to the program; empty without."""
        program = lead.program
        recipes: list[Run] = []
        while not self._knows(program):
            recipe = self._recipe(program, lead.author)
            if recipe is None or recipe.parent is None or not recipe.edits:
                return []
            recipes.append(recipe)
            program = recipe.parent
            if len(recipes) > CHAIN_MAX:
                return []
        return recipes[::-1]

    def _recipe(self, program: bytes, author: bytes) -> Run | None:
        """An author's first run of a program; None if there is none, or it was cleared away."""
        first = self._peers.first_run(program, author)
        try:
            return self._ledger.record(first).run if first else None
        except KeyError:
            return None

    def _want(self, lead: Lead) -> None:
        self._wanted.setdefault(lead.program, {})[lead.author] = None
        while len(self._wanted) > WANTED_MAX:
            del self._wanted[next(iter(self._wanted))]


def _is_text_of(content_id: bytes, source: str) -> bool:
    try:
        return program_id(source) == content_id
    except UnicodeEncodeError:  # half a surrogate pair is no text at all
        return False
