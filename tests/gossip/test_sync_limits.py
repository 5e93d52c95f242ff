"""Comparing feeds with peers that list what is not there, hold back, or diverged long ago."""

import hashlib
from itertools import count, islice

import pytest
from msgspec.structs import replace

from gossip.admission import MALFORMED
from gossip.fetches import BUSY_S, FETCH_ALL, FETCH_MAX, FRUITLESS_MAX, PAUSE_S
from gossip.messages import (
    HAVE_MAX,
    RANGES_MAX,
    ROWS_MAX,
    Answer,
    Compare,
    Have,
    MessageError,
    Records,
    Request,
    Rows,
    Want,
    pack,
    unpack_request,
)
from gossip.params import NODE
from gossip.replica import Row, chain_key
from gossip.simulate import MemoryArchive
from gossip.sync import PAGES_MAX
from gossip.wire import decode, encode
from tests.factories import make_run
from tests.gossip.scenes import make_record
from tests.gossip.sides import PEER, Side
from tests.gossip.swarm_scenes import SWARM, author, branch, chain

ANNA, BERT = author(1), author(2)
KEY = chain_key(ANNA.public, b"session1")


class Scanty(MemoryArchive):
    """Gives two records at once, as if each had half a mebibyte."""

    def chain(self, author: bytes, session: bytes, start: int, stop: int) -> list[bytes]:
        """Records of a chain."""
        return super().chain(author, session, start, stop)[:2]


class Liar(Side):
    """Lists chains that nobody has, page after page."""

    def __init__(self, ascending: bool) -> None:
        super().__init__([])
        self.ascending = ascending

    def answer(self, request: Request) -> Answer:
        """Rows without end, and no records."""
        if not isinstance(request, Compare):
            return Records(())
        start = int.from_bytes(request.after, "big") + 1 if self.ascending else 1
        keys = (number.to_bytes(16, "big") for number in islice(count(start), ROWS_MAX))
        return Rows(b"".join(Row(key, 9, bytes(16), False).packed() for key in keys), True)


@pytest.mark.parametrize("at", [0, 1, 38, 39])
def test_a_fork_is_found_though_hardly_anything_fits_an_answer(at: int) -> None:
    trunk = chain(ANNA, 40)
    one = Side(trunk)
    other = Side(branch(trunk, at, 40 - at, 900), archive=Scanty())
    asked = one.compare(other)
    found = one.replica.chain(KEY)
    assert found is not None
    assert found.fork is not None
    assert found.fork.seq == at
    assert len(asked) < 10
    other.compare(one)
    assert other.replica.digest() == one.replica.digest()


def test_a_proof_that_leads_further_back_is_followed_at_once() -> None:
    trunk = chain(ANNA, 40)
    other = branch(trunk, 5, 20, 900)
    forked = Side([*other, branch(other, 20, 1, 990)[20]])
    one = Side(trunk)
    one.compare(forked)
    found = one.replica.chain(KEY)
    assert found is not None
    assert found.fork is not None
    assert found.fork.seq == 5


def test_what_comes_over_the_topic_meanwhile_does_not_end_the_fetching() -> None:
    records = chain(ANNA, 300)
    one, other = Side([]), Side(records)
    compare = one.sync.compare(PEER)
    assert compare is not None
    (want,) = one.sync.answered(0.0, PEER, compare, other.answer(compare))
    for signed in records[:256]:
        one.sync.heard(0.0, signed)
    (rest,) = one.sync.answered(0.0, PEER, want, other.answer(want))
    assert isinstance(rest, Want)
    assert [(each.start, each.stop) for each in rest.ranges] == [(256, 300)]


def test_a_proof_that_a_quota_held_back_is_asked_for_again() -> None:
    trunk = chain(ANNA, 3)
    params = replace(NODE, author_records=3.0, author_records_s=1.0)
    one = Side([], params)
    other = Side([*trunk, branch(trunk, 2, 1, 900)[2]])
    one.compare(other)
    assert one.replica.digest() != other.replica.digest()
    one.compare(other, now=10.0)
    assert one.replica.digest() == other.replica.digest()


def test_invented_chains_neither_pile_up_nor_keep_a_comparison_going() -> None:
    one, liar = Side([]), Liar(ascending=True)
    first = one.sync.compare(PEER)
    assert first is not None
    waiting, pages = [first], 0
    while waiting:
        request = waiting.pop()
        pages += isinstance(request, Compare)
        waiting += one.sync.answered(0.0, PEER, request, liar.answer(request))
        assert len(one.sync._fetches[PEER].rows) <= FETCH_MAX
        if pages > 3:
            break
    full = Side([], replace(NODE, feeds_max=0))
    assert len(full.compare(liar)) == PAGES_MAX


def test_a_page_that_begins_again_is_blamed_and_ends_the_comparison() -> None:
    one = Side([], replace(NODE, feeds_max=0))
    assert len(one.compare(Liar(ascending=False))) == 2
    assert one.blamed == [(MALFORMED, "rows of another page")]


def test_a_large_swarm_is_fetched_whole_through_small_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gossip.sync.FETCH_MAX", 7)
    monkeypatch.setattr("gossip.answers.ROWS_MAX", 10)
    other = Side([one for number in range(1, 30) for one in chain(author(number), 2)])
    one = Side([])
    one.compare(other)
    assert one.replica.digest() == other.replica.digest()


def test_a_record_at_a_place_no_message_can_name_leads_to_no_request() -> None:
    record = make_record(
        make_run("p", pinned=2.0), author=ANNA.public, swarm=SWARM, seq=2**40, prev=b"\1" * 32
    )
    body = encode(record)
    signed = decode(ANNA.sign(body) + body)
    assert Side([]).sync.heard(0.0, signed) is None
    last = replace(record, seq=2**31 - 2)
    row = Side([]).sync.heard(0.0, decode(ANNA.sign(encode(last)) + encode(last)))
    assert row is not None
    request = Side([]).sync.fetch(0.0, PEER, [row])
    assert request is not None
    assert unpack_request(pack(request)) == request


def test_a_full_index_takes_no_new_chain_from_the_topic_either() -> None:
    one = Side(chain(ANNA, 1), replace(NODE, feeds_max=1))
    for signed in [*chain(BERT, 1), chain(ANNA, 2)[1]]:
        one.sync.heard(0.0, signed)
    assert one.replica.size == 1
    assert len(one.replica) == 2


def test_an_announcement_of_too_many_chains_is_refused() -> None:
    keys = [hashlib.sha256(bytes([n % 256, n // 256])).digest()[:16] for n in range(HAVE_MAX + 1)]
    rows = [Row(key, 1, bytes(16), False).packed() for key in sorted(keys)]
    have = Have(SWARM, b"".join(rows[:HAVE_MAX]))
    assert unpack_request(pack(have)) == have
    with pytest.raises(MessageError, match="rows"):
        unpack_request(pack(Have(SWARM, b"".join(rows))))


def test_a_chain_that_a_quota_holds_back_for_a_day_makes_nobody_hurry() -> None:
    one = Side([], replace(NODE, author_total_bytes=0))
    one.compare(Side(chain(ANNA, 1)), now=5.0)
    assert not one.sync.behind
    assert one.sync.deferred_until() == 5.0 + NODE.newcomer_s


def test_a_peer_that_does_not_answer_keeps_others_from_being_asked_for_a_moment_only() -> None:
    one = Side([])
    (row,) = Side(chain(ANNA, 3)).replica.rows()
    assert one.sync.fetch(0.0, PEER, [row]) is not None
    other = author(3).public
    assert one.sync.fetch(BUSY_S / 2, other, [row]) is None
    assert one.sync.resume(BUSY_S / 2) == []
    ((asked, request),) = one.sync.resume(BUSY_S * 1.1)
    assert asked == other
    assert isinstance(request, Want)


def made_up(number: int) -> list[Row]:
    """Chains that nobody has, others for each number."""
    keys = sorted(hashlib.sha256(b"%d %d" % (number, one)).digest()[:16] for one in range(4096))
    return [Row(key, 9, bytes(16), forked=False) for key in keys]


def test_a_peer_that_brings_nothing_is_asked_less_and_less_but_goes_on_being_asked() -> None:
    one, now, asked = Side([]), 0.0, 0
    request = one.sync.fetch(now, PEER, made_up(0))
    while request is not None:
        asked += 1
        request = next(iter(one.sync.answered(now, PEER, request, Records(()))), None)
    assert asked == FRUITLESS_MAX + 1
    for pause in (PAUSE_S, 2 * PAUSE_S, 3 * PAUSE_S):
        assert one.sync.resume_at == pytest.approx(now + pause)
        assert one.sync.resume(now + pause / 2) == []
        now += pause
        ((_, request),) = one.sync.resume(now)
        assert one.sync.answered(now, PEER, request, Records(())) == []


def test_what_a_peer_brings_ends_its_pauses() -> None:
    one = Side([])
    records = chain(ANNA, 3)
    (row,) = Side(records).replica.rows()
    empty = made_up(0)[: FRUITLESS_MAX * RANGES_MAX]
    request = one.sync.fetch(0.0, PEER, [*empty, row, *made_up(1)])
    signed = tuple(each.signature + each.body for each in records)
    for brought in [()] * FRUITLESS_MAX + [signed] + [()] * FRUITLESS_MAX:
        assert request is not None
        (request,) = one.sync.answered(0.0, PEER, request, Records(brought))


def test_of_many_peers_no_more_rows_are_kept_than_of_a_few() -> None:
    one = Side([])
    for number in range(120):
        peer = number.to_bytes(32, "big")
        rows = b"".join(row.packed() for row in made_up(number))
        request = one.sync.compare(peer)
        assert request is not None
        one.sync.answered(0.0, peer, request, Rows(rows, False))
    kept = [len(fetch.rows) for fetch in one.sync._fetches.values()]
    assert max(kept[:16]) == 4096
    assert max(kept[100:]) < 1400
    assert sum(kept) < 4 * FETCH_ALL


def test_who_waits_for_others_to_deliver_is_asked_once_they_have_failed() -> None:
    one, rows = Side([]), made_up(0)[:64]
    first = one.sync.fetch(0.0, PEER, rows)
    assert first is not None
    waiting = [author(number).public for number in range(3, 9)]
    assert [one.sync.fetch(0.0, peer, rows) for peer in waiting] == [None] * 6
    assert one.sync.resume(0.1) == []
    one.sync.answered(0.1, PEER, first, Records(()))
    ((asked, _),) = one.sync.resume(0.1)
    assert asked in waiting
