"""What waits in the queue is proposed at once, best first, and only where it fits the champion."""

from msgspec.structs import replace

from skep.patch import apply, fingerprint
from skep.ports import View
from skep.records import SetConstant, program_id
from strategies.llm import IDEAS_MAX, Ideas, Llm, Ready, Talk
from strategies.shown import whole
from tests.strategies.test_recombine import TASK
from tests.strategies.test_tune import PROGRAM

DEEP = PROGRAM.replace("DEPTH = 3", "DEPTH = 4")
WIDE = PROGRAM.replace("WIDTH = 64", "WIDTH = 96")
DOUBLE = PROGRAM.replace("return LR", "return LR * 2")
TRIPLE = PROGRAM.replace("return LR", "return LR * 3")


def idea(source: str, *, base: str = PROGRAM, gain: float = 0.0, foreign: bool = False) -> Ready:
    talk = Talk(messages=(), tag="0" * 16, shown=whole(base), form="blocks")
    return Ready(
        hypothesis="so it is", source=source, foreign=foreign, gain=gain, cites=(), talk=talk
    )


def view(champion: str = PROGRAM, *tried: str, foreign: bool = False) -> View:
    return View(
        task=TASK,
        champion=program_id(champion),
        champion_source=champion,
        trials=(),
        pending=(),
        fingerprints=frozenset(fingerprint(one) for one in (champion, *tried)),
        sigma=0.01,
        seed=1,
        foreign=foreign,
    )


async def sources(queue: Ideas, there: View) -> list[str]:
    """Everything that is proposed until nothing is left."""
    strategy, found = Llm(queue), []
    while strategy.ready(there):
        proposal = await strategy.propose(there)
        assert proposal is not None
        assert apply(there.champion_source, proposal.edits) == proposal.source
        assert (proposal.strategy, proposal.parent) == ("llm", there.champion)
        found.append(proposal.source)
    assert await strategy.propose(there) is None
    return found


def queue(*ideas: Ready) -> Ideas:
    made = Ideas()
    for one in ideas:
        made.add(one)
    return made


async def test_what_promises_most_comes_first_and_each_idea_once() -> None:
    assert await sources(queue(idea(DEEP), idea(DOUBLE, gain=2.0)), view()) == [DOUBLE, DEEP]


async def test_with_nothing_in_the_queue_the_strategy_is_not_ready() -> None:
    assert not Llm(Ideas()).ready(view())


async def test_an_idea_of_a_former_champion_is_merged_into_the_present_one() -> None:
    both = apply(DOUBLE, [SetConstant("DEPTH", 4)])
    ideas = queue(idea(DEEP, gain=3.0), idea(both.replace("* 2", "* 4"), base=DOUBLE))
    assert (await sources(ideas, view(DOUBLE)))[1:] == [both], "after what was made from it"


async def test_what_conflicts_is_held_already_or_was_tried_is_not_proposed() -> None:
    assert await sources(queue(idea(TRIPLE)), view(DOUBLE)) == []
    assert await sources(queue(idea(DOUBLE)), view(DOUBLE)) == []
    assert await sources(queue(idea(DEEP)), view(PROGRAM, DEEP)) == []


async def test_what_may_hold_a_strangers_text_is_not_merged_into_the_own_program() -> None:
    ideas = queue(idea(DEEP, foreign=True))
    assert await sources(ideas, view(DOUBLE)) == []
    assert len(await sources(ideas, view(DOUBLE, foreign=True))) == 1


async def test_the_queue_is_bounded_and_takes_no_program_twice() -> None:
    ideas = queue(*(idea(f"{PROGRAM}X = {number}\n") for number in range(IDEAS_MAX + 3)))
    assert len(ideas) == IDEAS_MAX
    assert not ideas.add(idea(f"{PROGRAM}X = {IDEAS_MAX}\n", gain=1.0))
    assert f"{PROGRAM}X = 0\n" not in await sources(ideas, view())


async def test_whoever_fills_the_queue_learns_what_is_run_and_finds_its_idea_again() -> None:
    told: list[tuple[bytes, Ready]] = []
    ideas = Ideas(lambda program, one: told.append((program, one)))
    ideas.add(idea(DEEP))
    proposal = await Llm(ideas).propose(view(DOUBLE))
    assert proposal is not None
    assert told == [(program_id(proposal.source), idea(DEEP))]
    assert ideas.given(program_id(proposal.source)) == idea(DEEP)
    assert ideas.given(program_id(WIDE)) is None


def test_ideas_for_one_program_are_one_whatever_their_words() -> None:
    ideas = queue(idea(DEEP))
    assert not ideas.add(replace(idea(DEEP), hypothesis="otherwise"))
