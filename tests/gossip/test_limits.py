"""Slots and buckets: what one peer may take, and what is left for the others."""

from gossip.inbox import HEARD_MAX, OTHERS_MAX, Inbox
from gossip.limits import Buckets, Slots
from gossip.transport import Connected, Heard


def test_slots_are_limited_for_each_owner_and_in_all() -> None:
    slots = Slots(each=2, together=3)
    assert [slots.take("a"), slots.take("a"), slots.take("a")] == [True, True, False]
    assert [slots.take("b"), slots.take("b")] == [True, False]
    slots.give_back("a")
    assert [slots.take("b"), slots.take("a")] == [True, False]


def test_a_bucket_holds_a_burst_and_fills_again_in_time() -> None:
    buckets = Buckets(rate=2.0, burst=3.0, owners=10)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert [buckets.take("a", 0.5), buckets.take("a", 0.5)] == [True, False]
    assert [buckets.take("a", 99.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b", 99.0)


def test_buckets_of_strangers_do_not_add_up() -> None:
    buckets = Buckets(rate=0.0, burst=1.0, owners=2)
    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 0.0)
    assert [buckets.take("b", 0.0), buckets.take("c", 0.0)] == [True, True]
    assert buckets.take("a", 0.0)


def test_messages_that_nobody_reads_leave_room_for_who_is_connected() -> None:
    inbox = Inbox()
    for number in range(HEARD_MAX + 5):
        inbox.put(Heard(b"peer", b"%d" % number))
    assert inbox.lost == 5
    inbox.put(Connected(b"peer", "somewhere", inbound=True))
    assert inbox.lost == 5
    for _ in range(OTHERS_MAX):
        inbox.put(Connected(b"peer", "somewhere", inbound=True))
    assert inbox.lost == 6
