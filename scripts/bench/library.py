"""What a full library costs: adding, a search by words, a search by meaning, memory.

    PYTHONPATH=. python scripts/bench/library.py FOLDER [--passages 100000]

fills a new library in FOLDER with invented abstracts whose words are as frequent as in a language,
and with invented vectors of 768 numbers. What a model takes for them is not measured.
"""

import argparse
import random
import resource
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from node.literature.documents import Document
from node.literature.meaning import Meaning, by_meaning, keep, missing, vectors_of
from node.literature.reader import AT_ONCE
from node.literature.shelf import opened

WORDS = 20_000
WORDS_OF_ONE = 110
FILE = 1_000
"""Documents of one file."""

NUMBERS = 768
MODEL = "invented"


def abstracts(count: int) -> Iterator[Document]:
    """Texts of one passage each."""
    rng = random.Random(1)
    words = [f"word{number}" for number in range(WORDS)]
    weights = list(accumulate(1 / (place + 1) for place in range(WORDS)))
    for number in range(count):
        text = " ".join(rng.choices(words, cum_weights=weights, k=WORDS_OF_ONE))
        yield Document(title=f"Paper {number}", text=text[:790])


def invented(texts: Sequence[str]) -> list[list[float]]:
    """Vectors that follow from nothing."""
    rng = np.random.default_rng(len(texts[0]))
    found: list[list[float]] = rng.normal(size=(len(texts), NUMBERS)).tolist()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--passages", type=int, default=100_000)
    chosen = parser.parse_args()
    path = chosen.folder / "library.db"
    documents = list(abstracts(chosen.passages))
    with opened(path, write=True) as shelf:
        begun = time.perf_counter()
        for at in range(0, len(documents), FILE):
            shelf.add(f"/{at}.json", documents[at : at + FILE])
        print(f"added      {len(documents)} in {time.perf_counter() - begun:.1f} s")
        for query in ("word3 word4000 word17", "word3000 word9000"):
            begun = time.perf_counter()
            found = shelf.passages(query, 8)
            print(f"by words   {1000 * (time.perf_counter() - begun):.0f} ms, {len(found)} found")
        while todo := missing(shelf, MODEL, AT_ONCE):
            vectors = vectors_of(invented(list(todo.values())), len(todo), MODEL)
            keep(shelf, MODEL, dict(zip(todo, vectors, strict=True)))
        (wanted,) = vectors_of(invented(["what fits"]), 1, MODEL)
        begun = time.perf_counter()
        by_meaning(shelf, Meaning(MODEL, wanted), 8)
        print(f"by meaning {time.perf_counter() - begun:.2f} s")
    print(f"database   {path.stat().st_size / 2**20:.0f} MiB")
    print(f"memory     {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
