"""The command line as people use it: transcripts on a home with a small recorded search."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from node.cli import main
from node.home import Home
from skep.records import program_id
from tests.node.recorded import SEED_PROGRAM, STORIES, TASK_TOML, Recording, small_search

Skep = Callable[..., str]

RUNS = """\
#  program   val_bpb        Δ     σ         e  runs  verdict   description
0  442af3ea   2.3000        -     -         -     3  baseline  baseline
1  1e6e2aa6   2.1565  -0.1238  -7.4  1.77e+05     2  keep      LR 0.003 → 0.012
2  b9fd82d0   2.2409  +0.0682  +5.0         -     1  discard   DEPTH 3 → 9
3  f9098d08        -        -     -         -     1  crash     LR 0.012 → 50.0
4  6eeef2a7   2.2009  +0.0508  +3.7         -     1  discard   say nothing in a comment
"""

BEST = """\
champion          1e6e2aa6 (#1, by tune)
val_bpb           2.1565, from 2.3000 (-6.24 %)
reproduced by me  2 runs here
edit              LR 0.003 → 0.012
evidence          -7.4σ over 1 against 3 runs, e = 1.77e+05 ≥ 20
kept edits        1 (`skep lineage`)
program           skep best --source > train.py
"""

DIFF = """\
--- train.py 442af3ea
+++ train.py 1e6e2aa6
@@ -1,5 +1,5 @@
 DEPTH = 3
-LR = 0.003  # constant
+LR = 0.012  # constant
 BETAS = (0.9, 0.95)
 
 
"""  # noqa: W293 - a diff of an empty line is a blank

EXPERIMENT_KEYS = {
    "number",
    "program",
    "parent",
    "strategy",
    "description",
    "verdict",
    "reason",
    "value",
    "delta",
    "sigmas",
    "e",
    "runs",
    "time",
    "seconds",
    "memory_gib",
}


@pytest.fixture(scope="module")
def recorded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the small search in it; reading commands leave it as it is."""
    home = tmp_path_factory.mktemp("recorded")
    trio.run(small_search().write, home)
    return home


@pytest.fixture
def skep(
    recorded_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Skep:
    """Run a command line on the recorded home: its output, or its complaint if it must fail."""
    monkeypatch.setenv("SKEP_HOME", str(recorded_home))

    def run(*arguments: str, expect: int = 0) -> str:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert code == expect, out + err
        assert bool(err) == (expect != 0)
        return err or out

    return run


@pytest.fixture
def fresh(skep: Skep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Skep:
    """The same on a home that does not exist."""
    monkeypatch.setenv("SKEP_HOME", str(tmp_path / "fresh"))
    return skep


def test_runs_lists_every_experiment(skep: Skep) -> None:
    assert skep("runs") == RUNS


def test_lineage_lists_what_was_kept(skep: Skep) -> None:
    assert skep("lineage").splitlines()[1:] == RUNS.splitlines()[1:3]


def test_best_tells_of_the_champion_and_hands_out_its_program(skep: Skep) -> None:
    assert skep("best") == BEST
    source = skep("best", "--source")
    assert source == SEED_PROGRAM.replace("0.003", "0.012")
    assert program_id(source).hex().startswith("1e6e2aa64a")


def test_json_of_lists_has_the_documented_keys_and_full_ids(skep: Skep) -> None:
    rows = json.loads(skep("runs", "--json"))
    assert [set(row) for row in rows] == [EXPERIMENT_KEYS] * 5
    assert [row["verdict"] for row in rows] == ["baseline", "keep", "discard", "crash", "discard"]
    assert all(len(run) == 64 for row in rows for run in [row["program"], *row["runs"]])
    assert rows[0]["time"] == "2026-09-21T14:13:20Z"
    assert json.loads(skep("lineage", "--json")) == rows[:2]
    assert json.loads(skep("best", "--json")) == rows[1]


def test_show_takes_a_program_or_a_run_by_a_few_digits(skep: Skep) -> None:
    row = json.loads(skep("best", "--json"))
    text = skep("show", row["program"][:10])
    assert "edit            LR 0.003 → 0.012 (by tune)\n" in text
    assert "against parent  -0.123842 (-7.4σ, e = 1.77e+05)\n" in text
    assert DIFF in text
    assert all(run[:8] in text for run in row["runs"])
    text = skep("show", row["runs"][1][:12])
    assert text.startswith(f"run          {row['runs'][1]}\nprogram      {row['program']}\n")
    assert "training     seed 4, 100 steps, 204800 tokens, 20.0 of 20 s, 0.29M par" in text


def test_show_draws_the_loss_and_ends_with_the_log_but_lets_nothing_steer_the_terminal(
    skep: Skep,
) -> None:
    (run, *_) = json.loads(skep("best", "--json"))["runs"]
    text = skep("show", run)
    assert "training loss 7.000 → 0.778 in 8 steps\n  █▄▃▂▂▁▁▁▁\n" in text
    assert text.endswith("log.txt\n  seed 3\n  [31mred alert\n  last line\n")
    shown = json.loads(skep("show", run, "--json"))
    assert shown["curve"][:2] == [[0, 7.0], [1, 3.5]]
    assert shown["log"].splitlines()[-1] == "last line"


def test_show_says_why_a_run_failed(skep: Skep) -> None:
    crashed = json.loads(skep("runs", "--json"))[3]
    assert "verdict     crash: loss is not finite\n" in skep("show", crashed["program"])
    assert "status    nan: loss is not finite\n" in skep("show", crashed["runs"][0])


def test_show_in_json_has_experiment_runs_and_diff(skep: Skep) -> None:
    row = json.loads(skep("best", "--json"))
    shown = json.loads(skep("show", row["program"], "--json"))
    assert shown["experiment"] == row
    assert [run["id"] for run in shown["runs"]] == row["runs"]
    assert shown["diff"] == DIFF
    assert shown["runs"][0]["environment"]["torch"] == "2.13.0"


def test_diff_compares_with_the_parent_or_with_another(skep: Skep) -> None:
    assert skep("diff", "1e6e2aa64a") == DIFF
    backwards = skep("diff", "1e6e2aa64a", "442af3eaee")
    assert "-LR = 0.012  # constant\n+LR = 0.003  # constant\n" in backwards
    assert skep("diff", "1e6e2aa64a", "1e6e2aa64a") == "the programs are equal\n"
    shown = json.loads(skep("diff", "1e6e2aa64a", "--json"))
    assert shown == {
        "from": program_id(SEED_PROGRAM).hex(),
        "to": json.loads(skep("best", "--json"))["program"],
        "diff": DIFF,
    }


def test_ids_that_name_nothing_or_too_much_are_explained(skep: Skep, recorded_home: Path) -> None:
    assert skep("show", "0123456789", expect=1).startswith(
        "skep: no program or run has an id that starts with 0123456789. See"
    )
    assert "'abc' is no id. An id has 4 to 64" in skep("show", "abc", expect=1)
    assert "'ab cd ' is no id" in skep("show", "ab cd ", expect=1)
    assert "442af3ea has no parent. Give two" in skep("diff", "442af3eaee", expect=1)


def test_an_ambiguous_id_lists_what_it_could_be(tmp_path: Path, fresh: Skep) -> None:
    # Programs are named by their hash: among some hundred, two share their first four digits.
    sources = {program_id(f"X = {number}\n"): f"X = {number}\n" for number in range(1500)}
    pairs = itertools.pairwise(sorted(sources))
    one, other = next(pair for pair in pairs if pair[0][:2] == pair[1][:2])
    recording = Recording()
    recording.sources |= {one: sources[one], other: sources[other]}
    trio.run(recording.write, tmp_path / "fresh")
    digits = one.hex()[:4]
    complaint = fresh("show", digits, expect=1)
    assert f"{digits} is ambiguous: {one.hex()[:16]}, {other.hex()[:16]}" in complaint
    assert complaint.endswith("Give more digits.\n")


def test_plot_draws_on_the_terminal_or_into_a_file(skep: Skep, tmp_path: Path) -> None:
    assert skep("plot").startswith("stories: 4 experiments, 1 kept\n")
    file = tmp_path / "plot.svg"
    assert skep("plot", str(file)) == f"wrote {file}\n"
    assert file.read_text().startswith("<svg ")
    assert "an SVG file, not plot.png" in skep("plot", "plot.png", expect=1)


def test_export_writes_every_format(skep: Skep, tmp_path: Path) -> None:
    assert skep("export", "results.tsv").count("\n") == 6
    assert skep("export", "csv").splitlines()[0].split(",")[0] == "number"
    assert json.loads(skep("export", "json"))["version"] == 1
    file = tmp_path / "out.tsv"
    assert skep("export", "results.tsv", str(file)) == f"wrote {file}\n"
    assert file.read_text() == skep("export", "results.tsv")
    complaint = skep("export", "csv", str(tmp_path / "no" / "x"), expect=1)
    assert complaint.startswith("skep: Cannot use")


def test_status_without_a_node_shows_what_came_out(skep: Skep, recorded_home: Path) -> None:
    text = skep("status")
    assert text.startswith(f"no node is running on {recorded_home}\n")
    assert "experiments  4, 1 kept\nval_bpb      2.3000 → 2.1565, reproduced by me\n" in text
    found = json.loads(skep("status", "--json"))
    assert (found["running"], found["paused"], found["slots"]) == (False, False, [])
    assert (found["experiments"], found["kept"], found["runs"]) == (4, 1, 8)
    assert found["task"]["id"] == STORIES.id.hex()


def test_status_notices_the_socket_of_a_node_that_died(skep: Skep, recorded_home: Path) -> None:
    left = Home(recorded_home).control
    left.touch()
    try:
        assert json.loads(skep("status", "--json"))["running"] is False
        assert "no node is running" in skep("pause", expect=1)
    finally:
        left.unlink()


@pytest.mark.parametrize("verb", ["pause", "resume", "finish"])
def test_steering_needs_a_running_node(fresh: Skep, verb: str) -> None:
    assert "no node is running on" in fresh(verb, expect=1)


def test_a_fresh_home_is_no_error_and_stays_untouched(fresh: Skep, tmp_path: Path) -> None:
    hint = "nothing here yet: start with `skep join --solo`\n"
    for command in ("runs", "lineage", "best", "plot"):
        assert fresh(command) == hint
    assert fresh("status").endswith(hint)
    empty = [json.loads(fresh(command, "--json")) for command in ("runs", "lineage", "best")]
    assert empty == [[], [], None]
    assert json.loads(fresh("export", "json")) is None
    assert fresh("export", "results.tsv").count("\n") == 1
    assert json.loads(fresh("status", "--json"))["champion"] is None
    assert not (tmp_path / "fresh").exists()


def test_a_task_is_chosen_by_name_or_id(skep: Skep) -> None:
    assert skep("runs", "--task", "stories") == RUNS
    assert skep("runs", "--task", STORIES.id.hex()[:6]) == RUNS
    complaint = skep("runs", "--task", "poems", expect=1)
    assert "no results of a task 'poems'. It has: stories (7461736b2e)." in complaint


def test_tasks_are_listed_and_checked_without_running_them(skep: Skep, tmp_path: Path) -> None:
    tasks = json.loads(skep("task", "list", "--json"))
    assert "stories" in {task["name"] for task in tasks}
    assert "stories" in skep("task", "list")
    assert json.loads(skep("task", "show", "stories", "--json"))["metric"] == "val_bpb"
    (tmp_path / "task.toml").write_text(TASK_TOML)
    (tmp_path / "train.py").write_text("raise SystemExit('was run')\nRATE = 1.0\n")
    assert skep("task", "check", str(tmp_path)).startswith(f"{tmp_path} is a complete task\n")
    (tmp_path / "train.py").write_text("RATE = = 1\n")
    assert "train.py, line 1" in skep("task", "check", str(tmp_path), expect=1)


def test_settings_are_shown_as_the_file_would_say_them(fresh: Skep, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    home.mkdir()
    (home / "config.toml").write_text("jobs = 2\n")
    text = fresh("config", "show")
    assert 'task = "stories"\nsolo = false\n' in text
    assert "jobs = 2\n" in text
    assert json.loads(fresh("config", "show", "--json"))["budget"] is None
    assert json.loads(fresh("config", "paths", "--json"))["database"] == str(home / "skep.db")
    (home / "config.toml").write_text("job = 2\n")
    assert "unknown key `job`. Did you mean `jobs`?" in fresh("config", "show", expect=1)


def test_a_broken_database_is_one_line(fresh: Skep, tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "skep.db").write_bytes(b"no database" * 999)
    complaint = fresh("runs", expect=1)
    assert complaint.count("\n") == 1
    assert complaint.startswith("skep: ")
    assert "Traceback" not in complaint


@pytest.mark.parametrize(
    "line",
    [
        ("runz",),
        ("runs", "--bogus"),
        ("show",),
        ("export", "parquet"),
        ("join", "--jobs", "many"),
        ("task", "lst"),
        ("runs", "too", "many"),
    ],
)
def test_a_line_that_makes_no_sense_exits_with_two(skep: Skep, line: tuple[str, ...]) -> None:
    complaint = skep(*line, expect=2)
    assert complaint.startswith("skep: ")
    assert complaint.endswith("See `skep --help`.\n")
    assert complaint.count("\n") == 1


def test_join_checks_its_flags_before_it_loads_anything(fresh: Skep) -> None:
    assert "--jobs 0: expected int >= 1." in fresh("join", "--jobs", "0", expect=1)
    assert "--device gpu: expected auto, cpu" in fresh("join", "--device", "gpu", expect=1)


def test_reproduce_needs_a_finished_run(skep: Skep) -> None:
    crashed = json.loads(skep("runs", "--json"))[3]
    assert "ended with nan" in skep("reproduce", crashed["runs"][0], expect=1)
    assert "has no finished run" in skep("reproduce", crashed["program"], expect=1)


def process(home: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node.cli", *arguments]
    environ = {**os.environ, "SKEP_HOME": str(home), **options.pop("env", {})}
    return subprocess.run(
        command, env=environ, stderr=subprocess.PIPE, text=True, check=False, **options
    )


def test_a_reader_that_goes_away_is_no_error(recorded_home: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = process(recorded_home, "runs", stdout=closed)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_the_output_is_one_line(recorded_home: Path) -> None:
    with open("/dev/full", "w") as full:
        done = process(recorded_home, "runs", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "skep: cannot write the output (No space left on device).\n"


def test_a_terminal_without_greek_still_gets_its_table(recorded_home: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii"}
    done = process(recorded_home, "runs", env=env, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "LR 0.003 ? 0.012" in done.stdout


def test_help_and_reading_import_nothing_heavy(recorded_home: Path) -> None:
    code = (
        "import sys; from node.cli import main\n"
        "main(['--help']); help_only = {'sqlite3', 'nacl'} & set(sys.modules)\n"
        "main(['runs']); main(['status'])\n"
        "heavy = {'trio', 'numpy', 'sqlite_utils', 'torch', 'libp2p'}\n"
        "print(sorted(help_only | heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SKEP_HOME": str(recorded_home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
