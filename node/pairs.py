"""What two edits do together beyond the sum of each: from runs that were made for other reasons.

Every comparison of two programs is one equation on how good they are; all of them together are
solved by least squares, weighted by the number of runs. Where a program with both edits, with
either and with neither are tied together by comparisons, the interaction follows with its
standard deviation. Nothing is run for it, and most pairs say nothing. Pure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct

from skep.constants import outline
from skep.errors import PatchError
from skep.evidence import Candidate, Research
from skep.evidence.evalue import variance_of
from skep.evidence.research import BASELINES_MIN
from skep.records import Edit, SetConstant

PROGRAMS_MAX = 600
"""The latest that are compared; solving takes their number to the third power."""

Atom = tuple[str, ...]
"""A constant that is set to a value, or a piece of text that was replaced by another."""

Contents = frozenset[Atom]
"""What a program differs in from the start program."""


class Comparison(Struct, frozen=True):
    """A measured difference child - parent, in units of the metric, with its variance."""

    child: bytes
    parent: bytes
    effect: float
    variance: float


class Interaction(Struct, frozen=True):
    """How much worse (or, negative, better) two edits are together than the sum of each.

    Attributes:
        effect, spread: with its standard deviation, units of the metric.
    """

    effect: float
    spread: float


def comparisons(research: Research) -> list[Comparison]:
    """Everything that was compared here: by re-runs, where there are none by the screen."""
    found = []
    for one in list(research.candidates.values())[-PROGRAMS_MAX:]:
        effect = one.delta if one.effect is None else one.effect
        if effect is not None:
            variance = _variance(one, research.noise.sigma)
            found.append(Comparison(one.program, one.parent, effect, variance))
    return found


def _variance(one: Candidate, sigma: float) -> float:
    children = one.reruns if one.effect is not None else 1
    parents = max(BASELINES_MIN, children)
    return variance_of(sigma, children=children, parents=parents, between=0.0)


def contents(
    start: bytes, source: str, made: Iterable[tuple[bytes, bytes, Sequence[Edit]]]
) -> dict[bytes, Contents]:
    """What each program differs in from the start program, as far as its edits are known. Parses.

    Args:
        start: content id of the start program.
        source: its text.
        made: (program, what it was made from, edits) of each, parents first.
    """
    try:
        initial = {name: repr(one.value) for name, one in outline(source).constants.items()}
    except PatchError:
        initial = {}
    found: dict[bytes, Contents] = {start: frozenset()}
    for program, parent, edits in made:
        if parent in found and edits and program not in found:
            found[program] = _edited(found[parent], edits, initial)
    return found


def _edited(before: Contents, edits: Sequence[Edit], initial: Mapping[str, str]) -> Contents:
    after = set(before)
    for edit in edits:
        if isinstance(edit, SetConstant):
            after = {atom for atom in after if atom[:2] != ("set", edit.name)}
            if initial.get(edit.name) != repr(edit.value):
                after.add(("set", edit.name, repr(edit.value)))
        elif ("text", edit.after, edit.before) in after:
            after.remove(("text", edit.after, edit.before))
        else:
            after.add(("text", edit.before, edit.after))
    return frozenset(after)


class Levels:
    """How good programs are, as far as comparisons tie them together.

    Args:
        measured: the comparisons.
    """

    def __init__(self, measured: Sequence[Comparison]) -> None:
        names = {name for one in measured for name in (one.child, one.parent)}
        self._row = {name: number for number, name in enumerate(sorted(names))}
        size = len(self._row)
        weights, sums = np.zeros((size, size)), np.zeros(size)
        self._group = list(range(size))
        for one in measured:
            child, parent, weight = self._row[one.child], self._row[one.parent], 1 / one.variance
            weights[[child, parent], [child, parent]] += weight
            weights[[child, parent], [parent, child]] -= weight
            sums[child] += weight * one.effect
            sums[parent] -= weight * one.effect
            self._join(child, parent)
        self._covariance = np.linalg.pinv(weights, hermitian=True) if size else weights
        self._levels = self._covariance @ sums

    def contrast(self, better: Iterable[bytes], worse: Iterable[bytes]) -> Interaction | None:
        """Sum of some levels minus the sum of as many others; None where they are not tied."""
        signs = [(name, 1.0) for name in better] + [(name, -1.0) for name in worse]
        if any(name not in self._row for name, _ in signs):
            return None
        rows = [self._row[name] for name, _ in signs]
        if len({self._root(row) for row in rows}) > 1:
            return None
        wanted = np.zeros(len(self._row))
        for row, (_, sign) in zip(rows, signs, strict=True):
            wanted[row] += sign
        variance = float(wanted @ self._covariance @ wanted)
        return Interaction(float(wanted @ self._levels), max(variance, 0.0) ** 0.5)

    def _root(self, row: int) -> int:
        while self._group[row] != row:
            row = self._group[row]
        return row

    def _join(self, one: int, other: int) -> None:
        self._group[self._root(one)] = self._root(other)


def interaction(
    first: Contents,
    second: Contents,
    programs: Mapping[Contents, Sequence[bytes]],
    contrast: Callable[[Iterable[bytes], Iterable[bytes]], Interaction | None],
) -> Interaction | None:
    """What two edits do together beyond their sum, where it is known best; None if nowhere.

    Args:
        first, second: what either edit brings.
        programs: which hold what.
        contrast: see `Levels.contrast`.
    """
    found = []
    for both in programs:
        if not first or not second or first & second or not (first | second) <= both:
            continue
        sets = both, both - first - second, both - second, both - first
        known = [programs.get(one, ()) for one in sets]
        if all(known):
            whole, rest, only_first, only_second = (one[0] for one in known)
            found.append(contrast((whole, rest), (only_first, only_second)))
    measured = [one for one in found if one is not None]
    return min(measured, key=lambda one: one.spread, default=None)
