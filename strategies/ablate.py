"""Ablate: leave one kept edit out of the champion, the most doubtful first, as a proposal.

What was kept once need not pay any more: a later edit may do its work, or it was kept by luck, or
came along in a stack. Screens and re-runs judge the champion without it, by a rule of their own:
an equal score with one edit less wins (`skep.evidence.rules`). Which edits are there to be left
out, and when, is in the view. Pure but for the signature.
"""

from collections.abc import Sequence

from skep.constants import outline
from skep.errors import PatchError
from skep.patch import fingerprint, make
from skep.ports import ABLATE, Proposal, Step, View
from skep.records import Edit, SetConstant
from skep.undo import is_simpler, without

STEPS_MIN = 3
"""Fewer edits are not looked at, unless some of them came in one step."""

AGAIN_AFTER = 3
"""Steps that are kept until an edit is asked again whether it pays."""


class Ablate:
    """Proposes the champion without one edit. It has no state: everything is in the view."""

    name = ABLATE

    def ready(self, view: View) -> bool:
        """Whether there is an edit that may be left out."""
        stacked = len({step.program for step in view.steps}) < len(view.steps)
        return (stacked or len(view.steps) >= STEPS_MIN) and any(map(_is_due, view.steps))

    async def propose(self, view: View) -> Proposal | None:
        """The champion without the most doubtful edit for which that is new; None without any."""
        for step in sorted(filter(_is_due, view.steps), key=_certainty):
            source = _ablated(view.champion_source, step)
            if source is None or fingerprint(source) in view.fingerprints:
                continue
            edits = make(view.champion_source, source)
            return Proposal(
                source=source,
                parent=view.champion,
                edits=edits,
                strategy=self.name,
                note=describe(step, edits, view.champion_source),
            )
        return None


def describe(step: Step, edits: Sequence[Edit], champion: str) -> str:
    """What is left out, for people: `without WIDTH 64 → 96 (of 1f0b2c3d)`."""
    of = step.program.hex()[:8]
    values = {name: one.value for name, one in outline(champion).constants.items()}
    settings = [edit for edit in edits if isinstance(edit, SetConstant)]
    changes = ", ".join(f"{one.name} {one.value} → {values[one.name]}" for one in settings)
    return f"without {changes} (of {of})" if changes else f"without the edit of {of}"


def _is_due(step: Step) -> bool:
    return step.since is None or step.since >= AGAIN_AFTER


def _certainty(step: Step) -> float:
    """How sure it is that the edit helps, in standard deviations."""
    return -step.effect / step.spread


def _ablated(champion: str, step: Step) -> str | None:
    """The champion without an edit; None where that is no other program, or no simpler one."""
    try:
        source = without(champion, step.source, step.base)
        return source if source is not None and is_simpler(source, champion) else None
    except PatchError:
        return None
