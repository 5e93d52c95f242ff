"""Where a model and experiments share a GPU, and where nothing can be done about it."""

from pathlib import Path

import pytest

from node.arm import gate_of, lasting_memory
from node.config import Settings

HERE, AWAY = "http://127.0.0.1:8080/v1", "https://models.example/v1"


@pytest.mark.parametrize(
    ("url", "backend", "warned"),
    [
        (HERE, "cuda", True),
        (HERE, "mps", True),
        (HERE, "cpu", False),
        (AWAY, "cuda", False),
        (None, "cuda", False),
    ],
)
def test_an_endpoint_that_keeps_memory_of_the_training_gpu_is_warned_of(
    tmp_path: Path, url: str | None, backend: str, warned: bool
) -> None:
    said = lasting_memory(Settings(home=tmp_path, openai_url=url), backend)
    assert (said is not None) == warned
    if said is not None:
        assert said.startswith(HERE)


def test_ollama_on_the_gpu_that_trains_takes_turns_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    assert gate_of(Settings(home=tmp_path), "cuda") is not None
    assert gate_of(Settings(home=tmp_path), "cpu") is None
    assert gate_of(Settings(home=tmp_path, ollama_url="http://gpu-box.lan:11434"), "cuda") is None
