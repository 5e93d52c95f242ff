"""`skep simulate`: scenarios in files, what they may hold, and what is printed."""

import json
from pathlib import Path

import msgspec
import pytest

from node.cli import main
from node.simulation.scenario import Scenario, Tier, checked, read_scenario
from node.simulation.worlds import World
from skep.errors import ConfigError

SCENARIO = Scenario(
    tiers=(Tier("cpu", 3), Tier("gpu", 2, 40.0)),
    world=World(gains=0.2, between=0.5),
    runs=40,
    partition_s=(10.0, 20.0),
    roots="all",
    liars=1,
    seed=9,
)


def test_a_scenario_reads_back_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "scenario.json"
    file.write_bytes(msgspec.json.encode(SCENARIO))
    assert read_scenario(file) == SCENARIO


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is no scenario: Input data was truncated"),
        ('{"node": 3}', "is no scenario: Object contains unknown field `node`"),
        ('{"world": {"gain": 1}}', "is no scenario: Object contains unknown field `gain`"),
        ('{"world": "Z"}', "there is no world 'Z'"),
        ('{"world": {"gains": 0.9, "nulls": 0.5}}', "gains and nulls of the world together is 1.4"),
        ('{"tiers": []}', "the number of machines is 0"),
        ('{"tiers": [{"speed": 0}]}', "the speed of 'cpu' is 0"),
        ('{"partition_s": [5, 2]}', "the end of partition_s is 2"),
        ('{"liars": 12}', "liars is 12"),
        ('{"churn": 1}', "churn is 1"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    file = tmp_path / "scenario.json"
    file.write_text(text)
    assert main(["simulate", str(file)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert complaint in said.err
    assert said.err.count("\n") == 1


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "nowhere.json"]) == 1
    assert "cannot read nowhere.json: No such file" in capsys.readouterr().err


def test_every_number_has_bounds() -> None:
    for field in ("runs", "slots", "run_s", "latency_s", "jitter_s", "away_s", "seed", "liars"):
        with pytest.raises(ConfigError, match=field):
            checked(msgspec.structs.replace(Scenario(), **{field: -1}))


def test_options_change_single_things_of_a_file_and_one_seed_of_many_is_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scenario.json"
    file.write_text('{"run_s": 30, "world": "H", "runs": 999}')
    assert main(["simulate", str(file), "--nodes=2", "--runs=20", "--seeds=2", "--json"]) == 0
    several = json.loads(capsys.readouterr().out)
    assert several["scenario"]["run_s"] == 30
    assert several["scenario"]["world"] == "H"
    assert [one["runs"] for one in several["seeds"]] == [20, 20]
    assert several["summary"]["kept"]["false_share"] == 0
    assert main(["simulate", str(file), "--nodes=2", "--runs=20", "--seed=1", "--json"]) == 0
    (single,) = json.loads(capsys.readouterr().out)["seeds"]
    assert single == several["seeds"][1]


def test_people_get_a_page_of_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--nodes=2", "--runs=12", "--world=H"]) == 0
    said = capsys.readouterr()
    assert said.err == "", "no progress off a terminal"
    assert said.out.startswith("machines         2 cpu\nworld            H, 12 runs, seed 0\n")
    assert "\nkept             0.0, 0.0 % of them false; among them 0 % of the edits" in said.out
    assert "\none machine      0.0σ in 0.2 h with as many runs\n" in said.out
