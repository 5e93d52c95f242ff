"""Search by meaning, where somebody turns texts into vectors; put together with that by words.

Who that is, is not decided here: a function is given. Vectors are kept as 16-bit floats of length 1
beside the name of their model, and are gone through a piece at a time: 100,000 of 768 numbers
would be 150 MB at once.
"""

import heapq
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from node.literature.shelf import Passage, Shelf
from skep.errors import SkepError

AT_ONCE = 32
"""Passages that are turned into vectors by one call."""

ROWS = 2048
RANK_OFFSET = 60
"""Of reciprocal rank fusion: how little the first places are worth more than the next ones.

From Cormack, Clarke and Büttcher, SIGIR 2009.
"""

DEEP = 5
"""So many times as many are looked at by each way as are returned."""

Embed = Callable[[Sequence[str]], Awaitable[list[list[float]]]]
"""Turns texts into vectors, as many as there are texts, all of one length."""


class Embedder(Struct, frozen=True):
    """Who turns texts into vectors.

    Attributes:
        model: name; vectors of different models are never compared.
        embed: does it.
    """

    model: str
    embed: Embed


async def embed_missing(
    shelf: Shelf, embedder: Embedder, tell: Callable[[int, int], None] = lambda done, of: None
) -> int:
    """Give every passage that has none its vector; how many that were.

    What was done stays if it is broken off.

    Args:
        shelf: the library, open for writing.
        embedder: who does it.
        tell: called with how many are done, and of how many.

    Raises:
        SkepError: the model answers with something else than was asked for.
    """
    todo = shelf.connection.execute(
        "SELECT id, heading, text FROM passages WHERE NOT EXISTS"
        " (SELECT 1 FROM vectors WHERE passage = passages.id AND model = ?) ORDER BY id",
        (embedder.model,),
    ).fetchall()
    for done in range(0, len(todo), AT_ONCE):
        tell(done, len(todo))
        some = todo[done : done + AT_ONCE]
        vectors = await _vectors(embedder, [f"{heading}\n{text}" for _, heading, text in some])
        with shelf.connection:
            # A model that was exchanged under its name: what it said before is of no use.
            shelf.connection.execute(
                "DELETE FROM vectors WHERE model = ? AND length(vector) <> ?",
                (embedder.model, vectors[0].nbytes),
            )
            shelf.connection.executemany(
                "INSERT OR REPLACE INTO vectors (passage, model, vector) SELECT ?, ?, ?"
                " WHERE EXISTS (SELECT 1 FROM passages WHERE id = ?)",
                [
                    (number, embedder.model, vector.tobytes(), number)
                    for (number, _, _), vector in zip(some, vectors, strict=True)
                ],
            )
    tell(len(todo), len(todo))
    return len(todo)


async def by_meaning(shelf: Shelf, query: str, k: int, embedder: Embedder) -> list[int]:
    """Numbers of the passages whose vectors point most where the query's does (cosine).

    Raises:
        SkepError: the model answers with something else than was asked for.
    """
    (wanted,) = await _vectors(embedder, [query])
    rows = shelf.connection.execute(
        "SELECT passage, vector FROM vectors WHERE model = ? AND length(vector) = ?",
        (embedder.model, wanted.nbytes),
    )
    best: list[tuple[float, int]] = []
    while some := rows.fetchmany(ROWS):
        matrix = np.frombuffer(b"".join(vector for _, vector in some), np.float16)
        cosines = matrix.reshape(len(some), -1).astype(np.float32) @ wanted.astype(np.float32)
        found = zip(cosines.tolist(), (-number for number, _ in some), strict=True)
        best = heapq.nlargest(k, [*best, *found])
    return [-number for _, number in best]


async def fitting(shelf: Shelf, query: str, k: int, embedder: Embedder | None) -> list[Passage]:
    """The passages that fit a query best, by words and, with an embedder, by meaning.

    Args:
        shelf: the library.
        query: any text.
        k: how many at most.
        embedder: None to search by words alone.

    Raises:
        SkepError: the model answers with something else than was asked for.
    """
    if embedder is None or not query.strip():
        return shelf.passages(query, k)
    words = [one.id for one in shelf.passages(query, DEEP * k)]
    meaning = await by_meaning(shelf, query, DEEP * k, embedder)
    return shelf.numbered(fused([words, meaning])[:k])


def fused(rankings: Iterable[Sequence[int]]) -> list[int]:
    """One ranking of several, by the sum of reciprocal ranks."""
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for place, number in enumerate(ranking, 1):
            scores[number] += 1 / (RANK_OFFSET + place)
    return sorted(scores, key=lambda number: (-scores[number], number))


async def _vectors(embedder: Embedder, texts: Sequence[str]) -> list[NDArray[np.float16]]:
    """Vectors of length 1 as they are stored."""
    answer = await embedder.embed(texts)
    fits = len(answer) == len(texts) and len({len(one) for one in answer}) == 1 and answer[0]
    numbers = np.asarray(answer, np.float64) if fits else np.full((1, 1), np.nan)
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise SkepError(
            f"the embedding model {embedder.model} does not answer {len(texts)} texts with as"
            " many vectors",
            "Choose a model for embeddings, such as nomic-embed-text",
        )
    return list((numbers / lengths).astype(np.float16))
