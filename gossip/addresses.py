"""Multiaddrs: reading and writing them, and which may be believed from whom. Pure.

Only what this mesh speaks: TCP on an IP address or a DNS name, ending in the peer id. An address
from a stranger is an invitation to connect somewhere; so nobody is believed about networks nearer
than the one he is seen on himself, nor about names, which lead wherever their owner wants: no peer
on the internet can make a node knock at its own machine or its owner's router. Names are for users
and the files they write.
"""

import ipaddress
import re
from enum import IntEnum
from functools import lru_cache

from msgspec import Struct

from gossip.identity import parse_peer_id, peer_id
from skep.errors import ConfigError

LENGTH_MAX = 400
"""Longest address in characters: a full DNS name, a port and a peer id fit."""

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_NAMED = ("dns", "dns4", "dns6")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_ADVICE = "One looks like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW…, or /dns4/… with a name"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")
_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class Scope(IntEnum):
    """How far away an address is."""

    machine = 0
    network = 1
    internet = 2


class Place(Struct, frozen=True):
    """A host (an IP address or a name) and a TCP port."""

    host: str
    port: int


class Address(Struct, frozen=True):
    """A peer's address: its host, its TCP port and its public key (32 bytes)."""

    kind: str
    host: str
    port: int
    peer: bytes

    @property
    def scope(self) -> Scope:
        """How far away it is; a name counts as on the internet."""
        return scope_of(self.host)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address:
    """Read `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT/p2p/PEER`.

    Raises:
        ConfigError: it is not such an address.
    """
    parts = text.split("/") if len(text) <= LENGTH_MAX else []
    if len(parts) != 7 or parts[0] or parts[5] != "p2p":
        raise ConfigError(f"{text[:100]!r} is no address of a peer", _ADVICE)
    try:
        place = _place(parts[1:5], names=True)
    except ConfigError as error:
        raise ConfigError(f"{text[:100]!r} leads nowhere: {error.what}", _ADVICE) from None
    return Address(parts[1], place.host, place.port, parse_peer_id(parts[6]))


def listenable(text: str) -> Place:
    """Read `/ip4|ip6/HOST/tcp/PORT`, where to listen; port 0 means any.

    Raises:
        ConfigError: it is not such an address.
    """
    parts = text.split("/") if len(text) <= LENGTH_MAX else []
    try:
        if len(parts) != 5 or parts[0]:
            raise ConfigError("it has other parts than a host and a port")
        return _place(parts[1:], names=False)
    except ConfigError as error:
        advice = "One looks like /ip4/0.0.0.0/tcp/4717"
        raise ConfigError(f"cannot listen on {text[:80]!r}: {error.what}", advice) from None


def multiaddr(place: Place, public: bytes | None = None) -> str:
    """A place as text, with the peer that is there if its key is given."""
    version = _version(place.host)
    text = f"/{f'ip{version}' if version else 'dns'}/{place.host}/tcp/{place.port}"
    return f"{text}/p2p/{peer_id(public)}" if public else text


def believable(address: Address, teller: Scope) -> bool:
    """Whether an address may be taken from a peer that is itself seen at `teller`."""
    if address.kind not in ("ip4", "ip6"):
        # Whoever owns a name can let it lead anywhere, also into this network, and later.
        return teller is Scope.machine
    found = ipaddress.ip_address(address.host)
    if any(one.is_unspecified or one.is_multicast for one in _meant(found)):
        return False
    return address.scope >= teller


def may_be_told(text: str, teller: Scope) -> bool:
    """Whether a text is an address that may be taken from a peer at `teller`, and handed on."""
    try:
        return believable(parse_address(text), teller)
    except ConfigError:
        return False


@lru_cache(maxsize=4096)
def scope_of(host: str) -> Scope:
    """How far away a host is; a name counts as on the internet."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return Scope.internet
    return min(map(_scope, _meant(found)))


def _scope(found: _IP) -> Scope:
    if found.is_loopback or found.is_unspecified:
        return Scope.machine
    return Scope.internet if found.is_global else Scope.network


def _meant(found: _IP) -> list[_IP]:
    """An address and the IPv4 address within it, where packets to the one may reach the other."""
    if isinstance(found, ipaddress.IPv4Address):
        return [found]
    inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
    if inner is None and (found in _NAT64 or (found in _COMPATIBLE and int(found) > 1)):
        inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    # A mapped address is nothing but the one within.
    return [inner] if found.ipv4_mapped and inner else [found, *([inner] if inner else [])]


def scope_of_connection(address: str) -> Scope:
    """How far away the other end of a connection is, from its multiaddr with or without peer id."""
    parts = address.split("/")
    return scope_of(parts[2]) if len(parts) > 2 else Scope.internet


def _place(parts: list[str], *, names: bool) -> Place:
    kind, host, protocol, port = parts
    if kind in ("ip4", "ip6"):
        if _version(host) != int(kind[-1]):
            raise ConfigError(f"{host!r} is no {kind} address")
    elif not (names and kind in _NAMED and _is_name(host)):
        raise ConfigError(f"/{kind}/{host} names no host")
    if protocol != "tcp" or not _PORT.fullmatch(port):
        raise ConfigError(f"/{protocol}/{port} is no TCP port")
    if int(port) > 65535 or (names and port == "0"):
        raise ConfigError(f"{port} is no TCP port")
    return Place(host, int(port))


def _is_name(host: str) -> bool:
    return len(host) <= 253 and _NAME.fullmatch(host) is not None and _version(host) == 0


def _version(host: str) -> int:
    """4 or 6 for an IP address; 0 for all else, an address with a zone included."""
    try:
        return ipaddress.ip_address(host).version if "%" not in host else 0
    except ValueError:
        return 0
