"""Fetching chains of which peers let go of something: what is left comes, and no lie stays."""

from collections.abc import Collection, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gossip.feeds import Link
from gossip.fetches import FAILED_S
from gossip.holes import LEAP_S, ROUND_MAX_S, ROUND_REQUESTS, ROUND_S
from gossip.messages import (
    RANGES_MAX,
    Answer,
    Proof,
    Records,
    Request,
    Rows,
    Want,
    pack,
    unpack_request,
)
from gossip.params import NODE
from gossip.replica import FORKED, Hole, Row, chain_key
from gossip.wire import decode, encode
from skep.records import NO_PREVIOUS, SignedRecord
from tests.factories import make_run
from tests.gossip.scenes import make_record
from tests.gossip.sides import Side
from tests.gossip.swarm_scenes import SWARM, author, branch, chain, signed_by

ANNA, BERT = author(1), author(2)
KEY = chain_key(ANNA.public, b"session1")
TRUNK = chain(ANNA, 12)
PEERS = [author(number).public for number in range(10, 20)]
LATER = max(LEAP_S, FAILED_S) + 1.0


def side(records: list[SignedRecord], without: Collection[int] = ()) -> Side:
    """A side that holds records, and has let go of those at some places."""
    one = Side(records)
    one.archive.prune(record for record in records if record.record.seq in without)
    return one


def holes(one: Side) -> list[tuple[int, int]]:
    """The holes of Anna's chain."""
    found = one.replica.chain(KEY)
    assert found is not None
    return list(found.holes())


def length(one: Side) -> int:
    """How far Anna's chain goes."""
    found = one.replica.chain(KEY)
    return found.next if found else 0


def bodies(one: Side) -> set[bytes]:
    """Ids of the records of Anna that a side can give to others."""
    stored = one.archive.chain(ANNA.public, b"session1", 0, FORKED)
    return {decode(signed).id for signed in stored}


def wants(asked: Iterable[object]) -> list[Want]:
    """Those requests that are for records."""
    return [one for one in asked if isinstance(one, Want)]


def test_one_peer_that_leaves_places_out_is_not_believed_at_once() -> None:
    one, other = side([]), side(TRUNK, {3, 4, 7})
    one.compare(other)
    assert length(one) == 3
    one.compare(other, now=LATER)
    assert holes(one) == [(3, 5), (7, 8)]
    assert one.replica.digest() == other.replica.digest()
    assert len(one.replica) == 9
    assert one.blamed == []


def test_the_third_peer_that_leaves_a_place_out_is_believed() -> None:
    one, other = side([]), side(TRUNK, {3, 4, 7})
    for number, peer in enumerate(PEERS[:3]):
        assert length(one) == (3 if number else 0)
        one.compare(other, peer=peer)
    assert one.replica.digest() == other.replica.digest()


@pytest.mark.parametrize("without", [range(11), range(5, 11), {0}, {10}])
def test_the_last_record_brings_a_chain_of_which_hardly_anything_is_left(
    without: Collection[int],
) -> None:
    one, other = side([]), side(TRUNK, without)
    one.compare(other)
    one.compare(other, now=LATER)
    assert one.replica.digest() == other.replica.digest()
    assert bodies(one) == bodies(other)


def test_a_stretch_longer_than_an_answer_is_gone_past() -> None:
    long = chain(ANNA, 700)
    one, other = side([]), side(long, range(5, 650))
    one.compare(other)
    one.compare(other, now=LATER)
    assert holes(one) == [(5, 650)]
    assert one.replica.digest() == other.replica.digest()


def test_who_asked_a_liar_first_gets_the_record_from_an_honest_peer() -> None:
    one, liar, honest = side([]), side(TRUNK, {5}), side(TRUNK)
    one.compare(liar)
    assert length(one) == 5
    one.compare(honest, peer=PEERS[1])
    assert holes(one) == []
    assert length(one) == 12


@pytest.mark.parametrize("equal", [True, False])
def test_what_liars_hid_is_filled_in_by_the_next_honest_peer(equal: bool) -> None:
    one, liar = side([]), side(TRUNK, {5})
    honest = side(TRUNK if equal else [*TRUNK, *chain(BERT, 3)])
    one.compare(liar)
    one.compare(liar, now=LATER)
    assert holes(one) == [(5, 6)]
    one.compare(honest, now=LATER, peer=PEERS[1])
    assert holes(one) == []
    assert one.replica.digest() == honest.replica.digest()
    assert bodies(one) == {record.id for record in TRUNK}


def test_a_new_hole_makes_nobody_wait_who_was_asked_in_vain_for_an_old_one() -> None:
    later = chain(ANNA, 16)
    one, archive = side([]), side(later[:12], {3})
    for number in range(3):
        one.compare(side(later[:12], {3}), peer=PEERS[number])
    now = 0.0
    while now < 3 * ROUND_MAX_S:
        one.compare(archive, now, PEERS[5])
        now += ROUND_S / 4
    for number in range(3):
        one.compare(side(later, {3, 13}), now, PEERS[number])
    assert holes(one) == [(3, 4), (13, 14)]
    for _ in range(5):
        now += ROUND_S / 4
        one.compare(side(later, {3}), now, PEERS[5])
    assert holes(one) == [(3, 4)]


def test_holes_that_nobody_can_fill_are_asked_for_seldom() -> None:
    gone = range(1, 81, 2)
    one, other = side([]), side(chain(ANNA, 82), gone)
    one.compare(other)
    one.compare(other, now=LATER)
    assert len(holes(one)) == 40
    asked = [wants(one.compare(other, LATER + step * 15.0)) for step in range(1, 481)]
    assert 3 <= sum(map(len, asked)) <= 6
    assert one.sync.behind is False


def test_a_round_for_many_holes_is_short_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gossip.holes.RANGES_MAX", 4)
    monkeypatch.setattr("gossip.holes.ROUND_REQUESTS", 3)
    gone = [number for number in range(200) if number % 2]
    trunk = chain(ANNA, 201)
    one, other = side([]), side(trunk, gone)
    one.compare(other)
    one.compare(other, now=LATER)
    assert len(holes(one)) == 100
    asked: list[int] = []
    now = LATER
    while not asked or len(asked) < 100:
        now += ROUND_MAX_S + 1
        requests = wants(one.compare(other, now))
        assert 1 <= len(requests) <= 3
        assert all(len(request.ranges) <= 4 for request in requests)
        asked += [found.start for request in requests for found in request.ranges]
    assert sorted(asked[:100]) == gone
    other.archive._pruned.clear()
    one.compare(other, now + 2 * ROUND_MAX_S)
    assert holes(one) == []
    assert RANGES_MAX > 4
    assert ROUND_REQUESTS > 3


def test_a_quota_holds_a_chain_back_and_makes_no_hole() -> None:
    one = Side([], replace(NODE, author_records=3.0, author_records_s=1.0))
    other = side(TRUNK, {1})
    for peer in PEERS[:5]:
        one.compare(other, peer=peer)
    assert (length(one), holes(one)) == (4, [(1, 2)])
    for step in range(1, 5):
        one.compare(other, now=20.0 * step)
    assert (length(one), holes(one)) == (12, [(1, 2)])


def test_what_a_quota_held_back_is_no_hole_though_what_follows_it_would_fit() -> None:
    place, records = Link(b"session1", 0, NO_PREVIOUS), []
    for number, note in enumerate(["", "", "n" * 400, ""]):
        run = replace(make_run("p", pinned=2.0, seed=number), note=note)
        body = encode(make_record(run, place, author=ANNA.public, swarm=SWARM))
        records.append(decode(ANNA.sign(body) + body))
        place = place.after(body)
    small = len(records[0].body)
    one = Side([], replace(NODE, author_bytes=2.5 * small, author_bytes_s=1.0))
    for peer in PEERS[:3]:
        one.compare(side(records, {0}), peer=peer)
    assert (length(one), holes(one)) == (2, [(0, 1)])


def test_what_this_version_cannot_read_was_not_left_out() -> None:
    body = encode(make_record(make_run("p", pinned=2.0), author=ANNA.public, swarm=SWARM))
    record = decode(ANNA.sign(body) + body).record
    newer = body.replace(b"\xa1v\x01", b"\xa1v\x02", 1)
    first = SignedRecord(record, newer, ANNA.sign(newer))
    rest = chain(ANNA, 3, link=Link(b"session1", 0, NO_PREVIOUS).after(newer))
    one, other = side([]), side([first, *rest])
    for peer in PEERS[:5]:
        one.compare(other, peer=peer)
    one.compare(other, now=LATER)
    assert length(one) == 0


def test_what_was_heard_too_early_fits_into_the_hole() -> None:
    one, other = side(TRUNK[:2]), side(TRUNK, range(2, 11))
    one.sync.heard(0.0, TRUNK[6])
    for peer in PEERS[:3]:
        one.compare(other, peer=peer)
    assert holes(one) == [(2, 6), (7, 11)]
    assert TRUNK[6].id in bodies(one)
    assert not one.sync.behind


def test_what_is_heard_of_a_hole_is_taken() -> None:
    one = side([*TRUNK[:3], *TRUNK[8:]])
    assert one.sync.heard(0.0, TRUNK[5]) is None
    assert one.sync.heard(0.0, TRUNK[7]) is None
    assert holes(one) == [(3, 5), (6, 7)]
    assert not one.sync.behind


def test_a_proof_brings_nothing_to_a_place_that_no_row_can_name() -> None:
    class Hostile(Side):
        def answer(self, request: Request) -> Answer:
            """A forked row, and as its proof a record that is too far away."""
            if isinstance(request, Proof):
                return Records((beyond.signature + beyond.body,))
            return Rows(Row(KEY, 2, bytes(16), forked=True).packed(), more=False)

    beyond = signed_by(ANNA, Link(b"session1", FORKED - 1, bytes([7]) * 32))
    one = side(TRUNK[:3])
    for peer in PEERS[:4]:
        asked = one.compare(Hostile([]), peer=peer)
        assert any(isinstance(request, Proof) for request in asked)
    assert (length(one), holes(one)) == (3, [])


def test_a_leap_may_be_as_long_as_a_message_can_say() -> None:
    far = signed_by(ANNA, Link(b"session1", FORKED - 2, bytes([7]) * 32))
    one, other = side([]), side([TRUNK[0], far])
    asked = one.compare(other)
    asked += one.compare(other, now=LATER)
    asked += one.compare(other, now=LATER + ROUND_S)
    assert holes(one) == [(1, FORKED - 2)]
    assert [row.next for row in one.replica.rows()] == [FORKED - 1]
    assert all(unpack_request(pack(request)) == request for request in wants(asked))


def test_chains_that_wait_for_another_peer_do_not_keep_others_from_coming() -> None:
    """They come first in every answer, and would fill it."""
    keys = sorted(
        (author(number) for number in range(30, 36)),
        key=lambda key: chain_key(key.public, b"session1"),
    )
    gappy = [one for key in keys[:3] for one in chain(key, 200)]
    whole = [one for key in keys[3:] for one in chain(key, 200)]
    one, other = side([]), side([*gappy, *whole])
    other.archive.prune(record for record in gappy if record.record.seq == 0)
    one.compare(other)
    assert len(one.replica) == len(whole)
    one.compare(other, now=LATER)
    assert one.replica.digest() == other.replica.digest()


def test_an_index_that_is_built_anew_has_the_same_holes() -> None:
    one, other = side([]), side(TRUNK, {3, 4, 7})
    one.compare(other)
    one.compare(other, now=LATER)
    one.archive.prune(TRUNK[5:6])
    again = Side([], archive=one.archive)
    assert again.replica.digest() == one.replica.digest()
    assert list(again.replica.holes()) == [Hole(KEY, 3, 5), Hole(KEY, 7, 8)]
    asked = wants(again.compare(other))
    assert [[(r.start, r.stop) for r in want.ranges] for want in asked] == [[(3, 5), (7, 8)]]


@pytest.mark.parametrize("at", [0, 1, 5, 10, 11])
@pytest.mark.parametrize("mine", [set(), {4}, {3, 4, 5, 6}, {0, 1}, {9, 10}])
@pytest.mark.parametrize("theirs", [set(), {5}, {2, 4, 6, 8}, {0, 10}])
def test_a_fork_is_found_past_holes_on_both_sides(
    at: int, mine: set[int], theirs: set[int]
) -> None:
    other = branch(TRUNK, at, 12 - at, 900)
    one = side([record for record in TRUNK if record.record.seq not in mine - {at, 11}])
    two = side(other, theirs - {at})
    asked = one.compare(two)
    assert len(asked) < 25
    found = one.replica.chain(KEY)
    assert found is not None
    assert found.fork is not None
    assert found.fork.seq == at
    two.archive._pruned.clear()
    two.compare(one)
    assert two.replica.digest() == one.replica.digest()


def fork_of(one: Side) -> int | None:
    """Where Anna's chain is forked."""
    found = one.replica.chain(KEY)
    return found.fork.seq if found and found.fork else None


def test_a_fork_is_found_before_a_hole_that_no_answer_reaches_over() -> None:
    long = chain(ANNA, 1200)
    mine = [record for record in long if not 20 <= record.record.seq < 1100]
    one = side(mine)
    one.compare(side(mine))
    one.compare(side(branch(long, 10, 1190, 9000)), now=LATER)
    assert fork_of(one) == 10


def test_what_only_fits_a_hole_does_not_mislead_the_search() -> None:
    long = chain(ANNA, 31)
    one = side([record for record in long if not 16 <= record.record.seq < 26])
    one.compare(side(branch(long, 14, 17, 900), {15, 16}))
    assert fork_of(one) == 14


def test_two_records_prove_a_fork_in_a_hole_that_neither_fits() -> None:
    one = side([record for record in TRUNK if record.record.seq != 5])
    others = [branch(TRUNK, 5, 1, seed)[5] for seed in (900, 950)]
    other = side([*TRUNK[:5], *others])
    one.compare(other)
    assert fork_of(one) == 5
    assert one.replica.digest() == other.replica.digest()
    assert {record.id for record in others} <= bodies(one)


def test_a_fork_whose_proof_nobody_has_ends_the_search_and_blames_nobody() -> None:
    one = side([record for record in TRUNK if record.record.seq != 5])
    two = side(branch(TRUNK, 5, 7, 900), {5})
    for step in range(40):
        assert len(one.compare(two, step * 15.0)) < 20
        assert len(two.compare(one, step * 15.0)) < 20
    assert one.blamed == two.blamed == []
    assert one.replica.digest() != two.replica.digest()
    third = side(TRUNK)
    two.compare(third, 1e4, PEERS[1])
    one.compare(two, 1e4)
    third = side([*TRUNK[:6], branch(TRUNK, 5, 1, 900)[5]])
    one.compare(third, 1e4, PEERS[1])
    two.compare(third, 1e4, PEERS[2])
    assert one.replica.digest() == two.replica.digest() == third.replica.digest()


def test_a_fork_is_proved_though_what_led_to_it_is_gone() -> None:
    forked = [*TRUNK[:6], branch(TRUNK, 5, 1, 900)[5]]
    for known in ([], TRUNK[:2], [*TRUNK[:2], *TRUNK[8:]], TRUNK[8:]):
        one, other = side(known), side(forked, {2, 3, 4})
        for peer in PEERS[:3]:
            one.compare(other, peer=peer)
        assert one.replica.digest() == other.replica.digest()
        assert holes(one) == [(2, 5)]


def test_what_fills_a_hole_of_another_branch_leads_to_the_fork() -> None:
    other = branch(TRUNK, 2, 10, 900)
    mixed = [*TRUNK[:5], *other[8:]]
    one, honest = side(mixed), side(other)
    one.compare(honest)
    found = one.replica.chain(KEY)
    assert found is not None
    assert found.fork is not None
    assert found.fork.seq == 2


@settings(max_examples=40)
@given(
    st.integers(0, 11),
    st.lists(st.sets(st.integers(0, 10)), min_size=4, max_size=4),
    st.booleans(),
)
def test_all_end_alike_whatever_each_of_them_has_let_go_of(
    at: int, gone: list[set[int]], forked: bool
) -> None:
    other = branch(TRUNK, at, 12 - at, 900) if forked else TRUNK
    sides = [
        side(records, without - {at})
        for records, without in zip([TRUNK, other, other, TRUNK], gone, strict=True)
    ]
    newcomer = side([])
    every = [*sides, newcomer]
    for step in range(8):
        for number, one in enumerate(every):
            for peer, two in enumerate(every):
                if one is not two:
                    one.compare(two, step * LATER + number, PEERS[peer])
    assert len({one.replica.digest() for one in every}) == 1
    fork = newcomer.replica.chain(KEY)
    assert fork is not None
    assert (fork.fork.seq if fork.fork else None) == (at if forked else None)
    end = at if forked else 12
    left = {
        record.record.seq
        for one, without in zip(sides, gone, strict=True)
        for record in TRUNK[:end]
        if record.record.seq not in without - {at}
    }
    assert [seq for seq in range(end) if fork.id(seq) is not None] == sorted(left)
    assert all(not one.blamed for one in every)
