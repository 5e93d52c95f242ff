"""What torch found here is remembered as long as it holds, and no longer."""

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from msgspec.structs import replace

from trainer import remembered
from trainer.messages import Facts
from trainer.remembered import recall, remember

FOUND = Facts(
    device="cpu", name="", memory=0, driver="", isa="AVX2", torch="2.13.0+cpu", probe=0.001
)


@pytest.fixture(autouse=True)
def torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torch that can be replaced, on a machine without a GPU."""
    folder = tmp_path / "torch"
    folder.mkdir()
    (folder / "version.py").write_text("2.13.0")
    spec = ModuleSpec("torch", None, origin=str(folder / "__init__.py"))
    monkeypatch.setattr(remembered, "find_spec", lambda name: spec)
    monkeypatch.setattr(remembered, "GPU_NODES", ("no such device",))
    return folder


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_what_was_found_is_recalled(tmp_path: Path, device: str) -> None:
    path = tmp_path / "cache" / "facts.json"
    assert recall(path, device) is None
    remember(path, device, FOUND)
    assert recall(path, device) == FOUND


def test_another_question_has_no_answer_yet(tmp_path: Path) -> None:
    remember(tmp_path / "facts.json", "auto", FOUND)
    assert recall(tmp_path / "facts.json", "cpu") is None
    assert recall(tmp_path / "facts.json", "cuda") is None


def test_another_torch_is_asked(tmp_path: Path, torch: Path) -> None:
    remember(tmp_path / "facts.json", "cpu", FOUND)
    (torch / "version.py").write_text("2.13.1")
    (torch / "version.py").touch()
    assert recall(tmp_path / "facts.json", "cpu") is None


def test_another_processor_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(tmp_path / "facts.json", "cpu", FOUND)
    monkeypatch.setattr(remembered, "_processor", lambda: "another")
    assert recall(tmp_path / "facts.json", "cpu") is None


def test_where_a_gpu_may_be_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(tmp_path / "facts.json", "auto", FOUND)
    monkeypatch.setattr(remembered, "GPU_NODES", ("null",))  # one that every machine has
    assert recall(tmp_path / "facts.json", "auto") is None
    remember(tmp_path / "facts.json", "cpu", FOUND)
    assert recall(tmp_path / "facts.json", "cpu") == FOUND, "who asks for the CPU gets it"


def test_a_gpu_is_not_remembered(tmp_path: Path) -> None:
    remember(tmp_path / "facts.json", "auto", replace(FOUND, device="cuda", name="card"))
    assert not (tmp_path / "facts.json").exists()


def test_a_note_that_does_not_read_back_is_none(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text('{"of": 1')
    assert recall(tmp_path / "facts.json", "cpu") is None
