"""LLM: the best of the ideas that a model has written already. Asking it is not done here.

A slot that is free must not wait for a model, so there is a queue between the two: whoever asks the
model fills it while experiments run, and this strategy takes from it at once or has nothing. An
idea is an edit of the program that the model was shown; where the champion is another one by now,
it is merged into it, or left where it is.
"""

from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from skep.errors import PatchError
from skep.merge import merge
from skep.model import Message
from skep.patch import fingerprint, make
from skep.ports import Proposal, View
from skep.records import program_id
from strategies.reply import Format
from strategies.shown import Shown

LLM = "llm"

IDEAS_MAX = 12
"""Ideas that wait; of more the oldest go. As the champion changes, old ones no longer fit."""

REMEMBERED_MAX = 64
"""Ideas on their way through a run, or not long behind it, that are kept in mind."""


class Talk(Struct, frozen=True, kw_only=True):
    """The conversation that an idea came out of, so that it can go on if its program fails.

    Attributes:
        messages: up to the answer with the idea.
        tag: of the marks in it.
        shown: the program as the model saw it.
        form: how edits were to be written.
        mends: how many crashes it has been told of.
    """

    messages: tuple[Message, ...]
    tag: str
    shown: Shown
    form: Format
    mends: int = 0


class Ready(Struct, frozen=True, kw_only=True):
    """An idea that was read and checked.

    Attributes:
        hypothesis: one line.
        source: the program that its edits make of `talk.shown`.
        foreign: whether the program that it was made from holds text of strangers.
        gain: what the model expects in sigma, if it was asked.
        cites: ids of notes that suggested it.
        talk: where it came from.
    """

    hypothesis: str
    source: str
    foreign: bool
    gain: float
    cites: tuple[bytes, ...]
    talk: Talk

    @property
    def base(self) -> str:
        """The program that it was made from."""
        return self.talk.shown.source


class Ideas:
    """Ideas that wait for a slot, and those that were given one.

    Args:
        taken: called when one is given away, with the program that will be run.
    """

    def __init__(self, taken: Callable[[bytes, Ready], None] = lambda program, idea: None) -> None:
        self.taken = taken
        self._waiting: list[Ready] = []
        self._given: dict[bytes, Ready] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, idea: Ready) -> bool:
        """Queue an idea; False if the same program waits already."""
        if any(one.source == idea.source for one in self._waiting):
            return False
        self._waiting.append(idea)
        del self._waiting[:-IDEAS_MAX]
        return True

    def fitting(self, view: View) -> list[tuple[Ready, str]]:
        """Ideas that can be run now with the programs they make, best first.

        Those made from the champion itself come before those to be merged into it; then what the
        model expects most of, then the oldest.
        """
        found: dict[bytes, tuple[Ready, str]] = {}
        for idea in sorted(
            self._waiting, key=lambda one: (one.base != view.champion_source, -one.gain)
        ):
            if idea.foreign and not view.foreign:
                continue  # Merged into what is the own, a stranger's text would pass for it.
            fitted = _fitted(idea.base, view.champion_source, idea.source)
            if fitted is not None and fitted[1] not in view.fingerprints:
                found.setdefault(fitted[1], (idea, fitted[0]))
        return list(found.values())

    def give(self, idea: Ready, program: bytes) -> None:
        """Take an idea out of the queue for a run of a program."""
        self._waiting.remove(idea)
        self._given[program] = idea
        while len(self._given) > REMEMBERED_MAX:
            del self._given[next(iter(self._given))]
        self.taken(program, idea)

    def given(self, program: bytes) -> Ready | None:
        """The idea behind a program; None for others, and after a restart."""
        return self._given.get(program)


class Llm:
    """Proposes what waits in a queue."""

    name = LLM

    def __init__(self, ideas: Ideas) -> None:
        self._ideas = ideas

    def ready(self, view: View) -> bool:
        """Whether there is an idea that can be run now."""
        return bool(self._ideas.fitting(view))

    async def propose(self, view: View) -> Proposal | None:
        """The best of them. It leaves the queue, whatever becomes of the proposal."""
        for idea, source in self._ideas.fitting(view):
            self._ideas.give(idea, program_id(source))
            return Proposal(
                source=source,
                parent=view.champion,
                edits=make(view.champion_source, source),
                strategy=self.name,
                note=idea.hypothesis,
            )
        return None


@lru_cache(maxsize=4 * IDEAS_MAX)
def _fitted(base: str, champion: str, source: str) -> tuple[str, bytes] | None:
    """A program with an idea in it, and its fingerprint; None where they do not go together."""
    try:
        merged = source if base == champion else merge(base, champion, source)
        known = fingerprint(merged)
        return (merged, known) if known != fingerprint(champion) else None
    except PatchError:
        return None
