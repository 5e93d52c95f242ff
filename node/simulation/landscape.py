"""Simulated programs and what they are truly worth. A surrogate for training; nothing is run.

A program is a real, small text of constants, so that the shipped edits, merges and fingerprints
work on it. An edit sets one constant to a number that nobody has used; what that is worth comes
on top of what the constant was worth before. Two edits of one constant exclude each other, as two
versions of one idea do: of two single edits 1.6 % do (1/64), of an edit and twenty others 27 %,
which lies between edits of constants alone (8 %) and of lines of code (54 %). Edits never interact
otherwise, and none of them crashes.
"""

from collections.abc import Sequence

from msgspec import Struct

from gossip.statements import Program
from node.simulation.worlds import Nature
from skep.patch import fingerprint
from skep.records import SetConstant, SignedRecord, program_id

PLACES = 64
"""Constants of a program."""

DRAW_SIGMA = 5.0
"""How much harder or easier one validation text is than another, for all programs alike."""

INVENTED_SIGMA = 2.0
"""Of what liars propose, half a normal distribution: how much worse it truly is."""


def _text(numbers: Sequence[int]) -> str:
    return "".join(f"K{place:02} = {number}\n" for place, number in enumerate(numbers))


START = _text([0] * PLACES)


class Change(Struct, frozen=True):
    """An edit: what it does to the program that it was made for.

    Attributes:
        effect: true effect in sigma; negative is better.
        before: number of the edit that it replaces; 0 for none.
        honest: whether it was not invented by a liar.
    """

    effect: float
    before: int
    honest: bool


class Landscape:
    """Every program that anybody has made, with its text and its truth.

    It is also what simulated notebooks read programs from: texts are known as soon as they are
    made, and nobody has earlier runs.

    Args:
        nature: draws effects and noise.
    """

    def __init__(self, nature: Nature) -> None:
        self.nature = nature
        self.changes = [Change(0.0, 0, True)]
        """By number: what the constant is set to."""
        self._programs = {program_id(START): Program(START, fingerprint(START))}
        self._edits: dict[bytes, frozenset[int]] = {program_id(START): frozenset()}
        self._texts: dict[int, float] = {0: 0.0}

    def edited(self, source: str, *, honest: bool) -> tuple[str, SetConstant]:
        """The program with a new edit of one of its constants, and that edit."""
        numbers = _numbers(source)
        place = int(self.nature.rng.integers(PLACES))
        if honest:
            found = sum(self.changes[one].effect < 0 for one in self.edits_of(source))
            effect = self.nature.effect(found)
        else:
            effect = abs(float(self.nature.rng.normal(0, INVENTED_SIGMA)))
        self.changes.append(Change(effect, numbers[place], honest))
        numbers[place] = len(self.changes) - 1
        return _text(numbers), SetConstant(f"K{place:02}", numbers[place])

    def edits_of(self, source: str) -> frozenset[int]:
        """Numbers of all edits that a program is made of, those replaced since included."""
        program = program_id(source)
        if program not in self._edits:
            found: set[int] = set()
            for number in _numbers(source):
                while number:
                    found.add(number)
                    number = self.changes[number].before
            self._edits[program] = frozenset(found)
        return self._edits[program]

    def edits(self, program: bytes) -> frozenset[int]:
        """The same of a program by its content id."""
        return self.edits_of(self.program(program))

    def level(self, program: bytes) -> float:
        """How much worse than the start program it truly is, in sigma."""
        return sum(self.changes[one].effect for one in sorted(self.edits(program)))

    def level_on(self, node: int, source: str) -> float:
        """The same on one machine, where each edit does a little more or less."""
        edits = sorted(self.edits_of(source))
        keys = [(one, one.to_bytes(4, "big")) for one in edits]
        return sum(self.changes[one].effect + self.nature.on(node, key) for one, key in keys)

    def ease(self, draw: int) -> float:
        """What a validation text adds to the scores of all programs, in sigma; pinned: nothing."""
        if draw not in self._texts:
            self._texts[draw] = float(self.nature.rng.normal(0, DRAW_SIGMA))
        return self._texts[draw]

    # What a notebook reads

    def said_by(self, author: bytes, task: bytes, kind: str) -> list[SignedRecord]:
        """Nobody has said anything before."""
        return []

    def program(self, content_id: bytes) -> str:
        """Text of a program."""
        return self._programs[content_id].source

    def programs(self) -> dict[bytes, Program]:
        """All programs by content id."""
        return self._programs

    async def keep(self, source: str, known: bytes) -> None:
        """Take in a program with its fingerprint."""
        self._programs[program_id(source)] = Program(source, known)

    def take(self, source: str) -> None:
        """Take in a program."""
        self._programs[program_id(source)] = Program(source, fingerprint(source))


def _numbers(source: str) -> list[int]:
    """What each constant is set to."""
    return [int(line.rpartition(" ")[2]) for line in source.splitlines()]
