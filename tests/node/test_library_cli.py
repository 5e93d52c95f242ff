"""`skep library`: what is added is listed, found and removed; what does not read is said."""

import json
from pathlib import Path

import pytest

from node.cli import main
from tests.node.test_literature import BATCHES, BIB, WARMUP


@pytest.fixture
def papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKEP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "papers"
    folder.mkdir()
    for name, text in (("warm.md", WARMUP), ("batch.txt", BATCHES), ("refs.bib", BIB)):
        (folder / name).write_text(text)
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["library", *words]) == code
    heard = capsys.readouterr()
    return heard.err if code and not heard.out else heard.out


def test_an_empty_library_says_how_to_fill_it(
    papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "list").startswith("the library is empty")
    assert said(capsys, "search", "warmup").startswith("the library is empty")
    assert said(capsys, "search", "warmup", "--json") == "[]\n"
    assert not (papers.parent / "home").exists()


def test_a_folder_is_added_once_and_what_changed_in_it_again(
    papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "add", "papers") == "added 4 documents\n"
    assert said(capsys, "add", "papers") == "added 0 documents, 4 known already\n"
    (papers / "warm.md").write_text(WARMUP.replace("0.02", "0.03"))
    changed = "added 1 document, 3 known already, 1 gone from their files\n"
    assert said(capsys, "add", str(papers)) == changed
    rows = json.loads(said(capsys, "list", "--json"))
    assert [(row["title"], row["passages"]) for row in rows] == [
        ("Large batches, few steps", 1),
        ("On warming up", 2),
        ("Only a title", 1),
        ("Weight decay in Schrödinger's net", 1),
    ]
    assert rows[1]["source"] == str(papers / "warm.md")


def test_a_search_shows_the_passages_that_fit(
    papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "add", "papers")
    first, second, *_ = said(capsys, "search", "batch", "size", "--limit", "1").splitlines()
    assert first.endswith("  Large batches, few steps")
    assert second.startswith("  Large batches, few steps With a fixed budget of computation")
    (found,) = json.loads(said(capsys, "search", '"weight decay"', "--json"))
    assert found["by"] == "Doe, Jane; Roe, Richard 2023"
    assert found["text"] == "Decay of the weights acts like a smaller step, not like a prior."
    assert said(capsys, "search", "quantum") == "no passage has any word of quantum\n"


def test_documents_are_removed_by_id_and_by_file(
    papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "add", "papers")
    first = json.loads(said(capsys, "list", "--json"))[0]["id"]
    assert said(capsys, "remove", first[:8]) == "removed 1 document\n"
    assert "no document" in said(capsys, "remove", first[:8], code=1)
    assert said(capsys, "remove", "papers/refs.bib", "papers/warm.md") == "removed 3 documents\n"
    assert json.loads(said(capsys, "list", "--json")) == []


def test_a_file_that_does_not_read_keeps_no_other_from_being_added(
    papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (papers / "latin.txt").write_bytes("Zürich".encode("latin-1"))
    shown = said(capsys, "add", "papers", code=1)
    assert shown == (
        "passed over: latin.txt is not UTF-8 text (byte 1). Convert it, with iconv or so\n"
        "added 4 documents\n"
    )
    alone = said(capsys, "add", "papers/latin.txt", code=1)
    assert alone == "skep: latin.txt is not UTF-8 text (byte 1). Convert it, with iconv or so.\n"
    (reason,) = json.loads(said(capsys, "add", "papers", "--json", code=1))["refused"]
    assert reason["reason"] == "latin.txt is not UTF-8 text (byte 1)"
    assert "takes a number from 1" in said(capsys, "search", "x", "--limit", "0", code=1)
