"""Two ways to search the constants of a program, behind one interface: the shipped strategy `tune`
and Optuna's TPE. Both get the same constants, the same rounding and the default as first trial.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import optuna

from skep.constants import Value
from skep.patch import apply, fingerprint
from skep.ports import TaskFacts, Trial, View
from skep.records import Number, SetConstant, program_id
from strategies.constants import Coordinate, coordinates, form
from strategies.tune import Tune, gather

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


class Searcher(Protocol):
    """Ask for a program, tell its value, and at any time ask which it would choose."""

    async def ask(self) -> str:
        """The next program to run."""
        ...

    def tell(self, source: str, value: float | None) -> None:
        """What came of it, in units of the metric, lower is better; None if it failed."""
        ...

    def best(self) -> str:
        """The program it would choose now."""
        ...


class TuneSearcher:
    """The shipped strategy, its champion staying the default.

    Args:
        facts: the task; its seed program is the default.
        sigma: noise of one run in units of the metric.
        seed: of all its randomness.
    """

    def __init__(self, facts: TaskFacts, sigma: float, seed: int) -> None:
        self._facts, self._sigma, self._seed = facts, sigma, seed
        self._trials: list[Trial] = []
        self._tune = Tune()

    async def ask(self) -> str:
        if not self._trials:
            return self._facts.seed_program
        proposal = await self._tune.propose(self._view())
        assert proposal is not None
        return proposal.source

    def tell(self, source: str, value: float | None) -> None:
        values = () if value is None else (value,)
        failed = int(value is None)
        program = program_id(source)
        self._trials.append(Trial(program=program, source=source, values=values, failed=failed))

    def best(self) -> str:
        family = gather(self._view())
        assert family is not None
        return apply(self._facts.seed_program, family.incumbent())

    def _view(self) -> View:
        default = self._facts.seed_program
        return View(
            task=self._facts,
            champion=program_id(default),
            champion_source=default,
            trials=tuple(self._trials),
            pending=(),
            fingerprints=frozenset(fingerprint(trial.source) for trial in self._trials),
            sigma=self._sigma,
            seed=self._seed * 100_000 + len(self._trials),
        )


class TpeSearcher:
    """Optuna's TPE over the same coordinates, the default enqueued.

    Args:
        facts: the task; its seed program is the default.
        reach: half the range of every coordinate in units (factors of two).
        seed: of all its randomness.
    """

    def __init__(self, facts: TaskFacts, reach: float, seed: int) -> None:
        found = form(facts.seed_program, frozenset(facts.deny))
        assert found is not None
        self._default, self._values = facts.seed_program, found.values
        self._choices: dict[str, list[Number]] = {}
        self._space = {
            f"{c.name}[{c.index or 0}]": c for c in coordinates(self._values, facts.knobs)
        }
        self._ranges = {label: self._range(label, reach) for label in self._space}
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        self._study.enqueue_trial({label: self._here(label) for label in self._space})
        self._running: optuna.Trial | None = None

    async def ask(self) -> str:
        self._running = self._study.ask(self._ranges)
        return self._program(self._running.params)

    def tell(self, source: str, value: float | None) -> None:
        failed = optuna.trial.TrialState.FAIL if value is None else None
        assert self._running is not None
        self._study.tell(self._running, value, state=failed)

    def best(self) -> str:
        return self._program(self._study.best_trial.params)

    def _program(self, params: Mapping[str, Any]) -> str:
        items = {n: list(v) if isinstance(v, tuple) else [v] for n, v in self._values.items()}
        for label, coordinate in self._space.items():
            place = params[label]
            value = self._choices[label][place] if label in self._choices else None
            if abs(place - self._here(label)) > 1e-9:
                changed = coordinate.decode(place) if value is None else value
                items[coordinate.name][coordinate.index or 0] = changed
        edits = [
            SetConstant(name, tuple(items[name]) if isinstance(old, tuple) else items[name][0])
            for name, old in self._values.items()
        ]
        changed_edits = [edit for edit in edits if edit.value != self._values[edit.name]]
        return apply(self._default, changed_edits)

    def _range(self, label: str, reach: float) -> optuna.distributions.BaseDistribution:
        coordinate = self._space[label]
        value = _number(self._values, coordinate)
        axis = coordinate.axis(value)
        if axis.grid:
            self._choices[label] = _integers(coordinate, int(value), max(reach, 1.0))
            return optuna.distributions.IntDistribution(0, len(self._choices[label]) - 1)
        here = coordinate.encode(value)
        low, high = max(axis.low, here - reach), min(axis.high, here + reach)
        if coordinate.scale == "zero":
            low, high = axis.low, axis.high
        return optuna.distributions.FloatDistribution(low, high)

    def _here(self, label: str) -> float:
        coordinate = self._space[label]
        value = _number(self._values, coordinate)
        if label in self._choices:
            return self._choices[label].index(value)
        return coordinate.encode(value)


def _number(values: Mapping[str, Value], coordinate: Coordinate) -> Number:
    value = values[coordinate.name]
    return value[coordinate.index or 0] if isinstance(value, tuple) else value


def _integers(coordinate: Coordinate, value: int, reach: float) -> list[Number]:
    """Every integer of an axis within reach, steps of the axis's own kind."""
    if coordinate.scale == "power":
        steps = math.floor(reach)
        found = [value * 2**k if k >= 0 else value // 2**-k for k in range(-steps, steps + 1)]
    elif coordinate.scale == "count":
        low, high = math.ceil(value / 2**reach), math.floor(value * 2**reach)
        found = list(range(low, high + 1))
    else:
        found = [coordinate.decode(place) for place in coordinate.axis(value).grid]
    return sorted({n for n in found if max(coordinate.low, 0) <= n <= coordinate.high} | {value})
