"""What every transport promises, asked of the one over libp2p and of the one within a process."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio

from gossip import asking
from gossip.identity import peer_id
from gossip.limits import REQUESTS_PER_PEER
from gossip.transport import (
    ANSWER_MAX_BYTES,
    PUBLISHED_MAX_BYTES,
    REQUEST_MAX_BYTES,
    Connected,
    Disconnected,
    Heard,
    Transport,
)
from skep.errors import TransportError
from tests.gossip.swarms import (
    PATIENCE_S,
    PROGRAM,
    SYNC,
    Opens,
    chain,
    connect,
    event_of,
    over_memory,
    over_mesh,
    public_of,
    refusal,
    until,
)


@pytest.fixture(params=[over_memory, over_mesh], ids=["memory", "mesh"])
def opens(request: pytest.FixtureRequest) -> Opens:
    """Opens nodes over one of the transports."""
    over: Callable[[], Opens] = request.param
    return over()


async def test_a_node_is_named_by_its_key(opens: Opens) -> None:
    async with opens("a") as a, opens("b", listens=False) as b:
        assert a.me == public_of("a")
        assert [address.rpartition("/p2p/")[2] for address in a.addresses] == [peer_id(a.me)]
        assert b.addresses == ()


async def test_both_sides_learn_of_a_connection(opens: Opens) -> None:
    async with opens("a") as a, opens("b", listens=False) as b:
        assert await b.dial(a.addresses[0]) == a.me
        seen = await event_of(b, Connected)
        assert (seen.peer, seen.address, seen.inbound) == (a.me, a.addresses[0], False)
        seen = await event_of(a, Connected)
        assert (seen.peer, seen.inbound) == (b.me, True)
        assert list(a.peers) == [b.me]
        assert dict(b.peers) == {a.me: a.addresses[0]}


async def test_dialling_a_connected_peer_changes_nothing(opens: Opens) -> None:
    async with opens("a") as a, opens("b") as b:
        await connect(a, b)
        await event_of(a, Connected)
        assert await a.dial(b.addresses[0]) == b.me
        await a.request(b.me, SYNC, b"still there")
        with pytest.raises(trio.WouldBlock):
            a.events.receive_nowait()


async def test_dialling_at_the_same_time_makes_one_peer(opens: Opens) -> None:
    async with opens("a") as a, opens("b") as b, trio.open_nursery() as nursery:
        nursery.start_soon(a.dial, b.addresses[0])
        nursery.start_soon(b.dial, a.addresses[0])
        nursery.start_soon(a.dial, b.addresses[0])
        await until(lambda: list(a.peers) == [b.me] and list(b.peers) == [a.me])
        assert await a.request(b.me, SYNC, b"ab") == b"ba"
        assert await b.request(a.me, SYNC, b"ab") == b"ba"


async def test_a_message_reaches_all_over_several_hops_once(opens: Opens) -> None:
    async with AsyncExitStack() as stack:
        a, *others = await chain(stack, opens, "abcde")
        before = a
        heard: dict[bytes, list[bytes]] = {other.me: [] for other in others}

        async def collect(other: Transport, neighbour: bytes) -> None:
            while True:
                event = await event_of(other, Heard)
                assert event.peer == neighbour
                heard[other.me].append(event.data)

        async with trio.open_nursery() as nursery:
            for other in others:
                nursery.start_soon(collect, other, before.me)
                before = other
            for number in range(3):
                await a.publish(b"message %d" % number)
            expected = [b"message 0", b"message 1", b"message 2"]
            await until(lambda: all(sorted(got) == expected for got in heard.values()))
            nursery.cancel_scope.cancel()
        a_heard = a.events.statistics().current_buffer_used
        kinds = [type(a.events.receive_nowait()) for _ in range(a_heard)]
        assert Heard not in kinds


async def test_messages_go_both_ways(opens: Opens) -> None:
    async with AsyncExitStack() as stack:
        a, _, c = await chain(stack, opens, "abc")
        await a.publish(b"from a")
        assert (await event_of(c, Heard)).data == b"from a"
        await c.publish(b"from c")
        assert (await event_of(a, Heard)).data == b"from c"


async def test_the_longest_message_arrives_and_a_longer_one_goes_nowhere(opens: Opens) -> None:
    async with AsyncExitStack() as stack:
        a, b = await chain(stack, opens, "ab")
        await a.publish(bytes(PUBLISHED_MAX_BYTES + 1))
        await a.publish(b"")
        await a.publish(bytes(PUBLISHED_MAX_BYTES))
        assert (await event_of(b, Heard)).data == bytes(PUBLISHED_MAX_BYTES)


async def test_a_mebibyte_is_asked_and_answered(opens: Opens) -> None:
    async with AsyncExitStack() as stack:
        a, b = await chain(stack, opens, "ab")
        question = bytes(range(256)) * 4096
        assert len(question) == REQUEST_MAX_BYTES
        assert await a.request(b.me, SYNC, question) == question[::-1]
        assert await b.request(a.me, SYNC, question) == question[::-1]


async def test_a_handler_knows_who_asks(opens: Opens) -> None:
    async def who(peer: bytes, request: bytes) -> bytes:
        return peer

    async with opens("a", {SYNC: who}) as a, opens("b") as b:
        await connect(b, a)
        assert await b.request(a.me, SYNC, b"?") == b.me


@pytest.mark.parametrize("answer", [b"", bytes(ANSWER_MAX_BYTES + 1), RuntimeError("a mistake")])
async def test_no_answer_is_a_refusal_and_the_next_question_is_answered(
    opens: Opens, answer: bytes | Exception
) -> None:
    async def moody(peer: bytes, request: bytes) -> bytes:
        if request == b"hello":
            return b"hello yourself"
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with opens("a", {SYNC: moody}) as a, opens("b") as b:
        await connect(b, a)
        assert "refused" in await refusal(lambda: b.request(a.me, SYNC, b"?"))
        assert await b.request(a.me, SYNC, b"hello") == b"hello yourself"


async def test_the_longest_answer_arrives(opens: Opens) -> None:
    async def long(peer: bytes, request: bytes) -> bytes:
        return bytes(ANSWER_MAX_BYTES)

    async with opens("a", {SYNC: long}) as a, opens("b") as b:
        await connect(b, a)
        assert len(await b.request(a.me, SYNC, b"?")) == ANSWER_MAX_BYTES


async def test_requests_that_cannot_be_made_say_why(opens: Opens) -> None:
    async with opens("a") as a, opens("b") as b:
        assert "not connected" in await refusal(lambda: a.request(b.me, SYNC, b"?"))
        await connect(a, b)
        too_long = bytes(REQUEST_MAX_BYTES + 1)
        assert "too long" in await refusal(lambda: a.request(b.me, SYNC, too_long))
        assert peer_id(b.me) in await refusal(lambda: a.request(b.me, PROGRAM, b"?"))
        assert await a.request(b.me, SYNC, b"ab") == b"ba"


async def test_who_does_not_answer_in_time_is_not_waited_for(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "REQUEST_TIMEOUT_S", 0.3)

    async def slow(peer: bytes, request: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with opens("a", {SYNC: slow}) as a, opens("b") as b:
        await connect(b, a)
        assert peer_id(a.me) in await refusal(lambda: b.request(a.me, SYNC, b"?"))


async def test_one_peer_cannot_have_more_than_its_share_of_requests(opens: Opens) -> None:
    release = trio.Event()
    waiting = 0

    async def patient(peer: bytes, request: bytes) -> bytes:
        nonlocal waiting
        waiting += 1
        await release.wait()
        return b"done"

    answers = []

    async with opens("a", {SYNC: patient}) as a, opens("b") as b, opens("c") as c:
        await connect(b, a)
        await connect(c, a)

        async def ask(who: Transport) -> None:
            answers.append(await who.request(a.me, SYNC, b"?"))

        async with trio.open_nursery() as nursery:
            for _ in range(REQUESTS_PER_PEER):
                nursery.start_soon(ask, b)
            await until(lambda: waiting == REQUESTS_PER_PEER)
            assert "refused" in await refusal(lambda: b.request(a.me, SYNC, b"one more"))
            nursery.start_soon(ask, c)
            await until(lambda: waiting == REQUESTS_PER_PEER + 1)
            release.set()
        assert answers == [b"done"] * (REQUESTS_PER_PEER + 1)
        assert await b.request(a.me, SYNC, b"again") == b"done"


async def test_a_dropped_peer_is_gone_and_stays_away_as_long_as_was_said(opens: Opens) -> None:
    async with opens("a") as a, opens("b") as b:
        await connect(b, a)
        await a.drop(b.me, refuse_s=0.5)
        assert (await event_of(a, Disconnected)).peer == b.me
        assert (await event_of(b, Disconnected)).peer == a.me
        assert (dict(a.peers), dict(b.peers)) == ({}, {})
        for attempt in (lambda: b.dial(a.addresses[0]), lambda: a.dial(b.addresses[0])):
            await refusal(attempt)
        await until_it_works(lambda: b.dial(a.addresses[0]))
        assert await b.request(a.me, SYNC, b"ab") == b"ba"


async def test_a_peer_dropped_without_a_ban_may_come_back(opens: Opens) -> None:
    async with opens("a") as a, opens("b") as b:
        await connect(b, a)
        await a.drop(b.me)
        await event_of(b, Disconnected)
        await connect(b, a)
        assert await b.request(a.me, SYNC, b"ab") == b"ba"
        await a.drop(public_of("nobody"))


async def test_a_peer_that_leaves_is_reported(opens: Opens) -> None:
    async with opens("a") as a:
        async with opens("b") as b:
            await connect(b, a)
        assert (await event_of(a, Disconnected)).peer == b.me
        assert dict(a.peers) == {}


async def test_a_peer_that_comes_back_under_its_name_is_the_same(opens: Opens) -> None:
    async with opens("a") as a:
        for number in range(3):
            async with opens("b") as b:
                await until_it_works(partial(b.dial, a.addresses[0]))
                await until(lambda: public_of("b") in a.peers)
                await b.publish(b"life %d" % number)
                assert (await event_of(a, Heard)).data == b"life %d" % number


async def test_another_peer_at_the_address_is_refused(opens: Opens) -> None:
    async with opens("a") as a, opens("b") as b:
        wrong = a.addresses[0].replace(peer_id(a.me), peer_id(public_of("c")))
        await refusal(lambda: b.dial(wrong))
        assert (dict(a.peers), dict(b.peers)) == ({}, {})
        await connect(b, a)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/",
        "nonsense",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/tcp/1/p2p/",
        "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWNubGGHRzutuLZKzr9ezvvkWT474VrkPPyDS1ThyCqJvD",
        "/ip4/127.0.0.1/udp/1/quic-v1/p2p/12D3KooWNubGGHRzutuLZKzr9ezvvkWT474VrkPPyDS1ThyCqJvD",
        "/memory/9/p2p/12D3KooWNubGGHRzutuLZKzr9ezvvkWT474VrkPPyDS1ThyCqJvD",
        "/ip4/127.0.0.1/tcp/99999/p2p/12D3KooWNubGGHRzutuLZKzr9ezvvkWT474VrkPPyDS1ThyCqJvD",
        "x" * 10_000,
    ],
)
async def test_an_address_that_leads_nowhere_is_an_error(opens: Opens, address: str) -> None:
    async with opens("a") as a:
        await refusal(lambda: a.dial(address))
        await refusal(lambda: a.dial(a.addresses[0]))


async def test_the_gate_holds_in_both_directions(opens: Opens) -> None:
    def friends(peer: bytes) -> bool:
        return peer in (public_of("a"), public_of("b"))

    async with opens("a", gate=friends) as a, opens("b") as b, opens("c") as c:
        await refusal(lambda: a.dial(c.addresses[0]))
        await connect(b, a)
        await refusal(lambda: c.dial(a.addresses[0]))
        assert (list(a.peers), dict(c.peers)) == ([b.me], {})


async def test_a_request_given_up_leaves_the_connection_whole(opens: Opens) -> None:
    async with AsyncExitStack() as stack:
        a, b = await chain(stack, opens, "ab")
        for number in range(30):
            with trio.move_on_after(number / 1000):
                await a.request(b.me, SYNC, bytes(REQUEST_MAX_BYTES))
        assert await a.request(b.me, SYNC, b"ab") == b"ba"
        await a.publish(b"news")
        assert (await event_of(b, Heard)).data == b"news"
        assert list(a.peers) == [b.me]


async def test_closing_ends_everything_that_waits(opens: Opens) -> None:
    asked = trio.Event()

    async def slow(peer: bytes, request: bytes) -> bytes:
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    async with opens("a", {SYNC: slow}) as a:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery, opens("b") as b:
                await connect(b, a)
                nursery.start_soon(refusal, lambda: b.request(a.me, SYNC, b"?"))
                await until(asked.is_set)
            assert [event async for event in b.events][-1] == Disconnected(a.me)
        assert (await event_of(a, Disconnected)).peer == b.me


async def test_the_block_raises_what_its_body_raised(opens: Opens) -> None:
    with pytest.raises(KeyError):
        async with opens("a"):
            raise KeyError


async def until_it_works(attempt: Callable[[], Awaitable[object]]) -> None:
    """Try until there is no `TransportError`."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                await attempt()
            except TransportError:
                await trio.sleep(0.02)
            else:
                return
