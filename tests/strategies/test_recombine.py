"""Recombine stacks what helped elsewhere, all at once, then halves, and nothing twice."""

from typing import Any

from msgspec.structs import replace

from skep.patch import apply, fingerprint
from skep.ports import Find, Proposal, TaskFacts, View
from skep.records import SetConstant, program_id
from strategies.recombine import Recombine
from tests.strategies.test_tune import FACTS, PROGRAM

TASK: TaskFacts = replace(FACTS, deny=())
OLD = PROGRAM
CHAMPION = PROGRAM.replace("return LR", "return LR * 2")


def with_(text: str, **values: Any) -> str:
    return apply(text, [SetConstant(name, value) for name, value in values.items()])


def find(source: str, effect: float = -0.02, *, base: str = OLD, chance: float = 0.95) -> Find:
    return Find(program=program_id(source), source=source, base=base, effect=effect, chance=chance)


def view(*finds: Find, tried: tuple[str, ...] = (), pending: tuple[str, ...] = ()) -> View:
    return View(
        task=TASK,
        champion=program_id(CHAMPION),
        champion_source=CHAMPION,
        trials=(),
        pending=pending,
        fingerprints=frozenset(fingerprint(one) for one in (CHAMPION, *tried, *pending)),
        sigma=0.01,
        seed=1,
        finds=finds,
    )


async def proposed(*finds: Find, **fields: Any) -> Proposal | None:
    there = view(*finds, **fields)
    strategy = Recombine()
    proposal = await strategy.propose(there)
    assert proposal == await strategy.propose(there)
    assert proposal is None or strategy.ready(there)
    return proposal


DEEP, WIDE, FAST = (
    find(with_(OLD, **{name: value})) for name, value in (("DEPTH", 4), ("WIDTH", 96), ("LR", 0.01))
)


async def test_all_that_helped_is_put_into_the_champion_at_once() -> None:
    proposal = await proposed(DEEP, WIDE, FAST)
    assert proposal is not None
    assert proposal.source == with_(CHAMPION, DEPTH=4, WIDTH=96, LR=0.01)
    assert proposal.parent == program_id(CHAMPION)
    assert apply(CHAMPION, proposal.edits) == proposal.source
    of = " and ".join(one.program.hex()[:8] for one in (DEEP, WIDE, FAST))
    assert proposal.note == f"DEPTH 3 → 4, WIDTH 64 → 96, LR 0.003 → 0.01 (of {of})"


async def test_lines_of_code_are_told_by_where_they_come_from() -> None:
    code = find(OLD.replace("def train", "def trained"), base=CHAMPION.replace("LR * 2", "LR"))
    proposal = await proposed(code, DEEP)
    assert proposal is not None
    assert proposal.note == f"the edits of {code.program.hex()[:8]} and {DEEP.program.hex()[:8]}"


async def test_a_stack_that_was_tried_is_halved_down_to_what_is_new_alone() -> None:
    tried: list[str] = []
    while (proposal := await proposed(DEEP, WIDE, FAST, tried=tuple(tried))) is not None:
        tried.append(proposal.source)
    assert tried == [
        with_(CHAMPION, **values)
        for values in (
            {"DEPTH": 4, "WIDTH": 96, "LR": 0.01},
            {"DEPTH": 4, "WIDTH": 96},
            {"LR": 0.01},
            {"DEPTH": 4},
            {"WIDTH": 96},
        )
    ]


async def test_an_edit_that_was_made_from_this_champion_is_not_tried_alone_again() -> None:
    again = find(with_(CHAMPION, DEPTH=4), base=CHAMPION)
    assert await proposed(again) is None
    both = await proposed(again, WIDE)
    assert both is not None
    assert both.source == with_(CHAMPION, DEPTH=4, WIDTH=96)


async def test_while_a_stack_is_on_trial_its_parts_wait() -> None:
    whole = with_(CHAMPION, DEPTH=4, WIDTH=96)
    assert await proposed(DEEP, WIDE, pending=(whole,)) is None


async def test_what_is_unlikely_conflicts_or_is_there_already_is_left_out() -> None:
    assert not Recombine().ready(view(replace(DEEP, chance=0.7)))
    clashing = find(OLD.replace("return LR", "return LR / 3"))
    there = find(CHAMPION)
    assert await proposed(clashing, there) is None
    proposal = await proposed(clashing, there, replace(FAST, chance=0.5), WIDE, DEEP)
    assert proposal is not None
    assert proposal.source == with_(CHAMPION, DEPTH=4, WIDTH=96)


async def test_a_stack_has_at_most_six_and_the_best_come_first() -> None:
    many = [find(OLD.replace("\n\n\ndef", f"\nN{n} = {n}\n\n\ndef"), -0.01) for n in range(3)]
    assert (await proposed(*many)) is not None
    named = [
        find(with_(OLD, **{n: v}))
        for n, v in (
            ("DEPTH", 4),
            ("WIDTH", 96),
            ("LR", 0.01),
            ("WEIGHT_DECAY", 0.2),
            ("BATCH_SIZE", 8),
            ("EVAL_TOKENS", 8192),
            ("BETAS", (0.8, 0.9)),
        )
    ]
    proposal = await proposed(*named)
    assert proposal is not None
    assert len(proposal.edits) == 6
    assert proposal.source == with_(
        CHAMPION, DEPTH=4, WIDTH=96, LR=0.01, WEIGHT_DECAY=0.2, BATCH_SIZE=8, EVAL_TOKENS=8192
    )
