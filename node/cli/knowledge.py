"""`skep knowledge`: what all runs that are here say of each kind of edit."""

from typing import Annotated

from cyclopts import Parameter

from gossip.view import LedgerView
from node.cli.output import AsJson, TaskName, emit, say, short, table
from node.cli.reading import NOTHING_YET, Reading, reading
from node.cli.running import plain
from node.export.documents import Document
from node.knowledge import Knowledge, Known, Tried, experiments_about, matching
from node.verdicts import roots_of
from skep.ports import TaskFacts

Experiments = Annotated[bool, Parameter(name="--experiments", negative="")]

ROWS_MAX = 40
"""Rows shown as text; the JSON document has all of them."""


def knowledge(
    *query: str, task: TaskName = None, experiments: Experiments = False, json: AsJson = False
) -> None:
    """What the swarm knows of each kind of edit: whether it helps, how much, and how surely.

    Args:
        query: words of the topic, a note or the tier; what has most of them comes first.
        task: name or id; by default the one joined last.
        experiments: list every program that was tried, and what was said of it, instead.
        json: print a JSON array.
    """
    with reading() as home:
        facts, words = home.task(task), " ".join(query)
        knowledge = gathered(home, facts) if facts else None
        if experiments:
            _show_experiments(knowledge, words, json)
            return
        found = matching(knowledge.known(), words) if knowledge else []
        if json:
            emit([_document(one) for one in found])
        elif facts is None:
            say(NOTHING_YET)
        elif not found:
            say(f"no run of {facts.name} that is here tells of {' '.join(query) or 'any edit'}")
        else:
            _show(found)


def gathered(home: Reading, task: TaskFacts) -> Knowledge:
    ledger = home.ledger
    knowledge = Knowledge(task, roots_of(home.home.root, ledger.me), lambda one: _text(ledger, one))
    for kind in ("claim", "run", "note"):
        for signed in ledger.all_said(task.id, kind):
            record = signed.record
            knowledge.take((signed.id, record.author, record.time, record.payload))
    return knowledge


def _text(ledger: LedgerView, program: bytes) -> str | None:
    known = ledger.programs().get(program)
    return known.source if known else None


def _show(found: list[Known]) -> None:
    tiers = {one.tier for one in found}
    table(
        ("topic", "belief", "chance", "effect", "edits", "runs", "nodes", "claims", "tier"),
        [
            (
                plain(one.topic),
                one.belief,
                f"{100 * one.chance:.0f} %",
                f"{one.effect:+.1f}σ",
                str(one.programs),
                str(one.runs),
                str(one.authors),
                ", ".join(f"{count} {state}" for state, count in sorted(one.verdicts.items())),
                one.tier if len(tiers) > 1 else "",
            )
            for one in found[:ROWS_MAX]
        ],
        words=("topic", "belief", "claims", "tier"),
    )
    if len(found) > ROWS_MAX:
        say(f"and {len(found) - ROWS_MAX:,} more")


def _show_experiments(knowledge: Knowledge | None, words: str, json: bool) -> None:
    found = experiments_about(knowledge.tried(), words) if knowledge else []
    if json:
        emit([_experiment(one) for one in found])
    elif knowledge is None:
        say(NOTHING_YET)
    elif not found:
        say(f"no experiment that is here tells of {words or 'any edit'}")
    else:
        table(
            ("program", "topic", "effect", "runs", "failed", "nodes", "claims", "note"),
            [
                (
                    short(one.program),
                    plain(one.topic),
                    "-" if one.measured is None else f"{one.measured:+.1f}σ",
                    str(one.runs),
                    str(one.failed),
                    str(len(one.authors)),
                    ", ".join(one.states),
                    plain(one.notes[0]) if one.notes else "",
                )
                for one in found[:ROWS_MAX]
            ],
            words=("program", "topic", "claims", "note"),
        )
        if len(found) > ROWS_MAX:
            say(f"and {len(found) - ROWS_MAX:,} more")


def _experiment(one: Tried) -> Document:
    return {
        "program": one.program.hex(),
        "topic": one.topic,
        "tier": one.tier,
        "measured_sigmas": one.measured,
        "runs": one.runs,
        "failed": one.failed,
        "authors": [author.hex() for author in one.authors],
        "states": list(one.states),
        "notes": list(one.notes),
    }


def _document(one: Known) -> Document:
    return {
        "topic": one.topic,
        "tier": one.tier,
        "belief": one.belief,
        "chance": one.chance,
        "effect_sigmas": one.effect,
        "measured_sigmas": one.measured,
        "programs": one.programs,
        "runs": one.runs,
        "authors": one.authors,
        "best": one.best.hex(),
        "verdicts": dict(one.verdicts),
        "notes": list(one.notes),
    }
