"""The home folder: private, held by one node at a time, refused in one line where it cannot be."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from node.home import Home, hold, known_tasks, remember_task, write_atomic
from skep.errors import HomeError, HomeInUse
from tests.node.recorded import STORIES

NOBODY = 65534


def test_a_new_home_is_private_and_holds_every_folder(tmp_path: Path) -> None:
    root = tmp_path / "new" / "home"
    with hold(root) as home:
        folders = (root, home.feed, home.runs, home.tasks, home.cache)
        assert [path.stat().st_mode & 0o777 for path in folders] == [0o700] * 5
        assert home.lock.read_text() == f"{os.getpid()}\n"
        assert home.lock.stat().st_mode & 0o777 == 0o600


def test_a_second_node_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(HomeInUse) as caught, hold(tmp_path):
        pass
    assert f"(pid {os.getpid()})" in caught.value.what
    assert "skep status" in caught.value.advice


def test_the_lock_ends_with_the_process_however_it_ends(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from node.home import hold\n"
        "with hold(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(HomeInUse, match=f"pid {holder.pid}"), hold(tmp_path):
            pass
        holder.kill()
    with hold(tmp_path) as home:
        assert home.lock.read_text() == f"{os.getpid()}\n"


def test_a_file_in_the_place_of_the_home_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(HomeError, match=r"is not a folder\. Move it away"), hold(place):
        pass
    with pytest.raises(HomeError, match="Not a directory"), hold(place / "below"):
        pass


def test_a_home_that_cannot_be_written_is_refused_in_one_line() -> None:
    # pytest's own folders are closed to others; this one must be reachable for nobody.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "home"
        root.mkdir(mode=0o555)
        out = hold_as_nobody(root)
    assert out.startswith(f"No permission to write {root}/feed. ")
    assert out.count("\n") == 1


def hold_as_nobody(root: Path) -> str:
    """What a user without any rights is told who tries to start a node on a home."""
    # Root may write anywhere, so a child drops to nobody; after its imports, which may lie in
    # a folder that nobody cannot enter.
    code = (
        "import os, sys, pathlib; from node.home import hold; from skep.errors import HomeError\n"
        f"if os.geteuid() == 0: os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try:\n    hold(pathlib.Path(sys.argv[1])).__enter__()\n"
        "except HomeError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("content")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "lock").symlink_to(target)
    with pytest.raises(HomeError, match="is a symbolic link"), hold(tmp_path / "home"):
        pass
    assert target.read_text() == "content"


def test_a_full_disk_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.home.FREE_MIN_BYTES", 2**62)
    with pytest.raises(HomeError, match=r"is full .* MiB free"), hold(tmp_path):
        pass
    monkeypatch.undo()
    with hold(tmp_path):
        pass


def test_replacing_a_file_leaves_the_old_one_where_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    write_atomic(path, "one\n")
    write_atomic(path, "two\tσ\n")
    assert path.read_text() == "two\tσ\n"
    assert [one.name for one in tmp_path.iterdir()] == ["results.tsv"]
    with pytest.raises(HomeError, match="missing"):
        write_atomic(tmp_path / "missing" / "file", "text")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(HomeError):
        write_atomic(folder, "text")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "results.tsv"]


def test_tasks_are_remembered_and_the_last_one_joined_comes_first(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert known_tasks(home) == []
    other = replace(STORIES, name="other", id=b"o" * 32)
    remember_task(home, STORIES)
    remember_task(home, other)
    os.utime(home.task_folder(other.id) / "facts.json", ns=(1, 1))
    assert known_tasks(home) == [STORIES, other]


def test_facts_that_do_not_read_back_are_named(tmp_path: Path) -> None:
    remember_task(Home(tmp_path), STORIES)
    (Home(tmp_path).task_folder(STORIES.id) / "facts.json").write_text("{")
    with pytest.raises(HomeError, match=r"facts.json does not read back .* Delete it"):
        known_tasks(Home(tmp_path))
