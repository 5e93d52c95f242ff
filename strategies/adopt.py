"""Adopt: try what peers found, put into the own champion or in its place, on this machine.

What an author says of its program only decides when it is tried: the screen, the re-runs and the
rule for keeping are those of any other candidate. Finds of several authors are tried together,
where what each of them offered before has held here; anybody else's alone, so that nothing of a
liar's passes in the company of what is good. Whether offers may take time at all is not decided
here.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence

from skep.errors import PatchError
from skep.merge import merge
from skep.patch import fingerprint, make
from skep.ports import ADOPT, Offer, Proposal, View

RECENT_MAX = 2
"""Of the latest four offers tried here, one author has at most so many while others wait."""

BELIEVED_SIGMA = 5.0
"""Nobody is served earlier for a larger number than this."""

STACK_MAX = 11
"""Authors whose finds are tried together; the note has room for so many names."""

_NAME = re.compile(r"[a-z]+-[a-z]+-[0-9A-Za-z]{6}")
_PROGRAM = re.compile(r"\(([0-9a-f]{12})\)")


class Adopt:
    """Proposes what peers offer. It has no state: everything is in the view."""

    name = ADOPT

    def ready(self, view: View) -> bool:
        """Whether there is an offer."""
        return bool(view.offers)

    async def propose(self, view: View) -> Proposal | None:
        """The best that nobody has run or is running here; None if there is none."""
        for source, offers in _ways(view):
            if fingerprint(source) not in view.fingerprints:
                return Proposal(
                    source=source,
                    parent=view.champion,
                    edits=make(view.champion_source, source),
                    strategy=self.name,
                    note=describe(offers),
                    claim=offers[0].claim if len(offers) == 1 else None,
                )
        return None


def urgency(offer: Offer, view: View) -> tuple[bool, int, float, bytes]:
    """Sorts offers, the first to be tried first.

    Authors that had their share step back; then those go first whose offers held more often here
    than they failed, and last those of whom it is the other way round; then what is said to be
    best. Ties fall differently on every node, so that peers do not all test the same.
    """
    standing = (offer.balance < 0) - (offer.balance > 0)
    estimate = max(offer.estimate, -BELIEVED_SIGMA * view.sigma)
    tie = hashlib.sha256(offer.program + view.seed.to_bytes(8, "big")).digest()
    return offer.recent >= RECENT_MAX, standing, estimate, tie


def can_be_stacked(offer: Offer) -> bool:
    """Whether an offer may be tried together with others."""
    return bool(offer.base) and offer.balance > 0


def describe(offers: Sequence[Offer]) -> str:
    """Whose finds these are, and of one alone in which program: `origin_in` reads it back."""
    first, *others = offers
    if others:
        *some, last = (offer.name for offer in offers)
        return f"from {', '.join(some)} and {last}"
    said = f": {first.note}" if first.note else ""
    return f"from {first.name} ({short(first.program)}){said}"


def origin_in(note: str) -> tuple[list[str], str]:
    """Whose finds a note of ours says were tried, and the shortened program if it was one."""
    whose, _, _ = note.partition(":")
    if not whose.startswith("from "):
        return [], ""
    program = _PROGRAM.search(whose)
    return _NAME.findall(whose), program[1] if program else ""


def short(program: bytes) -> str:
    """A program's id as notes have it: enough that nobody finds another one with the same."""
    return program.hex()[:12]


def _ways(view: View) -> Iterator[tuple[str, Sequence[Offer]]]:
    """What could be tried, the most promising first: several finds together, then each alone."""
    ordered = sorted(view.offers, key=lambda one: urgency(one, view))
    waiting = [[one for one in ordered if can_be_stacked(one)][:STACK_MAX]]
    while waiting:
        stack = waiting.pop(0)
        if len(stack) < 2:
            continue
        source, merged = _stacked(view.champion_source, stack)
        if len(merged) > 1:
            yield source, merged
        middle = (len(stack) + 1) // 2
        waiting += [stack[:middle], stack[middle:]]
    for offer in ordered:
        yield offer.source, [offer]


def _stacked(champion: str, stack: Sequence[Offer]) -> tuple[str, list[Offer]]:
    """The champion with everything that goes together, and whose finds these are."""
    source, merged = champion, []
    for offer in stack:
        try:
            more = merge(offer.base, source, offer.theirs)
        except PatchError:
            continue
        if more != source:
            source = more
            merged.append(offer)
    return source, merged
