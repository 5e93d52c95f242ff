"""What `skep join` says where nothing can keep a program in; nothing is trained here."""

from pathlib import Path

import pytest

from node.cli import main
from node.cli.consent import consent
from tests.trainer.small import make_task
from trainer.policy import Consent
from trainer.sandbox.none import NoSandbox


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a sandbox; the folder of a task of the user's own."""
    nothing = NoSandbox(because="tested")
    monkeypatch.setattr("node.app.choose", lambda: (nothing, nothing.probe()))
    monkeypatch.setenv("SKEP_HOME", str(tmp_path / "home"))
    return make_task(tmp_path).folder


def test_own_code_is_refused_in_one_line_that_says_what_to_do(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["join", "--task", str(bare)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "this machine has no sandbox" in line
    assert line.endswith("If you answer for the program yourself: --unsandboxed-own-code.")
    assert not list((bare.parent / "home").rglob("checkpoint*"))


def test_who_answers_for_strangers_answers_for_their_own_code_too() -> None:
    assert consent(False, None) == Consent(own=False, strangers=False)
    assert consent(True, None) == Consent(own=True, strangers=False)
    assert consent(False, "I-ACCEPT") == Consent(own=True, strangers=True)


@pytest.mark.parametrize("given", ["", "yes", "i-accept"])
def test_only_the_exact_word_accepts_strangers(
    bare: Path, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = f"--run-strangers-code-without-a-sandbox={given}"
    assert main(["join", "--task", str(bare), flag]) != 0
    assert "I-ACCEPT" in capsys.readouterr().err
