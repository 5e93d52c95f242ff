"""Finding nodes on the local network: what is announced, and what is believed of what is found."""

from functools import partial

import pytest
import trio
import zeroconf

from gossip.identity import peer_id
from gossip.lan import addresses_in, announced, entries
from gossip.swarms import PUBLIC_SWARM
from tests.gossip.swarm_scenes import author

OTHER = b"another".ljust(32, b"\0")


def address(number: int, host: str = "127.0.0.1") -> str:
    """Where a node would listen."""
    return f"/ip4/{host}/tcp/{4000 + number}/p2p/{peer_id(author(number).public)}"


def encoded(found: dict[str, str]) -> dict[bytes, bytes | None]:
    """Entries as they come from the network."""
    return {key.encode(): value.encode() for key, value in found.items()}


def test_an_announcement_is_read_by_nodes_of_the_same_swarm_only() -> None:
    seen = encoded(entries(PUBLIC_SWARM, [address(1), address(2)]))
    assert addresses_in(PUBLIC_SWARM, seen) == [address(1), address(2)]
    assert addresses_in(OTHER, seen) == []
    assert PUBLIC_SWARM.hex() not in str(seen)


@pytest.mark.parametrize("text", [b"", b"/ip4/1.2.3.4", b"\xff\xfe", b"/ip4/x/tcp/1/p2p/y"])
def test_what_is_no_address_is_left_out(text: bytes) -> None:
    seen = encoded(entries(PUBLIC_SWARM, [address(1)])) | {b"a1": text}
    assert addresses_in(PUBLIC_SWARM, seen) == [address(1)]


async def test_two_nodes_of_a_network_find_each_other() -> None:
    seen: dict[str, set[str]] = {"one": set(), "two": set()}
    both = trio.Event()

    def note(who: str, texts: list[str]) -> None:
        seen[who].update(texts)
        if all(seen.values()):
            both.set()

    here = ["127.0.0.1"]
    try:
        async with (
            announced(PUBLIC_SWARM, [address(1)], partial(note, "one"), interfaces=here),
            announced(OTHER, [address(3)], lambda _: None, interfaces=here),
            announced(PUBLIC_SWARM, [address(2)], partial(note, "two"), interfaces=here),
        ):
            with trio.move_on_after(10):
                await both.wait()
    except OSError as error:
        pytest.skip(f"no multicast here: {error}")
    assert seen == {"one": {address(2)}, "two": {address(1)}}


async def test_a_busy_machine_has_no_network_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_busy(*_: object, **__: object) -> None:
        raise zeroconf.EventLoopBlocked

    monkeypatch.setattr(zeroconf.Zeroconf, "register_service", too_busy)
    with pytest.raises(OSError, match="multicast DNS"):
        async with announced(PUBLIC_SWARM, [address(1)], print, interfaces=["127.0.0.1"]):
            pass
