"""The tunable constants of a program as coordinates of a search space.

A coordinate measures a constant so that one unit is about a factor of two of what matters in it:
of the value for learning rates, of 1 - x for momenta, of the odds for fractions. One length scale
is then fair to all of them. Which constants exist is read by `skep.constants`; what to try is
decided by `strategies.tune`.
"""

import math
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from skep.constants import Outline, Value, outline
from skep.errors import PatchError
from skep.fingerprint import digest
from skep.ports import Knob
from skep.records import Number

Scale = Literal["log", "complement", "logit", "zero", "power", "count", "step"]

FRACTION_WORDS = frozenset({"FRAC", "FRACTION", "RATIO", "DROPOUT", "PROB"})
MOMENTUM_WORDS = frozenset({"BETA", "BETAS", "MOMENTUM"})
LOG_WORDS = frozenset({"LR", "WD", "WEIGHT", "EPS", "INIT", "SCALE"})
COUNT_WORDS = frozenset({"DEPTH", "LAYER", "LAYERS"})
"""Doubling these multiplies time and memory, even where they happen to be powers of two."""

REACH = 2.0
"""Half the range around the incumbent in units: from a quarter to four times."""
COUNT_REACH = 0.25
CHOICES_MAX = 33

ZERO_LOW, ZERO_HIGH, ZERO_UNIT = 1e-3, 1e-1, 1e-2
"""What a constant of 0 may become, and where its coordinate turns from linear to logarithmic."""

FLOOR = 1e-12
OUTLINES_CACHED = 2048


class Coordinate(Struct, frozen=True):
    """One number of a program as an axis of the search space.

    Attributes:
        name: constant it belongs to.
        index: element of a tuple, None for a plain number.
        scale: how value and coordinate are related.
        sign: -1 for constants below zero, which keep their sign.
        low, high: values allowed by the task, whatever the incumbent is.
    """

    name: str
    index: int | None
    scale: Scale
    sign: int = 1
    low: float = -math.inf
    high: float = math.inf

    @property
    def whole(self) -> bool:
        """Whether it takes integers only."""
        return self.scale in ("power", "count", "step")

    def encode(self, value: Number) -> float:
        """Where a value stands on this axis, in units."""
        if self.scale == "step":
            return float(value)
        x = max(self.sign * value, FLOOR)
        if self.scale == "zero":
            return math.log2(1 + max(value, 0) / ZERO_UNIT)
        if self.scale == "complement":
            return -math.log2(max(1 - x, FLOOR))
        if self.scale == "logit":
            return math.log2(x / max(1 - x, FLOOR))
        return math.log2(x)

    def decode(self, place: float) -> Number:
        """The readable value at a place: three significant digits, within what is allowed."""
        if self.scale == "step":
            value: float = place
        elif self.scale == "zero":
            value = ZERO_UNIT * (2**place - 1)
            value = 0.0 if value < ZERO_LOW / 2 else max(_rounded(value), ZERO_LOW)
        elif self.scale == "complement":
            value = _rounded_complement(2**-place)
        elif self.scale == "logit":
            odds = 2**place
            value = _rounded(odds / (1 + odds)) if odds < 1 else _rounded_complement(1 / (1 + odds))
        else:
            value = self.sign * (2**place if self.whole else _rounded(2**place))
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else float(value)

    def box(self, value: Number) -> tuple[float, float]:
        """The range to search around an incumbent value, in units."""
        here = self.encode(value)
        if self.whole:
            choices = self.choices(value)
            return choices[0], choices[-1]
        low, high = here - REACH, here + REACH
        if self.scale == "zero":
            low, high = 0.0, max(high, self.encode(ZERO_HIGH))
        elif self.scale == "complement":
            low = max(low, 0.0)
        ends = sorted(
            self.encode(bound)
            for bound in (self.low, self.high)
            if math.isfinite(bound) and bound * self.sign >= 0
        )
        del ends
        return low, high

    def choices(self, value: Number) -> tuple[float, ...]:
        """The places of the integers to choose from around an incumbent, in units, ascending."""
        whole = round(value)
        if self.scale == "power":
            values = [whole // 2, whole, whole * 2]
        else:
            reach = max(1, math.floor(abs(whole) * COUNT_REACH))
            stride = math.ceil((2 * reach + 1) / CHOICES_MAX)
            values = list(range(whole - reach, whole + reach + 1, stride))
        lowest = 1 if self.scale != "step" else min(whole, 0)
