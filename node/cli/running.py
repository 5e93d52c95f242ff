"""What commands that look at a running node have in common: asking it, and words for its answers.

trio is imported only when there is somebody to talk to. Strings in the answers may come from
strangers; `plain` is for those.
"""

from collections.abc import Mapping
from typing import Any

from node.cli.output import SHORT_DIGITS, printable
from node.home import Home
from skep.errors import ConfigError

Answer = Mapping[str, Any]

NO_TASK = "-"
TEXT_MAX = 40


def asked(home: Home, verb: str) -> tuple[dict[str, Any] | None, str]:
    """The running node's answer, or why there is none."""
    if not home.control.exists():
        return None, f"no node is running on {home.root}"
    import trio

    from node.control import ask

    try:
        return trio.run(ask, home.root, verb), ""
    except ConfigError as error:
        return None, error.what


def state_of(node: Answer) -> str:
    """What a node is up to, in two or three words."""
    if node["paused"]:
        return f"paused on {node['task']}"
    if not node["slots"]:
        return "finishing" if node["finishing"] else "keeping and passing on records"
    return f"{'finishing' if node['finishing'] else 'researching'} on {node['task']}"


def company_line(swarm: Answer) -> str:
    """The swarm around a node in one line."""
    count = swarm["peers_total"]
    peers = f"{count} peer{'' if count == 1 else 's'}" if count else "no peers"
    parts = [f"{peers} in {swarm['swarm']}", f"{swarm['present_total']} others present"]
    parts.append(f"{swarm['records']:,} records{behind(swarm)}")
    return "; ".join(parts)


def behind(swarm: Answer) -> str:
    """How far the node's records lag behind the most that anybody announces; empty if not."""
    missing = lag(swarm)
    return f", {missing:,} behind what a node announces" if missing else ""


def lag(swarm: Answer) -> int | None:
    """Records that the node lacks of the most that anybody announces; None if nobody does."""
    most = swarm["announced"]
    return None if most is None else max(most - swarm["records"], 0)


def task_name(task: str | None, names: Mapping[str, str]) -> str:
    """What this home calls a task, else the first digits of its id."""
    return names.get(task or "") or (task or "")[:SHORT_DIGITS] or NO_TASK


def plain(text: str | None) -> str:
    """A short text of a stranger without what could steer a terminal."""
    found = printable(text or "").replace("\n", " ")
    return (found if len(found) <= TEXT_MAX else f"{found[: TEXT_MAX - 1]}…") or "-"
