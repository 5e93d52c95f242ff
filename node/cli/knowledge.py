"""`skep knowledge`: what all runs that are here say of each kind of edit."""

import sys
from typing import Annotated

import trio
from cyclopts import Parameter

from gossip.view import LedgerView
from node.cli.output import AsJson, TaskName, emit, say, short, table
from node.cli.reading import NOTHING_YET, Reading, reading
from node.cli.running import plain
from node.config import home_folder, load
from node.export.documents import Document
from node.knowledge import Knowledge, Known, Tried, words_of
from node.literature.alike import ordered
from node.models import may_embed, model_of
from node.ranking import ranked
from node.verdicts import roots_of
from skep.errors import ModelError
from skep.ports import TaskFacts

Experiments = Annotated[bool, Parameter(name="--experiments", negative="")]

ROWS_MAX = 40
"""Rows shown as text; the JSON document has all of them."""

LOOK_S = 5.0
"""So long it is looked whether there is a model; a query by words takes no time."""


async def knowledge(
    *query: str, task: TaskName = None, experiments: Experiments = False, json: AsJson = False
) -> None:
    """What the swarm knows of each kind of edit: whether it helps, how much, and how surely.

    With an ollama that has a model of vectors it is searched by meaning, too.

    Args:
        query: words of the topic, a note or the tier; what fits best comes first.
        task: name or id; by default the one joined last.
        experiments: list every program that was tried, and what was said of it, instead.
        json: print a JSON array.
    """
    with reading() as home:
        facts, words = home.task(task), " ".join(query)
        knowledge = gathered(home, facts) if facts else None
        if experiments:
            tried = list(knowledge.tried()) if knowledge else []
            fitting = await _fitting(home, words, [one.words for one in tried])
            _show_experiments(knowledge, [tried[place] for place in fitting], words, json)
            return
        known = list(knowledge.known()) if knowledge else []
        found = [known[place] for place in await _fitting(home, words, list(map(words_of, known)))]
        if json:
            emit([_document(one) for one in found])
        elif facts is None:
            say(NOTHING_YET)
        elif not found:
            say(f"no run of {facts.name} that is here tells of {' '.join(query) or 'any edit'}")
        else:
            _show(found)


async def _fitting(home: Reading, query: str, texts: list[str]) -> list[int]:
    """Places of the texts that fit a query: by words, and by meaning where a model tells it."""
    by_words = ranked(query, texts)
    settings = load(home_folder(), {})
    if not query or not texts or not may_embed(settings):
        return by_words
    try:
        with trio.fail_after(LOOK_S):
            model = await model_of(settings)
        if model is None or model.vectors is None:
            return by_words
        return await ordered(query, texts, by_words, model, home.home.cache)
    except (ModelError, trio.TooSlowError) as error:
        why = error if isinstance(error, ModelError) else "no model answered in time"
        print(f"skep: searched by words alone: {why}", file=sys.stderr)
        return by_words


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


def _show_experiments(
    knowledge: Knowledge | None, found: list[Tried], words: str, json: bool
) -> None:
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
