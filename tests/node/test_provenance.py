"""Whose text a program is, by the own runs: knob, own or stranger."""

from msgspec.structs import replace

from node.provenance import Provenance
from skep.patch import apply
from skep.ports import Knob
from skep.records import Hunk, SetConstant, program_id
from tests.node.recorded import SEED_PROGRAM, STORIES

TASK = replace(STORIES, knob_program=SEED_PROGRAM, knobs={"LR": Knob("float", 1e-4, 0.1)})
START = program_id(SEED_PROGRAM)
KNOB = apply(SEED_PROGRAM, [SetConstant("LR", 0.01)])
OUT_OF_RANGE = apply(SEED_PROGRAM, [SetConstant("LR", 5.0)])
THEIRS = SEED_PROGRAM.replace("return LR", "return LR * 2")
MINE = SEED_PROGRAM.replace("return LR", "return LR / 2")


def of(*made: tuple[str, str, str]) -> Provenance:
    """Programs taken on in this order: (text, text of the parent, strategy)."""
    texts = {program_id(text): text for text, _, _ in made}
    found = Provenance(TASK, texts.get)
    for text, parent, strategy in made:
        found.learn(program_id(text), program_id(parent), strategy)
    return found


def edited(source: str) -> str:
    return apply(source, [SetConstant("DEPTH", 7)])


def test_numbers_in_range_are_knobs_whoever_found_them() -> None:
    found = of((KNOB, SEED_PROGRAM, "adopt"))
    assert found.code_of(SEED_PROGRAM) == "knob"
    assert found.code_of(KNOB) == "knob"


def test_own_edits_of_own_text_are_own() -> None:
    found = of((MINE, SEED_PROGRAM, "llm"), (OUT_OF_RANGE, SEED_PROGRAM, "tune"))
    assert found.code_of(MINE) == "own"
    assert found.code_of(OUT_OF_RANGE) == "own"


def test_what_was_adopted_is_a_strangers_and_so_is_all_that_is_made_of_it() -> None:
    child = edited(THEIRS)
    grandchild = apply(child, [Hunk(1, "", "# note\n")])
    found = of((THEIRS, SEED_PROGRAM, "adopt"), (child, THEIRS, "tune"), (grandchild, child, "llm"))
    assert [found.code_of(one) for one in (THEIRS, child, grandchild)] == ["stranger"] * 3


def test_an_edit_that_leads_back_to_the_tasks_own_text_is_nobody_elses() -> None:
    child = edited(KNOB)
    found = of((THEIRS, SEED_PROGRAM, "adopt"), (KNOB, THEIRS, "tune"), (child, KNOB, "tune"))
    assert found.code_of(KNOB) == "knob"
    assert found.code_of(child) == "own"


def test_own_edits_of_an_adopted_knob_program_are_own() -> None:
    child = edited(KNOB)
    assert of((KNOB, SEED_PROGRAM, "adopt"), (child, KNOB, "tune")).code_of(child) == "own"


def test_a_peer_that_names_an_own_program_does_not_make_it_a_strangers() -> None:
    found = of((MINE, SEED_PROGRAM, "llm"), (MINE, SEED_PROGRAM, "adopt"))
    assert found.code_of(MINE) == "own"
    assert found.code_of_new(MINE, START, "adopt") == "own"


def test_nor_does_finding_a_strangers_program_again_make_it_own() -> None:
    found = of((THEIRS, SEED_PROGRAM, "adopt"), (THEIRS, SEED_PROGRAM, "llm"))
    assert found.code_of(THEIRS) == "stranger"


def test_what_never_ran_here_is_a_strangers() -> None:
    found = of()
    assert found.code_of(THEIRS) == "stranger"
    assert found.code_of_new(THEIRS, None, "adopt") == "stranger"
    assert found.code_of_new(MINE, START, "llm") == "own"
    assert found.code_of_new(MINE, program_id(THEIRS), "llm") == "stranger"


def test_of_a_task_that_did_not_come_with_skep_nothing_is_a_knob() -> None:
    found = Provenance(STORIES, lambda program: None)
    assert found.code_of(SEED_PROGRAM) == "own"
