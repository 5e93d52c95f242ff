"""docs/cli.md tells of every command, every option and every key, and of nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cyclopts import App

from node.cli import make_app
from node.config import KEYS
from node.doctor import Check
from node.export.documents import COLUMNS
from skep.records import Environment
from trainer.policy import OWN_FLAG, STRANGERS_FLAG

DOC = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SECTIONS = {
    heading.removeprefix("skep "): body
    for heading, body in re.findall(r"^### (skep [a-z ]+)\n(.*?)(?=^##|\Z)", DOC, re.M | re.S)
}


def commands(app: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Every command that can be called, with its full name."""
    for name in app:
        if name.startswith("-"):
            continue
        found = app[name]
        if found.default_command is None:
            yield from commands(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


COMMANDS = dict(commands(make_app()))


def options(app: App) -> set[str]:
    """Names of a command's own options."""
    names = {name for one in app.assemble_argument_collection() for name in one.names}
    return {name for name in names if name.startswith("-")}


def test_every_command_has_its_section_and_every_section_its_command() -> None:
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_no_other(name: str) -> None:
    offered = options(COMMANDS[name])
    assert offered == set(re.findall(r"`(--[a-z-]+)", SECTIONS[name]))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_a_command_and_each_of_its_options_is_for(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app()([*name.split(), "--help"], exit_on_error=False, result_action="return_value")
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: skep {name}")
    arguments = COMMANDS[name].assemble_argument_collection(parse_docstring=True)
    explained = [one.parameter.help for one in arguments if not one.children]
    assert all(explained), explained


def test_every_key_of_an_experiment_is_documented() -> None:
    rows = re.findall(r"^\| (`.*?) \|", SECTIONS["runs"], re.M)
    assert set(re.findall(r"`([a-z_]+)`", " ".join(rows))) == set(COLUMNS)


def test_every_setting_is_an_option_of_join_and_the_other_way_round() -> None:
    # On the command line of each start; the lab is the home that the file would lie in.
    answered_for = {OWN_FLAG, STRANGERS_FLAG, "--lab"}
    once = {name for name in options(COMMANDS["join"]) if not name.startswith("--no-")}
    assert {f"--{key.replace('_', '-')}" for key in KEYS} == once - answered_for


def test_keys_of_machine_and_checks_are_documented() -> None:
    for section, kind in (("show", Environment), ("doctor", Check)):
        names = {field.name for field in msgspec.structs.fields(kind)}
        assert names <= set(re.findall(r"`([a-z_]+)`", SECTIONS[section]))


def test_an_example_of_every_table_of_settings_is_valid_toml() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOC, re.S)
    assert msgspec.toml.decode(example) == {"task": "stories", "solo": True, "jobs": 2}
