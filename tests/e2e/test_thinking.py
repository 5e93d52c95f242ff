"""A real node whose model is a script behind a real server: its edits are run in the sandbox."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.nodes import quick_task, skep, skep_json, skep_process
from tests.e2e.test_join import wait_for
from tests.node.thinkers import role_of
from tests.strategies.ollama_server import Answer, Has, Say, ollama_in_thread

LARGE = Has(name="large", parameters=14_800_000_000, words="14.8B")


def edit(hypothesis: str, old: str, new: str) -> str:
    return f"IDEA: {hypothesis}\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


NEW = 3.217
"""A rate that no search of constants comes to: what somebody has run is not run again."""
BROKEN = edit("print it first", 'print("---")', 'print("---" + 1)')
HELD = edit("import what is not there", "import math", "import math\nimport socket")


def answers(asked: dict[str, Any]) -> Answer:
    role = role_of(asked)
    if role == "critic":
        return Say("FINDING: it is so")
    if role != "coder":
        return Say("NONE")
    # As the champion has it by now: the search of constants is at it too.
    told = "\n".join(message["content"] for message in asked["messages"])
    line = re.findall(r"^RATE = .+$", told, re.M)[0]
    return Say(edit("a higher rate", line, f"RATE = {NEW}") + BROKEN + HELD)


def test_a_models_edits_run_in_the_sandbox_and_it_is_told_of_its_crash(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = quick_task(tmp_path / "task")
    with ollama_in_thread(answers, [LARGE]) as (url, server):
        monkeypatch.setenv("OLLAMA_HOST", url)
        process = skep_process(
            home, "join", "--solo", "--task", str(task), "--jobs", "1", "--model", "large"
        )
        wait_for(lambda: (home / "models.json").exists(), process)
        prompt = skep(home, "prompt")
        status = skep_json(home, "status")["model"]
        wait_for(lambda: any(role_of(asked) == "mend" for asked in server.chats), process)
        skep(home, "finish")
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert status["name"] == "large"
    assert status["answers"] > 0
    assert "train.py:" in prompt
    assert "RATE = " in prompt
    runs = {row["description"]: row for row in skep_json(home, "runs") if row["strategy"] == "llm"}
    assert [text for text in runs if re.fullmatch(rf"RATE \S+ → {NEW}", text)], list(runs)
    assert not [text for text in runs if "import" in text]
    (crash,) = [row for row in runs.values() if row["verdict"] == "crash"]
    assert crash["strategy"] == "llm"
    (mend,) = [asked for asked in server.chats if role_of(asked) == "mend"][:1]
    assert 'can only concatenate str (not "int") to str' in mend["messages"][-1]["content"]
    spent = skep_json(home, "models")["spent"]
    assert spent["ideas"] >= 2
    assert spent["runs"] >= 2
