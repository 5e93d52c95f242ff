"""Recombine: put edits that helped elsewhere into the champion, several at once, as one proposal.

An edit that was too small to be kept by itself, or was kept on a way that the search has left, is
merged into the champion with all others of its kind; if the stack fails its halves are tried.
Screens and re-runs then judge it like any other proposal. Constants of one skeleton alone are
recombined by `strategies.tune`, too, which models them; this also knows lines of code. Pure but
for the signature.
"""

import re
from collections.abc import Iterator, Sequence

from skep.constants import outline
from skep.errors import PatchError
from skep.merge import merge
from skep.patch import fingerprint, make
from skep.ports import Find, Proposal, View
from skep.records import Edit, SetConstant

CHANCE_MIN = 0.8
"""What is less likely to help than this is not stacked."""

STACK_MAX = 6

_PROGRAM = re.compile(r"\b[0-9a-f]{8}\b")


class Recombine:
    """Proposes stacks of edits. It has no state: everything is in the view."""

    name = "recombine"

    def ready(self, view: View) -> bool:
        """Whether there is anything to stack."""
        return any(find.chance >= CHANCE_MIN for find in view.finds)

    async def propose(self, view: View) -> Proposal | None:
        """The largest stack that was not tried; None if all were, or one is being tried."""
        waiting = {fingerprint(source) for source in view.pending}
        for stack, source in stacks(view):
            known = fingerprint(source)
            if known in waiting:
                return None  # How its parts are doing matters only if it fails.
            if known not in view.fingerprints:
                edits = make(view.champion_source, source)
                return Proposal(
                    source=source,
                    parent=view.champion,
                    edits=edits,
                    strategy=self.name,
                    note=describe(stack, edits, view.champion_source),
                )
        return None


def stacks(view: View) -> Iterator[tuple[Sequence[Find], str]]:
    """Finds that go together into the champion, and what comes out: all of them, then halves.

    Of one find alone only what the champion of its time was not the present one of is new.
    """
    whole = _mergeable(view)
    waiting = [whole]
    while waiting:
        stack = waiting.pop(0)
        if not stack:
            continue
        source = _stacked(view.champion_source, stack)
        if len(stack) > 1 or stack[0].base != view.champion_source:
            yield stack, source
        if len(stack) > 1:
            middle = (len(stack) + 1) // 2
            waiting += [stack[:middle], stack[middle:]]


def describe(stack: Sequence[Find], edits: Sequence[Edit], champion: str) -> str:
    """What is stacked, for people: `LR 0.003 → 0.01, DEPTH 3 → 4 (of 1f0b2c3d and 9a8b7c6d)`."""
    of = " and ".join(shown(find) for find in stack)
    values = {name: one.value for name, one in outline(champion).constants.items()}
    settings = [edit for edit in edits if isinstance(edit, SetConstant)]
    changes = ", ".join(f"{one.name} {values[one.name]} → {one.value}" for one in settings)
    return f"{changes} (of {of})" if changes else f"the edits of {of}"


def shown(find: Find) -> str:
    """A find's program as notes have it."""
    return find.program.hex()[:8]


def parts_of(note: str) -> list[str]:
    """The programs, as `shown`, that a note of ours says were stacked."""
    _, _, whose = note.rpartition("of ")
    return _PROGRAM.findall(whose)


def _mergeable(view: View) -> list[Find]:
    """Finds that can be merged into the champion one after the other, and change it."""
    chosen: list[Find] = []
    source = view.champion_source
    for find in view.finds:
        if find.chance < CHANCE_MIN or len(chosen) == STACK_MAX:
            continue
        try:
            merged = merge(find.base, source, find.source)
        except PatchError:
            continue
        if merged != source:
            chosen.append(find)
            source = merged
    return chosen


def _stacked(champion: str, stack: Sequence[Find]) -> str:
    source = champion
    for find in stack:
        source = merge(find.base, source, find.source)
    return source
