"""Programs that score themselves run in a copy of their checkout and are read by their output."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.trainer.small import Bench
from trainer import sandbox
from trainer.remembered import FACTS, recall, remember
from trainer.task import load

TASK = """
name = "own"
metric = "accuracy"
direction = "max"
reads = ["READS"]
[limits]
timeout_s = 20
"""
PREPARE = """
def prepare(data, report):
    (data / "made").write_text("data")
"""
SHOW = "print(f'---\\naccuracy: {value}')"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    home, pack = folder / "home", folder / "pack"
    for path in (home / ".cache" / "facts", pack / "library", pack / ".git"):
        path.mkdir(parents=True)
    (home / ".cache" / "facts" / "fact").write_text("fact")
    (pack / "task.toml").write_text(TASK.replace("READS", str(home / ".cache" / "facts")))
    (pack / "prepare.py").write_text(PREPARE)
    (pack / "train.py").write_text(f"value = 0\n{SHOW}\n")
    (pack / "library" / "constant.py").write_text("NUMBER = 7\n")
    (pack / ".git" / "secret").write_text("secret")
    (pack / ".env").write_text("secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        task = load(str(pack), home=folder)
        task.data.mkdir(parents=True)
        (task.data / "made").write_text("data")
        with Bench(task, folder, sandbox.choose()[0]) as running:
            yield running


def evaluates(bench: Bench, expression: str, setup: str = "", seed: int = 1) -> int | None:
    """What a program reports that prints the value of an expression, in micro-units."""
    source = (
        f"import os, sys\nfrom pathlib import Path\n{setup}\nvalue = float({expression})\n{SHOW}\n"
    )
    outcome = bench.train(source, seed=seed)
    assert outcome.status == "done", outcome.reason
    return outcome.own_micro


def test_the_number_it_prints_is_its_score(bench: Bench) -> None:
    assert evaluates(bench, "0.25") == 250_000


def test_the_seed_is_in_its_environment(bench: Bench) -> None:
    assert evaluates(bench, "os.environ['SKEP_SEED']", seed=41) == 41_000_000


def test_it_imports_its_neighbours_and_runs_beside_them(bench: Bench) -> None:
    assert evaluates(bench, "NUMBER", "from library.constant import NUMBER") == 7_000_000
    assert evaluates(bench, "Path('train.py').exists()") == 1_000_000


def test_it_finds_its_data_and_what_it_reads_below_its_home(bench: Bench) -> None:
    made = "Path(os.environ['SKEP_DATA'], 'made').read_text() == 'data'"
    assert evaluates(bench, made) == 1_000_000
    fact = "Path('~/.cache/facts/fact').expanduser().read_text() == 'fact'"
    assert evaluates(bench, fact) == 1_000_000


def test_hidden_files_stay_hidden(bench: Bench) -> None:
    assert evaluates(bench, "Path('.git').exists() or Path('.env').exists()") == 0


def test_nothing_it_writes_reaches_the_checkout_or_the_next_run(bench: Bench) -> None:
    before = sorted(bench.task.folder.rglob("*"))
    write = "seen = Path('left').exists(); Path('left').write_text(''); Path('library/x').touch()"
    assert evaluates(bench, "seen", write) == 0
    assert evaluates(bench, "seen", write) == 0
    assert sorted(bench.task.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "status", "reason"),
    [
        ("raise ValueError('no good')", "crash", "ValueError: no good"),
        ("print('hello')", "crash", "hello"),
        ("pass", "crash", "it printed no result"),
        (f"value = float('nan')\n{SHOW}", "nan", "accuracy: nan"),
        (f"value = 1\n{SHOW}\nraise SystemExit(3)", "crash", "exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed", "killed by a signal"),
    ],
)
def test_without_a_number_it_failed(bench: Bench, source: str, status: str, reason: str) -> None:
    outcome = bench.train(source)
    assert outcome.status == status
    assert reason in outcome.reason
    assert outcome.own_micro is None


def test_a_second_start_does_not_ask_torch_what_it_found_at_the_first(
    bench: Bench, tmp_path: Path
) -> None:
    facts = recall(bench.folder / FACTS, "cpu")
    assert facts is not None
    assert facts.isa == bench.executor.environment.isa != ""
    remember(tmp_path / FACTS, "cpu", replace(facts, isa="as remembered"))
    with Bench(bench.task, tmp_path, sandbox.choose()[0]) as second:
        assert second.executor.environment.isa == "as remembered"
