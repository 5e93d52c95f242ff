"""`skep models`: which language models a node here could ask, and which one to get."""

import os
from typing import Annotated

from cyclopts import Parameter
from msgspec import Struct, structs

from gossip.ledger import Ledger
from node.cli.output import AsJson, emit, facts, number, say, table
from node.config import Settings, home_folder, load
from node.history import history
from node.home import Home, known_tasks
from node.models import model_of, room
from node.recommended import RECOMMENDED, Recommended, Room, best_for
from node.spending import Cost, cost_of, read_account, written_by_models
from node.verdicts import roots_of, verdicts
from skep.errors import ModelError
from skep.tier import tier
from strategies.installed import Installed
from strategies.ollama import Survey, survey
from strategies.servers import server_url, stands_here

GIB = 2**30
NOBODY = "no model; ideas come from the other strategies alone"
INSTALL = "install it from https://ollama.com/download, then: ollama serve"
TOO_SMALL = "none of these; `--ollama-url` asks one on another machine"
WORDS = ("model", "for", "runs here")


class Row(Struct, frozen=True):
    """A model in a list; `runs` is None where this machine does not matter."""

    name: str
    size: int | None
    memory_gib: float
    context: int | None
    use: str
    runs: bool | None


async def models(
    *, ollama_url: Annotated[str | None, Parameter(negative="")] = None, json: AsJson = False
) -> None:
    """Which language models are there, what this machine can run, and which one to get.

    Downloads and loads nothing.

    Args:
        ollama_url: address of an ollama server, where it is not the one of the settings.
        json: print a JSON object.
    """
    settings = load(home_folder(), {"ollama_url": ollama_url})
    url = server_url(settings.ollama_url, os.environ)
    found = await _look(url, named=settings.ollama_url is not None)
    here = await room()
    chosen = await _chosen(settings)
    if json:
        emit(_document(url, found, chosen, here, _spent()))
    else:
        _print(url, found, chosen, here)
        _print_spent(_spent())


async def _look(url: str, *, named: bool) -> Survey | None:
    """What the server has; None if nobody answers where the user did not expect it."""
    try:
        return await survey(url)
    except ModelError as error:
        if named or error.kind != "absent":
            raise
        return None


class Choice(Struct, frozen=True):
    """What `skep join` would ask: a model of a server, or why there is none."""

    model: str | None
    fault: str = ""


async def _chosen(settings: Settings) -> Choice:
    try:
        model = await model_of(settings)
    except ModelError as error:
        return Choice(settings.model, str(error))
    return Choice(model.name if model else None)


def _spent() -> Cost:
    """What models have cost this home so far, and what came of it on any task and tier."""
    home = home_folder()
    runs = kept = confirmed = 0
    with Ledger.read(home) as ledger:
        for task in known_tasks(Home(home)):
            own = ledger.runs(task.id)
            programs = written_by_models(own)
            runs += len(programs)
            if programs:
                kept += len(
                    {row.program for row in history(own, task, ledger.program).lineage} & programs
                )
                for here in {tier(run.environment) for _, run in own}:
                    judged = verdicts(ledger, task, here, roots_of(home, ledger.me)).claims.values()
                    found = {one.claim.claim.program for one in judged if one.state == "confirmed"}
                    confirmed += len(found & programs)
    return cost_of(read_account(home), runs=runs, kept=kept, confirmed=confirmed)


def _document(
    url: str, found: Survey | None, chosen: Choice, here: Room, spent: Cost
) -> dict[str, object]:
    advised = best_for(here)
    return {
        "url": url,
        "version": found.version if found else None,
        "chosen": chosen.model,
        "fault": chosen.fault,
        "models": [structs.asdict(row) for row in _installed(found, here)],
        "memory": {"gib": round(here.memory / GIB, 1), "what": here.what, "gpu": here.fast},
        "recommended": [structs.asdict(_row(one, here)) for one in RECOMMENDED],
        "pull": f"ollama pull {advised.model.name}" if advised else None,
        "spent": structs.asdict(spent),
    }


def _print(url: str, found: Survey | None, chosen: Choice, here: Room) -> None:
    server = f"ollama {found.version} at {url}" if found else f"none at {url}"
    facts(
        [
            ("server", server),
            ("memory", f"{here.memory / GIB:.1f} GiB for a model, {here.what}"),
            ("would ask", chosen.fault or chosen.model or NOBODY),
        ]
    )
    rows = _installed(found, here)
    if rows:
        say("\ninstalled")
        _table(rows)
    say("\nrecommended")
    _table([_row(one, here) for one in RECOMMENDED])
    say()
    facts(_advice(found, {row.name for row in rows}, best_for(here)))


def _print_spent(spent: Cost) -> None:
    if not spent.answers:
        return
    say("\nspent in this home")
    table(
        ("per", "count", "seconds", "tokens"),
        [
            ("answer", str(spent.answers), f"{spent.seconds:.0f} in all", f"{spent.tokens} in all"),
            *(
                (name, str(count), number(seconds, ".0f"), number(tokens, ".0f"))
                for name, count, seconds, tokens in (
                    ("idea", spent.ideas, spent.seconds_per_idea, spent.tokens_per_idea),
                    ("kept", spent.kept, spent.seconds_per_kept, spent.tokens_per_kept),
                    (
                        "confirmed",
                        spent.confirmed,
                        spent.seconds_per_confirmed,
                        spent.tokens_per_confirmed,
                    ),
                )
            ),
        ],
        words=("per",),
    )


def _advice(
    found: Survey | None, installed: set[str], advised: Recommended | None
) -> list[tuple[str, str]]:
    pull = f"ollama pull {advised.model.name}" if advised else TOO_SMALL
    known = advised is not None and advised.model.name in installed
    return [
        ("to have a server", "" if found else INSTALL),
        ("best for this machine", "" if known else pull),
    ]


def _installed(found: Survey | None, here: Room) -> list[Row]:
    if found is None:
        return []
    local = stands_here(found.url)
    return [
        _entry(one, one.memory <= here.memory if local and not one.hosted else None)
        for one in found.models
    ]


def _row(one: Recommended, here: Room) -> Row:
    return _entry(one.model, one.runs_in(here))


def _entry(one: Installed, runs: bool | None) -> Row:
    return Row(one.name, one.size, round(one.memory / GIB, 1), one.context, one.use, runs)


def _table(rows: list[Row]) -> None:
    table(
        ("model", "billions", "GiB", "context", "for", "runs here"),
        [
            (
                row.name,
                f"{row.size / 1e9:.1f}" if row.size else "-",
                f"{row.memory_gib:.1f}",
                str(row.context or "-"),
                row.use,
                {True: "yes", False: "no", None: "-"}[row.runs],
            )
            for row in rows
        ],
        words=WORDS,
    )
