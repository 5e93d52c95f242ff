"""Addresses of the mesh as text: which ones it can use, and what to tell others.

The mesh speaks TCP. It takes `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT/p2p/PEER` to dial, and the same
without names and peer to listen on. Addresses come from strangers, so nothing else passes.
"""

import ipaddress
import re
import socket

import psutil
from msgspec import Struct

from gossip.identity import parse_peer_id, peer_id
from skep.errors import ConfigError, TransportError

ADDRESS_MAX = 400
"""Longest address in characters: a full DNS name, a port and a peer id fit."""

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


class Place(Struct, frozen=True):
    """A host (an IP address or a name) and a TCP port."""

    host: str
    port: int


def dialable(address: str) -> tuple[Place, bytes]:
    """Where to connect to, and the public key (32 bytes) of the peer who should be there.

    Raises:
        TransportError: it is no address that the mesh can dial.
    """
    parts = address.split("/") if len(address) <= ADDRESS_MAX else []
    try:
        if len(parts) != 7 or parts[0] or parts[5] != "p2p":
            raise ConfigError("it does not read /ip4/HOST/tcp/PORT/p2p/PEER")
        return _place(parts[1:5], names=True), parse_peer_id(parts[6])
    except ConfigError as error:
        raise TransportError(f"{address[:80]!r} cannot be dialled: {error.what}") from None


def listenable(address: str) -> Place:
    """Where to listen; port 0 means any.

    Raises:
        ConfigError: it is no address that the mesh can listen on.
    """
    parts = address.split("/") if len(address) <= ADDRESS_MAX else []
    try:
        if len(parts) != 5 or parts[0]:
            raise ConfigError("it has other parts than a host and a port")
        return _place(parts[1:], names=False)
    except ConfigError as error:
        advice = "One looks like /ip4/0.0.0.0/tcp/4717"
        raise ConfigError(f"cannot listen on {address[:80]!r}: {error.what}", advice) from None


def multiaddr(place: Place, public: bytes | None = None) -> str:
    """A place as text, with the peer that is there if its key is given."""
    kind = "dns"
    if _version(place.host):
        kind = "ip6" if ":" in place.host else "ip4"
    text = f"/{kind}/{place.host}/tcp/{place.port}"
    return f"{text}/p2p/{peer_id(public)}" if public else text


def reachable(places: list[Place]) -> list[Place]:
    """Places where others can reach what listens on these: wildcards become the interfaces'."""
    found: dict[Place, None] = {}
    for place in places:
        if ipaddress.ip_address(place.host).is_unspecified:
            for host in _interfaces(6 if ":" in place.host else 4):
                found[Place(host, place.port)] = None
        else:
            found[place] = None
    return list(found)


def _interfaces(version: int) -> list[str]:
    """This machine's addresses that others may reach; loopback where there is no other."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    hosts = [
        ipaddress.ip_address(address.address)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        # A link-local IPv6 address comes with a zone, which means nothing elsewhere.
        if address.family == family and "%" not in address.address
    ]
    outside = [str(host) for host in hosts if not host.is_loopback and not host.is_link_local]
    return outside or ["::1" if version == 6 else "127.0.0.1"]


def _place(parts: list[str], *, names: bool) -> Place:
    kind, host, protocol, port = parts
    versions = {"ip4": 4, "ip6": 6}
    if kind in versions:
        if _version(host) != versions[kind]:
            raise ConfigError(f"{host!r} is no {kind} address")
    elif not (names and kind in ("dns", "dns4", "dns6") and _is_name(host)):
        raise ConfigError(f"/{kind}/{host} names no host")
    if protocol != "tcp" or not (port.isascii() and port.isdecimal() and len(port) <= 5):
        raise ConfigError(f"/{protocol}/{port} is no TCP port")
    if int(port) > 65535 or (names and port == "0"):
        raise ConfigError(f"{port} is no TCP port")
    return Place(host, int(port))


def _is_name(host: str) -> bool:
    return len(host) <= 253 and _NAME.fullmatch(host) is not None and _version(host) == 0


def _version(host: str) -> int:
    try:
        return ipaddress.ip_address(host).version if "%" not in host else 0
    except ValueError:
        return 0
