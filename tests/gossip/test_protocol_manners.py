"""What a node must not do to honest peers, nor hold against them."""

from gossip.effects import Answered, Ask, Drop, Effect, Listening, Unanswered, Woke
from gossip.identity import Identity
from gossip.messages import ADDRESSES_MAX, Rows, Want, WantPeers, pack, unpack_request
from gossip.params import NODE, Params
from gossip.protocol import Core
from gossip.replica import Replica, Row
from gossip.simulate import MemoryArchive
from gossip.transport import Connected, Disconnected

SWARM = b"simulated".ljust(32, b"\0")
ME, PEER = Identity(bytes([1]) * 32), Identity(bytes([2]) * 32)
ADDRESS = f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER.peer_id}"


def make_core(params: Params = NODE) -> Core:
    """A node that knows nothing yet."""
    archive = MemoryArchive()
    return Core(
        me=ME.public,
        swarm=SWARM,
        replica=Replica(),
        archive=archive,
        shelf=archive,
        known={},
        params=params,
        instance=bytes(8),
        now=0.0,
        wall_ms=0,
        seed=1,
    )


def asks(effects: list[Effect]) -> list[Ask]:
    """The requests among effects."""
    return [one for one in effects if isinstance(one, Ask)]


def test_a_machine_of_many_names_tells_those_that_fit_a_request() -> None:
    core = make_core()
    names = [f"/ip4/10.0.0.{n}/tcp/4001/p2p/{ME.peer_id}" for n in range(100)]
    long = f"/dns/{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}/tcp/4001/p2p/{ME.peer_id}"
    core.handle(0.0, Listening((long, *names)))
    effects = asks(core.handle(1.0, Connected(PEER.public, ADDRESS, inbound=False)))
    told = [
        request for one in effects if isinstance(request := unpack_request(one.data), WantPeers)
    ]
    assert [one.addresses for one in told] == [tuple(names[:ADDRESSES_MAX])]


def test_an_address_too_long_for_a_message_is_not_handed_on() -> None:
    core = make_core()
    long = f"/dns/{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}/tcp/4001/p2p/{PEER.peer_id}"
    core.rendezvous.add([long, ADDRESS], "bootstrap")
    for one in (long, ADDRESS):
        core.rendezvous.reached(1.0, one)
    core.handle(1.0, Connected(PEER.public, ADDRESS, inbound=True))
    assert core._exchange(PEER.public, WantPeers(SWARM, ())).addresses == (ADDRESS,)


def dropped_after(refused: bool) -> bool:
    """Whether a peer is dropped that answers none of forty requests."""
    core = make_core(Params(compare_s=1.0))
    waiting = asks(core.handle(0.0, Connected(PEER.public, ADDRESS, inbound=False)))
    for second in range(1, 300):
        effects: list[Effect] = []
        for ask in waiting:
            effects += core.handle(float(second), Unanswered(ask.number, refused=refused))
        if any(isinstance(one, Drop) for one in effects):
            return True
        waiting = asks([*effects, *core.handle(float(second), Woke())])
    return False


def test_silence_costs_a_peer_its_place_and_a_refusal_does_not() -> None:
    """It refuses whoever asks for more than its quotas give: a node that fetches a whole ledger."""
    assert dropped_after(refused=False)
    assert not dropped_after(refused=True)


def test_a_late_answer_is_not_held_against_a_peer_that_went_and_came_back() -> None:
    core = make_core()
    here = Connected(PEER.public, ADDRESS, inbound=False)
    first = next(one for one in asks(core.handle(0.0, here)) if one.service == "/skep/sync/1")
    core.handle(1.0, Disconnected(PEER.public))
    again = next(one for one in asks(core.handle(2.0, here)) if one.service == "/skep/sync/1")
    row = Row(bytes(16), 1, bytes(16), forked=False)
    core.handle(2.0, Answered(first.number, pack(Rows(row.packed(), more=False))))
    core.handle(2.0, Unanswered(first.number))
    told = asks(core.handle(3.0, Answered(again.number, pack(Rows(row.packed(), more=False)))))
    assert [type(unpack_request(one.data)) for one in told] == [Want]
    assert core.standing.points(3.0, PEER.public) == 0.0
