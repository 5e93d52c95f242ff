"""`skep runs`, `best`, `lineage`, `plot` and `export`: what came out, in rows and pictures."""

import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from node.cli import output
from node.cli.output import AsJson, TaskName, emit, facts, number, say, short
from node.cli.reading import NOTHING_YET, Reading, reading
from node.export.documents import (
    archive_document,
    experiment_document,
    experiments_csv,
    json_text,
)
from node.export.results import results_tsv
from node.history import Experiment, History
from node.home import write_atomic
from skep.errors import ConfigError

TextFormat = Literal["results.tsv", "csv", "json"]
ExportFormat = TextFormat | Literal["archive"]


def runs(*, task: TaskName = None, json: AsJson = False) -> None:
    """Every experiment, one line each: what was changed, what came of it, and the verdict.

    Args:
        task: name or id of the task; by default the one joined last.
        json: print a JSON array.
    """
    with reading() as home:
        _list(home, home.history(task), everything=True, json=json)


def lineage(*, task: TaskName = None, json: AsJson = False) -> None:
    """The kept edits that lead from the start program to the champion.

    Args:
        task: name or id of the task; by default the one joined last.
        json: print a JSON array.
    """
    with reading() as home:
        _list(home, home.history(task), everything=False, json=json)


def best(
    *,
    source: Annotated[bool, Parameter(negative="")] = False,
    task: TaskName = None,
    json: AsJson = False,
) -> None:
    """The champion: the best program that this node reproduced.

    Args:
        source: print the program itself, as in `skep best --source > train.py`.
        task: name or id of the task; by default the one joined last.
        json: print a JSON object, or null.
    """
    with reading() as home:
        found = home.history(task)
        if found is None:
            emit(None) if json else say(NOTHING_YET)
            return
        champion = found.lineage[-1] if found.lineage else None
        if champion is None:
            emit(None) if json else say("no baseline yet: the first runs are still going")
        elif json:
            emit(experiment_document(champion, home.ledger))
        elif source:
            sys.stdout.write(home.source(champion.program))
        else:
            _show_best(found, champion)


def plot(file: Path | None = None, /, *, task: TaskName = None) -> None:
    """Draw the search: every experiment, what was kept, and the champion's line.

    Args:
        file: SVG file to write; without one the plot goes to the terminal.
        task: name or id of the task; by default the one joined last.
    """
    if file is not None and file.suffix != ".svg":
        raise ConfigError(f"the plot is an SVG file, not {file.name}", "Name it FILE.svg.")
    with reading() as home:
        found = home.history(task)
        if found is None:
            say(NOTHING_YET)
        elif file is None:
            from node.export.chart import ASCII, UNICODE, chart

            unicode = "utf" in (sys.stdout.encoding or "").lower()
            width = shutil.get_terminal_size().columns
            say(chart(found, width, UNICODE if unicode else ASCII))
        else:
            from node.export.plot import plot_svg

            write_atomic(file, plot_svg(found))
            say(f"wrote {file}")


def export(
    form: Annotated[ExportFormat, Parameter(name="FORMAT")],
    file: Path | None = None,
    /,
    *,
    task: TaskName = None,
    solo: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
) -> None:
    """Write the results for other tools, or everything for another home.

    Args:
        form: `results.tsv` (as karpathy/autoresearch writes it), `csv` (one row per experiment),
            `json` (experiments, runs and programs of a task) or `archive` (all signed records of
            the swarm, and their programs, for `skep import`).
        file: where to; by default standard output, which is not for archives.
        task: name or id of the task; by default the one joined last. An archive holds them all.
        solo: for an archive: with the own records of solo research.
        json: for an archive: say what was written as a JSON object.
    """
    if form == "archive":
        if file is None or task is not None:
            raise ConfigError(
                "an archive is one file of all tasks", "Write `skep export archive FILE`."
            )
        from node.cli import archive

        archive.write(file, solo=solo, json=json)
        return
    if solo or json:
        raise ConfigError("--solo and --json are for archives", "See `skep export --help`.")
    with reading() as home:
        text = _exported(home, home.history(task), form)
    if file is None:
        sys.stdout.write(text)
    else:
        write_atomic(file, text)
        say(f"wrote {file}")


def _list(home: Reading, found: History | None, *, everything: bool, json: bool) -> None:
    rows = () if found is None else found.experiments if everything else found.lineage
    if json:
        emit([experiment_document(row, home.ledger) for row in rows])
    elif found is None:
        say(NOTHING_YET)
    else:
        output.experiments(rows, found.task.metric)


def _show_best(found: History, champion: Experiment) -> None:
    first = found.lineage[0].value
    gain = ""
    if champion.number and first and champion.value is not None:
        gain = f", from {first:.4f} ({100 * (champion.value - first) / abs(first):+.2f} %)"
    kept = len(found.lineage) - 1
    by = f"#{champion.number}, by {champion.strategy}" if champion.number else "the start program"
    plural = "" if len(champion.runs) == 1 else "s"
    facts(
        [
            ("champion", f"{short(champion.program)} ({by})"),
            (found.task.metric, number(champion.value) + gain),
            ("reproduced by me", f"{len(champion.runs)} run{plural} here"),
            ("edit", champion.description if champion.number else ""),
            ("evidence", champion.reason),
            ("kept edits", f"{kept} (`skep lineage`)" if kept else "none yet"),
            ("program", "skep best --source > train.py"),
        ]
    )


def _exported(home: Reading, found: History | None, form: TextFormat) -> str:
    rows = found.experiments if found else ()
    if form == "results.tsv":
        return results_tsv(rows)
    if form == "csv":
        return experiments_csv(experiment_document(row, home.ledger) for row in rows)
    return json_text(archive_document(found, home.ledger) if found else None)
