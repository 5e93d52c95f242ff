"""`skep swarm`: the swarm as this node sees it, from its ledger and from who is there now."""

from collections.abc import Mapping, Sequence
from typing import Any

from gossip.identity import friendly_name, peer_id
from gossip.swarms import PUBLIC_SWARM
from node.census import Census, OfTask, census, swarm_of
from node.cli.output import AsJson, emit, say, table
from node.cli.reading import reading
from node.cli.running import Answer, asked, behind, lag, plain, task_name
from node.export.documents import Document

ROWS_MAX = 20
"""Rows of a table shown as text; the JSON document has all of them."""

NAMED_MAX = 5


def swarm(*, json: AsJson = False) -> None:
    """The swarm as this node sees it: who is present, and what the ledger holds of it.

    Without a running node, of the ledger alone.

    Args:
        json: print a JSON object.
    """
    with reading() as home:
        node, reason = asked(home.home, "swarm")
        alone = node is not None and node["swarm"] is None
        around = None if node is None or alone else node
        of = bytes.fromhex(around["swarm_id"]) if around else swarm_of(home.ledger)
        found = census(home.ledger, home.tasks, of)
        if json:
            emit(document(found, around, running=node is not None))
            return
        if around is None:
            say("the running node researches alone (--solo)" if alone else reason)
        _show(found, around, {one.id.hex(): one.name for one in home.tasks})


def document(found: Census, around: Answer | None, *, running: bool) -> Document:
    """What `--json` prints.

    Args:
        found: of the ledger.
        around: the running node's answer to "swarm"; None if there is no node or it is alone.
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
    }


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
