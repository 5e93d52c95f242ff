"""Settings: what the file says, what the command line says, and what is refused."""

from pathlib import Path

import pytest

from node.config import Settings, home_folder, load
from skep.errors import ConfigError


def write(home: Path, text: str) -> Path:
    (home / "config.toml").write_text(text)
    return home


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere") == Settings(
        home=tmp_path / "nowhere",
        task="stories",
        solo=False,
        experiments=None,
        minutes=None,
        budget=None,
        jobs=None,
        device="auto",
        program=None,
    )


def test_the_file_counts_and_the_command_line_goes_first(tmp_path: Path) -> None:
    write(tmp_path, 'solo = true\njobs = 2\nbudget = 8\ndevice = "cuda:1"\n')
    found = load(tmp_path, {"jobs": 3, "budget": None, "solo": False})
    assert (found.solo, found.jobs, found.budget, found.device) == (False, 3, 8.0, "cuda:1")


def test_paths_in_the_file_are_relative_to_the_home_and_names_stay_names(tmp_path: Path) -> None:
    write(tmp_path, 'task = "packs/mine"\nprogram = "better.py"\n')
    found = load(tmp_path)
    assert found.task == str(tmp_path / "packs/mine")
    assert found.program == tmp_path / "better.py"
    assert load(tmp_path, {"task": "stories"}).task == "stories"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("job = 2", "config.toml: unknown key `job`. Did you mean `jobs`?"),
        ('home = "/elsewhere"', "config.toml: unknown key `home`. Known keys: task, solo,"),
        ("jobs = 0", "config.toml: `jobs`: expected int >= 1"),
        ('jobs = "2"', "config.toml: `jobs`: expected int | null, got str"),
        ("jobs = true", "config.toml: `jobs`: expected int | null, got bool"),
        ('device = "gpu"', "config.toml: `device`: expected auto, cpu, cuda, cuda:N or mps"),
        ("minutes = nan", "config.toml: `minutes`: expected float > 0.0"),
        ("budget = inf", "config.toml: `budget`: expected float <= 2592000"),
        ("jobs =", "config.toml is not valid TOML (Invalid value (at end of document))"),
        ("program = 3", "config.toml: `program`: expected a path in quotes"),
        ('model = "a b"', "config.toml: `model`: expected the name of a model, without blanks"),
        (
            'ollama_url = "box:11434"',
            "config.toml: `ollama_url`: expected an address like http://HOST:PORT",
        ),
        (
            'openai_url = "https://me:word@box/v1"',
            "config.toml: `openai_url`: expected an address like http://HOST:PORT",
        ),
    ],
)
def test_a_wrong_file_is_named_with_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert complaint in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_the_model_to_ask_is_named_by_file_or_flag(tmp_path: Path) -> None:
    write(tmp_path, 'openai_url = "http://box:8080/v1"\nopenai_key_file = "key"\n')
    found = load(tmp_path, {"model": "org/coder:7b"})
    assert (found.openai_url, found.model) == ("http://box:8080/v1", "org/coder:7b")
    assert found.openai_key_file == tmp_path / "key"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            'openai_url = "http://box/v1"\nollama_url = "http://box:11434"',
            "both an ollama server and another endpoint are named. A node asks one model",
        ),
        (
            'openai_key_file = "key"',
            "a key for an endpoint is named, and no endpoint. Give it by --openai-url",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert complaint in str(caught.value)


def test_a_wrong_flag_is_named_and_not_the_file(tmp_path: Path) -> None:
    write(tmp_path, "jobs = 2")
    with pytest.raises(ConfigError, match=r"^--jobs 0: expected int >= 1\. See"):
        load(tmp_path, {"jobs": 0})


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path)
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_the_home_is_what_the_environment_says_else_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home_folder({"SKEP_HOME": str(tmp_path)}) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert home_folder({"SKEP_HOME": "here"}) == tmp_path / "here"
    assert home_folder({"SKEP_HOME": ""}).name == "skep"


@pytest.mark.parametrize(
    "line",
    ["unsandboxed-own-code = true", "run_strangers_code_without_a_sandbox = 'I-ACCEPT'"],
)
def test_nobody_answers_for_code_by_a_file(tmp_path: Path, line: str) -> None:
    (tmp_path / "config.toml").write_text(line)
    with pytest.raises(ConfigError, match=r"is no setting.*command line of each start alone"):
        load(tmp_path)


def test_nobody_answers_for_code_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKEP_RUN_STRANGERS_CODE_WITHOUT_A_SANDBOX", "I-ACCEPT")
    with pytest.raises(ConfigError, match="is set, but --run-strangers-code"):
        load(tmp_path)
