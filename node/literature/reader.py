"""The library of a running node: passages that fit, by words and, where a model makes vectors, by
meaning.

Nobody waits for it long. Passages get their vectors a few at a time beside everything else; a query
that has none in time, or a server that has gone, is a search by words. The database is used in
worker threads, since a search of a large library takes a second.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from node.literature.meaning import Meaning, Vector, fitting, keep, missing, vectors_of
from node.literature.shelf import Passage, opened
from skep.errors import ModelError
from skep.events import Event, Said
from skep.model import Model

AT_ONCE = 16
"""Passages that are turned into vectors by one call."""

QUERY_S, PASSAGES_S = 20.0, 120.0
"""How long the vector of a query, and those of passages, are waited for."""

AWAY_S = 600.0
"""After a failure everything is searched by words for so long."""

QUERIES_MAX = 32
"""Queries whose meaning is remembered."""


class Reader:
    """Searches a library.

    Args:
        path: of its database; it need not exist.
        emit: called with every event.
        embeds: whether a model may read all of it.
    """

    def __init__(self, path: Path, emit: Callable[[Event], None], *, embeds: bool) -> None:
        self._path = path
        self._embeds = embeds
        self._emit = emit
        self._known: dict[tuple[str, str], Meaning] = {}
        self._away_until = float("-inf")
        self._told = False

    async def passages(
        self, query: str, k: int, model: Model | None, wait_s: float = QUERY_S
    ) -> list[Passage]:
        """The passages that fit a query best.

        Args:
            query: any text.
            k: how many at most.
            model: makes the vectors, where it does; None to search by words.
            wait_s: how long its answer is waited for; 0 asks nobody.

        Raises:
            HomeError: the library cannot be read.
        """
        if not self._path.exists():
            return []
        meant = await self._meaning(query, model, wait_s) if query.strip() and model else None
        return await trio.to_thread.run_sync(partial(_found, self._path, query, k, meant))

    async def _meaning(self, query: str, model: Model, wait_s: float) -> Meaning | None:
        """What a query means; None where that cannot be told in time."""
        if not self._embeds or model.vectors is None:
            return None
        key = (model.vectors, query)
        if wait_s and key not in self._known and not self._away:
            try:
                with trio.fail_after(wait_s):
                    (vector,) = vectors_of(await model.embed([query]) or (), 1, model.vectors)
            except ModelError as error:
                self._failed(error)
            except trio.TooSlowError as error:
                if wait_s >= QUERY_S:
                    self._failed(error)
            else:
                while len(self._known) >= QUERIES_MAX:
                    del self._known[next(iter(self._known))]
                self._known[key] = Meaning(model.vectors, vector)
        return self._known.get(key)

    async def embed_some(self, model: Model) -> int:
        """Give a few passages that have none their vectors; how many they were.

        Raises:
            HomeError: the library cannot be read or written.
        """
        if not self._embeds or model.vectors is None or self._away or not self._path.exists():
            return 0
        todo = await trio.to_thread.run_sync(partial(_missing, self._path, model.vectors))
        if not todo:
            return 0
        try:
            with trio.fail_after(PASSAGES_S):
                answer = await model.embed(list(todo.values())) or ()
            vectors = vectors_of(answer, len(todo), model.vectors)
        except (ModelError, trio.TooSlowError) as error:
            self._failed(error)
            return 0
        made = dict(zip(todo, vectors, strict=True))
        await trio.to_thread.run_sync(partial(_keep, self._path, model.vectors, made))
        return len(made)

    @property
    def _away(self) -> bool:
        return trio.current_time() < self._away_until

    def _failed(self, error: Exception) -> None:
        """Search by words for a while; whoever watches is told the first time."""
        self._away_until = trio.current_time() + AWAY_S
        if not self._told:
            self._told = True
            why = str(error) if isinstance(error, ModelError) else "No vectors came in time."
            self._emit(Said(f"library  {why} It is searched by words meanwhile"))


def _found(path: Path, query: str, k: int, meant: Meaning | None) -> list[Passage]:
    with opened(path) as shelf:
        return fitting(shelf, query, k, meant)


def _missing(path: Path, model: str) -> dict[int, str]:
    with opened(path) as shelf:
        return missing(shelf, model, AT_ONCE)


def _keep(path: Path, model: str, vectors: dict[int, Vector]) -> None:
    with opened(path, write=True) as shelf:
        keep(shelf, model, vectors)
