"""`skep swarm`: the swarm as this node sees it, from its ledger and from who is there now."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from cyclopts import Parameter
from msgspec import Struct

from gossip.identity import friendly_name, peer_id
from gossip.swarms import PUBLIC_SWARM
from node.census import Census, OfTask, census, swarm_of
from node.cli.output import AsJson, duration, emit, facts, say, table
from node.cli.reading import Reading, reading
from node.cli.running import Answer, asked, behind, lag, plain, task_name
from node.export.documents import Document
from node.health import Health
from node.verdicts import health_of, roots_of
from skep.evidence.verdict import State
from skep.ports import TaskFacts
from skep.tier import tier

STATES: tuple[State, ...] = get_args(State)
ROWS_MAX = 20
"""Rows of a table shown as text; the JSON document has all of them."""

NAMED_MAX = 5


JUDGED_MAX = 20_000
"""Runs of a task that are all read without being asked for it; they take a second or two."""


def swarm(*, health: Annotated[bool, Parameter(negative="")] = False, json: AsJson = False) -> None:
    """The swarm as this node sees it: who is present, what the ledger holds, how the search is
    doing.

    Without a running node, of the ledger alone.

    Args:
        health: how the search is doing, however many runs have to be read for that.
        json: print a JSON object.
    """
    with reading() as home:
        node, reason = asked(home.home, "swarm")
        alone = node is not None and node["swarm"] is None
        around = None if node is None or alone else node
        of = bytes.fromhex(around["swarm_id"]) if around else swarm_of(home.ledger)
        found = census(home.ledger, home.tasks, of)
        search = _search(home, found, forced=health)
        if json:
            emit(document(found, around, search, running=node is not None))
            return
        if around is None:
            say("the running node researches alone (--solo)" if alone else reason)
        _show(found, around, {one.id.hex(): one.name for one in home.tasks})
        _show_search(home, found, search)


class Search(Struct, frozen=True):
    """How the search of one task on one tier is doing."""

    task: TaskFacts
    tier: str
    health: Health


def _search(home: Reading, found: Census, *, forced: bool) -> Search | None:
    """Of the task joined last, on this machine's tier, or else the largest."""
    if not home.tasks:
        return None
    task, ledger = home.tasks[0], home.ledger
    counted = next((one.runs for one in found.tasks if one.task == task.id), 0)
    if not counted or (counted > JUDGED_MAX and not forced):
        return None
    own = ledger.runs(task.id)
    largest = next((one.tier for one in found.tiers if one.tier), None)
    here = tier(own[-1][1].environment) if own else largest
    if here is None:
        return None
    roots = roots_of(home.home.root, ledger.me)
    return Search(task, here, health_of(ledger, task, here, roots))


def document(
    found: Census, around: Answer | None, search: Search | None = None, *, running: bool
) -> Document:
    """What `--json` prints.

    Args:
        found: of the ledger.
        around: the running node's answer to "swarm"; None if there is no node or it is alone.
        search: how the search is doing, if that was looked at.
        running: whether a node runs.
    """
    present = ("present_total", "groups_total", "groups", "announced", "per_minute", "peers_total")
    return {
        "running": running,
        "swarm": _name(found, around),
        "swarm_id": found.swarm.hex(),
        **{key: around[key] if around else None for key in present},
        "records": found.records,
        "pruned": found.pruned,
        "lag": lag(around) if around else None,
        "authors": found.authors,
        "feeds": found.feeds,
        "forked": [_author(one) for one in found.forked],
        "others_bytes": found.others_bytes,
        "tiers": [
            {"tier": one.tier, "authors": one.authors, "records": one.records}
            for one in found.tiers
        ],
        "tasks": [_task(one) for one in found.tasks],
        "search": _search_document(search) if search else None,
    }


def _search_document(search: Search) -> Document:
    how = search.health
    return {
        "task": search.task.id.hex(),
        "tier": search.tier,
        "ideas": how.ideas,
        "claimed": how.claimed,
        "states": dict(how.states),
        "confirmed_s": None if how.confirmed_ms is None else how.confirmed_ms / 1000,
        "gap": how.gap,
        "time": dict(how.time),
        "since": how.since,
        "plateau": how.plateau,
    }


def _show_search(home: Reading, found: Census, search: Search | None) -> None:
    if search is None:
        if home.tasks and any(one.runs > JUDGED_MAX for one in found.tasks):
            say("\nhow the search is doing: skep swarm --health reads all runs for that")
        return
    how = search.health
    total = sum(how.states.values())
    kinds = ", ".join(f"{how.states[one]} {one}" for one in STATES if how.states.get(one))
    time = ", ".join(f"{name} {100 * share:.0f} %" for name, share in how.time.items())
    share = "" if how.claimed is None else f"{100 * how.claimed:.0f} % of {how.ideas} ideas"
    gap = "" if how.gap is None else f"{how.gap:+.6f} {search.task.metric} beyond that of parents"
    say(f"\nthe search of {search.task.name} on {search.tier}")
    facts(
        [
            ("looked good", share),
            ("claims", f"{total}: {kinds}" if total else ""),
            ("confirmed in", duration(how.confirmed_ms / 1000) if how.confirmed_ms else ""),
            ("held-out gap", gap),
            ("time", plain(time)),
        ]
    )
    if how.plateau:
        say(f"a plateau: none of the last {how.since} ideas looked good")


def _author(author: bytes) -> Document:
    return {"name": friendly_name(author), "peer_id": peer_id(author)}


def _task(one: OfTask) -> Document:
    standing = one.standing
    return {
        "task": one.task.hex(),
        "name": one.name,
        "runs": one.runs,
        "claims": one.claims,
        "own": standing.own if standing else None,
        "reproduced": standing.reproduced if standing else None,
        "not_reproduced": standing.not_reproduced if standing else None,
        "open": standing.open if standing else None,
    }


def _name(found: Census, around: Answer | None) -> str:
    if around:
        return str(around["swarm"])
    return "the public swarm" if found.swarm == PUBLIC_SWARM else f"swarm {found.swarm.hex()[:8]}"


def _show(found: Census, around: Answer | None, names: Mapping[str, str]) -> None:
    say(f"{_name(found, around)}, as this node sees it")
    if around:
        _show_present(around, names)
    missing = behind(around) if around else ""
    pruned = f", {found.pruned:,} pruned" if found.pruned else ""
    say(f"\n{found.records:,} records of {found.authors:,} authors{pruned}{missing}")
    if not found.feeds:
        return
    _table(
        ("tier", "authors", "records"),
        [(plain(one.tier), f"{one.authors:,}", f"{one.records:,}") for one in found.tiers],
        words=("tier",),
    )
    say()
    _table(
        ("task", "runs", "claims", "own", "open", "reproduced by me", "not reproduced by me"),
        [_task_row(one) for one in found.tasks],
        words=("task",),
    )
    size = f"{found.others_bytes / 2**20:.1f} MiB of others stored"
    say(f"\n{found.feeds:,} feeds, {_forked(found.forked)}; {size}")


def _show_present(around: Answer, names: Mapping[str, str]) -> None:
    count = around["present_total"]
    peers = f"connected to {around['peers_total']}"
    say(f"{count or 'no'} other node{'' if count == 1 else 's'} present, {peers}")
    if count:
        rows = [
            (
                one["role"],
                plain(one["tier"]),
                task_name(one["task"], names),
                f"{one['nodes']:,}",
                f"{one['running']:,}",
            )
            for one in around["groups"]
        ]
        columns = ("role", "tier", "task", "nodes", "running")
        _table(columns, rows, words=columns[:3], total=around["groups_total"])


def _task_row(one: OfTask) -> tuple[str, ...]:
    standing = one.standing
    counts = (
        (standing.own, standing.open, standing.reproduced, standing.not_reproduced)
        if standing
        else (None,) * 4
    )
    name = one.name or one.task.hex()[:8]
    cells = ("-" if count is None else f"{count:,}" for count in counts)
    return (plain(name), f"{one.runs:,}", f"{one.claims:,}", *cells)


def _forked(authors: Sequence[bytes]) -> str:
    if not authors:
        return "none forked"
    names = ", ".join(friendly_name(one) for one in authors[:NAMED_MAX])
    more = f" and {len(authors) - NAMED_MAX} more" if len(authors) > NAMED_MAX else ""
    return f"{len(authors)} forked: {names}{more} said two things at once"


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    words: Sequence[str],
    total: int | None = None,
) -> None:
    """A table of the first rows, and how many there are besides."""
    table(columns, rows[:ROWS_MAX], words=words)
    if (more := (total or len(rows)) - len(rows[:ROWS_MAX])) > 0:
        say(f"and {more:,} more")
