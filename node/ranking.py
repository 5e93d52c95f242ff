"""Ranks texts by the words of a query, as a full-text index would, for what is in memory. Pure.

bm25 with the usual constants; a word of three letters or more stands for all that begin with it,
in whatever case. What lies in files is searched by `node.literature.shelf`.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

K1 = 1.2
B = 0.75
STEM_MIN = 3
"""Letters of a word that stands for longer ones: `no` is not meant to find `node`."""

_WORD = re.compile(r"[^\W_]+")


def ranked(query: str, texts: Sequence[str]) -> list[int]:
    """Places of the texts that have any word of a query, the best first.

    Those with more of its words come first, then those in which they are rarer elsewhere and fill
    more of the text. All, in the order given, where the query has no words.
    """
    terms = list(dict.fromkeys(_words(query)))
    if not terms:
        return list(range(len(texts)))
    counted = [Counter(_words(text)) for text in texts]
    lengths = [words.total() for words in counted]
    usual = max(sum(lengths) / len(lengths), 1.0) if lengths else 1.0
    scores = [0.0] * len(texts)
    hits = [0] * len(texts)
    for term in terms:
        found = {
            place: count for place, words in enumerate(counted) if (count := _count(term, words))
        }
        rarity = math.log(1 + (len(texts) - len(found) + 0.5) / (len(found) + 0.5))
        for place, count in found.items():
            scale = K1 * (1 - B + B * lengths[place] / usual)
            scores[place] += rarity * count * (K1 + 1) / (count + scale)
            hits[place] += 1
    places = [place for place, count in enumerate(hits) if count]
    return sorted(places, key=lambda place: (-hits[place], -scores[place], place))


def _count(term: str, words: Counter[str]) -> int:
    if len(term) < STEM_MIN:
        return words[term]
    return sum(count for word, count in words.items() if word.startswith(term))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
