"""What all records say of the claims on one tier: who re-ran which, and with what result. Pure.

Here runs become *replications*: one identity's own comparison of a claim's program with the
claim's parent, or of another program with and without the claim's edit, on one machine and one
draw. Whose replications count, and what follows from them,
is `skep.evidence.verdict`'s. Every number here is the same in whatever order the records came.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from statistics import median

from msgspec import Struct

from skep.evidence.noise import Noise, swarm_noise
from skep.patch import change_of
from skep.ports import TaskFacts
from skep.records import MICRO, PINNED_DRAW, Claim, Payload, Rescore, Run, Score, Split, Unknown
from skep.tier import tier

REPLICATIONS_MAX = 6
"""Runs of a claim's program by one identity that count."""

PARENTS_MIN = 2
"""Runs of the claim's parent without which there is nothing to compare with."""

BASELINE = "baseline"


def replication_seed(claim: bytes, author: bytes, number: int) -> int:
    """Seed of an identity's run `number` (from 0) for a claim: nobody can choose a lucky one."""
    mixed = hashlib.sha256(claim + author + number.to_bytes(4, "big")).digest()
    return int.from_bytes(mixed[:4], "big")


class Replication(Struct, frozen=True, kw_only=True):
    """One identity's comparison of a claim's program with its parent.

    Attributes:
        author: public key of whose machine it was.
        parent: what the edit was made on: the claim's parent, or another program.
        difference: mean(child) - mean(parent), metric units; negative is better.
        children, parents: number of runs behind it.
        split: of the draw they were compared on.
        runs: record ids of the children, the first of them the earliest by seed number.
        time: milliseconds by its author's clock of the latest of them.
    """

    author: bytes
    parent: bytes
    difference: float
    children: int
    parents: int
    split: Split
    runs: tuple[bytes, ...]
    time: int


class Claimed(Struct, frozen=True, kw_only=True):
    """A claim, and everybody else's replication of it.

    Attributes:
        id: of the claim's record.
        author: public key of who claims.
        claim: what is claimed.
        effect: the author's number, metric units, negative is better; never evidence.
        time: milliseconds by the author's clock.
        replications: by identity; the author is none of them.
    """

    id: bytes
    author: bytes
    claim: Claim
    effect: float
    time: int
    replications: Mapping[bytes, Replication]


class _Child(Struct, frozen=True):
    """What matters of a run that names a claim; `change` is what its edits do to its parent."""

    id: bytes
    time: int
    program: bytes
    parent: bytes | None
    change: bytes
    seed: int
    scores: tuple[Score, ...]
    rescored: tuple[Rescore, ...]


class _Sums(Struct, frozen=True, gc=False):
    """Scores of one program by one author on the pinned draw: exact, whatever their order."""

    count: int
    total: int
    squares: int

    def plus(self, micro: int) -> "_Sums":
        return _Sums(self.count + 1, self.total + micro, self.squares + micro * micro)

    @property
    def deviations(self) -> float:
        """Sum of squared deviations from the mean, in micro-units squared."""
        return (self.squares * self.count - self.total * self.total) / self.count


class Evidence:
    """The claims of one task on one tier, kept up record by record.

    Args:
        task: its facts.
        here: name of the tier; runs of another are passed over.
    """

    def __init__(self, task: TaskFacts, here: str) -> None:
        self.task = task
        self.here = here
        self.sign = -1 if task.direction == "max" else 1
        self._claims: dict[bytes, tuple[bytes, int, Claim]] = {}
        self._claims_of: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._runs: defaultdict[bytes, dict[bytes, bytes]] = defaultdict(dict)
        """Program of every finished run, by author and record id."""
        self._baselines: defaultdict[tuple[bytes, bytes], dict[bytes, tuple[Score, ...]]]
        self._baselines = defaultdict(dict)
        self._children: defaultdict[bytes, defaultdict[bytes, dict[bytes, _Child]]]
        self._children = defaultdict(lambda: defaultdict(dict))
        self._sums: defaultdict[bytes, dict[bytes, _Sums | int]] = defaultdict(dict)
        """By author and program; of a program that ran once only its score."""
        self._changes: dict[bytes, bytes] = {}
        """What the edits of runs do that can be claimed, by record id."""
        self._found: dict[bytes, Claimed | None] = {}
        """What was made of each claim; whatever touches one drops it here."""
        self._replicated: set[bytes] = set()
        self.changes = 0
        """Grows with everything taken in that a verdict can depend on, which most runs are not."""

    def take(self, content_id: bytes, author: bytes, time: int, payload: Payload | Unknown) -> None:
        """Take in one record of the task."""
        if isinstance(payload, Claim):
            self._claims[content_id] = author, time, payload
            self._claims_of[payload.parent].add(content_id)
            self._claims_of[payload.run].add(content_id)
            self._found.pop(content_id, None)
            self.changes += 1
        elif isinstance(payload, Run) and self._counts(content_id, author, payload):
            self._take_run(content_id, author, time, payload)

    def _counts(self, content_id: bytes, author: bytes, run: Run) -> bool:
        return (
            run.status == "done"
            and bool(run.scores)
            and run.scored_by == self.task.scored_by
            and run.budget_ms == self.task.budget_ms
            and content_id not in self._runs.get(author, ())
            and tier(run.environment) == self.here
        )

    def _take_run(self, content_id: bytes, author: bytes, time: int, run: Run) -> None:
        # The claim that it is about, and those that this is the parent of or the author's own run.
        touched = {
            *self._claims_of.get(run.program, ()),
            *self._claims_of.get(content_id, ()),
            *([run.claim] if run.claim is not None else []),
        }
        for claim in touched:
            self._found.pop(claim, None)
        # The first run of a program that nobody claims says nothing of noise either.
        again = run.program in self._sums.get(author, ())
        first = author not in self._runs
        news = touched or again or first or run.strategy == BASELINE or not self.task.noise
        self.changes += bool(news)
        self._runs[author][content_id] = run.program
        if run.edits and run.claim is None and run.strategy != BASELINE:
            self._changes[content_id] = change_of(run.edits)
        for row in run.scores:
            if row.draw == PINNED_DRAW:
                self._add_pinned(author, run.program, row.micro)
        if run.strategy == BASELINE:
            self._baselines[author, run.program][content_id] = run.scores
        if run.claim is not None:
            self._children[run.claim][author][content_id] = _Child(
                content_id,
                time,
                run.program,
                run.parent,
                change_of(run.edits),
                run.seed,
                run.scores,
                run.rescored,
            )
            self._replicated.add(run.program)
            if run.parent is not None:
                self._claims_of[run.parent].add(run.claim)

    def _add_pinned(self, author: bytes, program: bytes, micro: int) -> None:
        known = self._sums[author].get(program)
        self._sums[author][program] = micro if known is None else _sums(known).plus(micro)

    def shed(self, most: int) -> frozenset[bytes]:
        """Forget the oldest runs of those who have most, until so many are left in all.

        Whatever a claim may rest on stays: runs of claimed programs and of their parents,
        baselines, replications.

        Args:
            most: runs, over all authors.

        Returns:
            authors who had so many of those that they still have more than their share.
        """
        fair = _fair_share([len(runs) for runs in self._runs.values()], most)
        for author, runs in self._runs.items():
            spare = [one for one, program in runs.items() if self._is_spare(author, one, program)]
            for content_id in spare[: max(len(runs) - fair, 0)]:
                self._sums.get(author, {}).pop(runs.pop(content_id), None)
                self._changes.pop(content_id, None)
        return frozenset(author for author, runs in self._runs.items() if len(runs) > fair)

    def _is_spare(self, author: bytes, content_id: bytes, program: bytes) -> bool:
        """Whether neither a claim nor the noise floor knows of a run, and of its program."""
        sums = self._sums.get(author, {}).get(program)
        return not (
            isinstance(sums, _Sums)
            or content_id in self._claims_of
            or program in self._claims_of
            or (author, program) in self._baselines
            or program in self._replicated
        )

    @property
    def authors(self) -> Collection[bytes]:
        """Everybody with a finished run on this tier."""
        return self._sums.keys()

    def noise(self, authors: Collection[bytes]) -> Noise:
        """Noise floor of the tier: within (author, program), over these authors' runs."""
        voices = []
        for author in sorted(authors):
            repeated = [
                one for one in self._sums.get(author, {}).values() if isinstance(one, _Sums)
            ]
            squares = math.fsum(one.deviations for one in repeated) / MICRO**2
            voices.append((squares, float(sum(one.count - 1 for one in repeated))))
        return swarm_noise(voices, max(self._prior(authors), 1 / MICRO))

    def _prior(self, authors: Collection[bytes]) -> float:
        """The pack's noise floor: its own number, or a part of what programs usually score here."""
        if self.task.noise:
            return self.task.noise
        start = hashlib.sha256(self.task.seed_program.encode()).digest()
        for only in (start, None):
            levels = [
                sum(one.total for one in found) / sum(one.count for one in found) / MICRO
                for author in authors
                if (
                    found := [
                        _sums(known)
                        for program, known in self._sums.get(author, {}).items()
                        if only is None or program == only
                    ]
                )
            ]
            if levels:
                return self.task.sigma * abs(median(levels))
        return 0.0

    def adoptions(self, claim: Claimed) -> list[Replication]:
        """Comparisons by those who took a claim's program for their champion: runs made afterwards.

        Only baselines of program and parent, on the draw that all runs are scored on: nothing was
        selected by them.
        """
        return [
            Replication(
                author=author,
                parent=claim.claim.parent,
                difference=self.sign * (_mean(children) - _mean(parents)) / MICRO,
                children=len(children),
                parents=len(parents),
                split="dev",
                runs=tuple(sorted(self._baselines[author, claim.claim.program])),
                time=0,
            )
            for author in sorted(self._sums)
            if author != claim.author
            and len(children := self._pinned(author, claim.claim.program)) >= PARENTS_MIN
            and len(parents := self._pinned(author, claim.claim.parent)) >= PARENTS_MIN
        ]

    def _pinned(self, author: bytes, program: bytes) -> list[int]:
        """Micro-units of an author's baselines of a program on the pinned draw."""
        runs = self._baselines.get((author, program), {}).values()
        return [row.micro for scores in runs for row in scores if row.draw == PINNED_DRAW]

    def claim(self, content_id: bytes) -> Claimed | None:
        """One claim with its replications; None if it is not (yet) known to be of this tier."""
        if content_id not in self._found:
            self._found[content_id] = self._find(content_id)
        return self._found[content_id]

    def claims(self) -> Iterator[Claimed]:
        """All claims of this tier, in no order."""
        for content_id in self._claims:
            found = self.claim(content_id)
            if found is not None:
                yield found

    def _find(self, content_id: bytes) -> Claimed | None:
        known = self._claims.get(content_id)
        if known is None:
            return None
        author, time, claim = known
        if self._runs.get(author, {}).get(claim.run) != claim.program:
            return None
        found = {
            other: replication
            for other, children in self._children.get(content_id, {}).items()
            if other != author
            and (replication := self._replication(content_id, claim, other, children))
        }
        return Claimed(
            id=content_id,
            author=author,
            claim=claim,
            effect=self.sign * claim.effect / MICRO,
            time=time,
            replications=found,
        )

    def _replication(
        self, claim_id: bytes, claim: Claim, author: bytes, children: Mapping[bytes, _Child]
    ) -> Replication | None:
        """An identity's comparison: of the claimed programs, or of the same change elsewhere.

        Where it made several, on one parent after the other, the one with most runs counts.
        """
        change = self._changes.get(claim.run)
        based: defaultdict[bytes, list[_Child]] = defaultdict(list)
        for _, child in sorted(children.items()):
            if child.program == claim.program:
                based[claim.parent].append(child)
            elif child.parent is not None and child.change == change:
                based[child.parent].append(child)
        made = [
            self._comparison(author, base, _numbered(claim_id, author, runs))
            for base, runs in based.items()
        ]
        return min(
            (one for one in made if one is not None),
            key=lambda one: (-one.children, -one.parents, one.runs),
            default=None,
        )

    def _comparison(self, author: bytes, base: bytes, numbered: list[_Child]) -> Replication | None:
        draw = _shared_draw(numbered)
        if draw is None:
            return None
        scored = [
            (child, row.micro)
            for child in numbered
            for row in child.scores
            if (row.draw, row.split) == draw
        ]
        parents = self._parents(author, base, draw, numbered)
        if len(parents) < PARENTS_MIN:
            return None
        mean_child = _mean([micro for _, micro in scored])
        mean_parent = _mean(list(parents.values()))
        return Replication(
            author=author,
            parent=base,
            difference=self.sign * (mean_child - mean_parent) / MICRO,
            children=len(scored),
            parents=len(parents),
            split=draw[1],
            runs=tuple(child.id for child, _ in scored),
            time=max(child.time for child, _ in scored),
        )

    def _parents(
        self, author: bytes, parent: bytes, draw: tuple[int, Split], children: list[_Child]
    ) -> dict[bytes, int]:
        """Micro-units of the author's runs of the parent on a draw, by record id."""
        found = {
            content_id: row.micro
            for content_id, scores in self._baselines.get((author, parent), {}).items()
            for row in scores
            if (row.draw, row.split) == draw
        }
        runs = self._runs.get(author, {})
        for child in children:
            for old in child.rescored:
                known = runs.get(old.run) == parent
                if known and (old.draw, old.split) == draw:
                    found[old.run] = old.micro
        return found


def _numbered(claim_id: bytes, author: bytes, children: Iterable[_Child]) -> list[_Child]:
    """The runs with the seeds they have to have, one for each, in the order of the seeds."""
    by_seed: dict[int, _Child] = {}
    for child in children:
        by_seed.setdefault(child.seed, child)
    seeds = (replication_seed(claim_id, author, i) for i in range(REPLICATIONS_MAX))
    return [by_seed[seed] for seed in seeds if seed in by_seed]


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)


def _fair_share(counts: list[int], most: int) -> int:
    """The largest number to which each can be cut so that no more than `most` are left in all."""
    left, many = most, len(counts)
    for count in sorted(counts):
        if count * many > left:
            return left // many
        left, many = left - count, many - 1
    return max(counts, default=0)


def _sums(known: _Sums | int) -> _Sums:
    return known if isinstance(known, _Sums) else _Sums(1, known, known * known)


def _shared_draw(children: list[_Child]) -> tuple[int, Split] | None:
    """The draw that most of these runs were scored on; of several the first, held out before dev.

    The pinned draw is none, unless there is no other: programs that score themselves know only it.
    """
    counts: dict[tuple[int, Split], int] = {}
    for child in children:
        for row in child.scores:
            counts[row.draw, row.split] = counts.get((row.draw, row.split), 0) + 1
    fresh = [draw for draw in counts if draw[0] != PINNED_DRAW] or list(counts)
    return min(fresh, key=lambda draw: (draw[1] != "heldout", -counts[draw]), default=None)
