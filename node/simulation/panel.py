"""A panel of machines judges edits one after the other: how often is it fooled, what does it miss?

The evidence alone: authors screen and claim, machines replicate in turn, the shipped verdict
decides after every replication, and every third confirmed claim makes a new parent. Everything
that is run is charged. Who looks for what, and when records arrive, is not simulated here.
"""

import hashlib
import math
from collections.abc import Iterator

from msgspec import Struct

from node.simulation.worlds import SIGMA, Nature, World
from skep.evidence import Evidence, Verdicts, replication_seed, verdict
from skep.evidence.claims import BASELINE, PARENTS_MIN
from skep.evidence.rules import SCREEN_SIGMA
from skep.ports import TaskFacts
from skep.records import MICRO, PINNED_DRAW, Claim, Environment, Rescore, Run, Score
from skep.tier import tier

BUDGET_MS = 20_000
PROMOTED_AT_ONCE = 3
"""Confirmed claims that make a new parent."""

SCREEN_PARENTS = 3
"""Runs of the parent that a screen is compared with; in part those of the replications."""

NODES = 12
LIES = 0.5
"""Share of a liar's turns that it spends on a made-up claim."""

LIE_SIGMA = 3.0
"""What colluders say of their own claims, and with the other sign of everybody else's."""

ENVIRONMENT = Environment(
    backend="cpu",
    device="simulated",
    dtype="float32",
    memory_mib=8192,
    threads=1,
    torch="",
    driver="",
    isa="",
    probe_ns=1_000_000,
    sandbox="none",
)


class Panel(Struct, frozen=True, kw_only=True):
    """What a simulated search came to.

    Attributes:
        runs: experiments, all in all.
        proposed: edits tried.
        large, great: edits tried that truly gain at least 1 and 2 sigma.
        large_confirmed, great_confirmed: how many of them were ever confirmed.
        confirmed: claims ever confirmed.
        false: of these, how many truly gain nothing.
        gain: true gain of all that was confirmed, in sigma.
    """

    runs: int
    proposed: int
    large: int
    large_confirmed: int
    great: int
    great_confirmed: int
    confirmed: int
    false: int
    gain: float


class Simulation:
    """One search in one world.

    Args:
        world: how edits and machines behave.
        seed: same seed, same course.
        runs: experiments in all.
        liars: how many of the twelve machines collude.
    """

    def __init__(self, world: World, seed: int, runs: int, liars: int = 0) -> None:
        self._world = world
        self._liars = liars
        self._nature = Nature(world, seed)
        self._runs_max = runs
        self._nodes = [_id("node", number) for number in range(NODES)]
        self._evidence = Evidence(_task(world), tier(ENVIRONMENT))
        self._parent, self._level, self._stage = _id("start", 0), 0.0, 0
        self._baselines: dict[int, list[bytes]] = {}
        self._values: dict[bytes, float] = {}
        self._truths: dict[bytes, float] = {}
        self._ever: dict[bytes, None] = {}
        self._pending: list[float] = []
        self._runs = self._proposed = self._time = self._found = 0
        self._tried: list[float] = []

    def run(self) -> Panel:
        """Search until the runs are used up."""
        while self._runs < self._runs_max:
            self._turn()
        confirmed = [self._truths[claim] for claim in self._ever]
        return Panel(
            runs=self._runs,
            proposed=self._proposed,
            large=sum(one <= -1 for one in self._tried),
            large_confirmed=sum(one <= -1 for one in confirmed),
            great=sum(one <= -2 for one in self._tried),
            great_confirmed=sum(one <= -2 for one in confirmed),
            confirmed=len(confirmed),
            false=sum(one >= 0 for one in confirmed),
            gain=-sum(confirmed),
        )

    def verdicts(self) -> Verdicts:
        """What the swarm thinks now; all nodes are one another's roots."""
        return verdict(self._evidence, self._nodes)

    def _turn(self) -> None:
        """One edit: proposed and, if it looks good, judged."""
        author = int(self._nature.rng.integers(NODES))
        lying = self._is_liar(author) and self._nature.rng.random() < LIES
        self._proposed += 1
        program = _id("edit", self._proposed)
        if lying:
            truth = abs(float(self._nature.rng.normal(0, 2)))
            screened = 1.0 + SIGMA * (self._level - LIE_SIGMA)
            delta = -LIE_SIGMA * SIGMA
        else:
            truth = self._nature.effect(self._found)
            self._tried.append(truth)
            self._make_baselines(author)
            screened = self._nature.measured(author, self._level + truth, program)
            self._runs += 1
            spot = self._nature.rng.normal(0, SIGMA / math.sqrt(SCREEN_PARENTS))
            delta = screened - (1.0 + SIGMA * self._level + float(spot))
        run = self._said(author, self._run(program, "tune", 0, ((PINNED_DRAW, screened),)))
        if delta > -SCREEN_SIGMA * SIGMA * self._world.believed:
            return
        claim = Claim(program=program, parent=self._parent, run=run, effect=round(delta * MICRO))
        content_id = self._said(author, claim)
        self._truths[content_id] = truth
        self._judge(content_id, program, truth, author, lied=lying)

    def _judge(
        self, claim: bytes, program: bytes, truth: float, author: int, *, lied: bool
    ) -> None:
        for node in self._order(author):
            self._replicate(claim, program, truth, node, lied=lied or self._is_liar(author))
            known = self.verdicts()
            self._promote(known)
            if known.claims[claim].state != "open" or not self._baselines:
                return

    def _order(self, author: int) -> Iterator[int]:
        """Those that have baselines first, then the others, by chance; at most eight of them."""
        others = [node for node in range(NODES) if node != author]
        self._nature.rng.shuffle(others)
        yield from sorted(others, key=lambda node: node not in self._baselines)[:8]

    def _replicate(
        self, claim: bytes, program: bytes, truth: float, node: int, *, lied: bool
    ) -> None:
        self._make_baselines(node)
        draw = 1 + int.from_bytes(claim[:4], "big")
        if self._is_liar(node):
            side = -LIE_SIGMA if lied else LIE_SIGMA
            value = 1.0 + SIGMA * (self._level + side)
            parents = [1.0 + SIGMA * self._level for _ in self._baselines[node]]
        else:
            value = self._nature.measured(node, self._level + truth, program)
            parents = [self._values[run] for run in self._baselines[node]]
            self._runs += 1
        rescored = tuple(
            Rescore(run, draw, "heldout", round(old * MICRO))
            for run, old in zip(self._baselines[node], parents, strict=True)
        )
        seed = replication_seed(claim, self._nodes[node], 0)
        run = self._run(program, "replicate", seed, ((draw, value),), rescored, claim)
        self._said(node, run)

    def _make_baselines(self, node: int) -> None:
        if node in self._baselines:
            return
        made = []
        for number in range(PARENTS_MIN):
            if self._is_liar(node):
                value = 1.0 + SIGMA * self._level
            else:
                value = self._nature.measured(node, self._level)
                self._runs += 1
            run = self._run(self._parent, BASELINE, number, ((PINNED_DRAW, value),))
            made.append(self._said(node, run))
            self._values[made[-1]] = value
        self._baselines[node] = made

    def _promote(self, known: Verdicts) -> None:
        """Count what is confirmed now and was not before; every third makes a new parent."""
        for claim, one in known.claims.items():
            if one.state == "confirmed" and claim not in self._ever:
                self._ever[claim] = None
                self._found += self._truths[claim] < 0
                self._pending.append(self._truths[claim])
        if len(self._pending) >= PROMOTED_AT_ONCE:
            self._level += sum(self._pending)
            self._pending = []
            self._stage += 1
            self._parent = _id("stage", self._stage)
            self._baselines = {}

    def _is_liar(self, node: int) -> bool:
        return node >= NODES - self._liars

    def _run(
        self,
        program: bytes,
        strategy: str,
        seed: int,
        scores: tuple[tuple[int, float], ...],
        rescored: tuple[Rescore, ...] = (),
        claim: bytes | None = None,
    ) -> Run:
        return Run(
            program=program,
            parent=None if program == self._parent else self._parent,
            edits=(),
            strategy=strategy,
            seed=seed,
            steps=0,
            tokens=0,
            budget_ms=BUDGET_MS,
            spent_ms=BUDGET_MS,
            train_ms=BUDGET_MS,
            total_ms=BUDGET_MS,
            peak_kib=0,
            parameters=0,
            status="done",
            weights=None,
            scores=tuple(
                Score(draw, "heldout" if draw else "dev", round(value * MICRO))
                for draw, value in scores
            ),
            rescored=rescored,
            scored_by="harness",
            environment=ENVIRONMENT,
            claim=claim,
        )

    def _said(self, node: int, payload: Run | Claim) -> bytes:
        """Let a node say something at once to everybody; the record's id."""
        self._time += 1
        content_id = _id("record", self._time)
        self._evidence.take(content_id, self._nodes[node], self._time, payload)
        return content_id


def _task(world: World) -> TaskFacts:
    return TaskFacts(
        name="simulated",
        id=bytes(32),
        metric="val_bpb",
        direction="min",
        scored_by="harness",
        budget_ms=BUDGET_MS,
        sigma=SIGMA * world.believed,
        noise=SIGMA * world.believed,
        seed_program="",
    )


def _id(kind: str, number: int) -> bytes:
    return hashlib.sha256(f"{kind} {number}".encode()).digest()
