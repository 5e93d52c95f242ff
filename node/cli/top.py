"""`skep top`: node and swarm on a terminal, drawn anew every second until q or Ctrl-C.

It asks the node one small question a second and works out everything else here, so that watching
costs the node next to nothing; it outlives the node and shows the next one. Off a terminal, and
with `--once`, it is one plain snapshot. What the node itself shows is `node.cli.live`.
"""

import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import trio
from cyclopts import Parameter
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from node.cli.live import VERDICT_STYLES
from node.cli.output import SHORT_DIGITS, duration, number
from node.cli.running import Answer, behind, plain, state_of, task_name
from node.config import home_folder
from node.control import ask
from node.home import Home, known_tasks
from skep.errors import ConfigError

PERIOD_S = 1.0
PLAIN_WIDTH = 120
KEYS_MAX = 64
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Names = Mapping[str, str]
"""What this home calls tasks, by id."""


async def top(*, once: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Slots, champion, verdicts, peers and swarm, once a second; q or Ctrl-C ends it.

    Off a terminal it prints one snapshot.

    Args:
        once: print one snapshot and end.
    """
    watched = Watched(home_folder())
    if not once and sys.stdout.isatty():
        await _watch(watched)
    else:
        options: dict[str, Any] = {} if sys.stdout.isatty() else {"width": PLAIN_WIDTH}
        screen = Console(highlight=False, markup=False, emoji=False, **options)
        for line in screen.render_lines(await watched.picture(), pad=False):
            print("".join(segment.text for segment in line).rstrip())


class Watched:
    """The node on a home, if there is one."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._pid: int | None = None
        self._names: Names = {}

    async def picture(self) -> RenderableType:
        """What there is to see now."""
        try:
            node = await ask(self._home, "status")
        except ConfigError as error:
            self._pid = None
            return Text(error.what)
        if node["pid"] != self._pid:
            self._pid = node["pid"]
            self._names = {one.id.hex(): one.name for one in known_tasks(Home(self._home))}
        return picture(node, self._names)


async def _watch(watched: Watched) -> None:
    """Draw until told to end."""
    console = Console(highlight=False, markup=False, emoji=False)
    with (
        trio.open_signal_receiver(*ENDING) as signals,
        _keys() as keys,
        # Drawn from here alone: the refreshing thread of rich would draw behind trio's back.
        Live(console=console, auto_refresh=False, screen=True) as live,
    ):
        async with trio.open_nursery() as nursery:

            async def end_on_signal() -> None:
                await anext(aiter(signals))
                nursery.cancel_scope.cancel()

            async def end_on_key() -> None:
                await _quit_pressed(keys)
                nursery.cancel_scope.cancel()

            nursery.start_soon(end_on_signal)
            nursery.start_soon(end_on_key)
            while True:
                shown = Group(await watched.picture(), Text("\nq ends this view", style="dim"))
                live.update(shown, refresh=True)
                await trio.sleep(PERIOD_S)


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """Standard input with keys as they are pressed, not shown; None if it is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


async def _quit_pressed(keyboard: int | None) -> None:
    """Return when q was pressed; without a keyboard, never."""
    pressed = b" "
    while keyboard is not None and pressed:
        await trio.lowlevel.wait_readable(keyboard)
        pressed = os.read(keyboard, KEYS_MAX)
        if b"q" in pressed.lower():
            return
    await trio.sleep_forever()


def picture(node: Answer, names: Names) -> RenderableType:
    """What a node's answer to "status" looks like.

    Args:
        node: the answer.
        names: what this home calls tasks.
    """
    parts: list[RenderableType] = [_headline(node)]
    if node["champion"]:
        parts.append(_champion(node))
    if node["slots"]:
        parts += [Text(), _slots(node["slots"])]
    verdicts = node.get("verdicts", [])
    parts += [Text()] if verdicts else []
    parts += [_verdict(one) for one in verdicts]
    parts.append(Text())
    swarm = node.get("swarm")
    if swarm is None:
        parts.append(Text("no swarm: this node researches alone"))
    else:
        parts += _swarm(swarm, names)
    return Group(*parts)


def _headline(node: Answer) -> Text:
    parts = [state_of(node), duration(node["up_s"]), f"pid {node['pid']}"]
    parts += [node["sandbox"]] if node["sandbox"] else []
    return Text("  ·  ".join(parts), style="bold")


def _champion(node: Answer) -> Text:
    best = node.get("best")
    value = f"  {node['metric']} {number(best)}, reproduced by me" if best is not None else ""
    counts = f"{node['judged']} judged, {node['kept']} kept, {node['runs']} runs since the start"
    return Text(f"champion {node['champion'][:SHORT_DIGITS]}{value}  ·  {counts}")


def _slots(slots: list[Answer]) -> Table:
    table = _table("slot", "phase", "progress", "loss", "left", "strategy")
    table.add_column("experiment", no_wrap=True, overflow="ellipsis", ratio=1)
    for index, slot in enumerate(slots):
        steps, done = slot["steps"], slot["step"]
        table.add_row(
            str(index),
            slot["phase"] or "idle",
            f"{done}/{steps}  {100 * done // steps:>3} %" if steps else "",
            "" if slot["loss"] is None else number(slot["loss"], ".3f"),
            "" if slot["left_s"] is None else duration(slot["left_s"]),
            slot["strategy"],
            Text(f"{slot['program'][:SHORT_DIGITS]} {slot['note'] or slot['purpose']}".strip()),
        )
    return table


def _verdict(one: Answer) -> Text:
    note = f"  {one['note']}" if one["note"] else ""
    return Text(
        f"{one['program'][:SHORT_DIGITS]}  {one['verdict']:<7}  {one['reason']}{note}",
        style=VERDICT_STYLES.get(one["verdict"], ""),
        no_wrap=True,
        overflow="ellipsis",
    )


def _swarm(swarm: Answer, names: Names) -> Iterator[RenderableType]:
    """The swarm in a line, its peers, and who is present by role, tier and task."""
    pace = swarm["per_minute"]
    records = f"{swarm['records']:,} records{behind(swarm)}"
    parts = [swarm["swarm"], f"{swarm['peers_total']} peers"]
    parts += [f"{swarm['present_total']} others present", records]
    parts += [] if pace is None else [f"{pace:g} a minute"]
    yield Text("  ·  ".join(parts), style="bold")
    if swarm["peers"]:
        yield Text()
        yield _peers(swarm)
        yield from _more(swarm["peers_total"] - len(swarm["peers"]))
    if swarm["groups"]:
        yield Text()
        yield _groups(swarm["groups"], names)
        yield from _more(swarm["groups_total"] - len(swarm["groups"]))


def _peers(swarm: Answer) -> Table:
    table = _table("peer", "from", "since", "role", "tier")
    for name in ("records", "ahead"):
        table.add_column(name, no_wrap=True, justify="right")
    for one in swarm["peers"]:
        theirs = one["records"]
        table.add_row(
            one["name"],
            "in" if one["inbound"] else "out",
            duration(one["connected_s"]),
            one["role"] or "-",
            Text(plain(one["tier"])),
            "-" if theirs is None else f"{theirs:,}",
            "-" if theirs is None else f"{theirs - swarm['records']:+,}",
        )
    return table


def _groups(groups: list[Answer], names: Names) -> Table:
    table = _table("role", "tier", "task")
    for name in ("nodes", "running"):
        table.add_column(name, no_wrap=True, justify="right")
    for one in groups:
        table.add_row(
            one["role"],
            Text(plain(one["tier"])),
            Text(task_name(one["task"], names)),
            f"{one['nodes']:,}",
            f"{one['running']:,}",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def _more(count: int) -> Iterator[Text]:
    if count > 0:
        yield Text(f"and {count:,} more")
