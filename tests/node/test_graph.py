"""The ablation graph: what was kept, what needs what, what each edit is still worth."""

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from node.cli import main
from node.export.graph import ASCII, graph_document, graph_text
from node.export.graph_svg import graph_svg
from node.graph import Graph, graph
from node.history import History, history
from skep.records import Hunk, program_id
from tests.node.recorded import SEED_PROGRAM, STORIES, Idea, Recording, setting

START = program_id(SEED_PROGRAM)
NEW = Hunk(9, "", "def more(run):\n    return run\n")


def drawn(found: Recording) -> tuple[History, Graph]:
    seen = history(found.runs, STORIES, found.sources.__getitem__)
    made = {
        run.program: (run.parent, run.edits)
        for _, run in reversed(found.runs)
        if run.parent is not None
    }
    return seen, graph(seen, found.sources.get, dict(reversed(made.items())))


def line(found: Recording, old: str, new: str, worth: float) -> bytes:
    """Keep a change of one line of the champion."""
    champion = found.sources[found.research.champion]
    rows = champion.splitlines(keepends=True)
    place = rows.index(old) + 1
    rows[place - 1] = new
    return found.put_in("".join(rows), worth)


def grown() -> tuple[Recording, list[bytes]]:
    """LR, a line of code, DEPTH, and another edit of the first line of code."""
    found = Recording()
    kept = [
        found.try_out(setting("LR", 0.01, -0.15)),
        line(found, "    return LR\n", "    return LR * 2\n", -0.12),
        found.try_out(setting("DEPTH", 4, -0.1)),
        line(found, "    return LR * 2\n", "    return LR * 2 + run\n", -0.11),
    ]
    assert [one.program for one in found.research.kept] == kept
    return found, kept


def test_nodes_are_the_kept_edits_with_their_gain_when_they_were_kept() -> None:
    found, kept = grown()
    _, view = drawn(found)
    assert [node.program for node in view.nodes] == kept
    assert [node.kept.effect for node in view.nodes] == [o.effect for o in found.research.kept]
    assert [node.number for node in view.nodes] == [1, 2, 3, 4]
    assert view.nodes[0].description == "LR 0.003 → 0.01"
    assert {node.state for node in view.nodes} == {"untested"}
    assert {node.now for node in view.nodes} == {None}


def test_an_edit_of_the_same_line_needs_the_one_before_it() -> None:
    _, view = drawn(grown()[0])
    assert [(e.first, e.second, e.link) for e in view.edges if e.link] == [(1, 3, "needs")]


def test_a_constant_that_is_set_again_overwrites() -> None:
    found = Recording()
    found.try_out(setting("LR", 0.01, -0.15))
    found.try_out(setting("DEPTH", 4, -0.1))
    found.try_out(setting("LR", 0.02, -0.15))
    _, view = drawn(found)
    assert [node.state for node in view.nodes] == ["overwritten", "untested", "untested"]
    assert [(e.first, e.second, e.link) for e in view.edges if e.link] == [(0, 2, "overwrites")]


def test_an_ablation_says_what_an_edit_still_gains() -> None:
    found, kept = grown()
    worse = found.leave_out(kept[0], START, 0.2)
    _, view = drawn(found)
    assert view.nodes[0].state == "pays"
    assert view.nodes[0].now is not None
    judged = found.research.candidates[worse]
    assert view.nodes[0].now.effect == -(judged.effect or judged.delta or 0.0)
    less = found.leave_out(kept[2], kept[1], -0.05)
    assert found.research.champion == less
    _, after = drawn(found)
    assert [node.state for node in after.nodes] == [
        "pays",
        "untested",
        "no longer pays",
        "untested",
    ]


def test_a_pair_that_was_measured_apart_and_together_has_its_interaction() -> None:
    found, kept = grown()
    assert all(edge.together is None for edge in drawn(found)[1].edges)
    found.leave_out(kept[2], kept[1], 0.0)
    seen, view = drawn(found)
    (edge,) = (edge for edge in view.edges if edge.together)
    assert (edge.first, edge.second) == (2, 3)
    assert edge.together is not None
    # It gained about 0.1 when it was kept and nothing now.
    assert edge.together.effect == pytest.approx(0.1, abs=3 * edge.together.spread)
    assert 0.0 < edge.together.spread < 2 * seen.research.noise.sigma


def test_the_tree_shows_each_edit_under_the_one_it_needs() -> None:
    found, kept = grown()
    found.leave_out(kept[0], START, 0.2)
    seen, view = drawn(found)
    lines = graph_text(seen, view).splitlines()
    assert lines[0] == "stories: 4 kept edits, all in the champion"
    assert lines[2].split() == ["edit", "when", "kept", "now"]
    assert [row.split()[0] for row in lines[3:7]] == ["#1", "#2", "└─", "#3"]
    assert lines[3].startswith("#1 LR 0.003 → 0.01   -9.1σ ±1.4, 1 run  -14.2σ ±1.2, ")
    assert lines[3].endswith("screen  pays")
    assert lines[4].split()[-2:] == ["-", "untested"]
    assert graph_text(seen, view, ASCII).splitlines()[5].startswith("`- #4")


def test_the_document_has_every_number_in_units_of_the_metric_and_in_sigma() -> None:
    seen, view = drawn(grown()[0])
    document = graph_document(seen, view)
    first = document["nodes"][0]
    assert first["kept"]["delta"] == view.nodes[0].kept.effect
    assert first["kept"]["sigmas"] == pytest.approx(first["kept"]["delta"] / document["sigma"])
    assert (first["now"], first["constant"], first["state"]) == (None, None, "untested")
    assert document["edges"][0] == {"first": 1, "second": 3, "link": "needs", "together": None}


@pytest.mark.parametrize("count", [1, 10, 40])
def test_the_picture_has_a_row_for_each_edit_and_none_over_another(count: int) -> None:
    found = Recording(noise=0.002)
    for number in range(count):
        found.try_out(Idea((Hunk(8 + number, "", f"NAME_{number} = {number}\n"),), -0.1))
    seen, view = drawn(found)
    assert len(view.nodes) == count
    root = ElementTree.fromstring(graph_svg(seen, view))  # noqa: S314 - our own
    circles = [one for one in root.iter() if one.tag.endswith("circle")]
    heights = [float(one.attrib["cy"]) for one in circles]
    assert len(heights) == count
    assert all(b - a == 40.0 for a, b in pairwise(heights))
    assert heights[-1] < float(root.attrib["height"]) - 40
    texts = [one for one in root.iter() if one.tag.endswith("text")]
    assert all(len(one.text or "") <= 120 for one in texts)


async def test_the_command_prints_writes_and_says_when_there_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("SKEP_HOME", str(home))
    await grown()[0].write(home)
    await Recording().write(tmp_path / "fresh")

    def skep(*words: str) -> str:
        main(["graph", *words])
        return capsys.readouterr().out

    assert skep().startswith("stories: 4 kept edits, all in the champion\n")
    assert len(json.loads(skep("--json"))["nodes"]) == 4
    file = tmp_path / "graph.svg"
    assert skep(str(file)) == f"wrote {file}\n"
    assert file.read_text().startswith("<svg ")
    assert main(["graph", "graph.png"]) == 1
    assert "an SVG file, not graph.png" in capsys.readouterr().err
    monkeypatch.setenv("SKEP_HOME", str(tmp_path / "fresh"))
    assert skep() == "no edit was kept yet: the champion is the start program\n"
    assert json.loads(skep("--json"))["nodes"] == []
    monkeypatch.setenv("SKEP_HOME", str(tmp_path / "nowhere"))
    assert skep() == "nothing here yet: start with `skep join --solo`\n"
    assert json.loads(skep("--json")) is None
