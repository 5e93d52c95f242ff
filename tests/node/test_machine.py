"""The machine is the same machine at every start, unless it is another."""

from pathlib import Path

from msgspec.structs import replace

from node.home import Home
from node.machine import renew, settle
from skep.tier import platform_id, tier
from tests.factories import CPU
from trainer.remembered import FACTS


def test_a_start_beside_other_work_does_not_change_the_tier(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = settle(home, CPU)
    busy = settle(home, replace(CPU, probe_ns=3 * CPU.probe_ns))
    assert tier(busy) == tier(first)
    assert busy.probe_ns == CPU.probe_ns


def test_every_device_has_a_note_of_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    settle(home, CPU)
    gpu = replace(CPU, backend="cuda", device="card", probe_ns=5 * CPU.probe_ns)
    assert settle(home, gpu) == gpu
    assert settle(home, replace(CPU, probe_ns=9)).probe_ns == CPU.probe_ns


def test_an_unreadable_note_is_written_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.machine.write_text("{")
    assert settle(home, CPU) == CPU
    assert settle(home, CPU) == CPU


def test_without_the_note_what_the_trainer_remembers_is_forgotten(tmp_path: Path) -> None:
    home, facts = Home(tmp_path), tmp_path / FACTS
    renew(home)
    facts.parent.mkdir()
    facts.write_text("{}")
    settle(home, CPU)
    renew(home)
    assert facts.exists()
    home.machine.unlink()
    renew(home)
    assert not facts.exists()


def test_tier_and_platform_are_functions_of_what_results_depend_on() -> None:
    assert tier(CPU) == "cpu-float32-cpu-o0"
    gpu = replace(CPU, backend="cuda", dtype="bfloat16", memory_mib=81_559, probe_ns=250_000)
    assert tier(gpu) == "cuda-bfloat16-xl-o-2"
    assert tier(replace(gpu, memory_mib=24_564)) == "cuda-bfloat16-24GB-o-2"
    assert platform_id(CPU) == platform_id(replace(CPU, probe_ns=5, memory_mib=1, sandbox="none"))
    assert platform_id(CPU) != platform_id(replace(CPU, isa="AVX512"))
