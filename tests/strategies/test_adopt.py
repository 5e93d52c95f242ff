"""Adopt: which offer is tried first, and what the proposal says of it."""

from msgspec.structs import replace

from node.experiment import printable
from skep.patch import apply, fingerprint
from skep.ports import Offer, Proposal, View
from skep.records import SetConstant, program_id
from strategies.adopt import (
    RECENT_MAX,
    STACK_MAX,
    Adopt,
    can_be_stacked,
    describe,
    origin_in,
    short,
)
from tests.factories import content_id
from tests.node.recorded import SEED_PROGRAM, STORIES

ANN, BOB = content_id("ann"), content_id("bob")


def offer(rate: float, author: bytes = ANN, **fields: object) -> Offer:
    source = apply(SEED_PROGRAM, [SetConstant("LR", rate)])
    plain = Offer(
        program=program_id(source),
        theirs=source,
        base=SEED_PROGRAM,
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
    assert proposal.note == f"from calm-otter-x7Qp2a ({short(offer(0.01).program)}): hotter"


async def test_the_same_program_is_never_proposed_twice_however_it_is_written() -> None:
    one = offer(0.01)
    assert await Adopt().propose(view(one, known=frozenset({one.fingerprint}))) is None
    assert not Adopt().ready(view())


async def test_of_equal_authors_the_larger_estimate_goes_first() -> None:
    proposal = await first(offer(0.01, estimate=-0.01), offer(0.02, BOB, estimate=-0.02))
    assert program_id(proposal.source) == offer(0.02).program


async def test_authors_whose_offers_held_go_before_newcomers_and_those_that_failed_last() -> None:
    failed = offer(0.01, estimate=-0.04, failed=1)
    newcomer = offer(0.02, estimate=-0.03)
    proven = offer(0.03, estimate=-0.02, held=2, failed=1)
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


# Several finds at once

CAL = content_id("cal")


def find(constant: str, value: float, author: bytes = ANN, **fields: object) -> Offer:
    """An offer whose author set one constant of the champion, and which held here before."""
    source = apply(SEED_PROGRAM, [SetConstant(constant, value)])
    plain = {"program": program_id(source), "theirs": source, "source": source, "held": 1}
    return offer(0.0, author, fingerprint=fingerprint(source), **(plain | fields))


HOTTER = find("LR", 0.01, ANN, name="calm-otter-x7Qp2a", estimate=-0.03)
DEEPER = find("DEPTH", 4, BOB, name="tiny-robin-8dKw1Z", estimate=-0.02)
WIDER = replace(
    find("LR", 0.0, CAL, name="blue-heron-Ab3dE9", estimate=-0.01),
    theirs=SEED_PROGRAM.replace("return LR", "return LR * 2"),
    source=SEED_PROGRAM.replace("return LR", "return LR * 2"),
)


async def tried_in_order(*offers: Offer) -> list[Proposal]:
    """What is proposed one after the other, none of which is kept."""
    found: list[Proposal] = []
    known: set[bytes] = set()
    while proposal := await Adopt().propose(view(*offers, known=frozenset(known))):
        known.add(fingerprint(proposal.source))
        found.append(proposal)
    return found


def settings_of(proposal: Proposal) -> tuple[bool, bool, bool]:
    """Whether Ann's, Bob's and Cal's finds are in it."""
    source = proposal.source
    return "LR = 0.01" in source, "DEPTH = 4" in source, "LR * 2" in source


async def test_finds_of_authors_whose_offers_held_are_tried_together_then_halves_then_alone() -> (
    None
):
    found = await tried_in_order(HOTTER, DEEPER, WIDER)
    assert [settings_of(one) for one in found] == [
        (True, True, True),
        (True, True, False),
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert found[0].note == "from calm-otter-x7Qp2a, tiny-robin-8dKw1Z and blue-heron-Ab3dE9"
    assert found[1].note == "from calm-otter-x7Qp2a and tiny-robin-8dKw1Z"
    assert {one.claim for one in found} == {None}


async def test_nothing_of_an_unknown_or_failed_author_is_ever_in_a_stack() -> None:
    newcomer = replace(WIDER, held=0)
    failed = replace(WIDER, held=1, failed=2)
    even = replace(WIDER, held=1, failed=1)
    whole = replace(WIDER, base="")
    for stranger in (newcomer, failed, even, whole):
        assert not can_be_stacked(stranger)
        found = await tried_in_order(HOTTER, DEEPER, stranger)
        mixed = [settings_of(one) for one in found if settings_of(one)[2]]
        assert mixed == [(False, False, True)], "by itself, and once"


async def test_a_find_that_led_to_the_own_champion_counts_as_one_that_held() -> None:
    rooted = replace(WIDER, held=0, rooted=True)
    assert can_be_stacked(rooted)
    assert settings_of((await tried_in_order(HOTTER, rooted))[0]) == (True, False, True)
    assert not can_be_stacked(replace(rooted, failed=1))


async def test_what_does_not_go_together_is_left_out_of_the_stack_and_not_named_in_its_note() -> (
    None
):
    source = SEED_PROGRAM.replace("return LR", "return LR * 3")
    clash = replace(WIDER, author=BOB, name=DEEPER.name, theirs=source, source=source)
    found = await tried_in_order(HOTTER, replace(WIDER, estimate=-0.02), clash)
    assert found[0].note == f"from {HOTTER.name} and {WIDER.name}"
    assert "LR * 3" not in found[0].source


async def test_what_two_authors_found_alike_is_stacked_once() -> None:
    found = await tried_in_order(HOTTER, replace(HOTTER, author=BOB, name=DEEPER.name))
    assert [one.note for one in found] == [describe([HOTTER])]


async def test_a_stack_holds_no_more_finds_than_its_note_can_name() -> None:
    text = SEED_PROGRAM + "".join(f"K{number} = 0\n" for number in range(STACK_MAX + 3))
    offers = []
    for number in range(STACK_MAX + 3):
        source = apply(text, [SetConstant(f"K{number}", 1)])
        name = f"patient-bramble-{number:06}"
        offers.append(replace(HOTTER, base=text, theirs=source, source=source, name=name))
    proposal = await Adopt().propose(replace(view(*offers), champion_source=text))
    assert proposal is not None
    assert proposal.source.count(" = 1\n") == STACK_MAX
    assert len(origin_in(printable(proposal.note))[0]) == STACK_MAX


def test_a_note_says_whose_finds_were_tried_and_of_one_alone_in_which_program() -> None:
    alone = describe([replace(HOTTER, note="like tiny-robin-8dKw1Z (0123456789ab): hot")])
    assert origin_in(alone) == ([HOTTER.name], short(HOTTER.program))
    assert origin_in(describe([HOTTER, DEEPER])) == ([HOTTER.name, DEEPER.name], "")
    assert origin_in("out of memory") == ([], "")
    assert origin_in(f"as {HOTTER.name} says") == ([], "")
