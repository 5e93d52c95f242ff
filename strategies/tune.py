"""Tune: the next setting of the champion's constants, by Bayesian optimisation over all its runs.

It learns from every program that differs from the champion in constants alone, whichever was the
champion when it ran. The search is centred on what the model believes to be best, which may be
ahead of the champion; the champion is the parent of every proposal all the same. Pure but for the
signature.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from skep.constants import Value
from skep.patch import apply, fingerprint
from skep.ports import Proposal, View
from skep.records import Number, SetConstant
from strategies.constants import Axis, Coordinate, coordinates, form, words
from strategies.gp import RADIUS_MAX, Array, Belief, believe, distances, suggest

OPENING = (("LR", 1.3), ("BATCH", -1.0), ("LR", 1.3), ("BATCH", -1.0))
"""The first moves, in units from the incumbent of the time: rate and batch size are what a plain
program most often has wrong. Best single run of `stories` at 4 reference-seconds: 1.09 val_bpb in
25 trials with them (one search), 1.22 without (two); Optuna's TPE 1.33 and 1.42 in 30 (one each).
"""
FAR = 4.0
"""Runs farther than this (in units) from the champion on an axis count as that far."""

WIDER = 2.0
"""The trust region is so many times as wide while the search is stuck."""


class Tune:
    """Proposes new values of constants. It has no state: everything is in the view."""

    name = "tune"

    def ready(self, view: View) -> bool:
        """Whether the champion has a constant that may be tuned."""
        champion = form(view.champion_source, frozenset(view.task.deny))
        return champion is not None and bool(champion.values)

    async def propose(self, view: View) -> Proposal | None:
        """The most promising setting that nobody has run; None if every candidate is known."""
        family = gather(view)
        if family is None:
            return None
        for point in family.candidates(np.random.default_rng(view.seed)):
            edits = family.edits(point)
            source = apply(view.champion_source, edits)
            if edits and fingerprint(source) not in view.fingerprints:
                return Proposal(
                    source=source,
                    parent=view.champion,
                    edits=edits,
                    strategy=self.name,
                    note=describe(edits, family.values),
                )
        return None


class Family(Struct, frozen=True):
    """The programs that differ from the champion in tunable constants alone, as points.

    Attributes:
        values: the champion's constants.
        space: a coordinate for each of their numbers, d in all.
        home: the champion, shape [d].
        points: what has a score, shape [n, d], oldest first.
        scores: mean score of each, signed so that lower is better.
        runs: how many runs each mean is of.
        failed: what only ever failed, shape [f, d].
        pending: what is queued or running, shape [p, d].
        tried: how many programs besides the champion were run or are running, of any family.
        sigma: noise of one run.
        stuck: whether what is near the best has brought nothing for long.
    """

    values: Mapping[str, Value]
    space: tuple[Coordinate, ...]
    home: Array
    points: Array
    scores: Array
    runs: Array
    failed: Array
    pending: Array
    tried: int
    sigma: float
    stuck: bool = False

    def candidates(self, rng: np.random.Generator) -> Iterator[Array]:
        """Points worth running, best first; around another one than the best where it is stuck."""
        belief, centre = self._belief()
        if self.stuck and len(self.points) > 1:
            belief = replace(belief, radius=min(WIDER * belief.radius, RADIUS_MAX))
            centre = self.points[rng.choice(len(self.points), p=self._chances(belief.radius))]
        axes = [
            coordinate.axis(coordinate.decode(place))
            for coordinate, place in zip(self.space, centre, strict=True)
        ]
        yield from self._opening(centre, axes)
        yield from suggest(belief, centre, axes, failed=self.failed, pending=self.pending, rng=rng)

    def incumbent(self) -> tuple[SetConstant, ...]:
        """How the champion becomes the program that the model believes to be best."""
        return self.edits(self._belief()[1])

    def edits(self, point: Array) -> tuple[SetConstant, ...]:
        """How the champion becomes the program at a point."""
        changed: dict[str, list[Number]] = {}
        for coordinate, place, here in zip(self.space, point, self.home, strict=True):
            if abs(place - here) > 1e-6:
                items = changed.setdefault(coordinate.name, _numbers(self.values, coordinate))
                items[coordinate.index or 0] = coordinate.decode(place)
        return tuple(
            SetConstant(name, value)
            for name, items in changed.items()
            for value in [tuple(items) if isinstance(self.values[name], tuple) else items[0]]
            if value != self.values[name]
        )

    def _chances(self, reach: float) -> Array:
        """How likely the search is to go on from each point: good ones with few near them."""
        apart = self.scores - np.median(self.scores)
        scale = max(float(np.median(np.abs(apart))), self.sigma)
        good = 1.0 / (1.0 + np.exp(np.clip(apart / scale, -FAR, FAR)))
        near = (distances(self.points, self.points) < reach).sum(1)
        return np.asarray(good / near / (good / near).sum())

    def _belief(self) -> tuple[Belief, Array]:
        """The fitted history, and the incumbent; the champion where nothing has a score yet."""
        if not len(self.points):
            return believe(self.home[None], np.zeros(1), np.ones(1), self.sigma), self.home
        belief = believe(self.points, self.scores, self.runs, self.sigma)
        return belief, self.points[belief.best]

    def _opening(self, centre: Array, axes: Sequence[Axis]) -> Iterator[Array]:
        """The bold move whose turn it is, if there is a constant for it."""
        if self.tried >= len(OPENING):
            return
        word, step = OPENING[self.tried]
        for column, coordinate in enumerate(self.space):
            if word in words(coordinate.name):
                point = centre.copy()
                point[column] = axes[column].nearest(centre[column] + step)
                yield point
                return


def gather(view: View) -> Family | None:
    """Everything that a view tells of the champion's family; None if there is nothing to tune."""
    deny = frozenset(view.task.deny)
    champion = form(view.champion_source, deny)
    if champion is None or not champion.values:
        return None
    space = coordinates(champion.values, view.task.knobs)
    home = [coordinate.encode(_number(champion.values, coordinate)) for coordinate in space]

    def place(source: str) -> list[float] | None:
        other = form(source, deny)
        if other is None or other.skeleton != champion.skeleton:
            return None
        there = [coordinate.encode(_number(other.values, coordinate)) for coordinate in space]
        return [min(max(x, h - FAR), h + FAR) for x, h in zip(there, home, strict=True)]

    def stack(points: Sequence[list[float] | None]) -> Array:
        return np.array([p for p in points if p is not None]).reshape(-1, len(space))

    sign = 1.0 if view.task.direction == "min" else -1.0
    placed = [(place(trial.source), trial) for trial in view.trials]
    scored = [(p, trial.values) for p, trial in placed if p is not None and trial.values]
    failed = [p for p, trial in placed if trial.failed and not trial.values]
    return Family(
        values=champion.values,
        space=space,
        home=np.array(home),
        points=stack([p for p, _ in scored]),
        scores=np.array([sign * sum(values) / len(values) for _, values in scored]),
        runs=np.array([float(len(values)) for _, values in scored]),
        failed=stack(failed),
        pending=stack([place(source) for source in view.pending]),
        tried=sum(t.program != view.champion for t in view.trials) + len(view.pending),
        sigma=view.sigma,
        stuck=view.stuck,
    )


def describe(edits: Sequence[SetConstant], before: Mapping[str, Value]) -> str:
    """What edits change, for people: `LR 0.003 → 0.012, DEPTH 3 → 2`."""
    return ", ".join(f"{edit.name} {before[edit.name]} → {edit.value}" for edit in edits)


def _number(values: Mapping[str, Value], coordinate: Coordinate) -> Number:
    return _numbers(values, coordinate)[coordinate.index or 0]


def _numbers(values: Mapping[str, Value], coordinate: Coordinate) -> list[Number]:
    value = values[coordinate.name]
    return list(value) if isinstance(value, tuple) else [value]
