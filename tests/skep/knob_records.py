"""Mutated records that set knobs, from bytes to a rendered program, as a node would read them.

Each record sets some knobs of the shipped task `stories`, and is changed in its names, types,
values or encoding. Whatever the decoder and `render` let through must be the seed program with
those numbers in their ranges; that is judged here line by line, by other means than theirs.
"""

import ast
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack

from gossip.wire import decode
from skep.errors import PatchError, RecordError
from skep.knobs import render
from skep.ports import Knob
from skep.records import SetConstant, encode_body
from tests.factories import make_run
from tests.gossip.scenes import make_record
from trainer.task import load

FACTS = load("stories", home=Path()).facts
SEED, KNOBS = FACTS.seed_program, FACTS.knobs
SIGNATURE = bytes(64)
KNOB_LINE = re.compile(r"([A-Z_]+) = ([-0-9.e+, ()]+?)((?:  #.*)?\n)")

NAMES = [
    *("", "L", "lr", "LR ", "LR\n", "LR=1#", "\uff2c\uff32", "D\u0415PTH", "__name__", "math"),
    *("torch", "Block", "train", "Block.qkv", "x" * 128, "x" * 129, "\ud800", "\u200bLR"),
    *(b"LR", 1, 1.0, None, True, ["LR"], {"LR": 1}),
]
NUMBERS = [
    *(0, 1, -1, 0.0, -0.0, 1.0, 1e-300, 5e-324, 1e308, math.inf, -math.inf, math.nan),
    *(2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), True, False),
]
VALUES = [
    *("0.01", "{1}", "https://example.org", b"0.01", None, {}, {"a": 1}, [], [[0.9], [0.95]]),
    *([0.9], [0.9, 0.95, 0.9], [0.9, "0.95"], [0.9] * 256, [0.9] * 257, [0, 1], [True, 0.9]),
    *(msgpack.ExtType(1, b"x"), msgpack.Timestamp(1, 1), *NUMBERS, *([n, 0.9] for n in NUMBERS)),
]

Fields = dict[Any, Any]


def campaign(count: int, seed: int) -> Counter[str]:
    """Send so many mutated records through; how many ended in which way.

    Raises:
        AssertionError: something else than the seed program was rendered; names the record.
    """
    ends: Counter[str] = Counter()
    for number in range(count):
        body = mutated(random.Random(f"{seed}/{number}"))
        end, text, numbers = rendered(body)
        ends[end] += 1
        good = end != "rendered" or is_seed_with(text, numbers)
        assert good, f"record {number} of seed {seed}: {numbers}"
    return ends


def rendered(body: bytes) -> tuple[str, str, Mapping[str, Any]]:
    """How a record ends, the program that it renders, and the numbers that it carries."""
    try:
        edits = decode(SIGNATURE + body).run.edits
    except RecordError:
        return "no record", "", {}
    numbers = {edit.name: edit.value for edit in edits if isinstance(edit, SetConstant)}
    if len(numbers) < len(edits):
        return "a name twice, or a hunk", "", {}
    try:
        return "rendered", render(SEED, KNOBS, numbers), numbers
    except PatchError:
        return "out of the table", "", {}


def is_seed_with(
    text: str,
    numbers: Mapping[str, Any],
    seed: str = SEED,
    knobs: Mapping[str, Knob] = KNOBS,
) -> bool:
    """Whether a text is the seed program line by line, but for these numbers, each in its range."""
    ours, theirs = seed.splitlines(keepends=True), text.splitlines(keepends=True)
    missing = set(numbers)
    for our, their in zip(ours, theirs, strict=False):
        if our == their and our.partition(" = ")[0] not in numbers:
            continue
        before, after = KNOB_LINE.fullmatch(our), KNOB_LINE.fullmatch(their)
        if before is None or after is None or before.group(1, 3) != after.group(1, 3):
            return False
        name = after[1]
        value = ast.literal_eval(after[2])
        if name not in missing or repr(value) != repr(numbers[name]):
            return False
        if not _fits(value, knobs[name], ast.literal_eval(before[2])):
            return False
        missing.discard(name)
    return len(ours) == len(theirs) and not missing


def _fits(value: Any, knob: Knob, own: Any) -> bool:
    items, ours = (v if isinstance(v, tuple) else (v,) for v in (value, own))
    same = [type(item) for item in items] == [type(item) for item in ours]
    return same and all(knob.low <= item <= knob.high for item in items)


def mutated(rng: random.Random) -> bytes:
    """A record of numbers within the table, changed up to three times."""
    names = rng.sample(sorted(KNOBS), rng.randint(1, 4))
    edits = [{"edit": "set", "name": name, "value": _number(rng, KNOBS[name])} for name in names]
    changes = rng.choices([0, 1, 2, 3], [3, 5, 2, 1])[0]
    for _ in range(changes):
        rng.choice(CHANGES)(rng, edits)
    fields = msgpack.unpackb(encode_body(make_record(make_run("p"))))
    fields["payload"]["edits"] = edits
    body = _packed(fields, single=rng.random() < 0.05)
    return _damaged(rng, body) if rng.random() < 0.15 else body


def _packed(fields: Fields, *, single: bool) -> bytes:
    """As msgpack; floats in 32 bits, which no record may have, where they fit."""
    try:
        packed = msgpack.packb(fields, use_single_float=single, unicode_errors="surrogatepass")
    except OverflowError:
        return _packed(fields, single=False)
    return bytes(packed)


def _number(rng: random.Random, knob: Knob) -> Any:
    """A value in the range of a knob, quite often its end."""
    if knob.type == "int":
        return rng.choice(
            [int(knob.low), int(knob.high), rng.randint(int(knob.low), int(knob.high))]
        )
    if knob.type == "floats":
        return [rng.uniform(knob.low, knob.high) for _ in range(2)]
    return rng.choice([knob.low, knob.high, rng.uniform(knob.low, knob.high)])


def _rename(rng: random.Random, edits: list[Fields]) -> None:
    rng.choice(edits)["name"] = rng.choice([*NAMES, *KNOBS])


def _misspell(rng: random.Random, edits: list[Fields]) -> None:
    edit = rng.choice(edits)
    if isinstance(edit.get("name"), str):
        at = rng.randint(0, len(edit["name"]))
        edit["name"] = edit["name"][:at] + rng.choice("A_ 1\0\t\u202e\u0130") + edit["name"][at:]


def _replace(rng: random.Random, edits: list[Fields]) -> None:
    rng.choice(edits)["value"] = rng.choice(VALUES)


def _nudge(rng: random.Random, edits: list[Fields]) -> None:
    """Just over an end of the range, or the same number as another type."""
    edit = rng.choice(edits)
    knob = KNOBS.get(edit["name"]) if isinstance(edit.get("name"), str) else None
    if knob is not None:
        over, under = math.nextafter(knob.high, math.inf), math.nextafter(knob.low, -math.inf)
        edit["value"] = rng.choice(
            [over, under, [over, 0.9], int(knob.high) + 1, int(knob.low) - 1, float(knob.high), 1]
        )


def _shape(rng: random.Random, edits: list[Fields]) -> None:
    edit = rng.choice(edits)
    if rng.random() < 0.5:
        edit[rng.choice(["edit", "name", "value", "more", b"name"])] = rng.choice(
            ["hunk", "set", 1]
        )
    else:
        edit.pop(rng.choice(sorted(key for key in edit if isinstance(key, str))), None)


def _repeat(rng: random.Random, edits: list[Fields]) -> None:
    edits += [dict(rng.choice(edits))] * rng.choice([1, 1, 130])


CHANGES: list[Callable[[random.Random, list[Fields]], None]] = [
    *(_rename, _misspell, _replace, _replace, _nudge, _nudge, _shape, _repeat),
]


def _damaged(rng: random.Random, body: bytes) -> bytes:
    """Some bytes about the edits changed, left out or put in."""
    damaged = bytearray(body)
    start = body.index(b"edits")
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(start, min(start + 200, len(damaged)))
        damaged[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
    return bytes(damaged)
