"""What strategies have brought: kept gains, all time, and less of what is long ago."""

import pytest
from msgspec.structs import replace

from node.arms import DECAY, arms, is_stuck
from skep.evidence import Kept, Research
from tests.factories import content_id, make_run
from tests.node.test_plan import promising, state


def settled(*outcomes: tuple[str, str, float]) -> Research:
    """Candidates by (strategy, stage, effect in noise floors), oldest first."""
    names = [content_id(f"program {number}") for number in range(len(outcomes))]
    candidates = [
        promising(name, effect / 100, strategy=strategy, stage=stage)
        for name, (strategy, stage, effect) in zip(names, outcomes, strict=True)
    ]
    kept = tuple(
        Kept(
            program=one.program,
            parent=one.parent,
            strategy=one.strategy,
            effect=one.delta or 0.0,
            spread=0.01,
            e=100.0,
            reruns=1,
            baselines=3,
            run=one.program,
        )
        for one in candidates
        if one.stage == "kept"
    )
    return replace(state(3, *candidates), kept=kept)


def runs(research: Research, seconds: int = 20) -> list[tuple[bytes, object]]:
    made = []
    for number, program in enumerate(research.candidates):
        run = replace(make_run("x", seed=number), program=program, total_ms=seconds * 1000)
        made.append((content_id(f"run {number}"), run))
    return made


def test_kept_gains_count_and_everything_costs_time() -> None:
    research = settled(("tune", "kept", -2.0), ("llm", "failed", 0.0), ("llm", "open", 0.0))
    found = arms(research, runs(research))  # type: ignore[arg-type]
    assert found["llm"].tried == 1.0, "what is open is not settled"
    assert (found["llm"].gained, found["llm"].seconds) == (0.0, 20.0)
    assert found["tune"].gained == pytest.approx(2.0 * DECAY)
    assert found["tune"].seconds == pytest.approx(20.0 * DECAY)


def test_what_does_harm_counts_as_nothing() -> None:
    research = settled(("ablate", "kept", 0.3))
    assert arms(research, runs(research))["ablate"].gained == 0.0  # type: ignore[arg-type]


def test_thinking_is_charged_to_who_thought() -> None:
    research = settled(("llm", "discarded", 0.0), ("llm", "discarded", 0.0))
    found = arms(research, runs(research), {"llm": 100.0})["llm"]  # type: ignore[arg-type]
    assert found.tried == pytest.approx(1 + DECAY)
    assert found.seconds == pytest.approx((20 + 50) * (1 + DECAY))


def test_a_node_is_stuck_after_forty_failures_in_a_row_and_no_more_once_something_is_kept() -> None:
    failure, own_idea = ("tune", "discarded", 0.0), ("llm", "failed", 0.0)
    assert not is_stuck(settled(*[failure] * 20, *[own_idea] * 20))
    assert is_stuck(settled(*[failure] * 20, *[own_idea] * 21))
    assert is_stuck(settled(("tune", "kept", -2.0), *[failure] * 41))
    assert not is_stuck(settled(*[failure] * 41, ("tune", "kept", -2.0)))
    assert not is_stuck(settled(*[failure] * 40, *[("tune", "open", 0.0)] * 9))


@pytest.mark.parametrize("strategy", ["adopt", "replicate", "ablate"])
def test_what_serves_others_or_simplicity_tells_nothing_of_the_own_ideas(strategy: str) -> None:
    assert not is_stuck(settled(*[(strategy, "discarded", 0.0)] * 60))
    assert is_stuck(settled(*[("tune", "discarded", 0.0)] * 41, (strategy, "kept", -2.0)))
