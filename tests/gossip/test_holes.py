"""Fetching chains of which peers let go of something: what is left comes, and no lie stays."""

from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from gossip.answers import answer
from gossip.driver import _Stored
from gossip.feeds import Link
from gossip.fetches import FAILED_S
from gossip.holes import LEAP_S, ROUND_MAX_S, ROUND_REQUESTS, ROUND_S
from gossip.messages import (
    RANGES_MAX,
    Answer,
    Compare,
    Proof,
    Records,
    Request,
    Rows,
    Same,
    Want,
    pack,
    unpack_request,
)
from gossip.params import NODE
from gossip.quota import cost
from gossip.replica import FORKED, Hole, Replica, Row, chain_key
from gossip.wire import decode, encode
from skep.records import NO_PREVIOUS, SignedRecord
from tests.factories import make_run
from tests.gossip.scenes import make_record, open_ledger
from tests.gossip.sides import ANNA, KEY, Side, bodies, holes, length, side
from tests.gossip.swarm_scenes import SWARM, author, chain, signed_by

BERT = author(2)
TRUNK = chain(ANNA, 12)
PEERS = [author(number).public for number in range(10, 20)]
LATER = max(LEAP_S, FAILED_S) + 1.0


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


async def test_a_home_that_prunes_and_starts_again_serves_newcomers_what_it_has(
    tmp_path: Path,
) -> None:
    class Home(Side):
        def answer(self, request: Request) -> Answer:
            """What a node on that home answers."""
            if isinstance(request, Compare | Want | Proof):
                return answer(request, self.replica, _Stored(ledger))
            return Same()

    quota = 20 * cost(TRUNK[0])
    records = chain(ANNA, 60)
    async with open_ledger(tmp_path, swarm=SWARM, archive_bytes=quota) as ledger:
        for start in range(0, 60, 6):
            await ledger.admit(records[start : start + 6])
    async with open_ledger(tmp_path, swarm=SWARM, archive_bytes=quota) as ledger:
        (stock,) = ledger.stock(SWARM)
        assert (stock.records + stock.pruned, stock.pruned > 35) == (60, True)
        home, one = Home([]), side(records[:3])
        places = ledger.positions(SWARM)
        home.replica = Replica((p.author, p.session, p.seq, p.id, p.prev) for p in places)
        assert list(home.replica.holes()) == []
        for peer in PEERS[:3]:
            one.compare(home, peer=peer)
        assert one.replica.digest() == home.replica.digest()
        assert len(one.replica) == 3 + stock.records
        assert holes(one) == [(3, stock.pruned)]
