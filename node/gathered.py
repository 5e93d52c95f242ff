"""The evidence of the own task and tier in a running node, kept up record by record. Pure.

Verdicts are made when somebody asks, from everything that was taken in, and kept until there is
enough news. They are for decisions, which a little delay does not hurt; `skep why` reads the ledger
and is never behind. What a verdict is stands in `skep.evidence`.
"""

from skep.evidence import Evidence, Verdicts, verdict
from skep.ports import TaskFacts
from skep.records import Payload, Unknown

RUNS_MAX = 250_000
"""Runs that are kept in mind; beyond, the oldest that no claim rests on go. About 75 MB."""

SHED = 0.9
"""Part of them that is left then: shedding looks at all of them, so it must be seldom."""

NEWS = 100
"""Verdicts on so many claims may be one change behind, on twice as many two, and so on."""


class Gathered:
    """What all say of a task on one tier.

    Args:
        task: its facts.
        here: name of the tier.
        runs_max: see `RUNS_MAX`.
    """

    def __init__(self, task: TaskFacts, here: str, runs_max: int = RUNS_MAX) -> None:
        self._evidence = Evidence(task, here)
        self._runs_max = runs_max
        self._left = round(SHED * runs_max)
        self._taken = 0
        self._muted: frozenset[bytes] = frozenset()
        self._roots: frozenset[bytes] = frozenset()
        self._seen = 0
        self._verdicts: Verdicts | None = None

    def take(self, content_id: bytes, author: bytes, time: int, payload: Payload | Unknown) -> None:
        """Take in one record of the task, own or other; costs microseconds.

        Whoever fills more than a fair share with what cannot be shed is not listened to any more.
        """
        if author in self._muted:
            return
        self._evidence.take(content_id, author, time, payload)
        self._taken += 1
        if self._taken >= self._runs_max:
            self._muted = self._evidence.shed(self._left)
            self._taken = self._left

    def verdicts(self, roots: frozenset[bytes]) -> Verdicts:
        """The swarm's verdict on all claims, hardly behind what was taken in.

        Up to a hundred claims it is never behind. With thousands making it takes a good part of a
        second, and several records a second come in.

        Args:
            roots: identities that count without having earned it.
        """
        known = self._verdicts
        if known is not None and roots == self._roots:
            news = self._evidence.changes - self._seen
            if news <= len(known.claims) // NEWS:
                return known
        self._roots, self._seen = roots, self._evidence.changes
        self._verdicts = verdict(self._evidence, roots)
        return self._verdicts
