"""What an author found, put into the own champion: theirs and ours in one program. Pure.

A peer's program and the own champion went different ways from some program that both went through.
What the author changed since then is merged into the champion, so that neither side's finds are
given up for the other's. Only texts are looked at, and every text was examined before. Whether the
result is any better is for this machine's own runs to say.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise

from msgspec import Struct

from gossip.statements import Program
from node.offers import Lead
from skep.errors import PatchError
from skep.merge import merge
from skep.patch import change_of, fingerprint, make


class Graft(Struct, frozen=True):
    """A champion with what an author found.

    Attributes:
        base: text of the author's program that the champion holds already.
        source: the champion with what came after it.
        fingerprint: of that.
        gain: what the author's numbers promise of it, units of the metric; negative is better.
        rooted: whether the champion holds a find that was the author's before anybody else's.
    """

    base: str
    source: str
    fingerprint: bytes
    gain: float
    rooted: bool


class Grafts:
    """Merges what authors found into one champion after the other, each pair once.

    Args:
        programs: texts known here.
        finder: the peer whose find a program is, if it is anybody's.
    """

    def __init__(
        self, programs: Mapping[bytes, Program], finder: Callable[[bytes], bytes | None]
    ) -> None:
        self._programs = programs
        self._finder = finder
        self._champion = b""
        self._held: dict[tuple[bytes, bytes], bool] = {}
        self._made: dict[bytes, Graft | None] = {}
        self._edits: dict[tuple[bytes, bytes], Graft | None] = {}

    def onto(self, champion: bytes, lead: Lead, mine: Collection[bytes]) -> Graft | None:
        """The champion with what is new in a lead; None where nothing is, or it does not fit.

        Args:
            champion: the own one.
            lead: what an author has to offer.
            mine: the programs that led to the champion, with itself.
        """
        self._turn_to(champion)
        if lead.program not in self._made:
            self._made[lead.program] = self._make(lead, mine)
        return self._made[lead.program]

    def edit(self, champion: bytes, lead: Lead) -> Graft | None:
        """The champion with the one edit that a lead is its parent with, no more and no less.

        None where the champion has that, or has no room for it.
        """
        self._turn_to(champion)
        key = lead.program, lead.parent
        if key not in self._edits:
            self._edits[key] = self._edit(lead)
        return self._edits[key]

    def _edit(self, lead: Lead) -> Graft | None:
        theirs, base = self._programs.get(lead.program), self._programs.get(lead.parent)
        if theirs is None or base is None:
            return None
        ours = self._programs[self._champion].source
        try:
            source = merge(base.source, ours, theirs.source)
            wanted = change_of(make(base.source, theirs.source))
            if source == ours or change_of(make(ours, source)) != wanted:
                return None
            return Graft(base.source, source, fingerprint(source), lead.estimate, rooted=False)
        except PatchError:
            return None

    def _turn_to(self, champion: bytes) -> None:
        """What was made for another champion is of no use."""
        if champion != self._champion:
            self._champion = champion
            self._held.clear()
            self._made.clear()
            self._edits.clear()

    def _make(self, lead: Lead, mine: Collection[bytes]) -> Graft | None:
        theirs = self._programs.get(lead.program)
        shared = next((one for one in reversed(lead.chain) if one in mine), None)
        if theirs is None or shared is None or shared not in self._programs:
            return None
        if self._holds(shared, lead.program):
            return None
        ours = self._programs[self._champion].source
        for base in self._bases(lead, shared):
            try:
                source = merge(self._programs[base].source, ours, theirs.source)
                gain = self._promise(lead, base)
                rooted = self._finder(base) == lead.author
                return Graft(self._programs[base].source, source, fingerprint(source), gain, rooted)
            except PatchError:
                continue
        return None

    def _promise(self, lead: Lead, base: bytes) -> float:
        """What the author's numbers say of the steps after a base that the champion lacks.

        A step that failed here, or that the own choice stands in the way of, keeps all that came
        after it from being held as a whole; most of that may have come here by other ways.
        """
        steps = {**lead.chain, lead.program: lead.gain}
        after = list(steps)[list(steps).index(base) :]
        lacking = [(old, new) for old, new in pairwise(after) if not self._holds(old, new)]
        return sum(steps[new] - steps[old] for old, new in lacking)

    def _bases(self, lead: Lead, shared: bytes) -> list[bytes]:
        """Programs of the author's chain that the champion holds, the latest first."""
        chain = [one for one in lead.chain if one in self._programs]
        chain = chain[chain.index(shared) :]
        held = next((one for one in reversed(chain) if self._holds(shared, one)), shared)
        return list(dict.fromkeys([held, shared]))

    def _holds(self, shared: bytes, program: bytes) -> bool:
        """Whether all that a program has changed since the shared one is in the champion."""
        key = shared, program
        if shared == program:
            return True
        if key not in self._held:
            self._held[key] = self._is_held(shared, program)
        return self._held[key]

    def _is_held(self, shared: bytes, program: bytes) -> bool:
        if shared not in self._programs or program not in self._programs:
            return False
        ours = self._programs[self._champion].source
        before, after = self._programs[shared].source, self._programs[program].source
        try:
            return merge(before, ours, after) == ours
        except PatchError:
            return False
