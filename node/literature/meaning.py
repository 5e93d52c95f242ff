"""Search by meaning, where somebody turns texts into vectors; put together with that by words.

Who that is, and when it is asked, is decided elsewhere: here vectors are kept, compared, and found
missing. They are 16-bit floats of length 1 beside the name of their model, and are gone through a
piece at a time: 100,000 of 768 numbers would be 150 MB at once.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from node.literature.shelf import Passage, Shelf
from skep.errors import ModelError

ROWS = 2048
RANK_OFFSET = 60
"""Of reciprocal rank fusion: how little the first places are worth more than the next ones.

From Cormack, Clarke and Büttcher, SIGIR 2009.
"""

DEEP = 5
"""So many times as many are looked at by each way as are returned."""

Vector = NDArray[np.float16]


class Meaning(Struct, frozen=True):
    """What a query means to a model.

    Attributes:
        model: name; vectors of different models are never compared.
        vector: the query's, of length 1.
    """

    model: str
    vector: Vector


def missing(shelf: Shelf, model: str, most: int) -> dict[int, str]:
    """Passages without a vector of a model, the oldest first: number, and the text to embed."""
    rows = shelf.connection.execute(
        "SELECT id, heading, text FROM passages WHERE NOT EXISTS"
        " (SELECT 1 FROM vectors WHERE passage = passages.id AND model = ?) ORDER BY id LIMIT ?",
        (model, most),
    )
    return {number: f"{heading}\n{text}" for number, heading, text in rows}


def keep(shelf: Shelf, model: str, vectors: Mapping[int, Vector]) -> None:
    """Store vectors of passages, by number; what was removed meanwhile is left out.

    Args:
        shelf: the library, open for writing.
        model: whose they are.
        vectors: at least one, all of one length.
    """
    (nbytes,) = {vector.nbytes for vector in vectors.values()}
    with shelf.connection:
        # A model that was exchanged under its name: what it said before is of no use.
        shelf.connection.execute(
            "DELETE FROM vectors WHERE model = ? AND length(vector) <> ?", (model, nbytes)
        )
        shelf.connection.executemany(
            "INSERT OR REPLACE INTO vectors (passage, model, vector) SELECT ?, ?, ?"
            " WHERE EXISTS (SELECT 1 FROM passages WHERE id = ?)",
            [(number, model, one.tobytes(), number) for number, one in vectors.items()],
        )


def by_meaning(shelf: Shelf, wanted: Meaning, k: int) -> list[int]:
    """Numbers of the passages whose vectors point most where the query's does (cosine)."""
    rows = shelf.connection.execute(
        "SELECT passage, vector FROM vectors WHERE model = ? AND length(vector) = ?",
        (wanted.model, wanted.vector.nbytes),
    )
    best: list[tuple[float, int]] = []
    while some := rows.fetchmany(ROWS):
        matrix = np.frombuffer(b"".join(vector for _, vector in some), np.float16)
        cosines = matrix.reshape(len(some), -1).astype(np.float32) @ wanted.vector.astype(
            np.float32
        )
        found = zip(cosines.tolist(), (-number for number, _ in some), strict=True)
        best = heapq.nlargest(k, [*best, *found])
    return [-number for _, number in best]


def fitting(shelf: Shelf, query: str, k: int, wanted: Meaning | None) -> list[Passage]:
    """The passages that fit a query best, by words and, where its meaning is known, by that.

    Args:
        shelf: the library.
        query: any text.
        k: how many at most.
        wanted: what the query means; None to search by words alone.
    """
    if wanted is None:
        return shelf.passages(query, k)
    words = [one.id for one in shelf.passages(query, DEEP * k)]
    return shelf.numbered(fused([words, by_meaning(shelf, wanted, DEEP * k)])[:k])


def fused(rankings: Iterable[Sequence[int]]) -> list[int]:
    """One ranking of several, by the sum of reciprocal ranks."""
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for place, number in enumerate(ranking, 1):
            scores[number] += 1 / (RANK_OFFSET + place)
    return sorted(scores, key=lambda number: (-scores[number], number))


def vectors_of(answer: Sequence[Sequence[float]], count: int, model: str) -> list[Vector]:
    """Vectors of length 1, as they are stored.

    Args:
        answer: what a model made of texts.
        count: how many texts.
        model: its name.

    Raises:
        ModelError: these are not as many vectors of one length, with a direction.
    """
    fits = len(answer) == count and len({len(one) for one in answer}) == 1 and answer[0]
    numbers = np.asarray(answer, np.float64) if fits else np.full((1, 1), np.nan)
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise ModelError(
            "rubbish",
            f"the embedding model {model} does not answer {count} texts with as many vectors",
            "Choose a model for embeddings, such as nomic-embed-text.",
        )
    return list((numbers / lengths).astype(np.float16))
