"""`skep doctor`: what is wrong is found, what is right is left alone, nothing is changed."""

import json
from pathlib import Path

import pytest
import trio

from node.cli import main
from node.doctor import Check, examine
from node.home import Home
from tests.node.recorded import small_search


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home in good order."""
    place = Home(tmp_path / "home")
    trio.run(small_search().write, place.root)
    return place


def check(name: str, root: Path) -> Check:
    (found,) = (one for one in examine(root) if one.name == name)
    return found


def test_a_home_in_order_reads_back_whole(home: Home) -> None:
    states = {one.name: one.state for one in examine(home.root)}
    assert {states[name] for name in ("config", "home", "key", "database", "feed")} == {"ok"}
    assert check("database", home.root).finding == "8 runs of 5 programs read back"
    assert check("feed", home.root).finding.startswith("8 records, ")
    assert "warn" not in states["python"]


def test_a_home_that_is_not_there_is_fine_and_is_not_made(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    found = examine(root)
    assert found[-1] == Check("home", "ok", f"{root} is made by the first `skep join`")
    assert not root.exists()


def test_a_key_that_others_can_read_is_bad(home: Home) -> None:
    home.identity.chmod(0o644)
    found = check("key", home.root)
    assert (found.state, found.fix) == (
        "bad",
        f"If nobody has copied it: chmod 600 {home.identity}",
    )


def test_a_home_that_others_can_write_is_a_warning(home: Home) -> None:
    home.root.chmod(0o777)
    assert check("home", home.root) == Check(
        "home",
        "warn",
        f"{home.root} can be written by others (mode 0777)",
        f"chmod 700 {home.root}",
    )


def test_a_damaged_database_is_bad(home: Home) -> None:
    home.database.write_bytes(b"x" * 5000)
    assert check("database", home.root).state == "bad"


def test_a_changed_record_in_the_database_is_bad(home: Home) -> None:
    content = home.database.read_bytes()
    assert b"DEPTH" in content
    note = b"loss is not finite"
    assert note in content
    home.database.write_bytes(content.replace(note, b"loss is all finite"))
    found = check("database", home.root)
    assert found.state == "bad"
    assert "is not what its id says" in found.finding


def test_a_torn_feed_is_a_warning(home: Home) -> None:
    path = home.feed / "own.feed"
    path.write_bytes(path.read_bytes()[:-3])
    found = check("feed", home.root)
    assert found.state == "warn"
    assert found.finding.startswith("7 records, ")


def test_a_wrong_setting_is_bad(home: Home) -> None:
    (home.root / "config.toml").write_text("job = 1")
    assert check("config", home.root).fix == "Did you mean `jobs`?"


def test_the_command_prints_every_check_and_its_code_says_whether_a_node_would_run(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKEP_HOME", str(home.root))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line.split()[:2] for line in lines] == [[one["state"], one["name"]] for one in found]
    home.identity.chmod(0o644)
    assert main(["doctor"]) == 1
