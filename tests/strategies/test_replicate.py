"""Replicate: the first claim that did not run here becomes a proposal that names it."""

from msgspec.structs import replace

from skep.ports import View
from skep.records import SetConstant, program_id
from strategies.replicate import Replicate
from tests.factories import content_id
from tests.node.recorded import SEED_PROGRAM
from tests.strategies.test_adopt import offer, view

CLAIM = content_id("claim")


def asked(*rates: float, known: frozenset[bytes] = frozenset()) -> View:
    claims = tuple(offer(rate, claim=CLAIM, note="hotter") for rate in rates)
    return replace(view(known=known), claims=claims)


async def test_the_first_claim_becomes_an_edit_of_the_own_champion() -> None:
    proposal = await Replicate().propose(asked(0.01, 0.02))
    assert proposal is not None
    assert (proposal.strategy, proposal.claim) == ("replicate", CLAIM)
    assert (proposal.parent, proposal.edits) == (
        program_id(SEED_PROGRAM),
        (SetConstant("LR", 0.01),),
    )
    assert proposal.note.startswith("from calm-otter-x7Qp2a (")


async def test_what_ran_here_is_passed_over() -> None:
    known = frozenset({offer(0.01).fingerprint})
    proposal = await Replicate().propose(asked(0.01, 0.02, known=known))
    assert proposal is not None
    assert proposal.edits == (SetConstant("LR", 0.02),)
    assert await Replicate().propose(asked(0.01, known=known)) is None


def test_without_claims_there_is_nothing_to_do() -> None:
    assert not Replicate().ready(asked())
    assert Replicate().ready(asked(0.01))
