"""How many new feeds may come in: keys cost nothing, and the list of feeds has an end."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from gossip.admission import Admission
from gossip.identity import Identity
from gossip.messages import Compare, Want
from gossip.params import NODE, Params
from gossip.simulate import World
from skep.records import SignedRecord
from tests.factories import make_run
from tests.gossip.sides import Side
from tests.gossip.swarm_scenes import author, chain

ANNA = author(1)
FEW = Params(newcomers_chains=3.0, newcomers_chains_s=0.1, known_chains=2.0, known_chains_s=0.1)


def keys(count: int) -> list[Identity]:
    """Fresh keys."""
    return [Identity(number.to_bytes(32, "little")) for number in range(1000, 1000 + count)]


def begun(admission: Admission, now: float, key: Identity) -> float:
    """Seconds that a new chain of this author has to wait; 0 if it is taken."""
    return admission.ask(now, key.public, 100, begins=True)


def test_new_chains_beyond_the_burst_are_given_one_turn_after_another() -> None:
    admission, fresh = Admission(FEW, {}, 0.0), keys(8)
    waits = [begun(admission, 0.0, key) for key in fresh]
    assert waits == [0.0, 0.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    assert [begun(admission, wait, key) for wait, key in zip(waits, fresh, strict=True)][3:] == [
        0.0
    ] * 5


def test_who_goes_on_with_a_chain_or_was_known_before_waits_for_no_newcomer() -> None:
    admission = Admission(FEW, {ANNA.public: 5}, 0.0)
    first, *others = keys(8)
    assert begun(admission, 0.0, first) == 0.0
    assert [begun(admission, 0.0, key) > 0.0 for key in others] == [False] * 2 + [True] * 5
    assert admission.ask(0.0, first.public, 100) == 0.0
    assert [begun(admission, 0.0, ANNA) for _ in range(4)] == [0.0, 0.0, 10.0, 20.0]


def test_one_author_begins_only_so_many_chains() -> None:
    admission = Admission(Params(author_chains=2.0, author_chains_s=0.01), {}, 0.0)
    one, other = keys(2)
    assert [begun(admission, 0.0, one) for _ in range(4)] == [0.0, 0.0, 100.0, 100.0]
    assert begun(admission, 0.0, other) == 0.0
    assert admission.ask(0.0, one.public, 100) == 0.0


@given(st.lists(st.floats(0.0, 30.0), max_size=80))
@example([0.0] * 80)
def test_no_more_new_chains_than_burst_and_rate_and_none_waits_too_long(
    pauses: list[float],
) -> None:
    admission, now, taken = Admission(replace(FEW, newcomer_s=300.0), {}, 0.0), 0.0, 0
    for key, pause in zip(keys(80), pauses, strict=False):
        now += pause
        wait = begun(admission, now, key)
        taken += wait == 0.0
        assert taken <= 3 + now / 10 + 1e-6
        assert wait <= 300.0


def strangers(count: int) -> list[SignedRecord]:
    """One chain each of fresh keys."""
    return [one for key in keys(count) for one in chain(key, 2)]


def test_feeds_over_the_quota_all_come_in_turn_and_are_not_asked_for_before() -> None:
    params = replace(NODE, newcomers_chains=20.0, newcomers_chains_s=0.5)
    one, other = Side([], params), Side(strangers(100))
    one.compare(other)
    assert one.replica.size == 20
    assert not one.sync.behind
    asked = 0
    for step in range(1, 60):
        requests = one.compare(other, step * 4.0)
        asked += sum(len(want.ranges) for want in requests if isinstance(want, Want))
    assert one.replica.digest() == other.replica.digest()
    assert asked < 200


def test_feeds_that_wait_do_not_fill_the_pages_of_a_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gossip.sync.FETCH_MAX", 7)
    one = Side([], replace(NODE, newcomers_chains=5.0, newcomers_chains_s=0.001))
    other = Side(strangers(100))
    one.compare(other)
    asked = one.compare(other, now=1.0)
    assert [type(request) for request in asked] == [Compare]
    assert one.replica.size == 5


def test_a_new_feed_of_somebody_known_comes_though_strangers_took_all_room() -> None:
    params = replace(NODE, newcomers_chains=20.0, newcomers_chains_s=0.001)
    one = Side([], params, known={ANNA.public: 1})
    hers = chain(ANNA, 3, session=b"session9")
    one.compare(Side([*strangers(200), *hers]))
    assert len(one.replica) == 2 * 20 + 3


@pytest.mark.parametrize("heard", [True, False])
def test_a_stranger_who_waits_makes_nobody_hurry(heard: bool) -> None:
    params = replace(NODE, newcomers_chains=1.0, newcomers_chains_s=0.001)
    one = Side(chain(ANNA, 1), params)
    first, second, third = chain(author(2), 1)[0], *chain(author(3), 2)
    assert one.sync.heard(0.0, first) is None
    assert one.sync.heard(0.0, second) is None
    if heard:
        assert one.sync.heard(1.0, third) is None
    assert one.replica.size == 2
    assert not one.sync.behind
    assert one.sync.deferred_until() == 1000.0


def test_own_records_come_back_past_all_strangers() -> None:
    world = World(3, seed=11, params=replace(NODE, newcomers_chains=2.0, newcomers_chains_s=1e-6))
    node = world.nodes[1]
    world.run(10)
    for seed in range(3):
        world.say(node, make_run("p", pinned=2.0, seed=seed))
    world.run(30)
    world.kill(node)
    node.archive = type(node.archive)()
    for key in keys(20):
        for signed in chain(key, 1):
            assert world.nodes[0].core is not None
            world.nodes[0].core.replica.put(signed)
            world.nodes[0].archive.keep([signed])
    world.start(node)
    world.run(60)
    assert node.core is not None
    mine = [one for one in node.core.replica.chains if one.author == node.identity.public]
    assert [one.next for one in mine] == [3]
    assert node.core.replica.size == 3
