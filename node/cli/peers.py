"""`skep peers`: who this node is connected to, and where it can be reached itself."""

from collections.abc import Iterable
from typing import Any

from gossip.addresses import Scope, scope_of_connection
from gossip.remembered import remembered_peers
from node.cli.output import AsJson, duration, emit, say, table
from node.cli.running import Answer, asked, plain, task_name
from node.config import home_folder
from node.home import Home, known_tasks

LISTED_MAX = 20
"""Known addresses shown as text; the JSON document has more."""

SCOPES = {
    Scope.internet: "",
    Scope.network: "in this network only",
    Scope.machine: "on this machine only",
}


def peers(*, json: AsJson = False) -> None:
    """Connected peers, where this node can be reached, and known addresses.

    Without a running node: the addresses that answered it last time.

    Args:
        json: print a JSON object.
    """
    home = Home(home_folder())
    node, reason = asked(home, "swarm")
    found = document(node, remembered_peers(home.root))
    if json:
        emit(found)
    elif node is None:
        say(reason)
        _show_known(found, "remembered from last time")
    elif found["swarm"] is None:
        say("the running node researches alone (--solo)")
    else:
        names = {one.id.hex(): one.name for one in known_tasks(home)}
        _show_peers(found, names)
        _show_addresses(found["addresses"])
        _show_known(found, "known addresses")


def document(node: Answer | None, remembered: Iterable[str]) -> dict[str, Any]:
    """What `--json` prints.

    Args:
        node: the running node's answer to "swarm"; None without one.
        remembered: addresses that answered the last time a node ran.
    """
    around = node if node and node["swarm"] else _remembered(remembered)
    return {
        "running": node is not None,
        "swarm": around["swarm"],
        "peer_id": around["peer_id"],
        "addresses": sorted(around["addresses"], key=scope_of_connection, reverse=True),
        "records": around["records"],
        "peers": [_peer(one, around["records"]) for one in around["peers"]],
        "peers_total": around["peers_total"],
        "known": around["known"],
        "known_total": around["known_total"],
    }


def _remembered(addresses: Iterable[str]) -> Answer:
    """What there is to tell of a swarm that no node here takes part in."""
    known = [
        {"address": one, "source": "remembered", "failures": 0, "answered": True}
        for one in addresses
    ]
    return {
        **dict.fromkeys(("swarm", "peer_id", "records")),
        "addresses": [],
        "peers": [],
        "peers_total": 0,
        "known": known,
        "known_total": len(known),
    }


def _peer(peer: Answer, ours: int) -> dict[str, Any]:
    theirs = peer["records"]
    return {**peer, "ahead": None if theirs is None else theirs - ours}


def _show_peers(found: Answer, names: dict[str, str]) -> None:
    count = found["peers_total"]
    say(f"{count or 'no'} peer{'' if count == 1 else 's'} of {found['swarm']}")
    if not count:
        return
    table(
        ("name", "from", "since", "role", "tier", "task", "records", "ahead", "bad", "address"),
        [
            (
                one["name"],
                "in" if one["inbound"] else "out",
                duration(one["connected_s"]),
                one["role"] or "-",
                plain(one["tier"]),
                task_name(one["task"], names),
                "-" if one["records"] is None else f"{one['records']:,}",
                "-" if one["ahead"] is None else f"{one['ahead']:+,}",
                f"{one['bad_points']:g}" if one["bad_points"] else "",
                f"{plain_address(one['address'])}/p2p/{one['peer_id']}",
            )
            for one in found["peers"]
        ],
        words=("name", "from", "role", "tier", "task", "address"),
    )
    _say_more(count - len(found["peers"]))


def plain_address(address: str) -> str:
    """An address without its peer id."""
    return address.partition("/p2p/")[0]


def _show_addresses(addresses: list[str]) -> None:
    if not addresses:
        say("\nthis node reaches out only: it does not listen")
        return
    say("\nothers reach this node with --bootstrap and one of these:")
    for one in addresses:
        note = SCOPES[scope_of_connection(one)]
        say(f"  {one}" + (f"  ({note})" if note else ""))


def _show_known(found: Answer, title: str) -> None:
    known = sorted(found["known"], key=lambda one: (not one["answered"], one["failures"]))
    answered = sum(one["answered"] for one in known)
    if not known:
        say("\nno addresses of peers are known")
        return
    say(f"\n{title}: {found['known_total']}, of which {answered} answered when last tried")
    for one in known[:LISTED_MAX]:
        failed = f", failed {one['failures']}×" if one["failures"] else ""
        untried = "" if one["answered"] or one["failures"] else ", not tried yet"
        say(f"  {one['address']}  ({one['source']}{failed}{untried})")
    _say_more(found["known_total"] - len(known[:LISTED_MAX]))


def _say_more(count: int) -> None:
    if count > 0:
        say(f"  and {count} more")
