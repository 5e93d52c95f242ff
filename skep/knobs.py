"""Knobs: numbers that anybody may set in a task's own program without being trusted.

A record may carry `{NAME: number}` for the names in the task's `[knobs]` table. The node renders
the program itself from its own copy and those numbers, so that nothing of a stranger's text is in
it. Every number has one form only: an integer is not taken for a float nor a bool for an integer,
and zero has no sign. Whether a rendered program is worth running is not decided here.
"""

import math
import re
from collections.abc import Mapping

from skep.constants import Value, is_number, outline, shown
from skep.errors import PatchError
from skep.patch import apply
from skep.ports import Knob
from skep.records import Number, SetConstant

_NUMBER = r"-?[0-9][0-9.e+-]{0,30}"
_VALUE = re.compile(rf"{_NUMBER}|\({_NUMBER}(?:, {_NUMBER})*,?\)")
"""How Python writes a number or a tuple of numbers."""


def render(seed_program: str, knobs: Mapping[str, Knob], numbers: Mapping[str, Value]) -> str:
    """The seed program with some of its knobs set; character for character the same elsewhere.

    Args:
        seed_program: the task's own program; it is parsed, so it must be one that is trusted.
        knobs: its table of knobs.
        numbers: what to set, by name. May be anything, whatever the annotation says.

    Raises:
        PatchError: a name that is no knob; a number of another type, or out of its range.
    """
    for name, value in numbers.items():
        if type(name) is not str or name not in knobs:
            raise PatchError(
                f"{shown(name)} is no knob of the task", "Its task.toml lists them under [knobs]."
            )
        _check(name, knobs[name], value)
    tuples = {name: value for name, value in numbers.items() if isinstance(value, tuple)}
    if tuples:
        _check_lengths(seed_program, tuples)
    return apply(seed_program, [SetConstant(name, value) for name, value in numbers.items()])


def numbers_of(
    seed_program: str, knobs: Mapping[str, Knob], source: str
) -> dict[str, Value] | None:
    """The numbers from which `render` makes exactly this text; None where there are none.

    Parses the seed program alone, so the source may be any text of strangers. Numbers that stand
    there as in the seed program are left out.
    """
    try:
        numbers = _differing(seed_program, knobs, source)
        if numbers is None or render(seed_program, knobs, numbers) != source:
            return None
    except (PatchError, ValueError):  # a number out of range; digits that are no number
        return None
    return numbers


def _check(name: str, knob: Knob, value: object) -> None:
    """One value against its line of the table.

    Raises:
        PatchError: says which rule it breaks.
    """
    several = knob.type == "floats"
    items = value if several and type(value) is tuple else (value,)
    kind = int if knob.type == "int" else float
    if several != (type(value) is tuple) or not all(type(item) is kind for item in items):
        wanted = "a tuple of floats" if several else f"one {knob.type}"
        raise PatchError(f"the knob {name} is set to {shown(value)}", f"It takes {wanted}.")
    for item in items:
        if not (is_number(item) and knob.low <= item <= knob.high):
            raise PatchError(
                f"the knob {name} is set to {shown(value)}, out of its range",
                f"It goes from {knob.low:g} to {knob.high:g}.",
            )
        if item == 0 and math.copysign(1, item) < 0:
            raise PatchError(f"the knob {name} is set to -0.0", "Zero is written 0.0.")


def _check_lengths(seed_program: str, tuples: Mapping[str, tuple[Number, ...]]) -> None:
    constants = outline(seed_program).constants
    for name, value in tuples.items():
        own = constants[name].value if name in constants else None
        if not isinstance(own, tuple) or len(own) != len(value):
            raise PatchError(
                f"the knob {name} is set to {shown(value)}",
                f"In the seed program it is {shown(own)}.",
            )


def _differing(
    seed_program: str, knobs: Mapping[str, Knob], source: str
) -> dict[str, Value] | None:
    """What stands in place of the seed program's knobs; None where any other text differs."""
    constants = outline(seed_program).constants
    places = sorted((constants[name] for name in knobs if name in constants), key=lambda c: c.start)
    ends = [*(place.start for place in places), len(seed_program)]
    if not source.startswith(seed_program[: ends[0]]):
        return None
    found: dict[str, Value] = {}
    at = ends[0]
    for place, end in zip(places, ends[1:], strict=True):
        own, following = seed_program[place.start : place.stop], seed_program[place.stop : end]
        if source.startswith(own + following, at):
            at += len(own + following)
            continue
        value = _VALUE.match(source, at)
        if value is None or not source.startswith(following, value.end()):
            return None
        found[place.name] = _read(value[0])
        at = value.end() + len(following)
    return found if at == len(source) else None


def _read(text: str) -> Value:
    """A number or a tuple of numbers as Python writes it.

    Raises:
        ValueError: the digits make no number.
    """
    if text.startswith("("):
        return tuple(_read_number(item) for item in text.strip("(,)").split(", "))
    return _read_number(text)


def _read_number(text: str) -> Number:
    return int(text) if text.removeprefix("-").isdecimal() else float(text)
