"""What the trainer says of this machine."""

from pathlib import Path

import pytest

from skep.errors import TrainerFault
from trainer import sandbox
from trainer.hardware import environment_of, find_device, nvidia_gpus
from trainer.launcher import Launcher
from trainer.phases import WarmWorker
from trainer.scoring import Scorer


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is an NVIDIA driver")
async def test_no_driver_reads_as_no_gpu() -> None:
    assert await nvidia_gpus() == "no NVIDIA GPU"


async def test_a_worker_describes_the_machine(tmp_path: Path) -> None:
    backend, _ = sandbox.choose()
    async with Launcher.open() as launcher:
        worker = await WarmWorker.start(launcher, backend, slot=0, scratch=tmp_path, devices=False)
        facts = await find_device(worker, "cpu")
        worker.close()
    environment = environment_of(facts, backend.name)
    assert facts.device == environment.backend == "cpu"
    assert environment.device
    assert environment.dtype == "float32"
    assert environment.threads == 1
    assert environment.memory_mib > 256
    assert environment.torch.startswith("2.")
    assert environment.isa
    assert environment.sandbox == backend.name
    assert 100_000 < environment.probe_ns < 10_000_000_000


async def test_helpers_that_start_too_slowly_are_a_fault_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.phases.START_S", 0.01)
    monkeypatch.setattr("trainer.scoring.START_S", 0.01)
    backend, _ = sandbox.choose()
    prepare = tmp_path / "prepare.py"
    prepare.write_text("import time\ntime.sleep(60)\n")
    async with Launcher.open() as launcher:
        with pytest.raises(TrainerFault, match="a worker did not start: it took more than 0 s"):
            await WarmWorker.start(launcher, backend, slot=0, scratch=tmp_path, devices=False)
        with pytest.raises(TrainerFault, match="a scorer did not start: it took more than 0 s"):
            await Scorer.start(launcher, prepare, tmp_path)
