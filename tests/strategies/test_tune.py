"""Tune proposes readable settings of the champion's constants, the same for the same view."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from skep.patch import apply, fingerprint
from skep.ports import Knob, Proposal, TaskFacts, Trial, View
from skep.records import SetConstant, program_id
from strategies.tune import Tune, gather

PROGRAM = """\
DEPTH = 3  # blocks
WIDTH = 64
LR = 3e-3
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
BATCH_SIZE = 16
EVAL_TOKENS = 4096


def train(run):
    return LR
"""

BROKEN = "def\n"

FACTS = TaskFacts(
    name="toy",
    id=bytes(32),
    metric="val_bpb",
    direction="min",
    scored_by="harness",
    budget_ms=8000,
    sigma=0.01,
    seed_program=PROGRAM,
    deny=("EVAL_TOKENS",),
    knobs={"BATCH_SIZE": Knob("int", 4, 16), "LR": Knob("float", 1e-4, 0.01)},
)


def variant(**values: Any) -> str:
    return apply(PROGRAM, [SetConstant(name, value) for name, value in values.items()])


def trial(source: str, *values: float, failed: int = 0) -> Trial:
    return Trial(program=program_id(source), source=source, values=values, failed=failed)


def view(
    *trials: Trial, champion: str = PROGRAM, pending: tuple[str, ...] = (), **fields: Any
) -> View:
    sources = [champion, *pending, *(one.source for one in trials if one.source != BROKEN)]
    base = View(
        task=FACTS,
        champion=program_id(champion),
        champion_source=champion,
        trials=trials,
        pending=pending,
        fingerprints=frozenset(map(fingerprint, sources)),
        sigma=0.02,
        seed=1,
    )
    return replace(base, **fields)


async def propose(of: View) -> Proposal:
    found = await Tune().propose(of)
    assert found is not None
    return found


HISTORY = (
    trial(PROGRAM, 2.31, 2.29),
    trial(variant(LR=7.4e-3), 2.10),
    trial(variant(LR=7.4e-3, BATCH_SIZE=8), 2.01),
    trial(variant(DEPTH=4), 2.40),
    trial(variant(WIDTH=128), failed=1),
    trial(variant(LR=7.4e-3, BATCH_SIZE=8, WEIGHT_DECAY=0.2), 2.02),
)


async def test_the_first_moves_are_bold_steps_of_rate_and_batch_size() -> None:
    first = await propose(view())
    second = await propose(view(trial(PROGRAM, 2.3), pending=(first.source,)))
    third = await propose(view(trial(PROGRAM, 2.3), trial(first.source, 2.1), trial("x = 1\n")))
    assert first.note == "LR 0.003 → 0.00739"
    assert second.note == "BATCH_SIZE 16 → 8"
    assert third.note == "LR 0.003 → 0.01"


async def test_proposals_for_fixed_views_are_pinned() -> None:
    found = await propose(view(*HISTORY))
    assert found == Proposal(
        source=variant(DEPTH=2, LR=7.4e-3, BATCH_SIZE=8),
        parent=program_id(PROGRAM),
        edits=(SetConstant("DEPTH", 2), SetConstant("LR", 7.4e-3), SetConstant("BATCH_SIZE", 8)),
        strategy="tune",
        note="DEPTH 3 → 2, LR 0.003 → 0.0074, BATCH_SIZE 16 → 8",
    )
    worse = trial(found.source, 2.2)
    assert (
        await propose(view(*HISTORY, worse))
    ).note == "DEPTH 3 → 4, LR 0.003 → 0.0074, BATCH_SIZE 16 → 8"


async def test_a_proposal_is_the_champion_with_its_edits_applied() -> None:
    champion = variant(LR=7.4e-3)
    found = await propose(view(*HISTORY, champion=champion))
    assert found.parent == program_id(champion)
    assert apply(champion, found.edits) == found.source
    assert all(isinstance(edit, SetConstant) for edit in found.edits)


async def test_the_same_view_gets_the_same_proposal() -> None:
    for seed in range(5):
        assert await propose(view(*HISTORY, seed=seed)) == await propose(view(*HISTORY, seed=seed))


async def test_the_order_of_what_is_pending_does_not_matter() -> None:
    one, other = variant(DEPTH=2), variant(WEIGHT_DECAY=0.3)
    found = [await propose(view(*HISTORY, pending=p)) for p in ((one, other), (other, one))]
    assert found[0].source == found[1].source


async def test_slots_in_flight_never_try_the_same() -> None:
    pending: tuple[str, ...] = ()
    for seed in range(8):
        found = await propose(view(*HISTORY, pending=pending, seed=seed))
        assert fingerprint(found.source) not in map(fingerprint, pending)
        pending += (found.source,)


async def test_denied_constants_and_ranges_of_the_task_are_respected() -> None:
    for seed in range(20):
        found = await propose(view(*HISTORY, seed=seed))
        values = {edit.name: edit.value for edit in found.edits if isinstance(edit, SetConstant)}
        assert "EVAL_TOKENS" not in values
        assert 1e-4 <= float(str(values.get("LR", 1e-3))) <= 0.01
        assert values.get("BATCH_SIZE", 4) in (4, 8, 16)


async def test_the_search_is_centred_ahead_of_the_champion() -> None:
    noted = [(await propose(view(*HISTORY, seed=seed))).note for seed in range(20)]
    assert sum("LR 0.003" in note and "BATCH_SIZE 16" in note for note in noted) > 10


def test_the_incumbent_is_the_best_program_by_its_direction() -> None:
    lower = gather(view(*HISTORY))
    higher = gather(view(*HISTORY, task=replace(FACTS, direction="max")))
    assert lower is not None
    assert higher is not None
    assert apply(PROGRAM, lower.incumbent()) == variant(LR=7.4e-3, BATCH_SIZE=8)
    assert apply(PROGRAM, higher.incumbent()) == variant(DEPTH=4)


async def test_programs_with_another_skeleton_teach_nothing() -> None:
    stranger = PROGRAM.replace("return LR", "return LR * 2").replace("3e-3", "0.02")
    family = gather(view(*HISTORY, trial(stranger, 1.0), trial(BROKEN, failed=1)))
    assert family is not None
    assert family.points.shape == (5, 7)
    assert family.failed.shape == (1, 7)


async def test_runs_of_one_program_count_as_one_point_of_less_noise() -> None:
    family = gather(view(*HISTORY))
    assert family is not None
    assert family.scores[0] == pytest.approx(2.30)
    assert list(family.runs) == [2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "champion", ["x = 1\n", "EVAL_TOKENS = 5\n", "LR = lr()\n", "FLAG = True\n", "def\n"]
)
async def test_a_program_without_tunable_constants_is_none_of_its_business(champion: str) -> None:
    of = view(fingerprints=frozenset(), champion_source=champion)
    assert not Tune().ready(of)
    assert await Tune().propose(of) is None


async def test_it_gives_up_when_every_setting_is_known() -> None:
    champion = "HEADS = 1\n"
    both = frozenset({fingerprint(champion), fingerprint("HEADS = 2\n")})
    assert Tune().ready(view(champion=champion))
    assert (await propose(view(champion=champion))).source == "HEADS = 2\n"
    assert await Tune().propose(view(champion=champion, fingerprints=both)) is None


async def test_a_view_without_any_result_still_gets_a_proposal() -> None:
    found = await propose(view(trial(PROGRAM, failed=1), *(trial(f"x = {n}\n") for n in range(9))))
    assert found.edits


def starts_and_lengths(stuck: bool) -> tuple[float, float]:
    """Of forty proposals: how many leave the best program's rate, and how many units they move."""
    near = [trial(variant(LR=3e-3 * 1.02**n), 2.3) for n in range(1, 8)]
    history = (*HISTORY, trial(variant(LR=7.4e-4, DEPTH=2), 2.05), *near)
    family = gather(view(*history, stuck=stuck))
    assert family is not None
    best = family.points[family.scores.argmin()]
    moved = [next(family.candidates(np.random.default_rng(seed))) - best for seed in range(40)]
    rate = [one.name for one in family.space].index("LR")
    return (
        float(np.mean([abs(step[rate]) > 1.6 for step in moved])),
        float(np.mean([np.linalg.norm(step) for step in moved])),
    )


def test_a_stuck_search_goes_farther_and_on_from_other_good_programs() -> None:
    usual, wider = starts_and_lengths(stuck=False), starts_and_lengths(stuck=True)
    assert usual[0] == 0.0
    assert wider[0] > 0.3
    assert wider[1] > 1.5 * usual[1]
