"""The tunable constants of a program as coordinates of a search space.

Half of the small edits that people accepted changed constants only. Each number becomes one
coordinate in which a step of 1 means about the same everywhere: a factor of two for rates and
sizes, of the distance to 1 for momenta, of the odds for fractions. Pure.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from skep.ports import Knob
from skep.records import Number, SetConstant
from skep.source import Constant

SIGNIFICANT_DIGITS = 3
NEAR_ONE = 0.8
"""A value between this and 1 is a momentum, whatever its name."""

ZERO_STEP = 1e-3
"""The smallest value that is tried in place of zero; each unit above it is a factor of ten."""

FRACTION_WORDS = frozenset({"FRAC", "FRACTION", "RATIO", "DROPOUT", "DROP"})
MOMENTUM_WORDS = frozenset({"BETA", "BETAS", "BETA1", "BETA2", "MOMENTUM"})

Scale = Literal["log", "momentum", "fraction", "zero", "power", "count"]
Values = Mapping[str, Number | tuple[Number, ...]]


class Axis(Struct, frozen=True):
    """One coordinate: a constant, or one element of a tuple.

    Attributes:
        name: of the constant.
        index: element of a tuple; None for a single number.
        scale: how values map to units.
        integer: whether values are whole numbers.
        low, high: values it may take.
    """

    name: str
    index: int | None
    scale: Scale
    integer: bool
    low: float
    high: float

    def unit(self, value: float) -> float:
        """Coordinate of a value."""
        value = min(max(value, self.low), self.high)
        match self.scale:
            case "momentum":
                return -math.log2(max(1 - value, 1e-6))
            case "fraction":
                inside = min(max(value, 1e-4), 1 - 1e-4)
                return math.log2(inside / (1 - inside))
            case "zero":
                return 0.0 if value < ZERO_STEP else 1.0 + math.log10(value / ZERO_STEP)
        return math.log2(max(abs(value), 1e-12))

    def value(self, unit: float, sign: float = 1.0) -> Number:
        """Value at a coordinate, rounded to what a person would write."""
        match self.scale:
            case "momentum":
                raw = 1 - 2.0**-unit
            case "fraction":
                raw = 1 / (1 + 2.0**-unit)
            case "zero":
                raw = 0.0 if unit < 0.5 else ZERO_STEP * 10 ** max(unit - 1.0, 0.0)
            case "power":
                raw = 2.0 ** round(unit)
            case _:
                raw = 2.0**unit
        if sign < 0:
            return -self._rounded(min(max(raw, -self.high), -self.low))
        return self._rounded(min(max(raw, self.low), self.high))

    def _rounded(self, raw: float) -> Number:
        if self.integer:
            return max(round(raw), math.ceil(self.low))
        if self.scale == "momentum":
            gap = _significant(1 - raw)
            return round(1 - gap, 12)
        return _significant(raw)


def axes(
    constants: Mapping[str, Constant], deny: Collection[str], knobs: Mapping[str, Knob]
) -> tuple[Axis, ...]:
    """Coordinates of a program's constants, in the order of the program.

    Args:
        constants: named constants of the program.
        deny: names that no search may touch.
        knobs: ranges that the task pack states.
    """
    found = []
    for name, constant in constants.items():
        if name in deny:
            continue
        many = isinstance(constant.value, tuple)
        items = constant.value if isinstance(constant.value, tuple) else (constant.value,)
        for index, value in enumerate(items):
            axis = _axis(name, index if many else None, value, knobs.get(name))
            if axis is not None:
                found.append(axis)
    return tuple(found)


def units(space: Sequence[Axis], values: Values) -> list[float]:
    """Coordinates of a program from the values of its constants."""
    return [axis.unit(element(values, axis)) for axis in space]


def element(values: Values, axis: Axis) -> Number:
    """The number that an axis stands for."""
    value = values[axis.name]
    return value[axis.index or 0] if isinstance(value, tuple) else value


def settings(space: Sequence[Axis], point: Sequence[float], base: Values) -> list[SetConstant]:
    """The `set` edits that take a program with constants `base` to a point of the space.

    A coordinate that rounds to what is there already is no edit.
    """
    wanted: dict[str, Number | tuple[Number, ...]] = {}
    for axis, unit in zip(space, point, strict=True):
        old = element(base, axis)
        if abs(axis.unit(old) - unit) < 1e-9:
            continue
        new = axis.value(unit, math.copysign(1, old) if old else 1.0)
        if new == old:
            continue
        current = wanted.get(axis.name, base[axis.name])
        if isinstance(current, tuple):
            i = axis.index or 0
            wanted[axis.name] = (*current[:i], new, *current[i + 1 :])
        else:
            wanted[axis.name] = new
    return [SetConstant(name, value) for name, value in wanted.items()]


def _axis(name: str, index: int | None, value: Number, knob: Knob | None) -> Axis | None:
    integer = isinstance(value, int)
    scale = _scale(name, value)
    if scale is None:
        return None
    low, high = _natural_range(scale, value, integer)
    if knob is not None:
        low, high = max(low, knob.low), min(high, knob.high)
    return Axis(name, index, scale, integer, low, high) if low < high else None


def _scale(name: str, value: Number) -> Scale | None:
    words = set(name.upper().replace(".", "_").split("_"))
    if isinstance(value, int):
        if value < 1:
            return None
        return "power" if value & (value - 1) == 0 and value > 1 else "count"
    if value == 0:
        return "zero"
    if (words & MOMENTUM_WORDS and 0 < value < 1) or NEAR_ONE < value < 1:
        return "momentum"
    if words & FRACTION_WORDS and 0 < value < 1:
        return "fraction"
    return "log"


def _natural_range(scale: Scale, value: Number, integer: bool) -> tuple[float, float]:
    if scale in ("momentum", "fraction"):
        return 0.0, 0.99999
    if scale == "zero":
        return 0.0, 1.0
    if integer:
        return 1.0, 2.0**40
    return (-math.inf, 0.0) if value < 0 else (0.0, math.inf)


def _significant(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
