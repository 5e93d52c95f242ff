"""Numbers for constants, as JSON: the edit of models too small to write code. Pure.

    {"ideas": [{"why": "<hypothesis>", "set": {"LR": 0.006}}]}

What is wanted is what `schema` says, and servers can hold a model to it; what comes is read all the
same with a fence or words around it.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec import Struct

from skep.constants import Value, is_number, outline, shown
from skep.errors import PatchError
from skep.records import Number, SetConstant
from strategies.plain import one_line

SETTINGS_MAX = 8
"""Constants of one idea."""
VALUES_MAX = 64


class Setting(Struct, frozen=True):
    """One idea: a hypothesis, and the constants to set or why they cannot be."""

    hypothesis: str
    edits: tuple[SetConstant, ...]
    fault: str = ""


def schema(names: Collection[str], ideas: int) -> dict[str, Any]:
    """JSON schema of a reply, for a server that holds its model to one.

    Args:
        names: constants that may be set.
        ideas: how many different ones are asked for.
    """
    value = {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]}
    edits = {
        "type": "object",
        "properties": dict.fromkeys(sorted(names), value),
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": SETTINGS_MAX,
    }
    idea = {
        "type": "object",
        "properties": {"why": {"type": "string"}, "set": edits},
        "required": ["why", "set"],
        "additionalProperties": False,
    }
    listed = {"type": "array", "items": idea, "minItems": 1, "maxItems": ideas}
    return {"type": "object", "properties": {"ideas": listed}, "required": ["ideas"]}


def settings(text: str, source: str) -> Iterator[Setting]:
    """The ideas in a reply, in order.

    Args:
        text: the reply.
        source: the program whose constants are set.

    Raises:
        PatchError: the reply is no such JSON.
    """
    plain = _decoded(text)
    ideas = plain.get("ideas") if isinstance(plain, dict) else plain
    if not isinstance(ideas, list):
        raise PatchError("the JSON has no list of ideas", 'Answer {"ideas": [...]}.')
    constants = {name: one.value for name, one in outline(source).constants.items()}
    for idea in ideas:
        why = idea.get("why") if isinstance(idea, dict) else None
        hypothesis = one_line(why) if isinstance(why, str) else ""
        try:
            yield Setting(hypothesis, tuple(_edits(idea, constants)))
        except PatchError as error:
            yield Setting(hypothesis, (), str(error))


def _decoded(text: str) -> object:
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    if not starts:
        raise PatchError("the reply holds no JSON", 'Answer {"ideas": [...]} and nothing else.')
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
    try:
        found, _ = decoder.raw_decode(text, min(starts))
    except (ValueError, RecursionError) as error:
        why = str(error)[:120] or "nested too deeply"
        raise PatchError(f"the reply is no JSON: {why}", "Answer JSON and nothing else.") from None
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _edits(idea: object, constants: Mapping[str, Value]) -> Iterator[SetConstant]:
    wanted = idea.get("set") if isinstance(idea, dict) else None
    if not isinstance(wanted, dict) or not 1 <= len(wanted) <= SETTINGS_MAX:
        raise PatchError(
            f'an idea has no "set" of 1 to {SETTINGS_MAX} constants', 'Write "set": {"NAME": 1.0}.'
        )
    for name, value in wanted.items():
        if name not in constants:
            raise PatchError(
                f"the program has no constant {shown(name)} that could be set",
                f"It has {', '.join(constants)[:400]}.",
            )
        yield SetConstant(name, _fitting(name, value, constants[name]))


def _fitting(name: str, value: object, now: Value) -> Value:
    """A number of the kind that the program has there, or as many of them."""
    if not isinstance(now, tuple):
        return _number(name, value, now)
    if not isinstance(value, list) or len(value) != len(now):
        raise PatchError(f"{name} is set to {shown(value)}", f"It takes {len(now)} numbers.")
    return tuple(_number(name, item, old) for item, old in zip(value, now, strict=True))


def _number(name: str, value: object, now: Number) -> Number:
    if not is_number(value):
        raise PatchError(f"{name} is set to {shown(value)}", "It takes a number.")
    if isinstance(now, float):
        return float(value)
    if value != int(value):
        raise PatchError(f"{name} is set to {shown(value)}", "It takes a whole number.")
    return int(value)
