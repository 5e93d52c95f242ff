"""Which records of a chain may be imported: all, those before a gap, or none."""

from collections.abc import Sequence

import pytest

from gossip.chains import FORKS_MAX, Chain
from gossip.feeds import Link
from gossip.swarms import PUBLIC_SWARM
from skep.records import SignedRecord
from tests.gossip.scenes import KEY, SESSION, chain_by

CHAIN = chain_by(KEY, 5)
FORK = chain_by(KEY, 2, Link(SESSION, 2, CHAIN[1].id), time=9)


def followed(
    records: Sequence[SignedRecord], known: Sequence[SignedRecord] = (), forged: int = -1
) -> Chain:
    """A chain after all its records, of which one may have a wrong signature."""

    def ids(author: bytes, session: bytes, seq: int) -> set[bytes]:
        assert (author, session) == (KEY.public, SESSION)
        return {one.id for one in known if one.record.seq == seq}

    chain = Chain(records[0], ids)
    for signed in sorted(records, key=lambda one: (one.record.seq, one.id)):
        chain.follow(signed, genuine=signed.record.seq != forged)
    return chain


def test_a_whole_chain_is_good() -> None:
    chain = followed(CHAIN)
    assert (chain.records, chain.good, chain.stop, chain.fault) == (5, 5, None, "")


def test_both_branches_of_a_fork_are_good() -> None:
    chain = followed([*CHAIN, *FORK])
    assert (chain.records, chain.good, chain.stop) == (7, 7, None)


def test_what_is_behind_a_gap_is_left_out_unless_the_gap_is_known() -> None:
    gappy = [*CHAIN[:2], *CHAIN[3:]]
    chain = followed(gappy)
    assert (chain.records, chain.good, chain.stop) == (4, 2, 3)
    assert chain.fault == "record 2 is missing, and so is what leads to those behind"
    assert followed(gappy, known=[CHAIN[2]]).stop is None
    assert followed(gappy, known=[FORK[0]]).stop == 0
    assert followed(CHAIN[3:]).stop == 3
    assert followed(CHAIN[3:], known=CHAIN).stop is None


def test_a_record_that_follows_a_known_branch_of_a_fork_is_good() -> None:
    assert followed([*CHAIN[:3], FORK[1]]).stop == 0
    assert followed([*CHAIN[:3], FORK[1]], known=[FORK[0]]).stop is None


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
        (
            [
                *CHAIN[:1],
                *(
                    chain_by(KEY, 1, Link(SESSION, 1, CHAIN[0].id), time=time)[0]
                    for time in range(FORKS_MAX + 1)
                ),
            ],
            -1,
            "record 1 shares its place with 16 others",
        ),
        ([*CHAIN[:2], *CHAIN[3:]], 4, "record 4 has a wrong signature"),
    ],
)
def test_a_chain_with_a_bad_record_is_refused_whole(
    records: Sequence[SignedRecord], forged: int, fault: str
) -> None:
    chain = followed(records, forged=forged)
    assert (chain.good, chain.stop, chain.fault) == (0, 0, fault)
    assert chain.records == len(records)
