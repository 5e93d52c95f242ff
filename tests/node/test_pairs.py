"""What two edits do together is read off comparisons that were made for other reasons."""

import pytest

from node.pairs import Comparison, Interaction, Levels, contents, interaction
from skep.records import Hunk, SetConstant

SOURCE = "LR = 1\nDEPTH = 2\n\n\ndef f():\n    return LR\n"
LR = ("set", "LR", "3")
DEPTH = ("set", "DEPTH", "4")
CODE = Hunk(6, "    return LR\n", "    return 2\n")
TEXT = ("text", "    return LR\n", "    return 2\n")


def compared(child: str, parent: str, effect: float, variance: float = 0.01) -> Comparison:
    return Comparison(child.encode(), parent.encode(), effect, variance)


def of(*measured: Comparison) -> Interaction | None:
    """Interaction of a and b, with programs named by the edits that they hold."""
    sets = {b"0": "", b"a": "a", b"b": "b", b"ab": "ab", b"c": "c", b"ac": "ac", b"abc": "abc"}
    programs = {frozenset((one,) for one in held): [name] for name, held in sets.items()}
    levels = Levels(measured)
    return interaction(frozenset({("a",)}), frozenset({("b",)}), programs, levels.contrast)


def test_a_stack_that_gains_less_than_its_parts_shows_by_how_much() -> None:
    found = of(compared("a", "0", -1.0), compared("b", "0", -2.0), compared("ab", "0", -2.5))
    assert found is not None
    assert found.effect == pytest.approx(0.5)
    assert found.spread == pytest.approx(0.03**0.5)


def test_an_ablation_tells_what_the_edit_left_out_gains_beside_the_other() -> None:
    chain = [compared("a", "0", -1.0), compared("ab", "a", -2.0)]
    assert of(*chain) is None, "b was never seen without a"
    found = of(*chain, compared("b", "ab", 0.25))
    assert found is not None
    assert found.effect == pytest.approx(0.75), "a gained 1 alone and gains a quarter beside b"


def test_without_one_of_the_four_programs_or_a_tie_between_them_nothing_is_known() -> None:
    alone = [compared("a", "0", -1.0), compared("ab", "b", -2.0)]
    assert of(*alone) is None
    tied = of(*alone, compared("b", "0", -1.0))
    assert tied is not None
    assert tied.effect == pytest.approx(-1.0)


def test_of_many_measurements_all_count_by_their_runs() -> None:
    once = [compared("a", "0", -1.0), compared("b", "0", -2.0), compared("ab", "0", -2.5)]
    again = compared("ab", "0", -3.5)
    twice = of(*once, again)
    assert twice is not None
    assert twice.effect == pytest.approx(0.0)
    assert twice.spread == pytest.approx(0.025**0.5)


def test_what_a_program_holds_follows_from_its_edits_and_those_of_its_parents() -> None:
    known = contents(
        b"0",
        SOURCE,
        [
            (b"a", b"0", (SetConstant("LR", 3),)),
            (b"ab", b"a", (SetConstant("DEPTH", 4), CODE)),
            (b"b", b"ab", (SetConstant("LR", 1),)),
            (b"c", b"ab", (Hunk(6, CODE.after, CODE.before),)),
            (b"lost", b"nowhere", (SetConstant("LR", 3),)),
            (b"far", b"a", ()),
        ],
    )
    assert known == {
        b"0": frozenset(),
        b"a": frozenset({LR}),
        b"ab": frozenset({LR, DEPTH, TEXT}),
        b"b": frozenset({DEPTH, TEXT}),
        b"c": frozenset({LR, DEPTH}),
    }
