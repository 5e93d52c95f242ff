"""What `skep join` shows while it runs: a table of slots on a terminal, else one line per event.

Both views take the node's events and hold nothing but what they show. Programs and their output
never reach them; notes are one printable line by the time they are in an event.
"""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from node.cli.output import duration, number, short
from node.experiment import value_of
from skep.events import (
    Best,
    Event,
    Finished,
    Judged,
    Met,
    Paused,
    Progressed,
    Said,
    Started,
)
from skep.ports import Progress

VERDICTS_SHOWN = 6
VERDICT_STYLES = {"keep": "bold green", "discard": "dim", "crash": "red"}


class View(Protocol):
    """Somebody who is shown every event."""

    def show(self, event: Event) -> None:
        """Take note of one event."""
        ...


class Lines:
    """One line for every finished run, verdict and message; for logs and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._notes: dict[str, str] = {}

    def show(self, event: Event) -> None:
        """Print the event's line, if it has one; see `View`."""
        if isinstance(event, Started):
            self._notes[event.job] = event.note
        line = self._line(event)
        if line:
            print(line, file=self._out, flush=True)

    def _line(self, event: Event) -> str:
        match event:
            case Finished():
                note = self._notes.pop(event.job, "")
                return f"run      {_finished(event)}" + (f"  {note}" if note else "")
            case Judged():
                return f"verdict  {_verdict(event)}"
            case Best() if event.value is not None:
                return f"best     {short(event.program)}  {number(event.value, '.6f')}"
            case Paused():
                return "paused" if event.paused else "resumed"
            case Said():
                return event.text
        return ""


class Row:
    """What one slot is doing."""

    def __init__(self, event: Started) -> None:
        self.started = event
        self.progress = Progress(phase="starting")

    def cells(self) -> tuple[str, ...]:
        """Texts of the slot's row in the table."""
        now, event = self.progress, self.started
        steps = f"{now.step}/{now.steps}" if now.steps else ""
        left = "" if now.left_s is None else duration(now.left_s)
        loss = "" if now.loss is None else number(now.loss, ".3f")
        what = event.note or event.purpose
        return (now.phase, steps, loss, left, event.strategy, f"{short(event.program)} {what}")


class Screen:
    """A table of slots that is drawn over, with the last verdicts and the best so far."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._rows: dict[int, Row] = {}
        self._verdicts: deque[Judged] = deque(maxlen=VERDICTS_SHOWN)
        self._judged = self._kept = 0
        self._best: Best | None = None
        self._paused = False
        self._peers: int | None = None
        self._since = time.monotonic()

    def show(self, event: Event) -> None:
        """Draw the picture with this event in it; see `View`."""
        if isinstance(event, Said):
            style = "bold white on red" if event.alarm else ""
            self._live.console.print(Text(event.text, style))
        self._take(event)
        self._live.update(self.picture(), refresh=True)

    def _take(self, event: Event) -> None:
        match event:
            case Started():
                self._rows[event.slot] = Row(event)
            case Progressed():
                if event.slot in self._rows:
                    self._rows[event.slot].progress = event.progress
            case Finished():
                self._rows.pop(event.slot, None)
            case Judged():
                self._verdicts.append(event)
                self._judged += 1
                self._kept += event.verdict == "keep"
            case Best():
                self._best = event
            case Paused():
                self._paused = event.paused
            case Met():
                self._peers = event.peers

    def picture(self) -> RenderableType:
        """The slots, the last verdicts, and one line about all of it."""
        slots = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        # Widths that fit what usually comes, so that columns do not jump about.
        for name, width in (("slot", 4), ("phase", 11), ("step", 11), ("loss", 6), ("left", 6)):
            slots.add_column(name, no_wrap=True, min_width=width)
        slots.add_column("strategy", no_wrap=True)
        slots.add_column("experiment", no_wrap=True, overflow="ellipsis", ratio=1)
        for slot, row in sorted(self._rows.items()):
            slots.add_row(str(slot), *(Text(cell) for cell in row.cells()))
        verdicts = [
            Text(
                _verdict(event),
                style=VERDICT_STYLES[event.verdict],
                no_wrap=True,
                overflow="ellipsis",
            )
            for event in self._verdicts
        ]
        return Group(slots, *verdicts, Text(self._summary(), style="bold"))

    def _summary(self) -> str:
        found = self._best
        known = found is not None and found.value is not None
        best = f"{number(found.value)} by {short(found.program)}" if found and known else "-"
        state = "paused" if self._paused else duration(time.monotonic() - self._since)
        peers = "" if self._peers is None else f"  ·  peers {self._peers}"
        return f"{state}  ·  {self._judged} judged, {self._kept} kept  ·  best so far {best}{peers}"


@contextlib.contextmanager
def view(out: TextIO | None = None) -> Iterator[View]:
    """The view that fits standard output (or `out`), until the node has ended."""
    out = out or sys.stdout
    if not out.isatty():
        yield Lines(out)
        return
    console = Console(file=out, highlight=False, markup=False, emoji=False)
    # Drawn on events only: the refreshing thread of rich would draw behind trio's back.
    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield Screen(live)


def _finished(event: Finished) -> str:
    run = event.run
    result = number(value_of(run), ".6f") if run.status == "done" else f"{run.status}: {run.note}"
    return f"{short(run.program)}  {event.purpose:<8}  {result}"


def _verdict(event: Judged) -> str:
    note = f"  {event.note}" if event.note else ""
    return f"{short(event.program)}  {event.verdict:<7}  {event.reason}{note}"
