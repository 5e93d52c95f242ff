"""Which addresses the mesh takes, and which it announces."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.addresses import Place, Scope, listenable, may_be_told, multiaddr, parse_address
from gossip.identity import peer_id
from gossip.mesh.addresses import dialable, reachable
from skep.errors import ConfigError, TransportError
from tests.gossip.swarms import public_of

PUBLIC = public_of("a")
PEER = peer_id(PUBLIC)
ANY = "0.0.0.0"  # noqa: S104 - that is what these tests are about


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/ip4/192.0.2.7/tcp/4717", Place("192.0.2.7", 4717)),
        ("/ip6/2001:db8::7/tcp/1", Place("2001:db8::7", 1)),
        ("/dns/seed.example.org/tcp/65535", Place("seed.example.org", 65535)),
        ("/dns4/localhost/tcp/4717", Place("localhost", 4717)),
        ("/dns6/a-b.example/tcp/4717", Place("a-b.example", 4717)),
    ],
)
def test_tcp_addresses_with_a_peer_can_be_dialled(address: str, place: Place) -> None:
    assert dialable(f"{address}/p2p/{PEER}") == (place, PUBLIC)


@pytest.mark.parametrize(
    "address",
    [
        f"/ip4/192.0.2.7/tcp/0/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/65536/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/+1/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/\u0661/p2p/{PEER}",
        f"/ip4/192.0.2/tcp/1/p2p/{PEER}",
        f"/ip4/localhost/tcp/1/p2p/{PEER}",
        f"/ip6/192.0.2.7/tcp/1/p2p/{PEER}",
        f"/ip6/fe80::1%eth0/tcp/1/p2p/{PEER}",
        f"/dns/192.0.2.7/tcp/1/p2p/{PEER}",
        f"/dns/-rf/tcp/1/p2p/{PEER}",
        f"/dns/a b/tcp/1/p2p/{PEER}",
        f"/unix/tmp/tcp/1/p2p/{PEER}",
        f"/ip4/192.0.2.7/udp/1/p2p/{PEER}",
        f"ip4/192.0.2.7/tcp/1/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/1/p2p/{PEER}/p2p-circuit",
        f"/ip4/192.0.2.7/tcp/1/p2p/{PEER[:-1]}",
        "/ip4/192.0.2.7/tcp/1",
    ],
)
def test_nothing_else_can_be_dialled(address: str) -> None:
    with pytest.raises(TransportError):
        dialable(address)
    with pytest.raises(ConfigError):
        parse_address(address)
    assert not may_be_told(address, Scope.machine), "nor is it remembered or handed on"


@given(st.text())
def test_no_text_breaks_the_parsers(text: str) -> None:
    for address in (text, f"/{text}", f"/ip4/{text}/tcp/1/p2p/{PEER}", f"/dns/{text}/tcp/1"):
        for parse, error in ((dialable, TransportError), (listenable, ConfigError)):
            with suppress(error):
                parse(address)


def test_listening_takes_numbers_only() -> None:
    assert listenable("/ip4/0.0.0.0/tcp/0") == Place(ANY, 0)
    assert listenable("/ip6/::/tcp/4717") == Place("::", 4717)
    for address in ("/dns/localhost/tcp/1", f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}", "", "0.0.0.0:1"):
        with pytest.raises(ConfigError):
            listenable(address)


def test_addresses_are_written_as_they_are_read() -> None:
    for place in (Place("192.0.2.7", 1), Place("2001:db8::7", 2), Place("seed.example.org", 3)):
        assert dialable(multiaddr(place, PUBLIC)) == (place, PUBLIC)
    assert multiaddr(Place("::1", 2)) == "/ip6/::1/tcp/2"


def test_a_wildcard_is_announced_as_the_addresses_of_this_machine() -> None:
    found = reachable([Place(ANY, 4717), Place("127.0.0.1", 1), Place("127.0.0.1", 1)])
    assert Place("127.0.0.1", 1) in found
    assert Place(ANY, 4717) not in found
    assert any(place.port == 4717 for place in found)
    assert len(found) == len(set(found))
