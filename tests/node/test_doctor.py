"""`skep doctor`: what is wrong is found, what is right is left alone, nothing is changed."""

import json
import zipfile
from pathlib import Path

import pytest
import trio

from gossip.identity import Identity
from node.cli import main
from node.doctor import Check, examine
from node.home import Home
from tests.node.recorded import small_search
from trainer.sandbox import Guarantees
from trainer.sandbox.probing import Tried

STRONG = Guarantees("bwrap", True, True, True, True, True, True)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home in good order."""
    place = Home(tmp_path / "home")
    trio.run(small_search().write, place.root)
    return place


def check(name: str, root: Path) -> Check:
    (found,) = (one for one in examine(root)[0] if one.name == name)
    return found


def test_a_home_in_order_reads_back_whole(home: Home) -> None:
    states = {one.name: one.state for one in examine(home.root)[0]}
    assert {states[name] for name in ("config", "home", "key", "database", "feed")} == {"ok"}
    assert check("database", home.root).finding == "8 runs of 5 programs read back"
    assert check("feed", home.root).finding.startswith("8 records, ")
    assert "warn" not in states["python"]


def test_a_home_that_is_not_there_is_fine_and_is_not_made(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    found, _ = examine(root)
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
    lines, attempts = capsys.readouterr().out.split("\n\n")
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [[one["state"], one["name"]] for one in found["checks"]]
    assert [line.split()[:2] for line in lines.splitlines()] == names
    assert len(attempts.splitlines()) == len(found["escape_attempts"]) + 1
    home.identity.chmod(0o644)
    assert main(["doctor"]) == 1


def test_a_bundle_tells_everything_but_secrets(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SKEP_HOME", str(home.root))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "alice")
    peer = f"/dns4/lab.example.org/tcp/4001/p2p/{Identity(bytes(32)).peer_id}"
    elsewhere = f"""jobs = 1  # token: sk-1234
task = '/mnt/alice/a'
bootstrap = ["{peer}"]
announce = ["/ip4/203.0.113.7/tcp/4601"]
"""
    (home.root / "config.toml").write_text(elsewhere)
    path = tmp_path / "bundle.zip"
    assert main(["doctor", "--bundle", str(path)]) == 0
    with zipfile.ZipFile(path) as bundle:
        texts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert json.loads(texts["checks.json"])[0]["name"] == "python"
    assert len(json.loads(texts["escape-attempts.json"])) >= 40
    assert "torch" in json.loads(texts["versions.json"])
    assert json.loads(texts["settings.json"])["jobs"] == 1
    assert json.loads(texts["settings.json"])["task"] == "/mnt/USER/a"
    assert json.loads(texts["settings.json"])["bootstrap"] == ["/dns4/ADDRESS/tcp/4001/p2p/PEER"]
    assert json.loads(texts["settings.json"])["announce"] == ["/ip4/ADDRESS/tcp/4601"]
    assert json.loads(texts["settings.json"])["listen"] == ["/ip4/0.0.0.0/tcp/0"]
    whole = "".join(texts.values())
    assert str(tmp_path) not in whole
    assert "sk-1234" not in whole
    assert home.identity.read_bytes().hex() not in whole
    assert home.identity.read_text(errors="replace").strip() not in whole
    capsys.readouterr()
    assert main(["doctor", "--bundle", str(path)]) == 1
    assert "cannot be written (File exists)" in capsys.readouterr().err


def test_an_open_way_out_is_bad(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = [Tried("read an ssh key", True, "b'key'"), Tried("trace another process", False, "no")]
    monkeypatch.setattr("node.doctor.try_all", lambda backend: leak)
    monkeypatch.setattr("node.doctor.choose", lambda: (None, STRONG))
    found = check("escapes", home.root)
    assert found.state == "bad"
    assert found.finding == "1 of 2 attempts to get out failed; open: read an ssh key"
