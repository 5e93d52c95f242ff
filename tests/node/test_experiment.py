"""How a training's scores, or what is wrong with its model, get into the record of its run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gossip.jobs import Job
from node.experiment import Bench, Parent, Scoring, measure
from skep.ports import Draw, Outcome, Scored, Subject
from tests.factories import CPU, content_id
from tests.node.recorded import STORIES

CHECKPOINT = Path("checkpoint.safetensors")


class Scorer:
    """An executor that only scores, with a given result for the candidate."""

    def __init__(self, own: Scored) -> None:
        self._own = own
        self.probed: list[tuple[str, bool]] = []
        self.codes: list[str] = []

    async def score(
        self, slot: int, subjects: Sequence[Subject], draws: Sequence[Draw], *, probe: bool
    ) -> list[Scored]:
        self.probed += [(subject.source, probe) for subject in subjects]
        self.codes += [subject.code for subject in subjects]
        of_parent = Scored((2_000_000,) * len(draws))
        return [self._own if one.source == "own" else of_parent for one in subjects]


async def measured(scorer: Scorer) -> tuple[str, str, int]:
    job = Job(
        task=STORIES.id,
        program=content_id("own"),
        parent=content_id("parent"),
        edits=(),
        strategy="tune",
        seed=1,
        purpose="screen",
        note="a hypothesis",
    )
    parent = Parent(content_id("run"), "parent", CHECKPOINT, "stranger")
    scoring = Scoring((Draw(7),), (parent,))
    bench = Bench(STORIES, scorer, Path(), CPU)  # type: ignore[arg-type]
    outcome = Outcome(status="done", checkpoint=CHECKPOINT)
    run = await measure(bench, 0, job, "own", "knob", outcome, scoring, 0.0)
    return run.status, run.note, len(run.scores) + len(run.rescored)


async def test_a_candidate_is_probed_and_its_parents_are_not() -> None:
    scorer = Scorer(Scored((1_000_000, 1_000_000)))
    assert await measured(scorer) == ("done", "a hypothesis", 3)
    assert scorer.probed == [("own", True), ("parent", False)]
    assert scorer.codes == ["knob", "stranger"], "each model is what its own program is"


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("its predictions depend on later tokens: 63 of 80 windows changed", "crash"),
        ("the model's logits are not finite", "nan"),
    ],
)
async def test_a_model_that_cannot_be_scored_has_a_status_and_a_note(
    fault: str, status: str
) -> None:
    scorer = Scorer(Scored((), fault))
    assert await measured(scorer) == (status, fault, 0)
    assert scorer.probed == [("own", True)]
