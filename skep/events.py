"""What happened in a node, as frozen values: the one stream behind terminal, log and exports.

Events are for showing. Nothing durable is decided from them: the ledger is.
"""

from typing import Literal

from msgspec import Struct

from skep.ports import Progress
from skep.records import Run

Purpose = Literal["baseline", "screen", "rerun"]
Verdict = Literal["keep", "discard", "crash"]


class Started(Struct, frozen=True, kw_only=True):
    """A slot took up an experiment."""

    slot: int
    job: str
    program: bytes
    strategy: str
    purpose: Purpose
    note: str


class Progressed(Struct, frozen=True, kw_only=True):
    """A running experiment gave a sign of life."""

    slot: int
    job: str
    progress: Progress


class Finished(Struct, frozen=True, kw_only=True):
    """A run is durable in the ledger; `id` is its record id."""

    slot: int
    job: str
    id: bytes
    run: Run
    purpose: Purpose


class Judged(Struct, frozen=True, kw_only=True):
    """The verdict on a proposal is in (it may be asked again only by new runs).

    Attributes:
        number: how many proposals have been judged, this one included.
        verdict: keep, discard or crash, as people know them from results.tsv.
        reason: the numbers behind it in one clause.
    """

    program: bytes
    number: int
    verdict: Verdict
    reason: str
    note: str


class Best(Struct, frozen=True, kw_only=True):
    """The program this node builds on, by what its own runs support; at the start and at changes.

    Attributes:
        program: content id of the champion.
        value: its mean score on the pinned draw, screen left out; None before its first run.
    """

    program: bytes
    value: float | None


class Paused(Struct, frozen=True):
    """The node stopped (`paused`) or resumed all experiments."""

    paused: bool


class Said(Struct, frozen=True):
    """One line for the person watching; an alarm must not be overlooked."""

    text: str
    alarm: bool = False


class Met(Struct, frozen=True):
    """The number of connected peers changed."""

    peers: int


Event = Started | Progressed | Finished | Judged | Best | Paused | Said | Met
