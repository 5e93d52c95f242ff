"""Which of some short texts mean most like a query, by a model of vectors. For commands.

Vectors that were made once are kept in a file, by the model and by what the text says, so that only
what is new costs time. What a node searches while it runs is in `node.literature.reader`.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import trio

from node.home import replacing
from node.literature.meaning import fused, vectors_of
from skep.errors import HomeError, ModelError
from skep.model import Model

AT_ONCE = 64
NEW_MAX = 512
"""Texts that are embedded for one query; of more the rest is found by words until next time."""

KEPT_MAX = 20_000
DEEP = 40
"""So many of what means most like a query are looked at; everything resembles all a little."""

WAIT_S = 60.0

Kept = dict[bytes, bytes]


async def ordered(
    query: str, texts: Sequence[str], by_words: Sequence[int], model: Model, cache: Path
) -> list[int]:
    """Places of the texts that fit a query, by words and by meaning together, best first.

    Args:
        query: any text.
        texts: what is searched.
        by_words: places of those that have words of the query, best first.
        model: makes the vectors.
        cache: folder in which they are kept.

    Raises:
        ModelError: it makes none, or there was no answer in time.
    """
    if model.vectors is None:
        raise ModelError("absent", f"{model.name} has no model of vectors beside it", "")
    name = hashlib.sha256(model.vectors.encode()).hexdigest()[:16]
    path = cache / f"vectors-{name}.msgpack"
    kept = await trio.to_thread.run_sync(_read, path)
    keys = [hashlib.sha256(text.encode()).digest()[:16] for text in (query, *texts)]
    new = {key: text for key, text in zip(keys, (query, *texts), strict=True) if key not in kept}
    new = dict(list(new.items())[:NEW_MAX])
    try:
        with trio.fail_after(WAIT_S):
            await _embed(new, model, kept)
    except trio.TooSlowError:
        raise ModelError("slow", f"{model.vectors} made no vectors in time", "") from None
    if new:
        last = dict(list(kept.items())[-KEPT_MAX:])
        await trio.to_thread.run_sync(_keep, path, last)
    return fused([by_words, _nearest(kept, keys[0], keys[1:])])


async def _embed(new: dict[bytes, str], model: Model, kept: Kept) -> None:
    assert model.vectors is not None  # noqa: S101
    waiting = list(new.items())
    while waiting:
        some, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        answer = await model.embed([text for _, text in some]) or ()
        vectors = vectors_of(answer, len(some), model.vectors)
        kept.update((key, one.tobytes()) for (key, _), one in zip(some, vectors, strict=True))


def _nearest(kept: Kept, query: bytes, keys: Sequence[bytes]) -> list[int]:
    """Places of what points most where the query does (cosine), at most `DEEP`."""
    wanted = kept[query]
    places = [place for place, key in enumerate(keys) if len(kept.get(key, b"")) == len(wanted)]
    if not places:
        return []
    rows = np.frombuffer(b"".join(kept[keys[place]] for place in places), np.float16)
    one = np.frombuffer(wanted, np.float16).astype(np.float32)
    cosines = rows.reshape(len(places), -1).astype(np.float32) @ one
    return [places[row] for row in np.argsort(-cosines, kind="stable")[:DEEP]]


def _read(path: Path) -> Kept:
    """What is kept; nothing where there is none, or it does not read back."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return {}


def _keep(path: Path, kept: Kept) -> None:
    """Write what is kept; where that cannot be, it is made again next time."""
    with suppress(HomeError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(msgspec.msgpack.encode(kept))
