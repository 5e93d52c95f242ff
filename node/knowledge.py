"""What the swarm's runs say of each kind of edit: does it help, how surely, on which tier. Pure.

Every run that was compared with its parent counts, whoever made it and whatever became of it: what
did not help is knowledge, too. Edits are put together by what they change: one constant, or
several, and which way; code by its author's words. None of it is a verdict: those are
`skep.evidence`'s, and are shown beside it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import NormalDist, fmean
from typing import Literal

from msgspec import Struct, field

from node.history import written
from node.ranking import ranked
from skep.evidence import Evidence, verdict
from skep.evidence.claims import BASELINE
from skep.evidence.evalue import variance_of
from skep.evidence.research import comparison_draw
from skep.evidence.verdict import State
from skep.ports import TaskFacts
from skep.records import (
    MICRO,
    PINNED_DRAW,
    Claim,
    Note,
    Payload,
    Run,
    SetConstant,
    Split,
    Unknown,
)
from skep.tier import tier

SURE = 0.95
NAMED_MAX = 4
"""Constants of one edit that are named; an edit of more is a topic of its own."""

Belief = Literal["helps", "hurts", "unclear"]


class Known(Struct, frozen=True, kw_only=True):
    """One kind of edit on one tier.

    Attributes:
        topic: what is changed, e.g. `LR up`.
        tier: hardware tier.
        belief: whether it helps.
        chance: probability that it does, 0 to 1.
        effect: mean of its effects, drawn towards zero, in sigma; negative is better.
        error: its standard deviation, in sigma.
        measured: the same as it was measured.
        programs, runs, authors: how many were compared.
        best: content id of the program that did best.
        verdicts: how many of its claims are open, confirmed, refuted, overturned.
        notes: what authors said of it, the latest first, none twice.
    """

    topic: str
    tier: str
    belief: Belief
    chance: float
    effect: float
    error: float
    measured: float
    programs: int
    runs: int
    authors: int
    best: bytes
    verdicts: Mapping[State, int]
    notes: tuple[str, ...]


class Tried(Struct, frozen=True, kw_only=True):
    """What became of one program on one tier.

    Attributes:
        program: content id.
        topic, tier: see `Known`.
        notes: hypotheses, findings and reasons of crashes, the latest first, none twice.
        runs, failed: how many finished, and how many did not.
        authors: who ran it.
        measured: mean of its comparisons with its parent, in sigma; None without any.
        states: of the claims about it.
    """

    program: bytes
    topic: str
    tier: str
    notes: tuple[str, ...]
    runs: int
    failed: int
    authors: tuple[bytes, ...]
    measured: float | None
    states: tuple[State, ...]

    @property
    def words(self) -> str:
        """What a search looks at."""
        return " ".join((self.topic, self.tier, *self.states, *self.notes))


class _Attempts(Struct):
    """Runs of a program on a tier."""

    done: int = 0
    failed: int = 0
    authors: set[bytes] = field(default_factory=set)


class _Compared(Struct, frozen=True):
    """One run against its parent: difference in units of the metric, and the parent's runs."""

    difference: float
    parents: int


class _Child(Struct, frozen=True):
    """A finished run that has a parent: where it stands, and its score on its own draw."""

    topic: str
    tier: str
    author: bytes
    program: bytes
    parent: bytes
    draw: tuple[int, Split]
    micro: int


Text = Callable[[bytes], str | None]
Spoken = tuple[bytes, bytes, int, Payload | Unknown]
"""Record id, author, time and payload."""


class Knowledge:
    """Everything that is said of a task, taken in record by record.

    Args:
        task: its facts.
        roots: whose replications count for the verdicts.
        text: of a program; None where it is not known.
    """

    def __init__(self, task: TaskFacts, roots: frozenset[bytes], text: Text) -> None:
        self._task = task
        self._text = text
        self._roots = roots
        self._sign = -1 if task.direction == "max" else 1
        self._evidence: dict[str, Evidence] = {}
        self._children: list[_Child] = []
        self._values: defaultdict[tuple[bytes, int, Split], dict[bytes, int]] = defaultdict(dict)
        """Micro-units of an author's runs on a draw, by record id."""
        self._programs: dict[bytes, bytes] = {}
        self._topics: dict[bytes, str] = {}
        self._notes: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._claims: list[Spoken] = []
        self._attempts: dict[tuple[bytes, str], _Attempts] = {}
        self._said: defaultdict[bytes, dict[str, None]] = defaultdict(dict)
        """What was said of a program."""

    def take(self, spoken: Spoken) -> None:
        """Take in one record of the task."""
        content_id, author, _, payload = spoken
        if isinstance(payload, Claim):
            self._claims.append(spoken)
            self._note(payload.program, payload.note)
        if isinstance(payload, Note) and payload.about is not None:
            self._note(payload.about, payload.text)
        if not isinstance(payload, Run):
            return
        here = tier(payload.environment)
        self._evidence.setdefault(here, Evidence(self._task, here)).take(*spoken)
        self._take_attempt(author, here, payload)
        if payload.status == "done" and payload.scores:
            self._take_run(content_id, author, here, payload)

    def _take_attempt(self, author: bytes, here: str, run: Run) -> None:
        if run.parent is None or run.parent == run.program or run.strategy == BASELINE:
            return
        if run.program not in self._topics:
            self._topics[run.program] = topic_of(run, self._text)
        self._note(run.program, run.note)
        attempts = self._attempts.setdefault((run.program, here), _Attempts())
        attempts.authors.add(author)
        attempts.done += run.status == "done"
        attempts.failed += run.status not in ("done", "void")

    def _note(self, program: bytes, text: str) -> None:
        if text:
            self._said[program].pop(text, None)
            self._said[program][text] = None

    def _take_run(self, content_id: bytes, author: bytes, here: str, run: Run) -> None:
        self._programs[content_id] = run.program
        for row in run.scores:
            self._values[author, row.draw, row.split][content_id] = row.micro
        for old in run.rescored:
            self._values[author, old.draw, old.split][old.run] = old.micro
        if run.parent is None or run.parent == run.program or run.strategy == BASELINE:
            return
        topic, draw = self._topics[run.program], comparison_draw(run)
        if draw[0] == PINNED_DRAW and self._task.scored_by == "harness":
            return  # Programs were picked by it.
        own = next(row.micro for row in run.scores if (row.draw, row.split) == draw)
        self._children.append(_Child(topic, here, author, run.program, run.parent, draw, own))
        if run.note:
            self._notes[topic].pop(run.note, None)
            self._notes[topic][run.note] = None

    def _compared(self) -> dict[tuple[str, str], dict[tuple[bytes, bytes], list[_Compared]]]:
        """Every run against its parent's on the same draw: by topic and tier, author and program.

        The parent's part may stand in another record than the child's.
        """
        found: defaultdict[tuple[str, str], dict[tuple[bytes, bytes], list[_Compared]]]
        found = defaultdict(lambda: defaultdict(list))
        sums: defaultdict[tuple[bytes, int, Split], Counter[bytes]] = defaultdict(Counter)
        counts: defaultdict[tuple[bytes, int, Split], Counter[bytes]] = defaultdict(Counter)
        for place, values in self._values.items():
            for run, micro in values.items():
                if program := self._programs.get(run):
                    sums[place][program] += micro
                    counts[place][program] += 1
        for child in self._children:
            place = (child.author, *child.draw)
            if parents := counts[place][child.parent]:
                mean = sums[place][child.parent] / parents
                one = _Compared(self._sign * (child.micro - mean) / MICRO, parents)
                found[child.topic, child.tier][child.author, child.program].append(one)
        return found

    def known(self) -> list[Known]:
        """All kinds of edits, what helps most surely first."""
        states: defaultdict[tuple[str, str], Counter[State]] = defaultdict(Counter)
        for (program, here), found in self._states().items():
            topic = self._topics.get(program)
            if topic is not None:
                states[topic, here].update(found)
        sigmas = self._sigmas()
        rows = [
            self._row(topic, here, sigmas[here], one, states[topic, here])
            for (topic, here), one in self._compared().items()
        ]
        return sorted(rows, key=lambda one: (-one.chance, one.topic, one.tier))

    def _states(self) -> dict[tuple[bytes, str], list[State]]:
        """Verdicts on claims by program and tier."""
        found: defaultdict[tuple[bytes, str], list[State]] = defaultdict(list)
        for here, evidence in self._evidence.items():
            for spoken in self._claims:
                evidence.take(*spoken)
            for judged in verdict(evidence, self._roots).claims.values():
                found[judged.claim.claim.program, here].append(judged.state)
        return found

    def _sigmas(self) -> dict[str, float]:
        return {here: one.noise(one.authors).sigma for here, one in self._evidence.items()}

    def tried(self) -> list[Tried]:
        """Every program that somebody tried, the latest first."""
        states, sigmas = self._states(), self._sigmas()
        differences: defaultdict[tuple[bytes, str], list[float]] = defaultdict(list)
        for (_, here), compared in self._compared().items():
            for (_, program), runs in compared.items():
                differences[program, here] += [one.difference / sigmas[here] for one in runs]
        return [
            Tried(
                program=program,
                topic=self._topics[program],
                tier=here,
                notes=tuple(reversed(self._said[program])),
                runs=attempts.done,
                failed=attempts.failed,
                authors=tuple(sorted(attempts.authors)),
                measured=fmean(found) if (found := differences[program, here]) else None,
                states=tuple(sorted(states.get((program, here), ()))),
            )
            for (program, here), attempts in reversed(self._attempts.items())
        ]

    def _row(
        self,
        topic: str,
        here: str,
        sigma: float,
        compared: Mapping[tuple[bytes, bytes], Sequence[_Compared]],
        states: Mapping[State, int],
    ) -> Known:
        effects = {
            key: (
                sum(one.difference for one in runs) / len(runs),
                variance_of(sigma, children=len(runs), parents=max(one.parents for one in runs)),
            )
            for key, runs in compared.items()
        }
        measured, variance = pooled(list(effects.values()))
        # As much is believed beforehand as one effect of a sigma would tell.
        shrink = sigma * sigma / (sigma * sigma + variance)
        spread = math.sqrt(shrink * variance)
        chance = NormalDist().cdf(-measured * shrink / spread)
        best = min(effects, key=lambda key: effects[key])
        return Known(
            topic=topic,
            tier=here,
            belief="helps" if chance >= SURE else "hurts" if chance <= 1 - SURE else "unclear",
            chance=chance,
            effect=measured * shrink / sigma,
            error=spread / sigma,
            measured=measured / sigma,
            programs=len({program for _, program in compared}),
            runs=sum(len(runs) for runs in compared.values()),
            authors=len({author for author, _ in compared}),
            best=best[1],
            verdicts=dict(states),
            notes=tuple(reversed(self._notes[topic])),
        )


def pooled(effects: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean of effects that need not be equal, and its variance (DerSimonian and Laird).

    Args:
        effects: each measured, with its variance; at least one.
    """
    weights = [1 / variance for _, variance in effects]
    mean = sum(w * effect for w, (effect, _) in zip(weights, effects, strict=True)) / sum(weights)
    spread = sum(w * (effect - mean) ** 2 for w, (effect, _) in zip(weights, effects, strict=True))
    scale = sum(weights) - sum(w * w for w in weights) / sum(weights)
    between = max(spread - (len(effects) - 1), 0.0) / scale if scale > 0.0 else 0.0
    weights = [1 / (variance + between) for _, variance in effects]
    mean = sum(w * effect for w, (effect, _) in zip(weights, effects, strict=True)) / sum(weights)
    return mean, 1 / sum(weights)


def words_of(known: Known) -> str:
    """What a topic is searched by: topic, notes and tier."""
    return " ".join((known.topic, known.tier, *known.notes))


def matching(known: Iterable[Known], query: str) -> list[Known]:
    """Those that have any word of a query in topic, notes or tier, what fits best first."""
    rows = list(known)
    return [rows[place] for place in ranked(query, [words_of(one) for one in rows])]


def experiments_about(tried: Iterable[Tried], query: str) -> list[Tried]:
    """Those that have any word of a query in what was said of them, what fits best first."""
    rows = list(tried)
    return [rows[place] for place in ranked(query, [one.words for one in rows])]


def topic_of(run: Run, text: Text) -> str:
    """What an edit is about: `LR up`, `DEPTH down, WIDTH up`, or what its author says of it."""
    settings = [edit for edit in run.edits if isinstance(edit, SetConstant)]
    if settings and len(settings) == len(run.edits) and len(settings) <= NAMED_MAX:
        parent = (text(run.parent) if run.parent else None) or ""
        return ", ".join(sorted(_moved(edit, parent) for edit in settings))
    return run.note or f"program {run.program.hex()[:8]}"


def _moved(edit: SetConstant, parent: str) -> str:
    """`LR up`; only the name where the value before is not known, or is no single number."""
    try:
        before = float(written(edit.name.rpartition(".")[2], parent) or "")
    except ValueError:
        return edit.name
    if isinstance(edit.value, tuple) or edit.value == before:
        return edit.name
    return f"{edit.name} {'up' if edit.value > before else 'down'}"
