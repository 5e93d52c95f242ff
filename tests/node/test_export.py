"""results.tsv, CSV, JSON and the plot: what other tools and people get."""

import csv
import io
import itertools
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from gossip.ledger import Ledger
from node.export.chart import ASCII, chart
from node.export.documents import archive_document, experiment_document, experiments_csv, json_text
from node.export.plot import Scale, decimals, plot_svg, scale_of, ticks
from node.export.results import results_tsv, write_results
from node.history import Experiment, History, history
from node.home import Home
from skep.records import Hunk, SetConstant
from tests.node.recorded import STORIES, Idea, Recording, setting, small_search

RESULTS = """\
commit\tval_bpb\tmemory_gb\tstatus\tdescription
442af3e\t2.299964\t0.3\tkeep\tbaseline
1e6e2aa\t2.156456\t0.3\tkeep\tLR 0.003 → 0.012
b9fd82d\t2.240908\t0.3\tdiscard\tDEPTH 3 → 9
f9098d0\t0.000000\t0.3\tcrash\tLR 0.012 → 50.0
6eeef2a\t2.200922\t0.3\tdiscard\tsay nothing in a comment
"""

ROW = Experiment(
    number=1,
    program=bytes.fromhex("ab" * 32),
    parent=bytes(32),
    strategy="llm",
    description="tabs\tand\nnew lines",
    verdict="keep",
    reason="",
    runs=(bytes(32),),
    value=1.0000004,
    delta=None,
    sigmas=None,
    e=None,
    seconds=20.0,
    memory_gib=44.04,
)


def read(recording: Recording) -> History:
    return history(recording.runs, recording.task, recording.sources.__getitem__)


async def test_results_are_written_into_the_home_as_upstream_writes_them(tmp_path: Path) -> None:
    await small_search().write(tmp_path)
    with Ledger.read(tmp_path) as ledger:
        write_results(Home(tmp_path), ledger, STORIES)
    assert (tmp_path / "results.tsv").read_text() == RESULTS


def test_descriptions_keep_to_one_column_and_numbers_to_their_form() -> None:
    line = results_tsv([ROW]).splitlines()[1]
    assert line == "ababab" + "a\t1.000000\t44.0\tkeep\ttabs and new lines"


def test_what_has_no_verdict_yet_is_left_out_of_results() -> None:
    assert results_tsv([replace(ROW, verdict="pending")]).count("\n") == 1


async def test_csv_has_one_row_per_experiment_and_survives_a_round_trip(tmp_path: Path) -> None:
    await small_search().write(tmp_path)
    with Ledger.read(tmp_path) as ledger:
        found = history(ledger.runs(STORIES.id), STORIES, ledger.program)
        text = experiments_csv(experiment_document(row, ledger) for row in found.experiments)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["description"] for row in rows] == [row.description for row in found.experiments]
    assert [float(row["value"] or 0) for row in rows] == [r.value or 0 for r in found.experiments]
    assert (rows[1]["runs"], rows[0]["parent"], rows[3]["e"]) == ("2", "", "")


async def test_the_archive_holds_every_run_and_every_program(tmp_path: Path) -> None:
    recording = small_search()
    await recording.write(tmp_path)
    with Ledger.read(tmp_path) as ledger:
        found = history(ledger.runs(STORIES.id), STORIES, ledger.program)
        archive = json.loads(json_text(archive_document(found, ledger)))
    assert (archive["version"], archive["task"]["name"]) == (1, "stories")
    assert len(archive["runs"]) == len(recording.runs)
    assert set(archive["programs"].values()) == set(recording.sources.values())
    ids = {run["id"] for run in archive["runs"]}
    assert {run for row in archive["experiments"] for run in row["runs"]} == ids
    assert archive["runs"][0]["time"] == "2026-09-21T14:13:20Z"


def elements(svg: str, kind: str) -> list[ElementTree.Element]:
    """Drawn things of a class; a document that is no XML fails here."""
    tree = ElementTree.fromstring(svg)  # noqa: S314 - our own text
    return [one for one in tree.iter() if one.get("class") == kind]


def test_the_plot_shows_every_experiment_with_its_story() -> None:
    svg = plot_svg(read(small_search()))
    tips = [tip.text or "" for tip in ElementTree.fromstring(svg).iter() if "title" in tip.tag]  # noqa: S314
    assert sorted(re.findall(r"#(\d) \w{7}", "\n".join(tips))) == ["0", "1", "2", "3", "4"]
    assert any("keep: LR 0.003 → 0.012 (-7.4σ over 1 against 3 runs" in tip for tip in tips)
    assert [label.text for label in elements(svg, "label")] == ["LR 0.003 → 0.012"]
    (title,) = elements(svg, "title")
    assert title.text == "stories: 4 experiments, 1 kept"
    (subtitle,) = elements(svg, "sub")
    assert subtitle.text is not None
    assert subtitle.text.startswith("val_bpb 2.3000 → 2.1565 (-6.24 %), reproduced by me;")


def test_text_of_programs_cannot_break_out_of_the_plot() -> None:
    recording = Recording()
    recording.try_out(Idea((Hunk(1, "", "#\n"),), worth=-0.3, note="<b>'&\x00'</b>\x1b[0m"))
    svg = plot_svg(read(recording))
    (label,) = elements(svg, "label")
    assert label.text == "<b>'&'</b>[0m"


def test_a_run_that_went_far_astray_does_not_squeeze_the_rest() -> None:
    recording = small_search()
    before = scale_of(read(recording))
    recording.try_out(setting("DEPTH", 99, worth=+40))
    found = read(recording)
    after = scale_of(found)
    assert after.high < 2.6
    assert after.low == pytest.approx(before.low, abs=0.02)
    assert len(elements(plot_svg(found), "discard")) == len(found.experiments) - 2 - 1 + 1


def test_better_is_always_on_the_side_where_the_champion_goes() -> None:
    recording = Recording(replace(STORIES, direction="max", metric="score"))
    recording.try_out(setting("LR", 0.012, worth=+0.3))
    found = read(recording)
    scale = scale_of(found)
    first, last = (row.value or 0.0 for row in found.lineage)
    assert scale.y(last) < scale.y(first)
    assert "score (higher is better)" in plot_svg(found)


def label_box(label: ElementTree.Element) -> tuple[float, float, float]:
    """Where a label lies in the direction of its text: start, end, and the line it stands on."""
    x, y, degrees = (float(n) for n in re.findall(r"-?[\d.]+", label.attrib["transform"]))
    angle = math.radians(degrees)
    along = x * math.cos(angle) + y * math.sin(angle) + float(label.attrib["x"])
    across = y * math.cos(angle) - x * math.sin(angle)
    length = 6 * len(label.text or "")
    ends = label.get("text-anchor") == "end"
    return (along - length, along, across) if ends else (along, along + length, across)


def test_labels_of_kept_edits_never_cover_one_another() -> None:
    recording = Recording(noise=0.002)
    for number in range(100):
        recording.try_out(Idea((SetConstant("LR", number),), worth=-0.03))
    found = read(recording)
    boxes = [label_box(label) for label in elements(plot_svg(found), "label")]
    assert 3 < len(boxes) < len(found.lineage) - 1
    for one, other in itertools.combinations(boxes, 2):
        beside = one[1] <= other[0] or other[1] <= one[0]
        assert beside or abs(one[2] - other[2]) > 11


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0.0, 10.0, 5, [0, 2, 4, 6, 8, 10]),
        (1.86, 2.31, 9, [1.9, 1.95, 2.0, 2.05, 2.1, 2.15, 2.2, 2.25, 2.3]),
        (0.0, 1.0, 12, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        (-3.0, 3.0, 3, [-2, 0, 2]),
    ],
)
def test_ticks_are_round(low: float, high: float, about: int, expected: list[float]) -> None:
    assert ticks(low, high, about) == pytest.approx(expected)


def test_ticks_say_as_many_decimals_as_tell_them_apart() -> None:
    assert [decimals(one) for one in ([0.0, 2.0], [1.9, 1.95], [0.9971, 0.9972])] == [0, 2, 4]


def test_values_off_the_scale_stand_at_its_edge() -> None:
    scale = Scale(10, 1.0, 2.0)
    assert scale.y(5.0) == scale.y(2.0)
    assert scale.y(-5.0) == scale.y(1.0)


def test_the_chart_is_the_plot_in_characters() -> None:
    recording = Recording(noise=0.004)
    recording.try_out(setting("LR", 0.012, worth=-0.2))
    recording.try_out(setting("DEPTH", 9, worth=+0.15))
    title, subtitle, *lines = chart(read(recording), 50, ASCII).splitlines()
    assert title == "stories: 2 experiments, 1 kept"
    assert subtitle.startswith("val_bpb 2.3000 → 2.1022 (-8.60 %), reproduced by me;")
    assert lines == [
        "",
        "     |",
        "2.30 | O---------------------",
        "     |",
        "     |",
        "2.25 |                                           .",
        "     |",
        "     |",
        "2.20 |",
        "     |",
        "     |",
        "2.15 |",
        "     |",
        "     |",
        "2.10 |                      O---------------------",
        "     |",
        "     |",
        "       0                                         2",
        "       O kept  . discarded  x crashed  -- champion",
    ]


def test_a_search_without_a_finished_run_can_still_be_drawn() -> None:
    recording = Recording()
    recording.runs = [(one, replace(run, scores=(), status="crash")) for one, run in recording.runs]
    found = read(recording)
    assert "no finished experiment yet" in plot_svg(found)
    assert "no finished experiment yet" in chart(found, 80)
