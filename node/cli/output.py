"""How commands print: one JSON document, or text for people without colour off a terminal."""

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.export.documents import json_text
from node.history import Experiment

if TYPE_CHECKING:
    from rich.console import Console

SHORT_DIGITS = 8

AsJson = Annotated[bool, Parameter(name="--json", negative="")]
TaskName = Annotated[str | None, Parameter(name="--task")]


def emit(document: object) -> None:
    """Print a document as JSON and nothing else."""
    sys.stdout.write(json_text(document))


def say(text: str = "") -> None:
    """Print a line of text."""
    sys.stdout.write(f"{text}\n")


def short(content_id: bytes | None) -> str:
    """The digits of an id that people see."""
    return content_id.hex()[:SHORT_DIGITS] if content_id else "-"


def number(value: float | None, form: str = ".4f") -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min`, `2.5 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def printable(text: str) -> str:
    """Lines of a program's output without what could steer a terminal."""
    lines = text.replace("\t", "    ").splitlines()
    return "\n".join("".join(c for c in line if c.isprintable()) for line in lines)


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns; pairs without a value are left out."""
    margin = max((len(name) for name, value in pairs if value), default=0)
    for name, value in pairs:
        if value:
            say(f"{name:<{margin}}  {value}")


def console() -> "Console":
    """A rich console that colours on a terminal and interprets nothing."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[str]) -> None:
    """Print a table as wide as its content; on a terminal the last column is cut at the edge.

    Args:
        columns: headings.
        rows: cells, as many as there are columns.
        words: headings of the columns that hold text; all others hold numbers.
    """
    lines = [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for cells in lines:
        padded = [
            f"{cell:<{width}}" if name in words else f"{cell:>{width}}"
            for name, cell, width in zip(columns, cells, widths, strict=True)
        ]
        line = "  ".join(padded).rstrip()
        say(line if edge is None or len(line) <= edge else f"{line[: edge - 1]}…")


def experiments(rows: Sequence[Experiment], metric: str) -> None:
    """Print experiments one line each."""
    table(
        ("#", "program", metric, "Δ", "σ", "e", "runs", "verdict", "description"),
        [
            (
                str(row.number),
                short(row.program),
                number(row.value),
                number(row.delta, "+.4f"),
                number(row.sigmas, "+.1f"),
                number(row.e, ".3g"),
                str(len(row.runs)),
                row.verdict,
                row.description,
            )
            for row in rows
        ],
        words=("program", "verdict", "description"),
    )
