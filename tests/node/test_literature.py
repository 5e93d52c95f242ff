"""Literature: read from what people have, cut into passages, kept once, found by its words."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.literature.adding import FILE_MAX_BYTES, add_file, files_of
from node.literature.documents import Document, documents_in
from node.literature.meaning import (
    Meaning,
    by_meaning,
    fitting,
    fused,
    keep,
    missing,
    vectors_of,
)
from node.literature.passages import PASSAGE_CHARS, Cut, cut
from node.literature.shelf import Added, Shelf, match_of, opened
from skep.errors import ConfigError, HomeError, ModelError

WARMUP = """# On warming up

Small models diverge when their step is large from the start.
A short warm-up of the learning rate cures that.

## What we measured

Over forty runs the loss fell by 0.02 with 5 % of warm-up, and by nothing more with 20 %.
"""
BATCHES = """Large batches, few steps

With a fixed budget of computation a larger batch means fewer updates.
Below a hundred updates the final loss is worse for every batch that we tried.
"""
BIB = r"""
@string{jr = "Journal of Résumés"}
@comment{ @article{no, title = {Not this}} }
@article{a1,
  title    = {{Weight} decay in Schr{\"o}dinger's net},
  author   = {Doe, Jane and Roe, Richard},
  abstract = "Decay of the weights acts like " # {a smaller step, \emph{not} like a prior.},
  year     = 2023,
}
@misc(b2, title = "Only a title")
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with opened(tmp_path / "library.db", write=True) as found:
        yield found


def note(title: str, text: str = "") -> Document:
    return Document(title=title, text=text)


def titles(shelf: Shelf) -> list[str]:
    return [one.title for one in shelf.documents()]


def test_a_paper_is_cut_where_its_headings_and_paragraphs_are() -> None:
    assert cut(WARMUP) == [
        Cut(
            "On warming up",
            "Small models diverge when their step is large from the start."
            " A short warm-up of the learning rate cures that.",
        ),
        Cut(
            "What we measured",
            "Over forty runs the loss fell by 0.02 with 5 % of warm-up,"
            " and by nothing more with 20 %.",
        ),
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["word", "End.", "x" * 900, "\n", "\n\n", "# T\n", "```\n"])))
def test_no_passage_is_longer_than_the_limit_and_no_word_is_lost(parts: list[str]) -> None:
    text = " ".join(parts)
    found = cut(text)
    assert found
    assert all(len(one.text) <= PASSAGE_CHARS for one in found)
    if "# T" not in text:
        kept = "".join(one.text for one in found).replace(" ", "")
        assert kept == "".join(text.split())


def test_titles_come_from_the_first_heading_the_first_line_or_the_name() -> None:
    def title(name: str, text: str) -> str:
        return documents_in(name, text.encode())[0].title

    assert title("a.md", "---\ntags: x\n---\nIntro\n\n## *Warm* up\n") == "*Warm* up"
    assert title("ideas.md", "No heading at all") == "ideas"
    assert title("a.txt", f"\n  {BATCHES}") == "Large batches, few steps"
    assert title("long.txt", "word " * 100) == "long"


def test_a_bibtex_export_is_a_document_for_each_entry() -> None:
    assert documents_in("x.bib", BIB.encode()) == [
        Document(
            title="Weight decay in Schrödinger's net",
            text="Decay of the weights acts like a smaller step, not like a prior.",
            by="Doe, Jane; Roe, Richard 2023",
        ),
        Document(title="Only a title", text=""),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.json", '{"title": "T", "abstract": "A", "authors": ["N. One", {"name": "M. Two"}]}'),
        ("x.json", '[{"title": "T", "summary": "A", "authors": "N. One and M. Two"}, 7]'),
        ("x.json", '{"items": [{"title": "T", "text": " A ", "author": "N. One; M. Two"}]}'),
        ("x.jsonl", '{"title": "T", "abstract": "A", "authors": "N. One and M. Two"}\n\n'),
    ],
)
def test_json_exports_of_several_makes_are_read(name: str, text: str) -> None:
    assert documents_in(name, text.encode()) == [Document(title="T", text="A", by="N. One; M. Two")]


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("x.txt", b"a\0b", "x.txt is a binary file"),
        ("x.md", b"abc\xff", "x.md is not UTF-8 text (byte 3)"),
        ("x.txt", b" \n", "x.txt holds no document"),
        ("x.json", b"{", "x.json is no JSON"),
        ("x.json", b"[" * 100_000, "x.json is"),
        ("x.json", b'{"title": 7.5}', "x.json holds no document"),
        ("x.jsonl", b'{"title": "T"}\noops', "x.jsonl: line 2 is no JSON"),
        ("x.bib", b"\n@article{k, title = {open", "the BibTeX entry at line 2 does not end"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(name: str, raw: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        documents_in(name, raw)
    assert error.value.what.startswith(said)
    assert "\n" not in str(error.value)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["a.md", "a.txt", "a.bib", "a.json", "a.jsonl"]),
    st.text() | st.text('@{}",#=\\a1 \n'),
)
def test_no_text_breaks_a_reader(name: str, text: str) -> None:
    try:
        found = documents_in(name, text.encode(errors="replace"))
    except ConfigError:
        return
    assert all(one.title and one.title.isprintable() for one in found)


def test_the_same_content_is_kept_once_and_a_changed_file_takes_its_old_content_along(
    shelf: Shelf,
) -> None:
    first, second = note("First", "one"), note("Second", "two")
    assert shelf.add("/a.json", [first, second, first]) == Added(2, 0, 0)
    assert shelf.add("/a.json", [first, second]) == Added(0, 2, 0)
    assert shelf.add("/copy.json", [second]) == Added(0, 1, 0)
    assert shelf.add("/a.json", [first, note("Second", "two, corrected")]) == Added(1, 1, 1)
    assert [one.text for one in shelf.passages("two", 9)] == ["two, corrected"]


def test_what_is_removed_is_not_found_any_more(shelf: Shelf) -> None:
    shelf.add("/a", [note("Warm", "the learning rate"), note("Batch", "the batch size")])
    warm = next(one.digest for one in shelf.documents() if one.title == "Warm")
    assert shelf.remove([warm, bytes(32)]) == 1
    assert [one.title for one in shelf.passages("learning rate batch", 9)] == ["Batch"]


def test_a_full_library_says_so_and_stays_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path / "library.db", write=True) as shelf:
        small = Shelf(shelf.connection, passages_max=2)
        small.add("/a", [note("One", "x"), note("Two", "y")])
        with pytest.raises(HomeError, match="the library is full"):
            small.add("/b", [note("Three", "z")])
        assert titles(small) == ["One", "Two"]


def test_passages_come_in_the_order_in_which_they_fit(shelf: Shelf) -> None:
    shelf.add("/w.md", documents_in("w.md", WARMUP.encode()))
    shelf.add("/b.txt", documents_in("b.txt", BATCHES.encode()))
    shelf.add("/x.bib", documents_in("x.bib", BIB.encode()))
    found = shelf.passages("does warming the learning rate up help?", 2)
    assert [one.heading for one in found] == ["On warming up", "On warming up: What we measured"]
    assert [one.title for one in shelf.passages("smaller steps like PRIORS", 1)] == [
        "Weight decay in Schrödinger's net"
    ]
    assert shelf.passages("quantum", 5) == []


def test_words_in_quotes_belong_together(shelf: Shelf) -> None:
    shelf.add("/a", [note("A", "rate of learning"), note("B", "learning rate")])
    assert [one.title for one in shelf.passages('"learning rate"', 5)] == ["B"]
    assert {one.title for one in shelf.passages("learning rate", 5)} == {"A", "B"}
    assert (
        match_of('warmup "learning rate OR (x*')
        == '"warmup" OR "learning" OR "rate" OR "OR" OR "x"'
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text() | st.text('"*()^:-+{}ANDORTNE a_') | st.sampled_from(["NEAR(a b)", "a NOT", "\ud800"])
)
def test_no_query_is_an_operator_or_an_error(shelf: Shelf, query: str) -> None:
    assert shelf.passages(query, 3) == []


def test_a_library_that_is_not_there_reads_as_empty_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "home" / "library.db"
    with opened(path) as shelf:
        assert (shelf.documents(), shelf.passages("x", 3)) == ([], [])
    assert not path.parent.exists()


def test_a_file_that_is_no_library_and_one_of_a_newer_version_are_said_in_a_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "library.db"
    path.write_text("no database, but long enough to have a header to look at\n" * 20)
    with pytest.raises(HomeError, match="does not read back"), opened(path):
        pass
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(HomeError, match="newer Skep"), opened(path):
        pass


def test_files_are_found_in_order_and_what_is_hidden_or_of_another_kind_is_not(
    tmp_path: Path,
) -> None:
    for name in ("b.md", "a.txt", "c.pdf", ".x.md", "deep/d.BIB", ".git/e.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [one.relative_to(tmp_path).as_posix() for one in files_of(tmp_path)]
    assert found == ["a.txt", "b.md", "deep/d.BIB"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("c.pdf", "no kind of file"),
        ("gone.md", "neither a file nor a folder"),
        ("empty", "nothing"),
    ],
)
def test_a_path_that_leads_to_nothing_readable_is_refused(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "c.pdf").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=said):
        files_of(tmp_path / name)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path, shelf: Shelf) -> None:
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(FILE_MAX_BYTES + 1)
    with pytest.raises(ConfigError, match=r"large.txt is larger than 8 MiB"):
        add_file(shelf, large)


TOY = "toy"


def by_topic(text: str) -> list[float]:
    """A stand-in for a model: how often a text speaks of three topics, by any of their names."""
    names = (("rate", "step", "pace"), ("batch", "group"), ("decay", "shrink"))
    return [0.01 + sum(text.count(one) for one in some) for some in names]


def meant(query: str, model: str = TOY, wider: bool = False) -> Meaning:
    (vector,) = vectors_of([by_topic(query) + [1.0] * wider], 1, model)
    return Meaning(model, vector)


def embed(shelf: Shelf, most: int = 99, wider: bool = False) -> int:
    todo = missing(shelf, TOY, most)
    answer = [by_topic(text) + [1.0] * wider for text in todo.values()]
    if todo:
        keep(shelf, TOY, dict(zip(todo, vectors_of(answer, len(todo), TOY), strict=True)))
    return len(todo)


def test_passages_are_found_by_meaning_and_embedded_once(shelf: Shelf) -> None:
    shelf.add("/a", [note("One", "the rate"), note("Two", "a batch"), note("Three", "decay")])
    assert [embed(shelf, 2), embed(shelf, 2), embed(shelf, 2)] == [2, 1, 0]
    assert shelf.passages("pace", 3) == [], "no such word anywhere"
    best = shelf.numbered(by_meaning(shelf, meant("pace"), 1))
    assert [one.title for one in best] == ["One"]
    found = fitting(shelf, "pace of a batch", 3, meant("pace of a batch"))
    assert [one.title for one in found] == ["Two", "One", "Three"]
    assert [one.title for one in fitting(shelf, "batch", 3, None)] == ["Two"]
    assert by_meaning(shelf, meant("pace", "another"), 3) == []


def test_vectors_of_a_model_that_was_exchanged_are_made_anew(shelf: Shelf) -> None:
    shelf.add("/a", [note("One", "the rate")])
    embed(shelf)
    shelf.add("/b", [note("Two", "a batch")])
    embed(shelf, wider=True)
    assert embed(shelf, wider=True) == 1, "the one of three numbers"
    assert len(by_meaning(shelf, meant("rate", wider=True), 9)) == 2


def test_a_passage_that_went_while_it_was_read_is_not_kept(shelf: Shelf) -> None:
    shelf.add("/a", [note("One", "the rate")])
    (number,) = missing(shelf, TOY, 9)
    shelf.remove(one.digest for one in shelf.documents())
    keep(shelf, TOY, {number: meant("rate").vector})
    assert by_meaning(shelf, meant("rate"), 9) == []


@pytest.mark.parametrize("answer", [[], [[]], [[0.0]], [[float("nan")]], [[1.0], [2.0]]])
def test_a_model_that_answers_with_no_vectors_is_told_of(answer: list[list[float]]) -> None:
    with pytest.raises(ModelError, match="embedding model toy"):
        vectors_of(answer, 1, TOY)


def test_rankings_are_put_together_by_reciprocal_rank() -> None:
    assert fused([[1, 2, 3], [3, 4]]) == [3, 1, 2, 4]
    assert fused([[], []]) == []
