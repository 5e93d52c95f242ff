"""The rule of one machine: what a node's own runs support, as a pure fold over them.

The fold reads runs in feed order and needs nothing else: champion, candidates, noise and the
list of what was kept come out the same after every restart. Nothing here says what to run next
(`node.plan` does) and nothing here ever says "confirmed": that word belongs to the swarm.

A candidate's life: its first finished run is the *screen*; at one sigma better than its parent it
is *open* and gets fresh seeds; those re-runs alone, against runs of the champion on the same
draw, are its evidence. The screen itself is never evidence for it, because it was selected. What a
peer offers has no screen: the peer's runs selected it and none here did, so that its first run here
is evidence already. Once a program is champion its screen is one more of its runs: selected for
luck, it makes the champion harder to beat. Ablations have bounds of their own
(`skep.evidence.rules`) and count by themselves.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from skep.evidence.noise import Noise, noise_from
from skep.evidence.rules import BASELINES_MIN as BASELINES_MIN
from skep.evidence.rules import LOG_E_MAX, SCREEN_SIGMA, best_e, rule_of
from skep.ports import ABLATE, FOREIGN, Direction
from skep.records import MICRO, PINNED_DRAW, Run, Split

E_DROP = 0.1
VOIDS_MAX = 2
FALLS_AFTER = 3
"""Failures in a row after which a program that was kept is no longer the champion."""

Stage = Literal["screening", "open", "kept", "discarded", "failed"]
SETTLED: frozenset[Stage] = frozenset({"kept", "discarded", "failed"})


class Kept(Struct, frozen=True, kw_only=True):
    """One kept program, with the numbers that decided.

    Attributes:
        effect: mean(child) - mean(champion of the time), metric units, negative = better.
        spread: standard deviation of `effect`.
        e: its e-value.
        reruns, baselines: number of runs on either side.
        run: record id of the run that completed the evidence.
        strategy: who proposed it.
    """

    program: bytes
    parent: bytes
    strategy: str
    effect: float
    spread: float
    e: float
    reruns: int
    baselines: int
    run: bytes


class Candidate(Struct, frozen=True, kw_only=True):
    """Where a proposed program stands.

    Attributes:
        delta: screen minus parent, metric units, negative = better; None without a screen.
        effect, e: from re-runs alone; None before the first comparison.
        reruns: finished re-runs; of an offer all finished runs.
        draw, split: validation draw of the re-runs, fixed by the first of them.
        missing: champion runs that still have to be made or re-scored before the next verdict.
        reason: the verdict's numbers in one clause.
    """

    program: bytes
    parent: bytes
    strategy: str
    stage: Stage = "screening"
    delta: float | None = None
    effect: float | None = None
    e: float | None = None
    reruns: int = 0
    draw: int | None = None
    split: Split = "dev"
    missing: int = 0
    reason: str = ""


class Research(Struct, frozen=True, kw_only=True):
    """What one node knows from its own runs of one task on one tier.

    Attributes:
        start: program the search began with.
        champion: program it builds on now.
        kept: accepted changes, oldest first.
        candidates: every program ever proposed, by content id, in order of first appearance.
        baselines: record ids of the champion's runs that comparisons may use.
        noise: the noise floor.
        judged: number of candidates with a verdict (kept, discarded or failed).
        reopened: number of edits whose screen sent them to re-runs, and of offers that were tried
            (K of the keep rule).
    """

    start: bytes
    champion: bytes
    kept: tuple[Kept, ...]
    candidates: Mapping[bytes, Candidate]
    baselines: tuple[bytes, ...]
    noise: Noise
    judged: int
    reopened: int

    def threshold(self, strategy: str) -> float:
        """The e-value at which a candidate of a strategy would be kept now."""
        return rule_of(strategy).threshold(self.reopened, edits_of(self.kept))


def research(
    runs: Iterable[tuple[bytes, Run]],
    *,
    start: bytes,
    direction: Direction,
    sigma_prior: float,
    noise_prior: float | None = None,
) -> Research:
    """Fold own runs, in feed order, into what they support.

    Args:
        runs: (record id, run) of one author, task and tier.
        start: content id of the program the search starts from.
        direction: of the metric.
        sigma_prior: the task pack's noise floor as a fraction of the start program's score.
        noise_prior: the same in units of the metric, for metrics that may be near zero.
    """
    fold = Fold(start=start, direction=direction, sigma_prior=sigma_prior, noise_prior=noise_prior)
    for run_id, run in runs:
        fold.add(run_id, run)
    return fold.snapshot()


def comparison_draw(run: Run) -> tuple[int, Split]:
    """The draw a run is compared on: its first fresh one.

    Programs that score themselves know only the pinned draw; there, that one has to do.
    """
    for score in run.scores:
        if score.draw != PINNED_DRAW:
            return score.draw, score.split
    return PINNED_DRAW, "dev"


class Fold:
    """`research` one run at a time, for a node that goes on; arguments as there."""

    def __init__(
        self,
        *,
        start: bytes,
        direction: Direction,
        sigma_prior: float,
        noise_prior: float | None = None,
    ) -> None:
        self.start = self.champion = start
        self.sign = -1 if direction == "max" else 1
        self.noise_prior = noise_prior
        self.sigma_prior = sigma_prior
        self.kept: list[Kept] = []
        self.candidates: dict[bytes, Candidate] = {}
        self.open: dict[bytes, None] = {}
        """The open candidates, in order: a baseline must not look through all that ever were."""
        self.evidence: dict[bytes, list[bytes]] = {start: []}
        self.selected: dict[bytes, int] = {}
        """Of what was kept, how many of its runs got it kept; they come first."""
        self.values: dict[tuple[bytes, int, Split], float] = {}
        self.screens: dict[bytes, bytes] = {}
        """The screening run of every program."""
        self.moments: dict[bytes, tuple[int, float]] = {}
        self.squares = self.dof = 0.0
        self.reopened = 0
        self.voids: dict[bytes, int] = {}
        self.failures = 0
        """Of the champion, in a row."""

    def add(self, run_id: bytes, run: Run) -> None:
        """Take in the next run of the feed."""
        for row in run.scores:
            self.values[run_id, row.draw, row.split] = self.sign * row.micro / MICRO
        for old in run.rescored:
            self.values[old.run, old.draw, old.split] = self.sign * old.micro / MICRO
        if self._is_or_was_champion(run.program):
            self._add_baseline(run_id, run)
        elif not self._is_descendant(run):
            return
        elif run.status == "void":
            self._void(run)
        elif run.status != "done":
            self._fail(run, run.note or run.status)
        elif not run.scores:
            return  # Nothing was measured; only a peer can say such a thing.
        elif run.program not in self.candidates:
            self._screen(run_id, run)
        else:
            self._rerun(run_id, run)

    def snapshot(self) -> Research:
        """What the runs so far support; later runs do not change a snapshot."""
        return Research(
            start=self.start,
            champion=self.champion,
            kept=tuple(self.kept),
            candidates=dict(self.candidates),
            baselines=tuple(self.evidence[self.champion]),
            noise=self._noise(),
            judged=sum(
                c.stage in ("kept", "discarded", "failed") for c in self.candidates.values()
            ),
            reopened=self.reopened,
        )

    def _noise(self) -> Noise:
        _, level = self.moments.get(self.start, (0, 0.0))
        prior = self.noise_prior or self.sigma_prior * abs(level)
        return noise_from(self.squares, self.dof, max(prior, 1 / MICRO))

    def _learn_noise(self, run_id: bytes, run: Run) -> None:
        """Welford's update of the pooled within-program squares, on the pinned draw."""
        value = self.values.get((run_id, PINNED_DRAW, "dev"))
        if value is None:
            return
        count, mean = self.moments.get(run.program, (0, 0.0))
        moved = mean + (value - mean) / (count + 1)
        self.squares += (value - mean) * (value - moved) if count else 0.0
        self.dof += 1 if count else 0
        self.moments[run.program] = (count + 1, moved)

    def _add_baseline(self, run_id: bytes, run: Run) -> None:
        if run.status != "done":
            if run.program == self.champion and run.status != "void":
                self._stumble()
            return
        if run.program == self.champion:
            self.failures = 0
        self.evidence[run.program].append(run_id)
        self._learn_noise(run_id, run)
        if run.program == self.champion:
            for program in list(self.open):
                self._judge(program, run_id)

    def _stumble(self) -> None:
        """The champion failed. One that goes on failing gives way to the one before it: a program
        could wait with that until it is built upon. The start program has nothing before it.
        """
        self.failures += 1
        if self.failures < FALLS_AFTER or not self.kept:
            return
        fallen = self.candidates[self.kept.pop().program]
        reason = f"failed {self.failures} times in a row after it was kept"
        self._put(replace(fallen, stage="failed", reason=reason))
        self.champion = self.kept[-1].program if self.kept else self.start
        self.failures = 0

    def _is_or_was_champion(self, program: bytes) -> bool:
        known = self.candidates.get(program)
        return program == self.start or (known is not None and known.stage == "kept")

    def _is_descendant(self, run: Run) -> bool:
        """Whether a run belongs to this search; others may have begun with another program."""
        return run.program in self.candidates or (
            run.parent is not None and self._is_or_was_champion(run.parent)
        )

    def _void(self, run: Run) -> None:
        """A void run says nothing, but a program that cannot hold its budget has failed."""
        self.voids[run.program] = self.voids.get(run.program, 0) + 1
        if self.voids[run.program] >= VOIDS_MAX:
            self._fail(run, f"overshot its budget {VOIDS_MAX} times")

    def _fail(self, run: Run, reason: str) -> None:
        known = self.candidates.get(run.program)
        if known is not None and known.stage not in ("screening", "open"):
            return
        self._put(replace(known or _fresh(run), stage="failed", reason=reason))

    def _screen(self, run_id: bytes, run: Run) -> None:
        candidate = _fresh(run)
        draw, split = comparison_draw(run)
        child = self.values[run_id, draw, split]
        parents = self._values_of(candidate.parent, draw, split)
        self.evidence.setdefault(run.program, [])
        self.screens[run.program] = run_id
        if not parents:
            reason = "its parent has no run on the same draw"
            self._put(replace(candidate, stage="discarded", reason=reason))
            return
        sigma = self._noise().sigma
        delta = child - sum(parents) / len(parents)
        if run.strategy in FOREIGN:
            self._try_offer(run_id, run, replace(candidate, delta=delta, draw=draw, split=split))
            return
        ahead = delta - self._gain_since(candidate.parent)
        reason = f"screen {ahead / sigma:+.1f}σ against the champion"
        bound = rule_of(run.strategy).screen
        stage: Stage = "open" if ahead <= bound * sigma else "discarded"
        self.reopened += stage == "open" and run.strategy != ABLATE
        self._put(replace(candidate, stage=stage, delta=delta, reason=reason))

    def _try_offer(self, run_id: bytes, run: Run, candidate: Candidate) -> None:
        """What a peer offers was not selected by its first run here, so that it is evidence."""
        self.reopened += 1
        self.evidence[run.program].append(run_id)
        self._learn_noise(run_id, run)
        self._put(replace(candidate, stage="open", reason="its first run here"))
        self._judge(run.program, run_id)

    def _rerun(self, run_id: bytes, run: Run) -> None:
        candidate = self.candidates[run.program]
        self.evidence[run.program].append(run_id)
        self._learn_noise(run_id, run)
        if candidate.stage != "open":
            return
        draw, split = candidate.draw, candidate.split
        if draw is None:
            draw, split = comparison_draw(run)
        parent = run.parent or candidate.parent
        self._put(replace(candidate, draw=draw, split=split, parent=parent))
        self._judge(run.program, run_id)

    def _judge(self, program: bytes, run_id: bytes) -> None:
        candidate = self.candidates[program]
        if candidate.stage != "open" or candidate.draw is None:
            return
        children = self._values_of(program, candidate.draw, candidate.split)
        parents = self._rivals_of(candidate)
        rule = rule_of(candidate.strategy)
        missing = max(rule.parents(len(children)) - len(parents), 0)
        candidate = replace(candidate, reruns=len(children), missing=missing)
        self._put(candidate)
        if candidate.missing or not children:
            return
        noise = self._noise()
        counts = {"children": len(children), "parents": len(parents)}
        effect = sum(children) / len(children) - sum(parents) / len(parents)
        e = math.exp(min(rule.log_e(effect, noise, **counts), LOG_E_MAX))
        candidate = replace(candidate, effect=effect, e=e)
        threshold = rule.threshold(self.reopened, edits_of(self.kept))
        numbers = (
            f"{effect / noise.upper:+.1f}σ over {len(children)} against {len(parents)} runs, "
            f"e = {e:.3g}"
        )
        if e >= threshold:
            spread = noise.upper * math.sqrt(1 / len(children) + 1 / len(parents))
            self._keep(candidate, spread, len(parents), run_id, f"{numbers} ≥ {threshold:.3g}")
        elif len(children) >= rule.reruns:
            limit = f"< {threshold:.3g} after {rule.reruns} re-runs"
            self._set(candidate, "discarded", f"{numbers} {limit}")
        elif e < E_DROP or best_e(rule, effect, noise, **counts) < threshold:
            limit = f"< {E_DROP}" if e < E_DROP else f"will hardly reach {threshold:.3g}"
            self._set(candidate, "discarded", f"{numbers}, {limit}")
        else:
            self._set(candidate, "open", f"{numbers}, {threshold:.3g} needed")

    def _set(self, candidate: Candidate, stage: Stage, reason: str) -> None:
        self._put(replace(candidate, stage=stage, reason=reason))

    def _put(self, candidate: Candidate) -> None:
        self.candidates[candidate.program] = candidate
        if candidate.stage == "open":
            self.open[candidate.program] = None
        else:
            self.open.pop(candidate.program, None)

    def _keep(
        self, candidate: Candidate, spread: float, baselines: int, run_id: bytes, reason: str
    ) -> None:
        assert candidate.effect is not None and candidate.e is not None  # noqa: S101, PT018
        self._set(candidate, "kept", reason)
        self.kept.append(
            Kept(
                program=candidate.program,
                parent=self.champion,
                strategy=candidate.strategy,
                effect=candidate.effect,
                spread=spread,
                e=candidate.e,
                reruns=candidate.reruns,
                baselines=baselines,
                run=run_id,
            )
        )
        self.champion = candidate.program
        runs = self.evidence[self.champion]
        # A screen was selected for its luck, which makes it a parent that is hard to beat.
        if (screen := self.screens[self.champion]) not in runs:
            runs.insert(0, screen)
        self.selected[self.champion] = len(runs)
        self.failures = 0
        sigma = self._noise().sigma
        for rival in [self.candidates[program] for program in self.open]:
            if rival.strategy == ABLATE:
                self._set(rival, "discarded", "it is the former champion without an edit")
            elif self._overtaken(rival, candidate.effect, sigma):
                self._set(rival, "discarded", "the new champion is better than it looked")
            else:  # The next re-run brings the new champion's scores with it.
                self._set(replace(rival, missing=0), "open", rival.reason)

    def _overtaken(self, rival: Candidate, step: float, sigma: float) -> bool:
        """Whether an open candidate no longer looks one sigma better than the new champion."""
        if rival.effect is not None:
            return rival.effect - step > -SCREEN_SIGMA * sigma
        ahead = (rival.delta or 0.0) - self._gain_since(rival.parent)
        return ahead > -SCREEN_SIGMA * sigma

    def _values_of(self, program: bytes, draw: int, split: Split) -> list[float]:
        return self._values_on(self.evidence.get(program, ()), draw, split)

    def _values_on(self, runs: Iterable[bytes], draw: int, split: Split) -> list[float]:
        keys = ((run_id, draw, split) for run_id in runs)
        return [self.values[key] for key in keys if key in self.values]

    def _rivals_of(self, candidate: Candidate) -> list[float]:
        """What a candidate is compared with. The runs that got the champion kept look better than
        it is, which an ablation, that may be no better, would never make up for.
        """
        assert candidate.draw is not None  # noqa: S101
        runs = self.evidence[self.champion]
        if candidate.strategy == ABLATE:
            runs = runs[self.selected.get(self.champion, 0) :]
        return self._values_on(runs, candidate.draw, candidate.split)

    def _gain_since(self, parent: bytes) -> float:
        """Champion minus `parent` along the chain of kept programs; 0 off that chain."""
        chain = [self.start, *(kept.program for kept in self.kept)]
        if parent not in chain:
            return 0.0
        return sum(kept.effect for kept in self.kept[chain.index(parent) :])


def edits_of(kept: Iterable[Kept]) -> int:
    """How many of what was kept are edits, and not ablations."""
    return sum(one.strategy != ABLATE for one in kept)


def _fresh(run: Run) -> Candidate:
    return Candidate(program=run.program, parent=run.parent or bytes(32), strategy=run.strategy)
