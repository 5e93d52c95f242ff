"""`skep graph`: what the champion is made of, which edit needs which, and what each is worth."""

import sys
from collections.abc import Sequence
from pathlib import Path

from node.cli.output import AsJson, TaskName, emit, say
from node.cli.reading import NOTHING_YET, Reading, reading
from node.export.graph import ASCII, UNICODE, graph_document, graph_text
from node.graph import Graph
from node.graph import graph as graph_of
from node.history import History
from node.home import write_atomic
from skep.errors import ConfigError
from skep.records import Edit

NOTHING_KEPT = "no edit was kept yet: the champion is the start program"


def graph(file: Path | None = None, /, *, task: TaskName = None, json: AsJson = False) -> None:
    """What the champion is made of: kept edits, which needs which, and what each still gains.

    Args:
        file: SVG file to write; without one the graph goes to the terminal.
        task: name or id of the task; by default the one joined last.
        json: print a JSON object, or null.
    """
    if file is not None and file.suffix != ".svg":
        raise ConfigError(f"the graph is an SVG file, not {file.name}", "Name it FILE.svg.")
    with reading() as home:
        found = home.history(task)
        drawn = _drawn(home, found) if found is not None else None
    if json:
        emit(graph_document(found, drawn) if found and drawn else None)
    elif found is None or drawn is None:
        say(NOTHING_YET)
    elif not drawn.nodes:
        say(NOTHING_KEPT)
    elif file is None:
        unicode = "utf" in (sys.stdout.encoding or "").lower()
        say(graph_text(found, drawn, UNICODE if unicode else ASCII))
    else:
        from node.export.graph_svg import graph_svg

        write_atomic(file, graph_svg(found, drawn))
        say(f"wrote {file}")


def _drawn(home: Reading, found: History) -> Graph:
    made: dict[bytes, tuple[bytes, Sequence[Edit]]] = {}
    for _, run in home.ledger.runs(found.task.id):
        if run.parent is not None:
            made.setdefault(run.program, (run.parent, run.edits))
    programs = home.ledger.programs()

    def text(program: bytes) -> str | None:
        known = programs.get(program)
        return known.source if known else None

    return graph_of(found, text, made)
