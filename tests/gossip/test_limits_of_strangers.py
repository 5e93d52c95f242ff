"""What a stranger can make a node remember, dial and take in: within limits, whatever he says."""

import random
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.addresses import Scope, believable, may_be_told, parse_address
from gossip.admission import BAD_MAX, REFUSE_MAX_S, REMEMBERED_MAX, Admission, Standing
from gossip.company import PATIENCE_S, REQUESTS, SERVED, Peer
from gossip.identity import peer_id
from gossip.messages import Presence
from gossip.params import Params
from gossip.presence import AUTHORS_MAX, SKEW_MS, Attendance
from gossip.rendezvous import FAILURES_MAX, PER_PEER_MAX, Rendezvous
from gossip.twin import Twin
from skep.errors import ConfigError
from tests.gossip.scenes import FIRST
from tests.gossip.swarm_scenes import author, chain, signed_by
from tests.gossip.swarms import public_of

ME, OTHER = public_of("me"), public_of("other")


def at(host: str, number: int = 1) -> str:
    """An address on a host, of a peer with this number."""
    kind = "ip6" if ":" in host else "ip4"
    return f"/{kind}/{host}/tcp/4001/p2p/{peer_id(public_of(str(number)))}"


# Addresses

NEAR = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:192.168.1.1",
    "::ffff:224.0.0.1",
    "::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:c0a8:101::1",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("host", NEAR)
def test_nobody_on_the_internet_can_make_a_node_dial_its_own_network(host: str) -> None:
    assert not believable(parse_address(at(host)), Scope.internet)
    assert not may_be_told(at(host), Scope.internet)


@pytest.mark.parametrize("name", ["localhost", "router.lan", "rebinding.example.org"])
def test_names_are_believed_of_the_user_alone(name: str) -> None:
    text = f"/dns4/{name}/tcp/80/p2p/{peer_id(OTHER)}"
    assert [believable(parse_address(text), teller) for teller in Scope] == [True, False, False]


@pytest.mark.parametrize("host", ["8.8.8.8", "2a00:1450:4001:830::200e", "::ffff:8.8.8.8"])
def test_addresses_on_the_internet_are_believed_of_anybody(host: str) -> None:
    assert all(believable(parse_address(at(host)), teller) for teller in Scope)


def test_neighbours_are_believed_about_the_network_but_not_about_this_machine() -> None:
    assert believable(parse_address(at("192.168.1.9")), Scope.network)
    assert not believable(parse_address(at("127.0.0.1")), Scope.network)
    assert not believable(parse_address(at("::ffff:127.0.0.1")), Scope.network)


@given(st.integers(0, 2**32 - 1).map(ip_address) | st.integers(0, 2**128 - 1).map(ip_address))
def test_what_is_believed_from_afar_is_on_the_internet(
    found: IPv4Address | IPv6Address,
) -> None:
    if believable(parse_address(at(str(found))), Scope.internet):
        meant = getattr(found, "ipv4_mapped", None) or found
        assert meant.is_global
        assert not meant.is_multicast


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    for address in (text, f"/ip4/{text}/tcp/1/p2p/{peer_id(OTHER)}", at("8.8.8.8") + text):
        assert may_be_told(address, Scope.internet) in (True, False)
        try:
            parse_address(address)
        except ConfigError:
            continue


# Whom to dial


def meeting(addresses_max: int = 20) -> Rendezvous:
    return Rendezvous(ME, Params(addresses_max=addresses_max), random.Random(1))


def test_junk_addresses_make_room_for_others() -> None:
    here = meeting()
    here.add([at("192.0.2.9", 9)], "bootstrap")
    here.add([at("192.0.2.8", 8)], "found", Scope.machine)
    here.reached(0.0, at("192.0.2.8", 8))
    here.add([at("192.0.2.1", number) for number in range(100, 500)], "found")
    here.add([at("192.0.2.7", 7)], "found")
    assert len(here._known) == 20
    assert {at("192.0.2.9", 9), at("192.0.2.8", 8), at("192.0.2.7", 7)} <= here._known.keys()


def test_many_addresses_of_one_peer_are_few() -> None:
    here = meeting(500)
    here.add([f"/ip4/192.0.2.1/tcp/{port}/p2p/{peer_id(OTHER)}" for port in range(1, 99)], "found")
    assert len(here._known) == PER_PEER_MAX


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.floats(0, 400)), max_size=80))
def test_dials_stay_few_and_none_is_forgotten_under_way(
    course: list[tuple[int, bool, float]],
) -> None:
    here = meeting()
    here.add([at("192.0.2.9", 999)], "bootstrap")
    now, under_way = 0.0, set[str]()
    for number, reached, pause in course:
        now += pause
        here.add([at("192.0.2.1", number)], "found")
        under_way |= set(here.due(now, ()))
        assert len(here._dialling) <= Params().dials
        assert len(here._known) <= 20
        for text in sorted(under_way)[:2]:
            under_way.discard(text)
            (here.reached if reached else here.failed)(now, text)
    for text in under_way:
        here.failed(now, text)
    assert not here._dialling
    assert at("192.0.2.9", 999) in here._known


def test_bootstrap_addresses_are_tried_for_ever_and_found_ones_are_not() -> None:
    here = meeting()
    texts = {"bootstrap": at("192.0.2.9", 9), "found": at("192.0.2.8", 8)}
    here.add([texts["bootstrap"]], "bootstrap")
    here.add([texts["found"]], "found")
    for _ in range(FAILURES_MAX):
        for text in texts.values():
            here.failed(0.0, text)
    assert list(here._known) == [texts["bootstrap"]]
    assert here.due(1000.0, ()) == [texts["bootstrap"]]


# Admission and standing


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 2000), st.floats(0, 5)),
        min_size=1,
        max_size=200,
    )
)
def test_no_author_gets_more_than_burst_and_rate(asked: list[tuple[int, int, float]]) -> None:
    params = Params(
        author_records=5.0, author_records_s=1.0, author_bytes=4000.0, author_bytes_s=100.0
    )
    admission = Admission(params, {}, 0.0)
    now, taken, sizes = 0.0, [0] * 4, [0] * 4
    for number, size, pause in asked:
        now += pause
        wait = admission.ask(now, bytes([number]) * 32, size)
        assert wait >= 0.0
        if not wait:
            taken[number] += 1
            sizes[number] += size
        assert all(one <= 5 + now + 1e-6 for one in taken)
        assert all(one <= 4000 + 100 * now + 1e-6 for one in sizes)


def test_what_is_deferred_comes_in_after_the_wait_that_was_told() -> None:
    admission = Admission(Params(author_records=1.0, author_records_s=0.5), {}, 0.0)
    assert admission.ask(0.0, OTHER, 10) == 0.0
    wait = admission.ask(0.0, OTHER, 10)
    assert wait == 2.0
    assert admission.ask(1.9, OTHER, 10) > 0.0
    assert admission.ask(wait, OTHER, 10) == 0.0


def test_a_closed_node_admits_nothing_until_it_opens() -> None:
    admission = Admission(Params(), {}, 100.0, closed_s=5.0)
    assert admission.ask(100.0, OTHER, 10) == 5.0
    assert admission.ask(104.0, OTHER, 10) == 1.0
    assert admission.ask(105.0, OTHER, 10) == 0.0


def test_an_author_has_a_total_and_newcomers_share_one() -> None:
    params = Params(author_total_bytes=100, newcomers_records=2.0, newcomers_records_s=0.1)
    admission = Admission(params, {ME: 95}, 0.0)
    assert admission.ask(0.0, ME, 10) > 3600
    assert admission.ask(0.0, ME, 5) == 0.0
    assert [admission.ask(0.0, bytes([n]) * 32, 1) for n in range(3)] == [0.0, 0.0, 10.0]


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from([1.0, 2.0, 5.0, 10.0])), max_size=60))
def test_whoever_is_bad_enough_is_refused_longer_each_time(
    course: list[tuple[float, float]],
) -> None:
    standing, now, refusals = Standing(), 0.0, []
    for pause, points in course:
        now += pause
        refused = standing.blame(now, OTHER, points)
        assert standing.points(now, OTHER) < BAD_MAX
        refusals += [refused] if refused else []
    assert refusals == sorted(refusals)
    assert all(600.0 <= one <= REFUSE_MAX_S for one in refusals)


def test_bad_points_of_strangers_do_not_add_up() -> None:
    standing = Standing()
    for number in range(REMEMBERED_MAX + 20):
        standing.blame(float(number), number.to_bytes(32, "big"), 1.0)
    assert len(standing._points) == REMEMBERED_MAX


def test_who_asks_a_lot_waits_and_who_asks_without_end_is_refused() -> None:
    peer = Peer(0.0, at("192.0.2.1"), inbound=True)
    waits = [peer.wait(0.0) for _ in range(round(REQUESTS) + 300)]
    assert waits[: round(REQUESTS)] == [0.0] * round(REQUESTS)
    taken = [wait for wait in waits if wait is not None]
    assert taken == sorted(taken)
    assert 0.0 < taken[-1] <= PATIENCE_S
    assert waits[-1] is None
    peer = Peer(0.0, at("192.0.2.1"), inbound=True)
    peer.serve(int(SERVED) + 2 * 2**20)
    assert peer.wait(0.0) == pytest.approx(1.0, abs=0.01)


# Presence and twins


def presence(author: bytes, number: int, time: int, lasts_s: int, instance: bytes) -> Presence:
    return Presence(
        bytes(32), author, instance, number, time, lasts_s, "full", "", b"", 0, (), "skep"
    )


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 9),
            st.integers(0, 10**7),
            st.integers(1, 3600),
            st.sampled_from([b"instance", b"restarts"]),
            st.integers(0, 600),
        ),
        max_size=60,
    )
)
def test_announcements_never_go_back_and_all_expire(
    course: list[tuple[int, int, int, int, bytes, int]],
) -> None:
    attendance, now = Attendance(), 0.0
    for who, number, time, lasts_s, instance, pause in course:
        now += pause
        one = presence(bytes([who]) * 32, number, time, lasts_s, instance)
        before = attendance.present(now).get(one.author)
        if attendance.hear(now, round(now * 1000), one):
            assert abs(time - now * 1000) <= SKEW_MS + 1000 * lasts_s
            if before is not None and before.instance == instance:
                assert number > before.number
            assert attendance.present(now)[one.author] is one
        assert not attendance.hear(now, round(now * 1000), one), "twice tells nothing new"
        assert attendance.present(now + lasts_s).get(one.author) is not one
        now += lasts_s
    assert attendance.present(now + 3601) == {}


def test_a_crowd_that_announces_itself_has_a_limit() -> None:
    attendance = Attendance()
    for number in range(AUTHORS_MAX + 5):
        attendance.hear(0.0, 0, presence(number.to_bytes(32, "big"), 1, 0, 9, b"instance"))
    assert len(attendance.present(0.0)) == AUTHORS_MAX
    assert attendance.hear(9.0, 9000, presence(OTHER, 1, 9000, 9, b"instance")), "they expired"


def test_a_twin_is_told_of_once_and_an_own_word_played_back_is_none() -> None:
    twin = Twin(b"this one", set(), started_ms=1000)
    assert twin.announced(b"this one", 2000) == ""
    assert twin.announced(b"earlier.", 1000) == ""
    assert "its home was copied" in twin.announced(b"another.", 1001)
    assert twin.announced(b"another.", 1002) == ""


def test_own_records_that_come_back_are_of_a_twin_or_were_lost() -> None:
    minute = 60_000
    old, new = signed_by(author(1), FIRST), chain(author(1), 1, session=b"session2")[0]
    then = old.record.time
    twin = Twin(b"this one", {b"session1"}, started_ms=0)
    assert "gave back" in twin.came_back(old, then), "an old copy knows the session, not its end"
    assert twin.came_back(old, then) == ""
    twin = Twin(b"this one", {b"session1"}, started_ms=0)
    assert "its home was copied" in twin.came_back(new, then + minute - 1)
    assert twin.came_back(new, then + minute - 1) == ""
    assert "gave back" in twin.came_back(old, then)
    twin = Twin(b"this one", {b"session1"}, started_ms=0)
    assert "gave back" in twin.came_back(new, then + minute)
