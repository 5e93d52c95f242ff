"""The result block: what a program that scores itself prints when it is done.

    ---
    val_bpb:          0.997900
    training_seconds: 300.1

A line of three dashes, then `key: number` lines, as karpathy/autoresearch and its forks print
them. A run without a line for the metric has crashed; one that prints `FAIL`, or a number that is
none, has diverged. Nothing here believes the number: it is the program's own word.
"""

import math
import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

RULE = "---"
FAILURE = "FAIL"
_FIELD = re.compile(
    r"\s*(\w+)\s*:\s*([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?|[-+]?(?:nan|inf))\s*",
    re.IGNORECASE | re.ASCII,
)


class Block(Struct, frozen=True):
    """What was read.

    Attributes:
        status: `done` with a value; `nan` where the program says that it diverged or prints a
            number out of range; `crash` where there is no number.
        value: the metric, finite; None unless done.
        numbers: every key of the block with its number, also where the metric is missing.
    """

    status: Literal["done", "nan", "crash"]
    value: float | None
    numbers: Mapping[str, float]


def read_block(
    output: str, metric: str, believable: tuple[float, float] = (-math.inf, math.inf)
) -> Block:
    """Read the last block of a program's output that names the metric.

    Args:
        output: what the program printed; anything may stand before and after the block.
        metric: key of the line that counts.
        believable: lowest and highest value that the metric can have.
    """
    blocks: list[dict[str, float]] = []
    failed = False
    for line in output.splitlines():
        failed = failed or line.strip() == FAILURE
        if line.strip() == RULE:
            blocks.append({})
        elif blocks and (match := _FIELD.fullmatch(line)):
            blocks[-1][match[1]] = float(match[2])
    numbers = next((block for block in reversed(blocks) if metric in block), None)
    if numbers is None:
        return Block("nan" if failed else "crash", None, blocks[-1] if blocks else {})
    value = numbers[metric]
    if not math.isfinite(value) or not believable[0] <= value <= believable[1]:
        return Block("nan", None, numbers)
    return Block("done", value, numbers)
