"""Whose hypotheses are shown, in which order, and what a flood of them changes: nothing."""

import pytest

from node.thoughts import AUTHORS_MAX, PER_AUTHOR, Thoughts
from skep.evidence.research import Stage
from skep.records import Note, Retract
from tests.factories import content_id

ME, BOB, EVE = (content_id(name) for name in ("me", "bob", "eve"))


def untried(_: bytes) -> Stage | None:
    return None


def note(text: str, *cites: bytes, about: bytes | None = None) -> Note:
    return Note(role="hypothesis", about=about, text=text, cites=cites)


def heard(*said: tuple[bytes, str]) -> Thoughts:
    thoughts = Thoughts(ME)
    for author, text in said:
        thoughts.take(content_id(text), author, note(text))
    return thoughts


def texts(thoughts: Thoughts, query: str = "", most: int = 8) -> list[str]:
    return [one.text for one in thoughts.relevant(query, most, untried)]


def test_what_fits_comes_first_and_what_is_new_before_what_is_old() -> None:
    thoughts = heard((BOB, "tie embeddings"), (EVE, "raise LR"), (EVE, "warm up"))
    assert texts(thoughts, "LR") == ["raise LR", "tie embeddings", "warm up"]


def test_however_much_an_author_says_two_of_it_are_shown() -> None:
    flood = [(EVE, f"raise LR {number}") for number in range(500)]
    thoughts = heard((BOB, "raise LR a little"), *flood)
    assert texts(thoughts, "raise LR a little") == [
        "raise LR a little",
        "raise LR 499",
        "raise LR 498",
    ]


def test_memory_is_bounded_and_authors_who_were_tested_stay() -> None:
    thoughts = heard((BOB, "tie embeddings"))
    (one,) = thoughts.relevant("", 1, untried)
    thoughts.tested(one, content_id("program"))
    for number in range(2 * AUTHORS_MAX):
        thoughts.take(content_id(f"n{number}"), content_id(f"a{number}"), note(f"raise {number}"))
    assert len(texts(thoughts, most=10**6)) == AUTHORS_MAX - 1
    assert thoughts.record(BOB, lambda _: "kept") == (1, 0)
    assert len(heard(*((EVE, f"x {n}") for n in range(99))).relevant("", 99, untried)) == 2
    assert PER_AUTHOR == 8


@pytest.mark.parametrize(
    ("stage", "record"), [("kept", (1, 0)), ("discarded", (0, 1)), ("open", (0, 0))]
)
def test_an_authors_record_is_what_became_of_the_programs_that_tested_its_words(
    stage: Stage, record: tuple[int, int]
) -> None:
    thoughts = Thoughts(ME)
    thoughts.take(b"own", ME, note("tied", content_id("tie"), about=content_id("program")))
    thoughts.take(content_id("tie"), BOB, note("tie"))
    assert thoughts.record(BOB, {content_id("program"): stage}.get) == record
    assert texts(thoughts) == [], "what was tested is not suggested again"


def test_who_was_wrong_more_often_comes_last_and_what_is_retracted_goes() -> None:
    thoughts = heard((EVE, "raise LR"), (BOB, "warm up"))
    thoughts.take(b"own", ME, note("x", content_id("old"), about=content_id("program")))
    thoughts.take(content_id("old"), EVE, note("old"))
    failed: dict[bytes, Stage] = {content_id("program"): "failed"}
    assert [one.text for one in thoughts.relevant("LR", 8, failed.get)] == ["warm up", "raise LR"]
    thoughts.take(b"r", EVE, Retract(record=content_id("raise LR")))
    assert texts(thoughts) == ["warm up"]


def test_words_are_one_plain_line() -> None:
    assert texts(heard((BOB, "try\x1b[31m this"))) == ["try[31m this"]
