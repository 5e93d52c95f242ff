"""What all runs say of a kind of edit: put together by what it changes, believed with care."""

import json
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from node.cli import main
from node.knowledge import Knowledge, Known, experiments_about, matching, pooled, topic_of
from node.ranking import ranked
from skep.records import Hunk, Note, Rescore, Run, SetConstant
from tests.factories import content_id, make_run
from tests.node.recorded import small_search
from tests.skep.test_verdict import NODES, TASK, Swarm
from tests.strategies.ollama_server import CODER, VECTORS, Fails, ollama_in_thread

PARENT = "LR = 3e-3\nWIDTH: int = 64\nBETAS = (0.9, 0.95)\nclass Config:\n    EPS = 1e-8\n"


def text(program: bytes) -> str | None:
    return PARENT if program == content_id("parent") else None


def told(swarm: Swarm) -> list[Known]:
    knowledge = Knowledge(TASK, frozenset(NODES), text)
    for one in swarm.said:
        knowledge.take(one)
    return knowledge.known()


def edit(*edits: SetConstant | Hunk, note: str = "") -> Run:
    return make_run("child", parent="parent", strategy="tune", edits=edits, note=note)


@pytest.mark.parametrize(
    ("edits", "topic"),
    [
        ([SetConstant("LR", 0.01)], "LR up"),
        ([SetConstant("WIDTH", 32), SetConstant("LR", 0.01)], "LR up, WIDTH down"),
        ([SetConstant("BETAS", (0.8, 0.9))], "BETAS"),
        ([SetConstant("Config.EPS", 1e-6)], "Config.EPS up"),
        ([SetConstant("GONE", 1)], "GONE"),
        ([SetConstant(f"N{n}", 1) for n in range(5)], "why not"),
        ([Hunk(1, "", "x = 1\n"), SetConstant("LR", 0.01)], "why not"),
    ],
)
def test_a_topic_is_what_an_edit_changes_and_which_way(
    edits: list[SetConstant | Hunk], topic: str
) -> None:
    assert topic_of(edit(*edits, note="why not"), text) == topic


def test_an_edit_without_words_is_named_by_its_program() -> None:
    assert (
        topic_of(edit(Hunk(1, "", "x = 1\n")), text) == f"program {content_id('child').hex()[:8]}"
    )


def compare(
    swarm: Swarm, node: bytes, program: str, *sigmas: float, name: str = "LR", value: float = 0.01
) -> None:
    """Runs of an edit on one draw, so many sigma from the parent; only the first brings that."""
    lines = swarm.baselines(node, 1.0, 1.0, 1.0)
    for number, one in enumerate(sigmas):
        run = make_run(program, parent="parent", strategy="tune", scores=[(7, 1.0 + one / 100)])
        swarm.say(
            node,
            replace(
                run,
                seed=number,
                edits=(SetConstant(name, value),),
                note=f"{program} by {NODES.index(node)}",
                rescored=() if number else tuple(Rescore(r, 7, "dev", 1_000_000) for r in lines),
            ),
        )


def test_runs_of_all_authors_come_together_and_rest_on_their_own_parents() -> None:
    swarm = Swarm()
    compare(swarm, NODES[0], "a", -2.0, -4.0)
    compare(swarm, NODES[1], "b", -3.0, value=0.02)
    compare(swarm, NODES[1], "c", 4.0, 4.0, name="WIDTH", value=128)
    up, wider = told(swarm)
    assert (up.topic, up.belief, up.programs, up.runs, up.authors) == ("LR up", "helps", 2, 3, 2)
    assert up.measured / wider.measured == pytest.approx(-3.0 / 4.0)
    assert up.measured < up.effect < 0.5 * up.measured
    assert up.notes == ("b by 1", "a by 0")
    assert (wider.topic, wider.belief) == ("WIDTH up", "hurts")
    assert wider.chance < 0.05


def test_little_evidence_is_called_unclear() -> None:
    swarm = Swarm()
    compare(swarm, NODES[0], "a", -1.0)
    (one,) = told(swarm)
    assert (one.belief, 0.6 < one.chance < 0.95) == ("unclear", True)


def test_edits_of_one_kind_that_differ_much_are_believed_less_than_those_that_agree() -> None:
    variance = 0.25
    agreeing = pooled([(-1.0, variance), (-1.0, variance)])
    differing = pooled([(-4.0, variance), (2.0, variance)])
    assert agreeing == pytest.approx((-1.0, 0.125))
    assert differing[0] == pytest.approx(-1.0)
    assert differing[1] == pytest.approx(9.0)


def test_verdicts_on_claims_stand_beside_it() -> None:
    swarm = Swarm()
    for node in NODES:
        swarm.baselines(node, 1.0, 1.0)
    claim = swarm.claim(NODES[0])
    for node in NODES[1:4]:
        swarm.replicate(claim, node, -20.0)
    (one,) = told(swarm)
    assert one.verdicts == {"confirmed": 1}
    assert one.runs == 3  # The author's own run brought no parent along.


def test_runs_without_a_parent_on_their_draw_and_failures_tell_nothing() -> None:
    swarm = Swarm()
    swarm.say(NODES[0], make_run("a", parent="parent", strategy="tune", scores=[(7, 0.9)]))
    swarm.say(NODES[0], make_run("b", parent="parent", strategy="tune", status="crash"))
    assert told(swarm) == []


def test_a_query_ranks_by_its_words_in_whatever_case() -> None:
    swarm = Swarm()
    compare(swarm, NODES[0], "a", -2.0)
    compare(swarm, NODES[1], "warm", -2.0, name="WIDTH", value=32)
    known = told(swarm)
    assert [one.topic for one in matching(known, "lr UP")] == ["LR up"]
    assert [one.topic for one in matching(known, "WARM")] == ["WIDTH down"]
    assert [one.topic for one in matching(known, "width down, not up")] == ["WIDTH down", "LR up"]
    assert matching(known, "quantum") == []
    assert matching(known, "") == known


def test_what_was_tried_is_found_by_what_anybody_said_of_it() -> None:
    swarm = Swarm()
    compare(swarm, NODES[0], "a", -2.0, -4.0)
    crash = make_run("b", parent="parent", strategy="llm", status="crash", note="out of memory")
    swarm.say(NODES[1], crash)
    swarm.say(NODES[2], replace(crash, program=content_id("a"), note="a by hand"))
    swarm.say(NODES[2], Note(role="finding", about=content_id("a"), text="overfits late"))
    swarm.say(NODES[2], Note(role="hypothesis", about=None, text="memory is cheap"))
    knowledge = Knowledge(TASK, frozenset(NODES), text)
    for one in swarm.said:
        knowledge.take(one)
    b, a = knowledge.tried()
    assert (a.topic, a.notes) == ("LR up", ("overfits late", "a by hand", "a by 0"))
    assert (a.runs, a.failed, a.authors) == (2, 1, (NODES[0], NODES[2]))
    assert (b.notes, b.runs, b.failed, b.measured) == (("out of memory",), 0, 1, None)
    assert a.measured is not None
    assert a.measured < -1.0
    assert [one.program for one in experiments_about([b, a], "overfit")] == [a.program]
    assert [one.program for one in experiments_about([b, a], "MEMORY")] == [b.program]


def test_a_rare_word_tells_more_than_a_usual_one_and_a_short_text_more_than_a_long_one() -> None:
    texts = ["rate rate rate", "rate decay", "decay of the rate, of all that was ever said"]
    assert ranked("decay", texts) == [1, 2]
    assert ranked("rate said", texts) == [2, 0, 1]
    assert ranked("deca", ["x", "weight_decay"]) == [1]
    assert ranked("de", ["x", "weight_decay"]) == []
    assert ranked("", texts) == [0, 1, 2]
    assert ranked("word", []) == []


def test_the_command_lists_what_the_home_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    assert main(["knowledge"]) == 0
    assert capsys.readouterr().out.startswith("nothing here yet")
    trio.run(small_search().write, tmp_path)
    assert main(["knowledge", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert main(["knowledge"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in shown[1:]] == [row["topic"] for row in rows]
    assert main(["knowledge", "no such thing"]) == 0
    assert capsys.readouterr().out == "no run of stories that is here tells of no such thing\n"
    assert main(["knowledge", "--experiments", "--json"]) == 0
    tried = json.loads(capsys.readouterr().out)
    assert {row["topic"] for row in tried} >= {row["topic"] for row in rows}
    word = tried[0]["topic"].split()[0]
    assert main(["knowledge", "--experiments", word]) == 0
    assert tried[0]["program"][:8] in capsys.readouterr().out
    assert main(["knowledge", "--experiments", "quantum"]) == 0
    assert capsys.readouterr().out == "no experiment that is here tells of quantum\n"


def test_where_there_is_a_model_of_vectors_knowledge_is_searched_by_meaning_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The vectors of this server tell how long a text is, and no two words are alike."""
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    trio.run(small_search().write, tmp_path)

    def found(*query: str) -> list[str]:
        assert main(["knowledge", "--json", *query]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return [row["topic"] for row in json.loads(out)]

    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:1")
    assert found("quantum") == []
    with ollama_in_thread([], [CODER, VECTORS]) as (url, server):
        monkeypatch.setenv("OLLAMA_HOST", url)
        assert set(found("quantum")) == {"LR up", "DEPTH up", "say nothing in a comment"}
        assert found("depth")[0] == "DEPTH up"
        asked = [document["input"] for path, document in server.asked if path == "/api/embed"]
        assert [len(texts) for texts in asked] == [4, 1], "what is known is not asked for again"
        server.faults["/api/embed"] = Fails(500, "boom")
        assert main(["knowledge", "--json", "wider"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out) == []
        assert err.startswith("skep: searched by words alone: ")
