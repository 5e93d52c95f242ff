"""Loading tasks: what a folder must hold, what makes its id, and what is said when it is wrong."""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from skep.errors import TaskError
from skep.ports import Knob
from trainer.task import CHECKOUT_DATA, PREPARE_FUNCTIONS, Task, load, pack_names
from trainer.taskfile import Limits, TaskFile

ROOT = Path(__file__).resolve().parents[2]
PREPARE = "".join(f"def {name}(*_): pass\n" for name in sorted(PREPARE_FUNCTIONS))
SEED = """\
from dataclasses import dataclass

LR, DEPTH = 1e-3, 4
BETAS = (0.9, 0.95)
DATA_SEED = 7
NAME = "gpt"

@dataclass
class Config:
    eval_batches: int = 8
    width: int = 64

def build_model(meta): pass
def train(run): pass
"""
HARNESS = """\
name = "mine"
scored_by = "harness"
budget_s = 60
deny = ["DEPTH"]

[data]
"train.bin" = "0000000000000000000000000000000000000000000000000000000000000000"

[knobs]
LR = { type = "float", low = 1e-5, high = 1.0 }
BETAS = { type = "floats", low = 0.0, high = 0.999 }
"""
PROGRAM = """\
name = "words"
metric = "clicks"
direction = "max"
"""

Pack = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Writes a task folder; a file that is None is left out."""

    def write(name: str = "pack", **files: str | None) -> Path:
        texts = {"task.toml": HARNESS, "prepare.py": PREPARE, "train.py": SEED}
        texts |= {key.replace("_", "."): text for key, text in files.items()}  # type: ignore[misc]
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, text in texts.items():
            if text is not None:
                (folder / file).write_text(text)
        return folder

    return write


def read(folder: Path, **options: float | Path) -> Task:
    return load(str(folder), home=folder.parent / "home", **options)  # type: ignore[arg-type]


def test_the_default_task_is_shipped(tmp_path: Path) -> None:
    assert "stories" in pack_names()
    task = load("stories", home=tmp_path)
    assert task.facts.name == "stories"
    assert task.facts.budget_ms == 20_000
    assert (task.facts.metric, task.facts.direction) == ("val_bpb", "min")
    assert task.facts.scored_by == "harness"
    assert task.facts.seed_program == task.facts.knob_program
    assert task.facts.knobs["LR"] == Knob("float", 1e-4, 0.1)
    assert task.data.parent == tmp_path / "tasks"
    assert len(task.data.name) == 16
    assert task.prepares
    assert task.command == ()


def test_a_harness_scored_pack_of_ones_own(pack: Pack) -> None:
    task = read(pack())
    assert task.facts.budget_ms == 60_000
    assert task.facts.knobs["BETAS"] == Knob("floats", 0.0, 0.999)
    assert task.limits == Limits(memory_mib=0, timeout_s=1800.0)
    assert task.manifest == {"train.bin": "0" * 64}


def test_what_a_search_may_not_touch_is_found_by_name(pack: Pack) -> None:
    deny = read(pack()).facts.deny
    assert {"DEPTH", "DATA_SEED", "eval_batches", "NUM_STEPS"} <= set(deny)
    assert not {"LR", "BETAS", "width"} & set(deny)


def test_a_program_scored_pack(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    extra = f'reads = ["{tmp_path}/words"]\ncommand = ["make", "run"]\nrange = [0, 1]\n'
    task = read(pack(task_toml=PROGRAM + extra, prepare_py=None, train_py="print(1)\n"))
    assert (task.facts.metric, task.facts.direction) == ("clicks", "max")
    assert (task.facts.scored_by, task.facts.budget_ms) == ("program", 0)
    assert task.command == ("make", "run")
    assert task.reads == (tmp_path / "words",)
    assert task.believable == (0.0, 1.0)
    assert not task.prepares


def test_an_unmodified_checkout_needs_no_task_file(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = pack("AutoResearch MLX", task_toml=None, prepare_py="import mlx\n", train_py="1\n")
    task = read(folder)
    assert task.facts.name == "autoresearch-mlx"
    assert (task.facts.metric, task.facts.direction) == ("val_bpb", "min")
    assert task.facts.scored_by == "program"
    assert task.command == (sys.executable, "train.py")
    assert (task.reads, task.prepares) == ((), False)

    CHECKOUT_DATA.expanduser().mkdir(parents=True)
    own = folder / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.symlink_to(sys.executable)
    (folder / "analysis.py").write_text("not even Python")
    again = read(folder)
    assert again.command == (str(own), "train.py")
    assert again.reads == (tmp_path / ".cache" / "autoresearch",)
    assert again.facts.id == task.facts.id


def test_the_id_covers_what_a_result_depends_on_and_nothing_else(pack: Pack) -> None:
    task = read(pack())
    same = [
        pack("renamed", task_toml=HARNESS.replace('"mine"', '"yours"')),
        pack("commented", task_toml="# mine\n" + HARNESS.replace("budget_s = 60", "budget_s=60.0")),
        pack("default", task_toml='direction = "min"\n' + HARNESS),
        pack("instructed", program_md="Be bold."),
        pack("crlf", train_py=SEED.replace("\n", "\r\n")),
    ]
    other = [
        pack("prepared", prepare_py=PREPARE + "# changed\n"),
        pack("seeded", train_py=SEED + "# changed\n"),
        pack("helped", corpus_py="STORIES = 3\n"),
        pack("budgeted", task_toml=HARNESS.replace("60", "61")),
        pack("fed", task_toml=HARNESS.replace("000", "001")),
        pack("limited", task_toml="limits.memory_mib = 512\n" + HARNESS),
        pack("knobbed", task_toml=HARNESS.replace("1.0", "2.0")),
    ]
    assert {read(folder).facts.id for folder in same} == {task.facts.id}
    assert len({task.facts.id, *(read(folder).facts.id for folder in other)}) == 8


def test_another_budget_is_another_task_on_the_same_data(pack: Pack) -> None:
    folder = pack()
    task, short = read(folder), read(folder, budget_s=8)
    assert short.facts.budget_ms == 8000
    assert short.facts.id != task.facts.id
    assert short.data == task.data
    assert read(folder, budget_s=60).facts.id == task.facts.id


def test_another_start_program_is_the_same_task(pack: Pack, tmp_path: Path) -> None:
    folder, start = pack(), tmp_path / "better.py"
    start.write_text(SEED.replace("1e-3", "3e-3") + "EVAL_EVERY = 5\n")
    task, other = read(folder), read(folder, start_program=start)
    assert other.facts.id == task.facts.id
    assert other.facts.seed_program == start.read_text()
    assert other.facts.knob_program == ""
    assert "EVAL_EVERY" in other.facts.deny


def test_data_is_shared_until_prepare_or_the_manifest_changes(pack: Pack) -> None:
    folders = {
        read(pack()).data.name,
        read(pack("seeded", train_py=SEED + "X = 1\n")).data.name,
        read(pack("prepared", prepare_py=PREPARE + "X = 1\n")).data.name,
        read(pack("fed", task_toml=HARNESS.replace("000", "001"))).data.name,
    }
    assert len(folders) == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train_py": None}, "pack has no train.py"),
        ({"train_py": "x = 1\ndef f(:\n"}, "train.py, line 2: invalid syntax"),
        ({"train_py": "x = '\0'\n"}, "source code string cannot contain null bytes"),
        ({"train_py": "x = " + "(" * 9999}, "train.py, line 1: too many nested parentheses"),
        ({"train_py": "#" * 70_000}, "train.py has 70000 bytes, and a program may have 65536"),
        ({"train_py": "def train(run): pass\n", "task_toml": HARNESS.split("[knobs]")[0]},
         "train.py does not define build_model"),
        ({"prepare_py": None}, "does not define meta, prepare, train_tokens, validation"),
        ({"task_toml": None, "prepare_py": None}, "neither task.toml nor prepare.py"),
        ({"task_toml": "name = "}, "task.toml: Invalid value (at end of document)"),
        ({"task_toml": "metric = 'x'"}, "Object missing required field `name`"),
        ({"task_toml": PROGRAM + "colour = 'red'"}, "unknown field `colour`"),
        ({"task_toml": PROGRAM + "limits.cpus = 3"}, "unknown field `cpus` - at `$.limits`"),
        ({"task_toml": PROGRAM + "sigma = 'small'"}, "Expected `float`, got `str` - at `$.sigma`"),
        ({"task_toml": PROGRAM + "sigma = 0"}, "Expected `float` > 0.0 - at `$.sigma`"),
        ({"task_toml": PROGRAM + "range = [1, 0]"}, "`range` must be [low, high]"),
        ({"task_toml": PROGRAM + "budget_s = 5"}, "`budget_s` is for harness-scored tasks"),
        ({"task_toml": PROGRAM + "reads = ['/nowhere']"}, "`reads` names /nowhere, which is not"),
        ({"task_toml": PROGRAM.replace("max", "up")}, "Invalid enum value 'up' - at `$.direction`"),
        ({"task_toml": PROGRAM.replace("clicks", "click rate")}, "at `$.metric`"),
        ({"task_toml": "metric = 'acc'\n" + HARNESS}, "the harness scores `val_bpb`"),
        ({"task_toml": "direction = 'max'\n" + HARNESS}, "the harness scores `val_bpb`"),
        ({"task_toml": "command = ['x']\n" + HARNESS}, "`command`, `range` and `reads` are for"),
        ({"task_toml": HARNESS.replace("budget_s = 60", "")}, "needs `budget_s`"),
        ({"task_toml": HARNESS.replace("60", "-1")}, "Expected `float` > 0.0 - at `$.budget_s`"),
        ({"task_toml": HARNESS.replace("60", "inf")}, "at `$.budget_s`"),
        ({"task_toml": HARNESS.replace("0000", "zzzz")}, "at `$.data[...]`"),
        ({"task_toml": HARNESS.replace("LR", "LRR")}, "knob LRR names no constant of train.py"),
        ({"task_toml": HARNESS.replace("LR", "NAME")}, "knob NAME names no constant of train.py"),
        ({"task_toml": HARNESS.replace('"float"', '"int"')}, "LR is declared int, but train.py"),
        ({"task_toml": HARNESS.replace("1e-5", "1e-2")}, "LR: its value in train.py is out of"),
        ({"task_toml": HARNESS.replace("1e-5", "2")}, "knob LR: `low` must be below `high`"),
        ({"task_toml": HARNESS.replace("DEPTH", "LR")}, "knob LR is denied to every search"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_with_advice(
    pack: Pack, files: dict[str, str | None], message: str
) -> None:
    with pytest.raises(TaskError) as caught:
        read(pack(**files))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.advice


def test_a_name_that_is_no_task_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no task or folder storys.*one of: .*stories"):
        load("storys", home=tmp_path)


@pytest.mark.parametrize("budget_s", [0.0, -3.0, float("nan"), float("inf")])
def test_a_budget_that_makes_no_sense_is_refused(pack: Pack, budget_s: float) -> None:
    with pytest.raises(TaskError, match="makes no sense"):
        read(pack(), budget_s=budget_s)


def test_a_program_that_decides_its_own_budget_takes_none(pack: Pack) -> None:
    with pytest.raises(TaskError, match="words decides by itself how long it trains"):
        read(pack(task_toml=PROGRAM), budget_s=5)


def test_a_start_program_is_checked_like_the_seed(pack: Pack, tmp_path: Path) -> None:
    start = tmp_path / "start.py"
    with pytest.raises(TaskError, match=r"start\.py cannot be read"):
        read(pack(), start_program=start)
    start.write_bytes(b"\xff")
    with pytest.raises(TaskError, match=r"start\.py cannot be read"):
        read(pack(), start_program=start)
    start.write_text("def train(:")
    with pytest.raises(TaskError, match=r"start\.py, line 1"):
        read(pack(), start_program=start)
    start.write_text("def train(run): pass")
    with pytest.raises(TaskError, match=r"start\.py does not define build_model"):
        read(pack(), start_program=start)


def test_loading_runs_nothing_of_the_pack(pack: Pack) -> None:
    bomb = "raise SystemExit('ran')\n"
    assert read(pack(prepare_py=PREPARE + bomb, train_py=SEED + bomb)).facts.name == "mine"


def test_the_manual_lists_exactly_the_keys_there_are() -> None:
    section = (ROOT / "docs" / "tasks.md").read_text().split("## task.toml")[1].split("\n\n**")[0]
    documented = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    keys = {field.name for field in msgspec.structs.fields(TaskFile)} - {"limits"}
    limits = {f"limits.{field.name}" for field in msgspec.structs.fields(Limits)}
    assert documented == keys | limits


def test_every_file_of_the_manual_is_quoted_as_it_is() -> None:
    manual = (ROOT / "docs" / "tasks.md").read_text()
    example = ROOT / "docs" / "examples" / "curve"
    assert (example / "task.toml").read_text() in manual
    assert (example / "train.py").read_text().splitlines()[-1] in manual
