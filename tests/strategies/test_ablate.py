"""Ablate leaves out one kept edit, the most doubtful first, and nothing twice."""

from typing import Any

from msgspec.structs import replace

from skep.patch import apply, fingerprint
from skep.ports import Proposal, Step, View
from skep.records import SetConstant, program_id
from strategies.ablate import Ablate
from tests.strategies.test_recombine import TASK, with_
from tests.strategies.test_tune import PROGRAM

DEEP = with_(PROGRAM, DEPTH=4)
WIDE = with_(DEEP, WIDTH=96)
CODE = WIDE.replace("return LR", "return LR * 2")
CHAMPION = CODE


def step(source: str, base: str, effect: float = -0.03, **fields: Any) -> Step:
    given: dict[str, Any] = {"name": "", "effect": effect, "spread": 0.01}
    return Step(program=program_id(source), source=source, base=base, **(given | fields))


DEPTH = step(DEEP, PROGRAM, -0.05)
WIDTH = step(WIDE, DEEP, -0.02)
LINES = step(CODE, WIDE, -0.03)


def view(*steps: Step, tried: tuple[str, ...] = (), champion: str = CHAMPION) -> View:
    return View(
        task=TASK,
        champion=program_id(champion),
        champion_source=champion,
        trials=(),
        pending=(),
        fingerprints=frozenset(fingerprint(one) for one in (champion, *tried)),
        sigma=0.01,
        seed=1,
        steps=steps,
    )


async def proposed(*steps: Step, **fields: Any) -> Proposal | None:
    there = view(*steps, **fields)
    proposal = await Ablate().propose(there)
    assert proposal == await Ablate().propose(there)
    assert proposal is None or Ablate().ready(there)
    return proposal


async def test_the_most_doubtful_edit_is_left_out_first_and_none_twice() -> None:
    tried: list[str] = []
    notes = []
    while (proposal := await proposed(DEPTH, WIDTH, LINES, tried=tuple(tried))) is not None:
        assert apply(CHAMPION, proposal.edits) == proposal.source
        assert (proposal.strategy, proposal.parent) == ("ablate", program_id(CHAMPION))
        tried.append(proposal.source)
        notes.append(proposal.note)
    assert tried == [
        apply(CHAMPION, [SetConstant("WIDTH", 64)]),
        CHAMPION.replace("LR * 2", "LR"),
        apply(CHAMPION, [SetConstant("DEPTH", 3)]),
    ]
    assert notes == [
        f"without WIDTH 64 → 96 (of {WIDTH.program.hex()[:8]})",
        f"without the edit of {LINES.program.hex()[:8]}",
        f"without DEPTH 3 → 4 (of {DEPTH.program.hex()[:8]})",
    ]


async def test_a_doubtful_edit_is_one_of_small_effect_for_how_well_it_is_known() -> None:
    vague = replace(DEPTH, spread=0.05)
    proposal = await proposed(vague, WIDTH, LINES)
    assert proposal is not None
    assert proposal.source == apply(CHAMPION, [SetConstant("DEPTH", 3)])


def test_two_steps_are_left_alone_unless_they_came_together() -> None:
    assert not Ablate().ready(view(DEPTH, WIDTH))
    assert Ablate().ready(view(DEPTH, WIDTH, LINES))
    both = [replace(one, program=program_id(WIDE)) for one in (DEPTH, WIDTH)]
    assert Ablate().ready(view(*both))
    assert not Ablate().ready(view())


async def test_an_edit_that_was_judged_is_asked_again_after_three_more_steps() -> None:
    since = [replace(one, since=2) for one in (DEPTH, WIDTH, LINES)]
    assert not Ablate().ready(view(*since))
    proposal = await proposed(replace(since[0], since=3), *since[1:])
    assert proposal is not None
    assert proposal.source == apply(CHAMPION, [SetConstant("DEPTH", 3)])


async def test_what_is_gone_entangled_or_would_add_code_is_not_left_out() -> None:
    further = CODE.replace("LR * 2", "LR * 2 + 1").replace("= 96", "= 128")
    less = further.replace("EVAL_TOKENS = 4096\n", "")
    assert less != further
    removed = step(less, further, -0.001)
    deepest = with_(less, DEPTH=5)
    steps = step(deepest, less), WIDTH, LINES, removed
    proposal = await proposed(*steps, champion=deepest)
    assert proposal is not None
    assert proposal.source == less
    assert await proposed(*steps[1:], champion=deepest) is None
