"""Tune: the next setting of the champion's constants, by Bayesian optimisation over all its runs.

It learns from every program that differs from the champion in constants alone, whoever was the
champion when it ran, and proposes what `strategies.gp` expects most of. Pure but for the signature.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from skep.constants import Constant, outline
from skep.fingerprint import digest
from skep.patch import apply, fingerprint
from skep.ports import Proposal, View
from skep.records import SetConstant
from strategies.constants import Axis, Values, axes, settings, units
from strategies.gp import Observation, suggest

BOLD_MOVES = (("LR", 1.3), ("BATCH", -1.0), ("LR", 2.3), ("BATCH", -2.0))
"""The first moves, in units: rates and batch sizes are what a plain program most often has wrong."""


class _Known(Struct, frozen=True):
    """A program by its constants; programs with one skeleton differ in nothing else."""

    skeleton: bytes
    constants: dict[str, Constant]

    @property
    def values(self) -> Values:
        """Value of each constant."""
        return {name: constant.value for name, constant in self.constants.items()}


class Tune:
    """Proposes new values of constants. Its memory is a cache; all state is in the view."""

    name = "tune"

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def ready(self, view: View) -> bool:
        """Whether the champion has a constant that may be tuned."""
        return bool(self._space(view))

    async def propose(self, view: View) -> Proposal | None:
        """The most promising setting that nobody has run, or None if all candidates are known."""
        space = self._space(view)
        base = self._read(view.champion_source)
        for point in self._points(view, space):
            edits = settings(space, point, base.values)
            if not edits:
                continue
            source = apply(view.champion_source, edits)
            if fingerprint(source) not in view.fingerprints:
                return Proposal(
                    source=source,
                    parent=view.champion,
                    edits=tuple(edits),
                    strategy=self.name,
                    note=describe(edits, base.values),
                )
        return None

    def _points(self, view: View, space: Sequence[Axis]) -> list[list[float]]:
        family = self._read(view.champion_source).skeleton
        sign = -1.0 if view.task.direction == "max" else 1.0
        seen, failed = [], []
        for trial in view.trials:
            known = self._read(trial.source)
            if known.skeleton != family:
                continue
            point = units(space, known.values)
            if trial.values:
                mean = sign * sum(trial.values) / len(trial.values)
                seen.append(Observation(tuple(point), mean, len(trial.values)))
            elif trial.failed:
                failed.append(point)
        pending = [
            units(space, known.values)
            for known in map(self._read, view.pending)
            if known.skeleton == family
        ]
        here = units(space, self._read(view.champion_source).values)
        bold = _bold_points(space, here, len(seen) + len(failed) + len(pending) - 1)
        if not seen:
            return bold
        rng = np.random.default_rng(view.seed)
        found = suggest(seen, sigma=view.sigma, failed=failed, pending=pending, rng=rng)
        return bold + found

    def _space(self, view: View) -> tuple[Axis, ...]:
        """Coordinates; their scales are those of the oldest program of the family."""
        champion = self._read(view.champion_source)
        for trial in view.trials:
            known = self._read(trial.source)
            if known.skeleton == champion.skeleton:
                return axes(known.constants, view.task.deny, view.task.knobs)
        return axes(champion.constants, view.task.deny, view.task.knobs)

    def _read(self, source: str) -> _Known:
        known = self._known.get(source)
        if known is None:
            found = outline(source)
            skeleton = digest(found.tree, [c.expression for c in found.constants.values()])
            known = self._known[source] = _Known(skeleton, dict(found.constants))
        return known


def describe(edits: Sequence[SetConstant], before: Values) -> str:
    """What edits change, for people: `LR 0.003 → 0.012, DEPTH 3 → 2`."""
    return ", ".join(f"{edit.name} {before[edit.name]} → {edit.value}" for edit in edits)


def _bold_points(space: Sequence[Axis], here: Sequence[float], tried: int) -> list[list[float]]:
    """The bold move whose turn it is, if there is a constant for it."""
    moves = []
    for word, step in BOLD_MOVES:
        for i, axis in enumerate(space):
            if word in axis.name.split("_"):
                point = list(here)
                point[i] += step
                moves.append(point)
                break
    return [moves[tried]] if 0 <= tried < len(moves) else []
