"""A language model whose imagination is a list: it deals ideas in an order that a seed decides.

It knows what it is asked for by the words of the shipped prompts, and nothing of who asks or why.
It is as sloppy as real ones: what it says need not fit the program that it was shown, lines are
misquoted, ideas come twice, and of a correction half are missing.

    with ollama_in_thread(Dreamer(replies, seed=1), [FOURTEEN]) as (url, server): ...
"""

import random
import re
from collections.abc import Sequence
from typing import Any

from tests.strategies.ollama_server import Has, Say

FOURTEEN = Has(
    name="dreamer:14b",
    size=9_000_000_000,
    parameters=14_770_033_664,
    words="14.8B",
    layers=48,
    heads=40,
    pairs=8,
    width=5120,
)
"""As large as a model must be to be asked for any edit."""

MISQUOTED, MENDED = 0.25, 0.5
FINDING = "FINDING: one run of it says little\nFOLLOW: the same with another rate"
WANTED = re.compile(r"Think of (\d+) different (ideas|hypotheses)")
FAULT = re.compile(r"^\d+\. (.+)$", re.MULTILINE)
SEARCH = re.compile(r"(<<<<<<< SEARCH\n)( *)(\S)")


class Dreamer:
    """Answers requests for a chat.

    Args:
        replies: ideas, each as a reply that holds it alone, beginning with `IDEA: `.
        seed: decides order and mistakes.
    """

    def __init__(self, replies: Sequence[str], seed: int) -> None:
        self._replies = {_hypothesis(one): one.strip() for one in replies}
        self._rng = random.Random(seed)
        self._deck: list[str] = []
        self.misquoted = 0
        """Ideas that were spoiled on purpose."""

    def __call__(self, asked: dict[str, Any]) -> Say:
        """The answer to one request."""
        said = asked["messages"][-1]["content"]
        found = WANTED.search(said)
        if found and found[2] == "ideas":
            return Say("\n\n".join(self._told(self._dealt()) for _ in range(int(found[1]))))
        if found:
            return Say("\n".join(self._hypothesis() for _ in range(int(found[1]))))
        if said.startswith("Of your answer"):
            return Say(self._mended(FAULT.findall(said)))
        return Say(FINDING if "FINDING:" in said else "NONE")

    def _dealt(self) -> str:
        """The next idea; all come once before any comes again."""
        if not self._deck:
            self._deck = list(self._replies)
            self._rng.shuffle(self._deck)
        return self._deck.pop()

    def _told(self, hypothesis: str) -> str:
        reply = self._replies[hypothesis]
        if self._rng.random() >= MISQUOTED:
            return reply
        self.misquoted += 1
        return SEARCH.sub(r"\1\2un\3", reply, count=1)

    def _hypothesis(self) -> str:
        return f"HYPOTHESIS: {self._dealt()[:200]} | EXPECT: {self._rng.uniform(0.5, 3):.1f}"

    def _mended(self, faults: Sequence[str]) -> str:
        """Of what it is reminded of, some ideas as they should have been."""
        known = [one for one in faults if one in self._replies]
        kept = [one for one in known if self._rng.random() < MENDED]
        return "\n\n".join(self._replies[one] for one in kept) or "NONE"


def _hypothesis(reply: str) -> str:
    return reply.strip().partition("\n")[0].removeprefix("IDEA: ")
