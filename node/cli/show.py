"""`skep show` and `skep diff`: one experiment or run with everything that is known of it."""

import contextlib
import difflib
import itertools
import json as stdlib_json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gossip.identity import friendly_name, peer_id
from gossip.jobs import job_of
from node.cli.output import (
    AsJson,
    console,
    duration,
    emit,
    facts,
    number,
    printable,
    say,
    short,
)
from node.cli.reading import Reading, reading
from node.experiment import value_of
from node.export.documents import (
    Document,
    experiment_document,
    findings_document,
    run_document,
    run_time,
)
from node.findings import Findings, Runner, findings
from node.history import Experiment, History, describe
from skep.errors import ConfigError
from skep.records import Run

Ident = Annotated[str, Parameter(name="ID")]

LOG_LINES = 15
LOG_MAX_BYTES = 64 * 1024
CURVE_COLUMNS = 60
BARS = "▁▂▃▄▅▆▇█"


def show(
    ident: Ident,
    /,
    *,
    source: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
) -> None:
    """One experiment, or one of its runs: numbers, diff, loss curve and the end of the log.

    Args:
        ident: id of a program or of a run.
        source: print the program itself and nothing else.
        json: print a JSON object.
    """
    with reading() as home:
        found = home.resolve(ident)
        program = home.program_of(found)
        if source:
            sys.stdout.write(home.source(program))
        elif found == program:
            _show_program(home, program, json)
        else:
            _show_run(home, found, json)


def diff(ident: Ident, other: str | None = None, /, *, json: AsJson = False) -> None:
    """What an edit changed, as a unified diff.

    Args:
        ident: id of a program or run; without OTHER it is compared with its parent.
        other: id of a program or run to compare it with.
        json: print a JSON object.
    """
    with reading() as home:
        program = home.program_of(home.resolve(ident))
        if other is None:
            before, after = _parent(home, program), program
            if before is None:
                raise ConfigError(f"{short(program)} has no parent", "Give two ids.")
        else:
            before, after = program, home.program_of(home.resolve(other))
        text = _unified(home, before, after)
        if json:
            emit({"from": before.hex(), "to": after.hex(), "diff": text})
        else:
            _print_diff(text or "the programs are equal\n")


def _show_program(home: Reading, program: bytes, json: bool) -> None:
    found, row = _experiment(home, program)
    parent = _parent(home, program)
    text = _unified(home, parent, program) if parent else ""
    known = _findings(home, program)
    if json:
        shown: Document = {"experiment": None, "program": program.hex(), "runs": []}
        if found and row:
            shown["experiment"] = experiment_document(row, home.ledger)
            shown["runs"] = [_run_json(home, run_id) for run_id in row.runs]
        emit(shown | {"diff": text, "found": findings_document(known, home.ledger.me)})
        return
    if found is None or row is None:
        say(f"program {short(program)} has no finished run of this node under this task and tier")
        _print_findings(home, known)
        return
    facts(
        [
            ("experiment", f"#{row.number}"),
            ("program", row.program.hex()),
            ("parent", row.parent.hex() if row.parent else ""),
            ("edit", f"{row.description} (by {row.strategy})" if row.parent else "start program"),
            ("verdict", row.verdict + (f": {row.reason}" if row.reason else "")),
            (found.task.metric, number(row.value, ".6f") if row.value is not None else ""),
            ("against parent", _effect(row)),
            ("time", f"{run_time(row.runs[0], home.ledger)}, {duration(row.seconds)} in all"),
            ("memory", f"{row.memory_gib:.1f} GiB"),
        ]
    )
    say("\nruns")
    for run_id in row.runs:
        run = home.run(run_id)
        note = f"  {run.note}" if run.status != "done" and run.note else ""
        value = number(value_of(run), ".6f")
        steps = f"  {run.steps} steps" if run.steps else ""
        numbers = f"{run.status:<7}  {value:>9}  seed {run.seed:<10}{steps}"
        say(f"  {short(run_id)}  {numbers}{note}")
    _print_findings(home, known)
    if text:
        say()
        _print_diff(text)
    first = row.runs[0]
    _show_folder(home.home.runs / job_of(home.ledger.record(first).record.task, home.run(first)))


def _findings(home: Reading, program: bytes) -> Findings | None:
    """What all authors say of a program, under the first task in which anybody ran it."""
    for task in home.tasks:
        found = findings(program, task, home.ledger)
        if found.runners or found.found_by:
            return found
    return None


def _print_findings(home: Reading, found: Findings | None) -> None:
    """Who found a program and who ran it; nothing for one that nobody else ever heard of."""
    me = home.ledger.me
    if found is None or {found.found_by, *(one.author for one in found.runners)} <= {me, None}:
        return
    by = found.found_by
    claimed = "" if found.claimed is None else f"{found.claimed:+.6f} against its parent"
    who = "" if by is None else "me" if by == me else _author(by)
    say()
    facts([("found by", who), ("claim", f"{claimed}, by its author's word" if claimed else "")])
    for one in found.runners:
        name = "me" if one.author == me else friendly_name(one.author)
        runs = f"{one.runs} run{'' if one.runs == 1 else 's'}"
        say(f"  {name:<24}  {runs:>7}  {_said(one, mine=one.author == me)}".rstrip())


def _said(one: Runner, *, mine: bool) -> str:
    """A runner's result in words; numbers only where they are no claim."""
    words = f"{one.standing} by me" if mine and one.standing != "pending" else one.standing
    if one.effect is None or one.sigmas is None:
        return words
    e = f", e = {one.e:.3g}" if one.e is not None else ""
    return f"{words}: {one.effect:+.6f} ({one.sigmas:+.1f}σ{e})"


def _show_run(home: Reading, run_id: bytes, json: bool) -> None:
    if json:
        emit(_run_json(home, run_id))
        return
    record, run = home.ledger.record(run_id).record, home.run(run_id)
    environment = run.environment
    facts(
        [
            ("run", run_id.hex()),
            ("author", "" if record.author == home.ledger.me else _author(record.author)),
            ("claim", run.claim.hex() if run.claim else ""),
            ("program", run.program.hex()),
            ("parent", run.parent.hex() if run.parent else ""),
            ("edit", describe(run, home.ledger.program) if run.edits else ""),
            ("status", run.status + (f": {run.note}" if run.note and run.status != "done" else "")),
            ("score", number(value_of(run), ".6f")),
            ("other draws", ", ".join(_scores(run))),
            ("training", _training(run)),
            ("took", f"{duration(run.total_ms / 1000)}, {run.peak_kib / 2**20:.1f} GiB"),
            ("weights", run.weights.hex() if run.weights else ""),
            ("machine", f"{environment.device}, torch {environment.torch or '-'}"),
            ("sandbox", environment.sandbox),
            ("time", run_time(run_id, home.ledger)),
        ]
    )
    _show_folder(home.home.runs / job_of(record.task, run))


def _author(author: bytes) -> str:
    return f"{friendly_name(author)}  ({peer_id(author)})"


def _scores(run: Run) -> list[str]:
    return [f"{row.micro / 1e6:.6f} ({row.split})" for row in run.scores[1:]]


def _training(run: Run) -> str:
    """Seed, steps and budget; what a program that scores itself keeps to itself is left out."""
    known = [
        (True, f"seed {run.seed}"),
        (run.steps, f"{run.steps} steps"),
        (run.tokens, f"{run.tokens} tokens"),
        (run.budget_ms, f"{run.spent_ms / 1000:.1f} of {run.budget_ms / 1000:g} s"),
        (run.parameters, f"{run.parameters / 1e6:.2f}M parameters"),
    ]
    return ", ".join(text for told, text in known if told)


def _effect(row: Experiment) -> str:
    if row.delta is None or row.sigmas is None:
        return ""
    e = f", e = {row.e:.3g}" if row.e is not None else ""
    return f"{row.delta:+.6f} ({row.sigmas:+.1f}σ{e})"


def _experiment(home: Reading, program: bytes) -> tuple[History | None, Experiment | None]:
    """The row of a program, in whichever task it was run."""
    for task in home.tasks:
        found = home.history(task.id.hex())
        row = found.row(program) if found else None
        if row is not None:
            return found, row
    return None, None


def _parent(home: Reading, program: bytes) -> bytes | None:
    _, row = _experiment(home, program)
    return row.parent if row else None


def _unified(home: Reading, before: bytes, after: bytes) -> str:
    old = home.source(before).splitlines(keepends=True)
    new = home.source(after).splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, f"train.py {short(before)}", f"train.py {short(after)}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _print_diff(text: str) -> None:
    from rich.text import Text

    styles = {"+": "green", "-": "red", "@": "cyan"}
    screen = console()
    for line in printable(text).splitlines():
        styled = Text(line, style=styles.get(line[:1], ""))
        screen.print(styled, soft_wrap=True)


def _run_json(home: Reading, run_id: bytes) -> Document:
    task, run = home.ledger.record(run_id).record.task, home.run(run_id)
    folder = home.home.runs / job_of(task, run)
    return {
        **run_document(run_id, task, run, home.ledger),
        "curve": _curve(folder),
        "log": _log(folder),
    }


def _show_folder(folder: Path) -> None:
    """Loss curve and end of the log, as far as the run's folder is still there."""
    curve, log = _curve(folder), _log(folder).splitlines()
    losses = [loss for _, loss in curve if math.isfinite(loss)]
    if losses:
        say(f"\ntraining loss {losses[0]:.3f} → {losses[-1]:.3f} in {curve[-1][0]} steps")
        say(f"  {sparkline(losses)}")
    if log:
        say(f"\nend of {folder / 'log.txt'}")
        for line in log[-LOG_LINES:]:
            say(f"  {line}")


def sparkline(values: Sequence[float]) -> str:
    """A row of bars, at most `CURVE_COLUMNS` of them, each the mean of its share of the values."""
    columns = min(len(values), CURVE_COLUMNS)
    edges = [len(values) * column // columns for column in range(columns + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    span = high - low or 1.0
    return "".join(BARS[round((mean - low) / span * (len(BARS) - 1))] for mean in means)


def _curve(folder: Path) -> list[tuple[int, float]]:
    with contextlib.suppress(OSError, ValueError, TypeError):
        pairs = stdlib_json.loads((folder / "curve.json").read_text())
        return [(int(step), float(loss)) for step, loss in pairs]
    return []


def _log(folder: Path) -> str:
    with contextlib.suppress(OSError), (folder / "log.txt").open("rb") as file:
        return printable(file.read(LOG_MAX_BYTES).decode(errors="replace"))
    return ""
