"""What a check of `skep doctor` finds. Values; the checks are in `node.doctor` and `node.reach`."""

from typing import Literal

from msgspec import Struct

State = Literal["ok", "warn", "bad"]


class Check(Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        name: what.
        state: `ok`, `warn` (works, but worse than it could) or `bad` (a node would not run).
        finding: what was found, one clause.
        fix: what to do about it; empty where nothing needs doing.
    """

    name: str
    state: State
    finding: str
    fix: str = ""
