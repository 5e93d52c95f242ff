"""Whether this machine can take part in a swarm: port, clock, own addresses, known peers.

It opens the port for a moment and knocks at known addresses, all at once and for a few seconds;
nothing is said to whoever answers. Findings hold numbers rather than addresses, because they go
into bundles for others to read.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import trio

from gossip.addresses import Scope, listenable, parse_address, scope_of, scope_of_connection
from gossip.mesh.addresses import reachable
from gossip.presence import SKEW_MS
from gossip.remembered import remembered_peers
from gossip.store import Reader
from gossip.view import LedgerView
from node.census import swarm_of
from node.check import Check
from node.config import Settings
from node.control import ask
from node.home import Home
from node.swarm import bootstrap_addresses
from skep.errors import ConfigError, SkepError

KNOCK_S = 4.0
KNOCKS_MAX = 16

EARLIEST_MS = 1_735_689_600_000
"""The year 2025: a clock that shows less was never set."""

SET_BACK_MS = 60_000
WITNESSES = 3
"""So many authors whose clocks are ahead are believed that this one is slow."""

SETTLED_S = 300
"""After so many seconds of a connection an announcement of the peer has come, and counts."""

SET_CLOCK = "Set it, best by a time service: timedatectl set-ntp true"
OPEN_A_PORT = (
    "This node reaches others all the same. To be reached: forward a TCP port of the router to"
    " this machine, and start with --listen /ip4/0.0.0.0/tcp/4601 and"
    " --announce /ip4/PUBLIC-ADDRESS/tcp/4601"
)
NOBODY_KNOWN = (
    "There are no public peers yet. Somebody you know can run `skep bootstrap` and give you the"
    " line it prints, for --bootstrap"
)


async def examine(home: Home, settings: Settings, now_ms: int) -> list[Check]:
    """All checks; those of the network are left out for a node that researches alone.

    Args:
        home: folder; need not exist.
        settings: how a node would start.
        now_ms: what this machine's clock shows, in milliseconds since the epoch.
    """
    node = await _running(home.root)
    clock = _clock(home, node, now_ms)
    if settings.solo:
        return [clock]
    try:
        known = [
            *bootstrap_addresses(settings.bootstrap or ()),
            *remembered_peers(home.root),
        ]
    except ConfigError as error:
        peers = Check("peers", "bad", error.what, error.advice)
    else:
        peers = await _peers(list(dict.fromkeys(known))[:KNOCKS_MAX])
    port = await _port(settings.listen, running=node is not None)
    scopes = _scopes(settings) if node is None else map(scope_of_connection, node["addresses"])
    return [port, addresses(scopes), clock, peers]


async def _running(root: Path) -> Mapping[str, Any] | None:
    """The answer of a node that runs on the home and is in a swarm."""
    try:
        answer = await ask(root, "swarm")
    except ConfigError:
        return None
    return answer if answer["swarm"] else None


async def _port(listen: Sequence[str], *, running: bool) -> Check:
    """Whether the node could listen where it is told to."""
    if not listen:
        return Check("port", "ok", "none: this node only reaches out")
    if running:
        return Check("port", "ok", "the node that runs on this home listens")
    for address in listen:
        try:
            place = listenable(address)
            for listener in await trio.open_tcp_listeners(place.port, host=place.host):
                await listener.aclose()
        except ConfigError as error:
            return Check("port", "bad", error.what, error.advice)
        except OSError as error:
            finding = f"cannot listen on {address}: {error.strerror or error}"
            return Check("port", "bad", finding, "Choose another port with --listen")
    return Check("port", "ok", f"can listen on {', '.join(listen)}")


def _scopes(settings: Settings) -> list[Scope]:
    """How far away others could be that reach a node with these settings."""
    if settings.announce:
        return [scope_of_connection(one) for one in settings.announce]
    try:
        places = reachable([listenable(one) for one in settings.listen])
    except ConfigError:  # `_port` says what is wrong with it
        return []
    return [scope_of(place.host) for place in places]


def addresses(scopes: Iterable[Scope]) -> Check:
    """How many addresses a node has, and from where they can be reached."""
    count = Counter(scopes)
    total = count.total()
    if not total:
        return Check("addresses", "ok", "none: others cannot connect to this node, it reaches out")
    if count[Scope.internet]:
        finding = f"{total}, {count[Scope.internet]} of them on the internet"
        return Check("addresses", "ok", f"{finding}, if firewalls let the port through")
    if count[Scope.network]:
        return Check("addresses", "warn", f"{total}, in the local network only", OPEN_A_PORT)
    return Check("addresses", "warn", f"{total}, on this machine only", OPEN_A_PORT)


def _clock(home: Home, node: Mapping[str, Any] | None, now_ms: int) -> Check:
    own, others = 0, list[int]()
    try:
        with closing(Reader.open(home.database)) as reader:
            ledger = LedgerView(reader)
            newest: dict[bytes, int] = {}
            for one in ledger.stock(swarm_of(ledger)):
                newest[one.author] = max(newest.get(one.author, 0), one.newest)
            own = newest.pop(ledger.me, 0)
            others = list(newest.values())
    except SkepError:
        pass  # the check of the database says what is wrong with it
    settled = [one for one in node["peers"] if one["connected_s"] > SETTLED_S] if node else []
    unheard = len(settled) if node and not node["present_total"] else 0
    return clock(now_ms, own, others, unheard)


def clock(now_ms: int, own: int, others: Iterable[int], unheard: int) -> Check:
    """Whether the clock is plausible, as far as records and announcements tell.

    Args:
        now_ms: what it shows, in milliseconds since the epoch.
        own: time of the newest own record.
        others: time of each other author's newest record.
        unheard: peers connected for long while no announcement of anybody counts as recent.
    """
    slow = sorted(time - now_ms for time in others if time - now_ms > SKEW_MS)
    if now_ms < EARLIEST_MS:
        return Check("clock", "warn", "shows a time before 2025", SET_CLOCK)
    if own - now_ms > SET_BACK_MS:
        minutes = (own - now_ms) // 60_000
        finding = f"shows a time {minutes} min before this node's own last record"
        return Check("clock", "warn", finding, SET_CLOCK)
    if len(slow) >= WITNESSES:
        minutes = slow[len(slow) // 2] // 60_000
        finding = f"{len(slow)} authors are about {minutes} min ahead of it"
        return Check("clock", "warn", finding, SET_CLOCK)
    if unheard:
        limit = SKEW_MS // 60_000
        finding = (
            f"no announcement of {unheard} peers counts: it seems to be off by over {limit} min"
        )
        return Check("clock", "warn", finding, SET_CLOCK)
    return Check("clock", "ok", "agrees with what is recorded")


async def _peers(known: Sequence[str]) -> Check:
    """Whether somebody answers at known addresses."""
    if not known:
        return Check("peers", "warn", "no address of a peer is known", NOBODY_KNOWN)
    answered: list[str] = []
    async with trio.open_nursery() as nursery:
        for one in known:
            nursery.start_soon(_knock, one, answered)
    finding = f"{len(answered)} of {len(known)} known addresses answer"
    if answered:
        return Check("peers", "ok", finding)
    fix = "Check network and firewall; a node goes on alone meanwhile, and keeps trying"
    return Check("peers", "warn", finding, fix)


async def _knock(address: str, answered: list[str]) -> None:
    """Note an address where a connection can be made."""
    with trio.move_on_after(KNOCK_S):
        try:
            place = parse_address(address)
            stream = await trio.open_tcp_stream(place.host, place.port)
        except (OSError, ConfigError):
            return
        answered.append(address)
        await trio.aclose_forcefully(stream)
