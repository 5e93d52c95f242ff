"""The library of a running node: by meaning where a model makes vectors, else by words, and soon.

The server speaks ollama's interface; client, reader and database are what ships.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from trio.testing import MockClock

from node.literature.documents import Document
from node.literature.reader import AT_ONCE, AWAY_S, QUERY_S, Reader
from node.literature.shelf import opened
from skep.events import Event, Said
from skep.model import Model
from strategies.ollama import find_model
from strategies.servers import Patience
from tests.node.test_literature import by_topic
from tests.node.test_loop_transport import FakeExecutor
from tests.node.test_thinking_transport import Script
from tests.node.thinkers import FOREVER, at, role_of, thinker
from tests.strategies.ollama_server import (
    CODER,
    VECTORS,
    Fails,
    OllamaServer,
    Raw,
    Say,
    Stalls,
    serving_ollama,
)

NOTES = {"One": "the rate", "Two": "a batch", "Three": "decay"}


def library(path: Path, notes: dict[str, str]) -> Path:
    with opened(path, write=True) as shelf:
        shelf.add("/a", [Document(title=title, text=text) for title, text in notes.items()])
    return path


class Reading:
    """A reader of a small library, and what it said."""

    def __init__(self, path: Path, server: OllamaServer, model: Model, *, embeds: bool) -> None:
        self.events: list[Event] = []
        self.server, self.model = server, model
        self.reader = Reader(path, self.events.append, embeds=embeds)

    async def titles(self, query: str, wait_s: float = QUERY_S) -> list[str]:
        found = await self.reader.passages(query, 3, self.model, wait_s)
        return [one.title for one in found]

    async def embed_all(self) -> list[int]:
        made = []
        while some := await self.reader.embed_some(self.model):
            made.append(some)
        return made


@asynccontextmanager
async def reading(
    folder: Path,
    notes: dict[str, str] = NOTES,
    *,
    vectors: bool = True,
    embeds: bool = True,
    patience: Patience = FOREVER,
) -> AsyncIterator[Reading]:
    path = library(folder / "library.db", notes)
    models = [CODER, VECTORS] if vectors else [CODER]
    async with serving_ollama(lambda _: Say(""), models) as server:
        server.vector = by_topic
        model = await find_model(server.url, None, None, patience)
        yield Reading(path, server, model, embeds=embeds)


async def test_passages_are_found_by_meaning_once_they_have_vectors(tmp_path: Path) -> None:
    async with reading(tmp_path) as node:
        assert await node.titles("pace") == []
        assert await node.embed_all() == [3]
        assert (await node.titles("pace"))[0] == "One"
        assert node.server.embedded.count("pace") == 1, "what it means is remembered"
        assert await node.embed_all() == []
    assert node.events == []


async def test_passages_get_vectors_a_few_at_a_time(tmp_path: Path) -> None:
    notes = {f"Note {number}": f"rate {number}" for number in range(AT_ONCE + 3)}
    async with reading(tmp_path, notes) as node:
        assert await node.embed_all() == [AT_ONCE, 3]


@pytest.mark.parametrize("fault", [Fails(500, "gone wrong"), Raw(b"<html>"), Stalls("")])
async def test_without_vectors_the_library_is_searched_by_words_and_that_is_said_once(
    tmp_path: Path, mock_clock: MockClock, fault: Fails | Raw | Stalls
) -> None:
    mock_clock.rate = 10
    async with reading(tmp_path) as node:
        node.server.faults["/api/embed"] = fault
        assert await node.titles("rate") == ["One"]
        asked = node.server.paths.count("/api/embed")
        assert await node.titles("batch") == ["Two"]
        assert await node.embed_all() == []
        assert node.server.paths.count("/api/embed") == asked, "it is left alone for a while"
        (said,) = node.events
        assert isinstance(said, Said)
        assert "searched by words" in said.text
        del node.server.faults["/api/embed"]
        mock_clock.jump(AWAY_S)
        assert await node.embed_all() == [3]
        assert (await node.titles("pace"))[0] == "One"
    assert len(node.events) == 1


async def test_who_only_looks_asks_nobody_and_is_given_what_is_known(tmp_path: Path) -> None:
    async with reading(tmp_path) as node:
        await node.embed_all()
        assert await node.titles("pace", 0) == []
        await node.titles("pace")
        assert (await node.titles("pace", 0))[0] == "One"


@pytest.mark.parametrize("kind", [{"vectors": False}, {"embeds": False}])
async def test_nobody_is_asked_who_has_no_vectors_or_may_not_read_it(
    tmp_path: Path, kind: dict[str, bool]
) -> None:
    async with reading(tmp_path, **kind) as node:  # type: ignore[arg-type]
        assert await node.embed_all() == []
        assert await node.titles("batch") == ["Two"]
        assert node.server.embedded == []


async def test_a_running_node_embeds_its_library_and_tells_the_planner_what_fits(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    mock_clock.rate = 4
    fruits = {f"Fruit {number}": "of apples and pears" for number in range(8)}
    library(tmp_path / "library.db", fruits | {"One": "a quicker pace"})
    script = Script()
    async with serving_ollama(script, [CODER, VECTORS]) as server:
        server.vector = by_topic
        async with thinker(tmp_path, FakeExecutor(1, lambda *_: "done"), at(server.url)) as node:
            await node.until(lambda: "One\na quicker pace" in server.embedded)
            before = len(script.prompts)
            await node.until(lambda: script.asked[before:].count("planner") > 1)
            told = await node.arm.prompt("planner")
    prompts = [one for one in script.prompts[before:] if role_of(one) == "planner"]
    text = prompts[-1]["messages"][1]["content"]
    assert "a quicker pace" in text, "it shares no word with what was tried, and means the same"
    assert "a quicker pace" in told["user"]
