"""What planner and critic answer: hypotheses and findings, a line each. Pure.

Lines that begin as asked are read, and everything else is passed over: chatter is no thought, and
no line of it is ever published.
"""

import math
import re
from typing import Literal

from msgspec import Struct

from skep.errors import PatchError
from strategies.plain import one_line
from strategies.reply.text import cleaned

HYPOTHESES_MAX = 8
LINE_LOOKED_AT = 1000
GAIN_MAX = 20.0
"""No edit gains more sigma; who expects more has not understood."""

LEAD = r"[\s>#*_\d.)-]*+{word}[*_]*+:[\s*_]*+(?P<text>.*)"
HYPOTHESIS = re.compile(LEAD.format(word="HYPOTHESIS"), re.IGNORECASE)
FINDING = re.compile(LEAD.format(word="FINDING"), re.IGNORECASE)
NEXT = re.compile(LEAD.format(word="(?P<kind>ABLATE|FOLLOW)"), re.IGNORECASE)
EXPECT = re.compile(r"\**EXPECT\**:\s*+\**\s*+-?(?P<gain>\d{1,4}(?:\.\d{1,6})?).*", re.IGNORECASE)


class Hypothesis(Struct, frozen=True):
    """What a planner wants tested, and the gain it expects in sigma; None if it names none."""

    text: str
    gain: float | None


class Finding(Struct, frozen=True):
    """What a critic learnt, and what should follow: a kind with its words, or nothing."""

    text: str
    next: Literal["", "ablate", "follow"] = ""
    wish: str = ""


def hypotheses(reply: str) -> tuple[Hypothesis, ...]:
    """Hypotheses of a planner in order, none twice.

    Raises:
        PatchError: there is none.
    """
    found: dict[str, Hypothesis] = {}
    for row in cleaned(reply):
        matched = HYPOTHESIS.fullmatch(row[:LINE_LOOKED_AT].rstrip())
        if matched and len(found) < HYPOTHESES_MAX:
            words, _, rest = matched["text"].partition("|")
            text = one_line(words.strip(" *_"))
            if text and not text.startswith("<"):
                found.setdefault(text.casefold(), Hypothesis(text, _gain(rest)))
    if not found:
        raise PatchError("the reply holds no line `HYPOTHESIS: ...`", "Answer only such lines.")
    return tuple(found.values())


def finding(reply: str) -> Finding:
    """What a critic says: its first finding, and the first thing that should follow.

    Raises:
        PatchError: there is none.
    """
    text, kind, wish = "", "", ""
    for row in cleaned(reply):
        row = row[:LINE_LOOKED_AT].rstrip()
        if not text and (matched := FINDING.fullmatch(row)):
            text = one_line(matched["text"].strip(" *_"))
        elif not wish and (matched := NEXT.fullmatch(row)):
            kind, wish = matched["kind"].casefold(), one_line(matched["text"].strip(" *_"))
    if not text or text.startswith("<"):
        raise PatchError("the reply holds no line `FINDING: ...`", "Answer only such lines.")
    if not wish or wish.startswith("<"):
        return Finding(text)
    return Finding(text, "ablate" if kind == "ablate" else "follow", wish)


def _gain(text: str) -> float | None:
    matched = EXPECT.fullmatch(text.strip())
    gain = float(matched["gain"]) if matched else math.inf
    return gain if gain <= GAIN_MAX else None
