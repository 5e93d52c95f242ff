"""Adopt: which offer is tried first, and what the proposal says of it."""

from msgspec.structs import replace

from skep.patch import apply, fingerprint
from skep.ports import Offer, Proposal, View
from skep.records import SetConstant, program_id
from strategies.adopt import RECENT_MAX, Adopt
from tests.factories import content_id
from tests.node.recorded import SEED_PROGRAM, STORIES

ANN, BOB = content_id("ann"), content_id("bob")


def offer(rate: float, author: bytes = ANN, **fields: object) -> Offer:
    source = apply(SEED_PROGRAM, [SetConstant("LR", rate)])
    plain = Offer(
        program=program_id(source),
        source=source,
        fingerprint=fingerprint(source),
        author=author,
        name="calm-otter-x7Qp2a",
        note="",
        claim=None,
        estimate=-0.1,
        held=0,
        failed=0,
        recent=0,
    )
    return replace(plain, **fields)


def view(*offers: Offer, known: frozenset[bytes] = frozenset()) -> View:
    return View(
        task=STORIES,
        champion=program_id(SEED_PROGRAM),
        champion_source=SEED_PROGRAM,
        trials=(),
        pending=(),
        fingerprints=known,
        sigma=0.01,
        seed=1,
        offers=offers,
    )


async def first(*offers: Offer, known: frozenset[bytes] = frozenset()) -> Proposal:
    proposal = await Adopt().propose(view(*offers, known=known))
    assert proposal is not None
    return proposal


async def test_an_offer_becomes_an_edit_of_the_own_champion_with_author_and_claim() -> None:
    claim = content_id("claim")
    proposal = await first(offer(0.01, claim=claim, note="hotter"))
    assert proposal.parent == program_id(SEED_PROGRAM)
    assert proposal.edits == (SetConstant("LR", 0.01),)
    assert (proposal.strategy, proposal.claim) == ("adopt", claim)
    assert proposal.note == "from calm-otter-x7Qp2a: hotter"


async def test_the_same_program_is_never_proposed_twice_however_it_is_written() -> None:
    one = offer(0.01)
    assert await Adopt().propose(view(one, known=frozenset({one.fingerprint}))) is None
    assert not Adopt().ready(view())


async def test_of_equal_authors_the_larger_estimate_goes_first() -> None:
    proposal = await first(offer(0.01, estimate=-0.01), offer(0.02, BOB, estimate=-0.02))
    assert program_id(proposal.source) == offer(0.02).program


async def test_authors_whose_offers_held_go_before_newcomers_and_those_that_failed_last() -> None:
    failed = offer(0.01, estimate=-9.0, failed=1)
    newcomer = offer(0.02, estimate=-1.0)
    proven = offer(0.03, estimate=-0.1, held=2, failed=1)
    order = []
    known: set[bytes] = set()
    for _ in range(3):
        proposal = await first(failed, newcomer, proven, known=frozenset(known))
        order.append(proposal.source)
        known.add(fingerprint(proposal.source))
    assert order == [proven.source, newcomer.source, failed.source]


async def test_a_number_beyond_belief_is_served_no_earlier_than_a_large_one() -> None:
    sources = set()
    for seed in range(20):
        lie, truth = offer(0.01, estimate=-1e9), offer(0.02, BOB, estimate=-0.05)
        proposal = await Adopt().propose(replace(view(lie, truth), seed=seed))
        assert proposal is not None
        sources.add(proposal.source)
    assert len(sources) == 2, "at five sigma it is a draw, and each node draws for itself"


async def test_an_author_that_had_its_share_waits_for_the_others() -> None:
    busy = offer(0.01, held=9, recent=RECENT_MAX)
    proposal = await first(busy, offer(0.02, BOB))
    assert program_id(proposal.source) == offer(0.02).program
    assert (await first(busy)).source == busy.source
