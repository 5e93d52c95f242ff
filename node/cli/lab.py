"""`skep lab`: found a private lab, invite others to it, and say who belongs to it."""

import sys
from pathlib import Path
from typing import Any

from gossip.addresses import Scope, scope_of_connection
from gossip.identity import Identity, friendly_name, parse_peer_id, peer_id
from gossip.invite import encode_invite
from node import labs
from node.cli.output import AsJson, emit, facts, say, table
from node.config import home_folder
from node.roster import invite_of, lab_of, latest_list
from skep.members import listed


def create(name: str, /) -> None:
    """Found a private lab: a swarm of its own, closed to all but those on your list.

    Args:
        name: what to call it: small letters, digits, - and _.
    """
    root = labs.create_lab(home_folder(), name)
    me = Identity.load(root)
    say(f"founded the lab {name}, with this machine as its only member: {me.name}")
    say()
    _print_invite(root)
    say()
    say("what to do next:")
    say(f"  here               skep join --lab {name}")
    say("  on other machines  skep join --lab INVITE, with the line above")
    say(f"  then here          skep lab allow {name} PEERID; both sides are told the line")


def invite(name: str, /, *, json: AsJson = False) -> None:
    """Print the invite of a lab again. It contains the lab's key.

    Args:
        name: of the lab.
        json: print a JSON object.
    """
    root = labs.find_lab(home_folder(), name)
    if json:
        found = invite_of(root)
        emit({"name": name, "invite": encode_invite(found), "addresses": list(found.addresses)})
    else:
        _print_invite(root)


def members(name: str, /, *, json: AsJson = False) -> None:
    """Who belongs to a lab, as far as this machine has heard.

    Args:
        name: of the lab.
        json: print a JSON array.
    """
    root = labs.find_lab(home_folder(), name)
    rows = _members(root)
    if json:
        emit(rows)
        return
    table(
        ("name", "peer id", "role", "state"),
        [(row["name"], row["peer_id"], _roles(row), row["state"]) for row in rows],
        words=("name", "peer id", "role", "state"),
    )


def allow(name: str, peer: str, /) -> None:
    """Put a machine on a lab's list; on the founder's machine only.

    Args:
        name: of the lab.
        peer: the newcomer's peer id in this lab, 12D3KooW…
    """
    root = labs.find_lab(home_folder(), name)
    me = Identity.load(root).public
    before = lab_of(root)
    after = labs.change_lab(root, lambda lab: labs.allow(lab, me, peer))
    who = friendly_name(parse_peer_id(peer))
    if after.wanted == before.wanted:
        say(f"{who} is listed in {name} already")
    else:
        say(f"{who} may meet the lab {name} now: {len(after.wanted)} members")
        _say_when(name)


def revoke(name: str, peer: str, /) -> None:
    """Take a machine off a lab's list; on the founder's machine only.

    It keeps what it has heard and the lab's key, and gets nothing more.

    Args:
        name: of the lab.
        peer: the machine's peer id in this lab, 12D3KooW…
    """
    root = labs.find_lab(home_folder(), name)
    me = Identity.load(root).public
    after = labs.change_lab(root, lambda lab: labs.revoke(lab, me, peer))
    who = friendly_name(parse_peer_id(peer))
    say(f"{who} is no member of {name} any more: {len(after.wanted)} left")
    _say_when(name)


def list_labs(*, json: AsJson = False) -> None:
    """The labs that this machine belongs to.

    Args:
        json: print a JSON array.
    """
    home = home_folder()
    rows = [_lab(labs.find_lab(home, name)) for name in labs.known_labs(home)]
    if json:
        emit(rows)
        return
    if not rows:
        say("no labs here: `skep lab create NAME` founds one")
        return
    table(
        ("lab", "members", "this machine", "home"),
        [(row["name"], str(row["members"]), _standing(row), row["home"]) for row in rows],
        words=("lab", "this machine", "home"),
    )


def leave(name: str, /) -> None:
    """Leave a lab. Its home is put aside, not deleted; no node may be running on it.

    Args:
        name: of the lab.
    """
    home = home_folder()
    root = labs.find_lab(home, name)
    lab = lab_of(root)
    founded = Identity.load(root).public == lab.founder_key
    aside = labs.leave_lab(home, name)
    say(f"left the lab {name}; what this machine has of it is in {aside}")
    say(f"delete that folder, or rename it to {name} to be back")
    if founded:
        say("this machine founded it: without that folder nobody can be listed there any more")


def _print_invite(root: Path) -> None:
    found = invite_of(root)
    line = encode_invite(found)
    say("the invite, one line. It contains the lab's key: give it to members alone, over a")
    say("channel you trust.")
    say()
    say(line)
    if not found.addresses:
        what = "it names no address: set `listen` to a fixed port, or `announce`, in"
        print(f"skep: {what} {root / 'config.toml'}", file=sys.stderr)
        return
    say()
    facts([("reachable at", ", ".join(one.partition("/p2p/")[0] for one in found.addresses))])
    if all(scope_of_connection(one) < Scope.internet for one in found.addresses):
        say("these are addresses of this network; for machines elsewhere set `announce` in")
        say(f"{root / 'config.toml'} and let the port through")


def _members(root: Path) -> list[dict[str, Any]]:
    """Members and who is about to be one, founder first, then by name."""
    lab = lab_of(root)
    me = Identity.load(root).public
    said = listed(lab.founder_key, latest_list(root, lab))
    wanted = lab.wanted if me == lab.founder_key else said
    rows = [
        {
            "peer_id": peer_id(one),
            "name": friendly_name(one),
            "founder": one == lab.founder_key,
            "me": one == me,
            "state": _state(one in said or one == lab.founder_key, one in wanted),
        }
        for one in said | wanted | {me}
    ]
    return sorted(rows, key=lambda row: (not row["founder"], str(row["name"])))


def _state(said: bool, wanted: bool) -> str:
    if said and wanted:
        return "listed"
    if wanted:
        return "allowed, not said yet"
    return "revoked, not said yet" if said else "not listed"


def _roles(row: dict[str, Any]) -> str:
    roles = [("founder", row["founder"]), ("this machine", row["me"])]
    return ", ".join(role for role, has in roles if has)


def _lab(root: Path) -> dict[str, Any]:
    lab = lab_of(root)
    me = Identity.load(root).public
    rows = _members(root)
    return {
        "name": lab.name,
        "home": str(root),
        "founder": lab.founder,
        "peer_id": peer_id(me),
        "founded": me == lab.founder_key,
        "listed": any(row["me"] and row["state"] == "listed" for row in rows),
        "members": sum(row["state"] != "not listed" for row in rows),
    }


def _standing(row: dict[str, Any]) -> str:
    if row["founded"]:
        return "founder"
    return "member" if row["listed"] else "not listed"


def _say_when(name: str) -> None:
    say("the lab hears of it within seconds where this lab's node runs here; else when it starts:")
    say(f"  skep join --lab {name}")
