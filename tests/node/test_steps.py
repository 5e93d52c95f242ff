"""What the champion is made of, by the own runs: what can be left out, and what was."""

import pytest
from msgspec.structs import replace

from gossip.jobs import Job
from node.steps import Makeup
from skep.patch import apply
from skep.ports import ABLATE, Step
from skep.records import Hunk, SetConstant, program_id
from tests.node.recorded import SEED_PROGRAM, Idea, Recording, setting

START = program_id(SEED_PROGRAM)
CODE = Hunk(7, "    return LR\n", "    return LR * 2\n")


def makeup(found: Recording) -> Makeup:
    parents: dict[bytes, bytes | None] = {}
    for _, run in found.runs:
        parents.setdefault(run.program, run.parent)
    made = Makeup(found.sources.get, parents.get)
    for _, run in found.runs:
        made.take_in(run)
    return made


def steps(found: Recording) -> tuple[Step, ...]:
    return makeup(found).steps(found.research)


def grown() -> tuple[Recording, list[bytes]]:
    """A search that kept three edits."""
    found = Recording()
    kept = [
        found.try_out(setting("LR", 0.01, -0.15)),
        found.try_out(setting("DEPTH", 4, -0.1)),
        found.try_out(Idea((CODE,), -0.12)),
    ]
    assert [one.program for one in found.research.kept] == kept
    return found, kept


def test_every_kept_edit_is_a_step_with_the_effect_that_it_was_kept_for() -> None:
    found, kept = grown()
    seen = steps(found)
    assert [(one.program, one.name, one.since) for one in seen] == [(p, "", None) for p in kept]
    assert [one.base for one in seen] == [found.sources[p] for p in (START, *kept[:2])]
    assert [one.effect for one in seen] == [one.effect for one in found.research.kept]
    assert [one.spread for one in seen] == [one.spread for one in found.research.kept]


def test_a_step_of_two_constants_is_two_with_half_the_effect_each() -> None:
    found = Recording()
    found.try_out(Idea((SetConstant("LR", 0.01), SetConstant("DEPTH", 4)), -0.2))
    first, second = steps(found)
    assert (first.name, second.name) == ("DEPTH", "LR")
    assert first.program == second.program
    assert first.effect == second.effect == found.research.kept[0].effect / 2


def test_a_stack_with_code_is_taken_apart_by_the_edits_that_it_was_made_of() -> None:
    found = Recording(seed=2)
    small = [found.try_out(idea) for idea in (Idea((CODE,), -0.014), setting("DEPTH", 4, -0.014))]
    assert not found.research.kept
    stack = found.try_out(Idea((CODE, SetConstant("DEPTH", 4)), -0.2, strategy="recombine"))
    seen = steps(found)
    assert {one.source for one in seen} == {found.sources[p] for p in small}
    assert {one.program for one in seen} == {stack}


def test_what_is_left_out_is_no_step_of_the_champion_and_nothing_to_recombine() -> None:
    found, kept = grown()
    assert kept[1] in {one.program for one in makeup(found).finds(found.research)}
    less = found.leave_out(kept[1], kept[0], -0.05)
    assert found.research.champion == less
    assert found.sources[less] == apply(found.sources[kept[2]], [SetConstant("DEPTH", 3)])
    assert kept[1] not in {one.program for one in makeup(found).finds(found.research)}
    assert kept[0] in {one.program for one in makeup(found).finds(found.research)}


def test_an_edit_remembers_how_many_steps_ago_it_was_found_to_pay() -> None:
    found, kept = grown()
    found.leave_out(kept[0], START, 0.2)
    assert [one.since for one in steps(found)] == [0, None, None]
    found.try_out(Idea((Hunk(8, "", "EXTRA = 1\n"),), -0.2))
    assert [one.since for one in steps(found)] == [1, None, None, None]


def test_ablations_take_a_tenth_of_the_runs_and_one_at_a_time() -> None:
    found, kept = grown()
    assert len(makeup(found).due(found.research, [])) == 3
    found.leave_out(kept[0], START, 0.2)
    spent = sum(run.strategy == ABLATE for _, run in found.runs)
    made = makeup(found)
    while len(found.runs) <= 10 * spent:
        assert made.due(found.research, []) == ()
        found.runs.append(found.runs[0])
        made.take_in(found.runs[0][1])
    assert len(made.due(found.research, [])) == 3
    job = Job(
        task=found.task.id,
        program=START,
        parent=None,
        edits=(),
        strategy=ABLATE,
        seed=1,
        purpose="screen",
        note="",
    )
    assert made.due(found.research, [job]) == ()
    assert len(made.due(found.research, [replace(job, strategy="tune")])) == 3


@pytest.mark.parametrize("missing", [0, 1])
def test_a_step_whose_text_is_not_known_is_left_out(missing: int) -> None:
    found, kept = grown()
    del found.sources[kept[missing]]
    assert [one.program for one in steps(found)] == kept[missing + 2 :] + kept[:missing]
