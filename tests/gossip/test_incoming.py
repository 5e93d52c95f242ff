"""Which records of a chain may be imported: all, those before a fork, or none."""

from collections.abc import Sequence

import pytest

from gossip.feeds import Link
from gossip.incoming import Incoming
from gossip.swarms import PUBLIC_SWARM
from skep.records import SignedRecord
from tests.gossip.scenes import KEY, SESSION, chain_by

CHAIN = chain_by(KEY, 5)
FORK = chain_by(KEY, 2, Link(SESSION, 2, CHAIN[1].id), time=9)


def place_of(signed: SignedRecord) -> tuple[bytes, bytes, int, bytes, bytes]:
    """What a home knows of a record that it has."""
    record = signed.record
    return record.author, record.session, record.seq, signed.id, record.prev


def followed(
    records: Sequence[SignedRecord], known: Sequence[SignedRecord] = (), forged: int = -1
) -> Incoming:
    """A chain after all its records, of which one may have a wrong signature."""
    chain = Incoming(records[0], sorted(map(place_of, known)))
    for signed in sorted(records, key=lambda one: (one.record.seq, one.id)):
        chain.follow(signed, genuine=signed.record.seq != forged)
    return chain


def test_a_whole_chain_is_good() -> None:
    chain = followed(CHAIN)
    assert (chain.records, chain.good, chain.stop, chain.fault) == (5, 5, None, "")


def test_what_is_known_already_is_good() -> None:
    assert followed(CHAIN, known=CHAIN).good == 5
    assert followed(CHAIN, known=CHAIN[:2]).good == 5
    assert followed(CHAIN[:2], known=CHAIN).good == 2


@pytest.mark.parametrize(
    ("records", "known"), [([*CHAIN, *FORK], []), ([*CHAIN[:2], *FORK], CHAIN)]
)
def test_both_records_of_a_fork_are_good_and_none_behind(
    records: Sequence[SignedRecord], known: Sequence[SignedRecord]
) -> None:
    chain = followed(records, known)
    behind = sum(one.record.seq > 2 for one in records)
    assert (chain.records - chain.good, chain.stop) == (behind, 3)
    assert chain.fault == "record 2 was said twice, and those behind count for nothing"


@pytest.mark.parametrize("known", [[], CHAIN[:2], CHAIN[:3], CHAIN[3:4]])
def test_what_is_behind_places_that_were_left_out_is_good(known: Sequence[SignedRecord]) -> None:
    for records in ([*CHAIN[:2], *CHAIN[3:]], CHAIN[3:], [CHAIN[1], CHAIN[4]]):
        chain = followed(records, known)
        assert (chain.good, chain.stop, chain.fault) == (len(records), None, "")


def test_what_fits_no_hole_is_refused() -> None:
    other = chain_by(KEY, 1, Link(SESSION, 2, CHAIN[1].id), time=9)
    assert followed(other, known=[*CHAIN[:2], *CHAIN[3:]]).good == 0
    assert followed(CHAIN[2:3], known=[*CHAIN[:2], *CHAIN[3:]]).good == 1
    behind = chain_by(KEY, 1, Link(SESSION, 4, CHAIN[2].id))
    assert followed([CHAIN[3], *behind]).fault == "record 4 does not continue the one before it"


@pytest.mark.parametrize(
    ("records", "forged", "fault"),
    [
        (CHAIN, 4, "record 4 has a wrong signature"),
        (CHAIN, 0, "record 0 has a wrong signature"),
        (
            [*CHAIN[:2], *chain_by(KEY, 1, Link(SESSION, 2, CHAIN[0].id))],
            -1,
            "record 2 does not continue the one before it",
        ),
        (
            [*CHAIN[:2], *chain_by(KEY, 1, Link(SESSION, 2, CHAIN[1].id), swarm=PUBLIC_SWARM)],
            -1,
            "record 2 belongs to another swarm than those before it",
        ),
        (CHAIN[3:], 4, "record 4 has a wrong signature"),
        ([*CHAIN[:2], *CHAIN[3:]], 4, "record 4 has a wrong signature"),
    ],
)
def test_a_chain_with_a_bad_record_is_refused_whole(
    records: Sequence[SignedRecord], forged: int, fault: str
) -> None:
    chain = followed(records, forged=forged)
    assert (chain.good, chain.stop, chain.fault) == (0, 0, fault)
    assert chain.records == len(records)
