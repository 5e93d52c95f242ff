"""Hypotheses of peers: which are kept in mind and shown, and how their authors' did here. Pure.

Anybody can say anything, so nobody is heard because of how much he says: of an author only the
latest few are kept, and of those that fit what is being looked for, two are shown. How an author's
hypotheses did is this machine's own experience: own notes name the program that tested one.
"""

from collections.abc import Callable

from msgspec import Struct

from node.ranking import ranked
from skep.evidence.research import SETTLED, Stage
from skep.records import Note, Payload, Retract, Unknown
from strategies.plain import one_line

PER_AUTHOR = 8
AUTHORS_MAX = 256
SHOWN_PER_AUTHOR = 2

StageOf = Callable[[bytes], Stage | None]
"""Where a program stands by the own runs; None for one that was not tried."""


class Hypothesis(Struct, frozen=True):
    """What somebody thinks is worth trying: id of the note, its author, one plain line."""

    id: bytes
    author: bytes
    text: str


class Thoughts:
    """All hypotheses of one task that are kept in mind.

    Args:
        me: this node's public key.
    """

    def __init__(self, me: bytes) -> None:
        self._me = me
        self._heard: dict[bytes, list[Hypothesis]] = {}
        self._tests: dict[bytes, bytes] = {}
        """The program that tested a note."""
        self._authors: dict[bytes, bytes] = {}
        """Who wrote a note that was tested."""

    def take(self, content_id: bytes, author: bytes, payload: Payload | Unknown) -> None:
        """Take in one record of the task; own ones, too."""
        if isinstance(payload, Note) and payload.role == "hypothesis":
            if author == self._me:
                self._take_own(payload)
            else:
                self._take_other(Hypothesis(content_id, author, one_line(payload.text)))
        elif isinstance(payload, Retract):
            said = self._heard.get(author, [])
            said[:] = [one for one in said if one.id != payload.record]

    def _take_own(self, note: Note) -> None:
        for cited in note.cites if note.about is not None else ():
            self._tests.setdefault(cited, note.about or b"")

    def _take_other(self, one: Hypothesis) -> None:
        if one.id in self._tests:
            self._authors[one.id] = one.author
        said = self._heard.pop(one.author, [])
        if one.text and all(one.text != other.text for other in said):
            said.append(one)
        self._heard[one.author] = said[-PER_AUTHOR:]
        while len(self._heard) > AUTHORS_MAX:
            tested = set(self._authors.values())
            unknown = (author for author in self._heard if author not in tested)
            del self._heard[next(unknown, next(iter(self._heard)))]

    def tested(self, one: Hypothesis, program: bytes) -> None:
        """A run of a program is about to test a hypothesis."""
        self._tests.setdefault(one.id, program)
        self._authors[one.id] = one.author

    def named(self, content_id: bytes) -> Hypothesis | None:
        """A hypothesis by its id, if it is kept in mind."""
        said = (one for listed in self._heard.values() for one in listed)
        return next((one for one in said if one.id == content_id), None)

    def record(self, author: bytes, stage: StageOf) -> tuple[int, int]:
        """How many hypotheses of an author held here, and how many did not."""
        ids = [one for one, by in self._authors.items() if by == author]
        stages = [stage(self._tests[one]) for one in ids]
        settled = [one for one in stages if one in SETTLED]
        held = settled.count("kept")
        return held, len(settled) - held

    def relevant(self, query: str, most: int, stage: StageOf) -> list[Hypothesis]:
        """Those to be shown, the most relevant first; of each author a few, and none tested here.

        Authors of whose hypotheses more failed here than held come last.

        Args:
            query: words of what is looked for.
            most: how many at most.
            stage: as in `record`.
        """
        said = [one for listed in self._heard.values() for one in reversed(listed)]
        said = [one for one in said if one.id not in self._tests]
        first = ranked(query, [one.text for one in said])
        order = [said[place] for place in dict.fromkeys([*first, *range(len(said))])]
        doubted = {author for author in self._heard if (r := self.record(author, stage))[1] > r[0]}
        found: dict[bytes, list[Hypothesis]] = {}
        chosen: list[Hypothesis] = []
        for one in sorted(order, key=lambda one: one.author in doubted):
            shown = found.setdefault(one.author, [])
            if len(shown) < SHOWN_PER_AUTHOR and len(chosen) < most:
                shown.append(one)
                chosen.append(one)
        return chosen
