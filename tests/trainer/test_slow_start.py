"""Helpers that take too long to start, as on a machine that is busy with something else."""

from pathlib import Path

import pytest

from skep.errors import TrainerFault
from trainer import phases, sandbox, scoring
from trainer.launcher import Launcher
from trainer.phases import WarmWorker
from trainer.scoring import Scorer
from trainer.task import PACKS


async def test_a_worker_that_does_not_start_in_time_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "START_S", 0.0)
    backend, _ = sandbox.choose()
    async with Launcher.open() as launcher:
        with pytest.raises(TrainerFault, match="a worker did not start within 0 s"):
            await WarmWorker.start(launcher, backend, slot=0, scratch=tmp_path, devices=False)


async def test_a_scorer_that_does_not_start_in_time_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "START_S", 0.0)
    async with Launcher.open() as launcher:
        with pytest.raises(TrainerFault, match="a scorer did not start within 0 s"):
            await Scorer.start(launcher, PACKS / "stories" / "prepare.py", tmp_path)
