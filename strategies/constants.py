"""The tunable constants of a program as coordinates of a search space.

A coordinate measures a constant so that one unit is about a factor of two of what matters in it:
of the value for learning rates, of 1 - x for momenta, of the odds for fractions. One length scale
is then fair to all of them. Which constants exist is read by `skep.constants`; what to try is
decided by `strategies.tune`.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from skep.constants import Value, outline
from skep.errors import PatchError
from skep.fingerprint import digest
from skep.ports import Knob
from skep.records import Number

Scale = Literal["log", "complement", "logit", "zero", "power", "count", "step"]
WHOLE: frozenset[Scale] = frozenset({"power", "count", "step"})
"""Scales of integers."""

FRACTION_WORDS = frozenset({"FRAC", "FRACTION", "RATIO", "DROPOUT"})
MOMENTUM_WORDS = frozenset({"BETA", "BETAS", "MOMENTUM"})
LOG_WORDS = frozenset({"LR", "WD", "WEIGHT", "EPS", "INIT", "SCALE"})
COUNT_WORDS = frozenset({"DEPTH", "LAYER", "LAYERS"})
"""Doubling these is too much, even where they happen to be powers of two."""

REACH = 2.0
"""Half the range around an incumbent in units: from a quarter to four times."""
COUNT_REACH = 0.25
GRID_MAX = 33

ZERO_LOW, ZERO_HIGH = 1e-3, 1e-1
"""What a constant of 0 may become at first, besides 0."""
ZERO_UNIT = 1e-2
"""Where the coordinate of a constant of 0 turns from linear to logarithmic."""

TINY = 1e-300
OUTLINES_CACHED = 4096


class Axis(Struct, frozen=True):
    """What may be tried of one coordinate: a range in units, or a grid of places in it."""

    low: float
    high: float
    grid: tuple[float, ...] = ()

    def nearest(self, place: float) -> float:
        """The allowed place nearest to one."""
        if self.grid:
            return min(self.grid, key=lambda allowed: abs(allowed - place))
        return min(max(place, self.low), self.high)


class Coordinate(Struct, frozen=True):
    """One number of a program as an axis of the search space.

    Attributes:
        name: constant it belongs to.
        index: element of a tuple, None for a plain number.
        scale: how value and place are related.
        sign: -1 for constants below zero, which stay there.
        low, high: what the task allows, as magnitudes (`sign * value`).
    """

    name: str
    index: int | None
    scale: Scale
    sign: int = 1
    low: float = -math.inf
    high: float = math.inf

    def encode(self, value: Number) -> float:
        """Where a value stands on this axis, in units."""
        return SCALES[self.scale][0](self.sign * value)

    def decode(self, place: float) -> Number:
        """The readable value at a place: about three significant digits, within what is allowed."""
        size = min(max(SCALES[self.scale][1](place), self.low), self.high)
        return self.sign * (round(size) if self.scale in WHOLE else float(size))

    def axis(self, value: Number) -> Axis:
        """What to try around an incumbent value."""
        if self.scale in WHOLE:
            places = [self.encode(self.sign * size) for size in self._sizes(abs(round(value)))]
            return Axis(places[0], places[-1], tuple(places))
        here = self.encode(value)
        low, high = here - REACH, here + REACH
        if self.scale == "zero":
            low, high = 0.0, max(high, self.encode(ZERO_HIGH))
        elif self.scale == "complement":
            low = max(low, 0.0)
        encode = SCALES[self.scale][0]
        low, high = max(low, encode(self.low)), min(high, encode(self.high))
        return Axis(min(low, here), max(high, here))

    def _sizes(self, size: int) -> list[int]:
        """The integers to try around one, as magnitudes in ascending order."""
        if self.scale == "power":
            near = {size // 2, size, size * 2}
        else:
            reach = max(1, math.floor(size * COUNT_REACH))
            stride = math.ceil(reach / (GRID_MAX // 2))
            near = {size + sign * step for step in range(0, reach + 1, stride) for sign in (-1, 1)}
        lowest = max(self.low, 0 if self.scale == "step" else 1)
        return sorted({n for n in near if lowest <= n <= self.high} | {size})


class Form(Struct, frozen=True):
    """What tuning needs to know of a program.

    Attributes:
        values: its tunable constants by name.
        skeleton: digest of everything else; programs that share it differ in `values` alone.
    """

    values: Mapping[str, Value]
    skeleton: bytes


@lru_cache(maxsize=OUTLINES_CACHED)
def form(source: str, deny: frozenset[str]) -> Form | None:
    """Take a program apart; None for one that is not Python.

    Args:
        source: the program.
        deny: names of constants and fields that are none of a search's business.
    """
    try:
        found = outline(source)
    except PatchError:
        return None
    tunable = {
        name: constant
        for name, constant in found.constants.items()
        if (constant.field or "." not in name) and not {name, name.rpartition(".")[2]} & deny
    }
    numbers = [number for constant in tunable.values() for number in constant.numbers]
    values = {name: constant.value for name, constant in tunable.items()}
    return Form(values, digest(found.tree, numbers))


def coordinates(values: Mapping[str, Value], knobs: Mapping[str, Knob]) -> tuple[Coordinate, ...]:
    """The axes along which these constants can be moved.

    Args:
        values: constants of the incumbent.
        knobs: ranges that the task allows, by name.
    """
    found: list[Coordinate] = []
    for name, value in values.items():
        items = value if isinstance(value, tuple) else (value,)
        for index, item in enumerate(items):
            sign = -1 if item < 0 else 1
            low, high = -math.inf, math.inf
            if name in knobs:
                low, high = sorted((sign * knobs[name].low, sign * knobs[name].high))
            scale = scale_of(name, item)
            if words(name) & FRACTION_WORDS:
                high = min(high, max(1.0, abs(item)))
            place = index if isinstance(value, tuple) else None
            found.append(Coordinate(name, place, scale, sign, low, high))
    return tuple(found)


def scale_of(name: str, value: Number) -> Scale:
    """How a constant wants to be moved, by its name and what it is now."""
    inside = words(name)
    if isinstance(value, int):
        if value <= 0:
            return "step"
        is_power = value > 1 and value & (value - 1) == 0
        return "power" if is_power and not inside & COUNT_WORDS else "count"
    if value == 0:
        return "zero"
    if inside & FRACTION_WORDS and 0 < value < 1:
        return "logit"
    if inside & MOMENTUM_WORDS and 0 < value < 1:
        return "complement"
    return "complement" if 0.8 < value < 1 and not inside & LOG_WORDS else "log"


def words(name: str) -> frozenset[str]:
    """The words of a name without digits at their ends: `ADAM_BETA1` holds BETA."""
    parts = name.rpartition(".")[2].upper().split("_")
    return frozenset(part.rstrip("0123456789") for part in parts)


# Scales: from a magnitude to a place in units, and back to a readable magnitude.


def _rounded(x: float) -> float:
    return float(f"{x:.3g}")


def _one_minus(x: float) -> float:
    """1 - x, with two significant digits in x: 0.951, 0.9975."""
    digits = 1 - math.floor(math.log10(x))
    return round(1 - x, digits)


def _log(x: float) -> float:
    return math.log2(max(x, TINY))


def _complement(x: float) -> float:
    return -_log(1 - x)


def _logit(x: float) -> float:
    return _log(x) - _log(1 - x)


def _from_logit(place: float) -> float:
    odds = 2.0**place
    return _rounded(odds / (1 + odds)) if odds < 1 else _one_minus(1 / (1 + odds))


def _zero(x: float) -> float:
    return math.log2(1 + max(x, 0.0) / ZERO_UNIT)


def _from_zero(place: float) -> float:
    x = ZERO_UNIT * (2.0**place - 1)
    return 0.0 if x < ZERO_LOW / 2 else max(_rounded(x), ZERO_LOW)


SCALES: dict[Scale, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "log": (_log, lambda place: _rounded(2.0**place)),
    "complement": (_complement, lambda place: _one_minus(2.0**-place)),
    "logit": (_logit, _from_logit),
    "zero": (_zero, _from_zero),
    "power": (_log, lambda place: 2.0**place),
    "count": (_log, lambda place: 2.0**place),
    "step": (float, float),
}
