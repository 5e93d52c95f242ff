"""Nodes of one local network find each other by multicast DNS (RFC 6762), without any server.

A node announces its addresses under `_skep._tcp.local.` together with a short hash of its swarm,
and is told those of others. What is found is only an address to try: whoever answers there has to
prove its key like everybody else. zeroconf works in threads of its own; nothing here waits for it.
"""

import hashlib
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

import trio

from gossip.addresses import parse_address
from skep.errors import ConfigError

if TYPE_CHECKING:
    from zeroconf import Zeroconf

SERVICE = "_skep._tcp.local."
ADDRESSES_MAX = 8
TEXT_MAX = 200
"""Longest address that is announced; an entry of a TXT record has at most 255 bytes."""

LOOKUP_MS = 3000


def mark_of(swarm: bytes) -> str:
    """What tells the nodes of one swarm from others on a network, and not which swarm it is."""
    return hashlib.sha256(b"skep/lan/1\0" + swarm).hexdigest()[:16]


def entries(swarm: bytes, addresses: Sequence[str]) -> dict[str, str]:
    """What is announced: the swarm's mark and the addresses that others can use."""
    usable = [one for one in addresses if len(one) <= TEXT_MAX][:ADDRESSES_MAX]
    return {"swarm": mark_of(swarm), **{f"a{n}": one for n, one in enumerate(usable)}}


def addresses_in(swarm: bytes, properties: dict[bytes, bytes | None]) -> list[str]:
    """Addresses of an announcement, if it is one of this swarm; what is malformed is left out."""
    if properties.get(b"swarm") != mark_of(swarm).encode():
        return []
    found = []
    for number in range(ADDRESSES_MAX):
        text = (properties.get(f"a{number}".encode()) or b"").decode("ascii", "replace")
        with suppress(ConfigError):
            parse_address(text)
            found.append(text)
    return found


@asynccontextmanager
async def announced(
    swarm: bytes,
    addresses: Sequence[str],
    found: Callable[[list[str]], None],
    *,
    interfaces: Sequence[str] | None = None,
) -> AsyncIterator[None]:
    """Announce this node on the local network, and be told of others, until the block is left.

    Args:
        swarm: id of the swarm.
        addresses: where this node can be reached.
        found: called with the addresses of a node that was found, in trio's thread.
        interfaces: IP addresses of the interfaces to use; None takes all.

    Raises:
        OSError: this machine has no network that multicast could use, or no time for it now.
    """
    from zeroconf import InterfaceChoice, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

    token = trio.lowlevel.current_trio_token()
    name = f"{secrets.token_hex(8)}.{SERVICE}"
    hosts = {parse_address(one).host for one in addresses}
    info = ServiceInfo(
        SERVICE,
        name,
        port=parse_address(addresses[0]).port if addresses else 1,
        addresses=[ip_address(host).packed for host in hosts if _is_ip(host)],
        properties=entries(swarm, addresses),
        server=f"{name.partition('.')[0]}.local.",
    )

    def changed(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed or name == info.name:
            return
        seen = zeroconf.get_service_info(service_type, name, LOOKUP_MS)
        texts = addresses_in(swarm, dict(seen.properties)) if seen else []
        if texts:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(found, texts)

    def start() -> Zeroconf:
        zeroconf = Zeroconf(interfaces=list(interfaces) if interfaces else InterfaceChoice.All)
        with _closed_after_failure(zeroconf):
            if addresses:
                zeroconf.register_service(info, cooperating_responders=True)
            ServiceBrowser(zeroconf, SERVICE, handlers=[changed])
        return zeroconf

    zeroconf = await trio.to_thread.run_sync(start)
    try:
        yield
    finally:
        # It says goodbye on the network, which takes a moment that nobody has to wait for.
        threading.Thread(target=zeroconf.close, daemon=True).start()


@contextmanager
def _closed_after_failure(zeroconf: "Zeroconf") -> Iterator[None]:
    """Turns the library's errors into one that callers know."""
    from zeroconf import Error

    try:
        yield
    except Error as error:  # its thread got no time on a busy machine, for one
        zeroconf.close()
        raise OSError(f"multicast DNS: {error!r}") from error


def _is_ip(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).version in (4, 6)
    return False
