"""What models cost is kept between starts, and divided by what came of it."""

from pathlib import Path

import pytest

from node.cli import main
from node.spending import Account, Tally, cost_of, read_account, write_account
from skep.errors import HomeError
from skep.model import Reply


def account() -> Account:
    found = Account()
    reply = Reply(text="", prompt_tokens=900, reply_tokens=100, seconds=20.0, complete=True)
    for name in ("small", "large", "large"):
        found.of(name).charge(reply)
    found.of("large").judge("blocks", 3, 4)
    found.of("large").ideas += 4
    return found


def test_the_account_comes_back_as_it_was(tmp_path: Path) -> None:
    assert read_account(tmp_path) == Account()
    write_account(tmp_path, account())
    assert read_account(tmp_path) == account()
    assert read_account(tmp_path).of("large") == Tally(
        seconds=40.0,
        prompt_tokens=1800,
        reply_tokens=200,
        answers=2,
        ideas=4,
        applied={"blocks": 3},
        tried={"blocks": 4},
    )
    (tmp_path / "models.json").write_text("[")
    with pytest.raises(HomeError, match="does not read back"):
        read_account(tmp_path)


def test_every_second_is_charged_to_what_came_of_it() -> None:
    cost = cost_of(account(), runs=3, kept=2, confirmed=0)
    assert (cost.seconds, cost.tokens, cost.answers, cost.ideas) == (60.0, 3000, 3, 4)
    assert (cost.seconds_per_idea, cost.tokens_per_idea) == (15.0, 750.0)
    assert (cost.seconds_per_kept, cost.tokens_per_kept) == (30.0, 1500.0)
    assert (cost.seconds_per_confirmed, cost.tokens_per_confirmed) == (None, None)


def test_skep_models_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    write_account(tmp_path, account())
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "spent in this home" in shown
    assert ["idea", "4", "15", "750"] in [row.split() for row in shown.splitlines()]


def test_without_a_running_node_there_is_no_prompt_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    assert main(["prompt", "--role", "planner"]) == 1
    assert "no node is running" in capsys.readouterr().err
