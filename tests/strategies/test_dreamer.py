"""The edits that the acceptance run hides in a conversation, and the model that deals them."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from skep.errors import PatchError
from skep.fingerprint import fingerprint
from strategies.checks import check
from strategies.prompt import coder, critic, planner, repair
from strategies.reply import Idea, Miss, read
from strategies.shown import whole
from tests.strategies.dreamer import FOURTEEN, Dreamer
from tests.strategies.sloppy import PROGRAM
from tests.strategies.test_prompt import BRIEF, DONE, TAG

FILE = Path(__file__).parents[2] / "scripts" / "bench" / "code_edits.toml"
EDITS = {one["name"]: one for one in tomllib.loads(FILE.read_text())["idea"]}
REPLIES = [one["reply"] for one in EDITS.values()]
IDEAS = {reply.strip().partition("\n")[0] for reply in REPLIES}


def made(names: Iterable[str]) -> str:
    """The seed program with some edits, one after the other."""
    program = PROGRAM
    for name in names:
        (idea,) = read(EDITS[name]["reply"], whole(program), "blocks", complete=True)
        assert isinstance(idea, Idea), f"{name}: {idea}"
        program = idea.source
    return program


def chat(*texts: str) -> dict[str, Any]:
    return {"model": FOURTEEN.name, "messages": [{"role": "user", "content": t} for t in texts]}


def said(program: str) -> str:
    """What the coder is asked, for four ideas."""
    prompt = coder(BRIEF, "blocks", ideas=4, tag=TAG)
    return prompt.user.replace(BRIEF.program.text, program)


def test_there_are_five_real_edits_and_twenty_others() -> None:
    kinds = [one["kind"] for one in EDITS.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "real": 5,
        "null": 7,
        "harmful": 5,
        "broken": 5,
        "cheat": 3,
    }


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_a_program_of_its_own_on_what_it_is_made_for(name: str) -> None:
    on = EDITS[name].get("on", [])
    parent, child = made(on), made([*on, name])
    if name == "commented":
        with pytest.raises(PatchError, match="changes nothing that runs"):
            check(child, parent)
    else:
        assert check(child, parent) == fingerprint(child)
    if on:
        (miss,) = read(EDITS[name]["reply"], whole(PROGRAM), "blocks", complete=True)
        assert isinstance(miss, Miss)


def test_all_real_edits_go_into_one_program_whichever_comes_first() -> None:
    real = [name for name, one in EDITS.items() if one["kind"] == "real"]
    first = made(real)
    others = [name for name in reversed(real) if "pairs" not in (name, *EDITS[name].get("on", []))]
    assert len(fingerprint(first)) == 32
    assert sorted(made(["pairs", "skip", *others])) == sorted(first)


def test_every_idea_is_told_before_any_comes_again_in_an_order_of_the_seed() -> None:
    told = []
    for seed in (1, 2):
        dreamer = Dreamer(REPLIES, seed)
        answers = [dreamer(chat(said(PROGRAM))).text for _ in range(7)]
        told.append([row for text in answers for row in text.split("\n") if row in IDEAS])
        assert set(told[-1][:25]) == IDEAS
        assert len(told[-1]) == 28
    assert told[0] != told[1]


def test_what_it_spoils_is_refused_and_its_correction_can_be_used() -> None:
    dreamer = Dreamer([EDITS["rotary"]["reply"]], seed=1)
    shown = whole(PROGRAM)
    fates = []
    for _ in range(40):
        before = dreamer.misquoted
        text = dreamer(chat(said(PROGRAM))).text
        for one in read(text, shown, "blocks", complete=True):
            assert isinstance(one, Idea | Miss)
            if isinstance(one, Miss) and dreamer.misquoted > before:
                mended = dreamer(chat(said(PROGRAM), text, repair([one]))).text
                fates.append(
                    mended != "NONE"
                    and isinstance(read(mended, shown, "blocks", complete=True)[0], Idea)
                )
    assert {True, False} == set(fates)


def test_planner_and_critic_get_answers_of_their_form() -> None:
    dreamer = Dreamer(REPLIES, seed=3)
    lines = dreamer(chat(planner(BRIEF, ideas=3, tag=TAG).user)).text.split("\n")
    assert [line.startswith("HYPOTHESIS: ") and "| EXPECT: " in line for line in lines] == [
        True
    ] * 3
    assert dreamer(chat(critic(BRIEF, DONE, tag=TAG).user)).text.startswith("FINDING: ")
