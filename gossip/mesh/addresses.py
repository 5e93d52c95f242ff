"""Where the mesh connects to, and where others can reach it: addresses in terms of sockets."""

import ipaddress
import socket

import psutil

from gossip.addresses import Place, parse_address
from skep.errors import ConfigError, TransportError


def dialable(address: str) -> tuple[Place, bytes]:
    """Where to connect to, and the public key (32 bytes) of the peer who should be there.

    Raises:
        TransportError: it is no address that the mesh can dial.
    """
    try:
        found = parse_address(address)
    except ConfigError as error:
        raise TransportError(f"{address[:80]!r} cannot be dialled: {error.what}") from None
    return Place(found.host, found.port), found.peer


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
