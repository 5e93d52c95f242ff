"""What an author found, put into the own champion: no side loses anything, nothing comes twice."""

import pytest
from msgspec.structs import replace

from gossip.statements import Program
from node.grafts import Graft, Grafts
from node.offers import Lead
from skep.patch import apply, fingerprint
from skep.records import SetConstant, program_id
from tests.factories import content_id
from tests.node.recorded import SEED_PROGRAM

ANN, BOB = content_id("ann"), content_id("bob")
START = program_id(SEED_PROGRAM)


def deeper(source: str) -> str:
    return apply(source, [SetConstant("DEPTH", 4)])


def hotter(source: str) -> str:
    return apply(source, [SetConstant("LR", 0.01)])


def doubled(source: str) -> str:
    return source.replace("return LR", "return LR * 2")


class World:
    """Texts, and who was the first to publish them."""

    def __init__(self, *sources: str) -> None:
        self.programs = {program_id(SEED_PROGRAM): Program(SEED_PROGRAM, b"")}
        for source in sources:
            self.programs[program_id(source)] = Program(source, fingerprint(source))
        self.finders: dict[bytes, bytes] = {}

    def graft(self, champion: str, lead: Lead, *kept: str) -> Graft | None:
        """Onto a champion that some kept programs led to."""
        mine = [START, *map(program_id, (*kept, champion))]
        return Grafts(self.programs, self.finders.get).onto(program_id(champion), lead, mine)


def lead_of(*chain: tuple[str, float]) -> Lead:
    """Ann's champion, and what led there from the start program, with its gains."""
    gains = {START: 0.0} | {program_id(source): gain for source, gain in chain}
    *before, program = gains
    return Lead(
        program=program,
        author=ANN,
        claim=None,
        estimate=0.0,
        gain=gains[program],
        parent=before[-1] if before else START,
        chain={one: gains[one] for one in before},
        note="",
    )


def test_both_sides_finds_are_in_it_and_its_gain_is_what_is_new_in_it() -> None:
    mine, theirs = deeper(SEED_PROGRAM), doubled(hotter(SEED_PROGRAM))
    graft = World(mine, theirs).graft(mine, lead_of((theirs, -0.3)))
    assert graft == Graft(
        base=SEED_PROGRAM,
        source=doubled(hotter(deeper(SEED_PROGRAM))),
        fingerprint=fingerprint(doubled(hotter(deeper(SEED_PROGRAM)))),
        gain=-0.3,
        rooted=False,
    )


def test_what_the_champion_holds_already_is_not_merged_again_nor_counted() -> None:
    first, second = hotter(SEED_PROGRAM), doubled(hotter(SEED_PROGRAM))
    mine = hotter(deeper(SEED_PROGRAM))
    world = World(first, second, mine, doubled(mine), deeper(SEED_PROGRAM))
    lead = lead_of((first, -0.3), (second, -0.5))
    graft = world.graft(mine, lead, deeper(SEED_PROGRAM))
    assert graft is not None
    assert graft.base == first
    assert graft.source == doubled(mine)
    assert graft.gain == -0.5 + 0.3
    assert world.graft(doubled(mine), lead_of((first, -0.3), (second, -0.5))) is None
    assert world.graft(mine, lead_of((first, -0.3))) is None


def test_where_both_went_through_a_program_only_what_came_after_it_is_put_in() -> None:
    both, theirs = hotter(SEED_PROGRAM), doubled(hotter(SEED_PROGRAM))
    mine = deeper(both)
    graft = World(both, theirs, mine).graft(mine, lead_of((both, -0.3), (theirs, -0.5)), both)
    assert graft is not None
    assert (graft.base, graft.source, graft.gain) == (both, deeper(theirs), -0.5 + 0.3)


def test_a_constant_that_the_champion_has_set_otherwise_stays_and_nothing_is_new() -> None:
    mine, theirs = hotter(SEED_PROGRAM), apply(SEED_PROGRAM, [SetConstant("LR", 0.02)])
    assert World(mine, theirs).graft(mine, lead_of((theirs, -0.3))) is None


def test_lines_that_both_have_changed_make_no_graft() -> None:
    mine = SEED_PROGRAM.replace("return LR", "return LR * 3")
    assert World(mine, doubled(SEED_PROGRAM)).graft(mine, lead_of((doubled(SEED_PROGRAM), 0))) is (
        None
    )


def test_a_find_whose_text_is_not_known_here_counts_as_new() -> None:
    first, second = hotter(SEED_PROGRAM), doubled(hotter(SEED_PROGRAM))
    lead = lead_of((first, -0.3), (second, -0.5))
    unknown = World(second, deeper(SEED_PROGRAM))
    graft = unknown.graft(deeper(SEED_PROGRAM), lead)
    assert graft is not None
    assert graft.source == doubled(hotter(deeper(SEED_PROGRAM)))
    assert graft.gain == -0.5, "the text between is not known here, so that all of it is new"


def test_steps_that_the_champion_holds_promise_nothing_though_one_before_them_is_missing() -> None:
    first, second = hotter(SEED_PROGRAM), deeper(hotter(SEED_PROGRAM))
    third = doubled(second)
    mine = deeper(SEED_PROGRAM)  # Without the first step, with the second.
    lead = lead_of((first, -0.1), (second, -0.5), (third, -0.6))
    graft = World(first, second, third, mine).graft(mine, lead)
    assert graft is not None
    assert graft.source == doubled(hotter(mine))
    assert graft.gain == pytest.approx(-0.2), "the first and the third"


def test_programs_without_a_text_or_a_shared_one_make_no_graft() -> None:
    mine, theirs = deeper(SEED_PROGRAM), hotter(SEED_PROGRAM)
    assert World(mine).graft(mine, lead_of((theirs, -0.3))) is None
    apart = replace(lead_of((theirs, -0.3)), chain={content_id("elsewhere"): 0.0})
    assert World(mine, theirs).graft(mine, apart) is None


def test_an_author_is_rooted_only_where_the_champion_holds_a_find_of_its_own() -> None:
    first, second = hotter(SEED_PROGRAM), doubled(hotter(SEED_PROGRAM))
    world = World(first, second, deeper(SEED_PROGRAM), deeper(first))
    lead = lead_of((first, -0.3), (second, -0.5))
    for finder, rooted in ((ANN, True), (BOB, False), (None, False)):
        world.finders = {program_id(first): finder} if finder else {}
        graft = world.graft(deeper(first), lead, first)
        assert graft is not None
        assert graft.rooted == rooted


def test_a_graft_is_made_anew_for_every_champion() -> None:
    theirs = doubled(SEED_PROGRAM)
    champions = [SEED_PROGRAM, deeper(SEED_PROGRAM), hotter(deeper(SEED_PROGRAM))]
    grafts = Grafts(World(theirs, *champions).programs, lambda program: None)
    mine: list[bytes] = []
    for champion in champions:
        mine.append(program_id(champion))
        graft = grafts.onto(mine[-1], lead_of((theirs, -0.3)), mine)
        assert graft is not None
        assert graft.source == doubled(champion)
        assert grafts.onto(mine[-1], lead_of((theirs, -0.3)), mine) is graft
