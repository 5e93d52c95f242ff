"""A whole swarm in virtual time: machines that decide by the shipped code, in a known world.

What is real: the notebook (baselines, screens, re-runs, seeds, draws, claims, re-scored parents),
the plan and its share for offers, adoption and standing, recombination, records in their true
size, and the verdict. What is modelled: training (`node.simulation.machine`), ideas and programs
(`node.simulation.landscape`), the network as a delay (`node.simulation.network`), and absences.
Machines know the texts of programs they hear of; nothing crashes, and nobody is asleep. No wall
clock, no files: same scenario, same course.
"""

import hashlib
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from gossip.jobs import Job
from node.simulation.landscape import START, Landscape
from node.simulation.machine import Machine
from node.simulation.network import Network, Said
from node.simulation.outcome import Found, Mark, Outcome, average, confirmed_of, kept_of
from node.simulation.plain import KeepIfLower
from node.simulation.researchers import ByEvidence, Researcher
from node.simulation.scenario import Scenario
from node.simulation.surrogates import Ideas
from node.simulation.worlds import SIGMA, Nature
from skep.evidence import Evidence
from skep.ports import ABLATE, ADOPT, FOREIGN, Draw, TaskFacts
from skep.records import NO_PREVIOUS, Payload, Record, Run, Split, encode_body, record_id
from skep.tier import tier

WALL_MS = 1_800_000_000_000
SIGNATURE_BYTES = 64
TASK = bytes(32)
SPREAD = 0.02
"""How much longer or shorter one run takes than another, at most."""

KIND = {"Run": "run", "Claim": "claim"}


class Member:
    """One machine of the swarm, with the chain of what it said."""

    def __init__(self, key: bytes, machine: Machine, researcher: Researcher, run_s: float) -> None:
        self.key = key
        self.machine = machine
        self.researcher = researcher
        self.run_s = run_s
        self.start = 0
        """Counts its starts: what an earlier one had begun never ends."""
        self.steps = 0
        self.last = NO_PREVIOUS
        self.said = 0


class Swarm:
    """One simulation.

    Args:
        scenario: all there is to know; same scenario, same course.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._now = 0.0
        self._landscape = Landscape(Nature(scenario.nature, scenario.seed))
        self._rng, traffic = (np.random.default_rng([scenario.seed, one]) for one in (1, 2))
        self._network = Network(scenario, traffic)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._task = _task(scenario)
        self._members = [self._member(number) for number in range(scenario.nodes)]
        self._records: list[Said] = []
        self._bytes = 0
        self._purposes: Counter[str] = Counter()
        self._strategies: Counter[str] = Counter()
        self._replications = self._runs = self._invented = self._adopted = 0
        self._total_ms = self._wasted_ms = 0
        self._tried: set[int] = set()
        self._steps: list[tuple[bytes, bytes]] = []
        self._course: list[Mark] = []

    def run(self, tell: Callable[[int], None] = lambda runs: None) -> Outcome:
        """Let the swarm work until the runs are used up.

        Args:
            tell: is told the number of finished runs after each.
        """
        for member in self._members:
            self._come(member)
        while self._events and self._runs < self._scenario.runs:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
            tell(self._runs)
        return self._outcome()

    # What happens

    def _at(self, delay: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + delay, next(self._order), happen))

    def _come(self, member: Member) -> None:
        """A machine begins, or is back."""
        for _ in range(self._scenario.slots):
            self._begin(member, member.start)
        away = self._scenario.churn
        if away:
            stay = self._scenario.away_s * (1 - away) / away
            self._at(float(self._rng.exponential(stay)), partial(self._leave, member))

    def _leave(self, member: Member) -> None:
        member.start += 1
        member.researcher.interrupt()
        absence = float(self._rng.exponential(self._scenario.away_s))
        self._at(absence, partial(self._come, member))

    def _begin(self, member: Member, start: int) -> None:
        """A slot is free."""
        if start != member.start:
            return
        self._hear(member)
        job = member.researcher.next_job()
        seconds = member.run_s * float(self._rng.uniform(1 - SPREAD, 1 + SPREAD))
        if job is None:
            self._at(seconds, partial(self._begin, member, start))
            return
        self._at(seconds, partial(self._end, member, start, job, round(seconds * 1000)))

    def _end(self, member: Member, start: int, job: Job, total_ms: int) -> None:
        """A training has ended, unless the machine went away meanwhile."""
        if start != member.start:
            return
        self._hear(member)
        member.researcher.end(job, total_ms, partial(self._say, member, job))
        if member.machine.honest:
            self._watch(member)
        self._begin(member, start)

    def _hear(self, member: Member) -> None:
        for said in self._network.arrived(member.machine.number, self._now):
            member.researcher.hear(said.id, said.author, said.payload)

    def _say(self, member: Member, job: Job, payload: Payload) -> bytes:
        """Publish a record; its id."""
        record = Record(
            v=1,
            swarm=TASK,
            task=TASK,
            author=member.key,
            session=bytes(8),
            seq=member.said,
            prev=member.last,
            time=WALL_MS + round(self._now * 1000),
            kind=KIND[type(payload).__name__],
            payload=payload,
        )
        body = encode_body(record)
        member.last, member.said = record_id(body), member.said + 1
        self._bytes += len(body) + SIGNATURE_BYTES
        said = Said(member.machine.number, member.last, member.key, record.time, payload)
        self._records.append(said)
        self._network.send(said, self._now)
        if isinstance(payload, Run) and member.machine.honest:
            self._count(job, payload)
        return member.last

    # What is noted

    def _count(self, job: Job, run: Run) -> None:
        self._runs += 1
        self._purposes[job.purpose] += 1
        self._strategies[run.strategy] += 1
        self._replications += run.claim is not None
        self._total_ms += run.total_ms
        if run.strategy == ADOPT and not self._is_honest(self._landscape.edits(run.program)):
            self._wasted_ms += run.total_ms
        if run.strategy == Ideas.name and job.purpose == "screen" and run.parent is not None:
            before = self._landscape.edits(run.parent)
            self._tried |= self._landscape.edits(run.program) - before

    def _is_honest(self, edits: Iterable[int]) -> bool:
        """Whether none of them was invented by a liar."""
        return all(self._landscape.changes[one].honest for one in edits)

    def _watch(self, member: Member) -> None:
        """Note what a machine has kept since."""
        new = member.researcher.kept[member.steps :]
        member.steps += len(new)
        for step in new:
            if step.strategy == ABLATE:
                continue
            self._steps.append((step.program, step.parent))
            self._adopted += step.strategy in FOREIGN
            brought = self._landscape.edits(step.program) - self._landscape.edits(step.parent)
            self._invented += not self._is_honest(brought)
        if new:
            self._course.append(self._mark())

    def _mark(self) -> Mark:
        gains = [-self._landscape.level(one.researcher.champion) for one in self._honest]
        return Mark(self._now / 3600, max(gains), sum(gains) / len(gains))

    @property
    def _honest(self) -> list[Member]:
        return [one for one in self._members if one.machine.honest]

    def _outcome(self) -> Outcome:
        end = self._mark()
        changes = [self._landscape.changes[one].effect for one in self._tried]
        return Outcome(
            seed=self._scenario.seed,
            runs=self._runs,
            hours=end.hours,
            proposed=len(changes),
            large=sum(effect <= -1.0 for effect in changes),
            great=sum(effect <= -2.0 for effect in changes),
            kept=kept_of(self._landscape, self._steps, self._tried),
            adopted=self._adopted,
            confirmed=self._confirmed(),
            invented=self._invented,
            wasted=self._wasted_ms / max(self._total_ms, 1),
            best=end.best,
            mean=end.mean,
            purposes=_shares(self._purposes),
            strategies=_shares(self._strategies),
            replications=self._replications / max(self._runs, 1),
            records=len(self._records),
            bytes=self._bytes,
            course=tuple(self._course),
        )

    def _confirmed(self) -> Found:
        """By the verdict of each honest machine with its own roots, or of all with those of all."""
        found = []
        for here in dict.fromkeys(tier(one.machine.environment) for one in self._members):
            evidence = Evidence(self._task, here)
            for said in self._records:
                evidence.take(said.id, said.author, said.time, said.payload)
            there = [one for one in self._honest if tier(one.machine.environment) == here]
            if self._scenario.roots == "all":
                roots = [{one.key for one in self._members}]
            else:
                roots = [{one.key} for one in there]
            found += [confirmed_of(self._landscape, evidence, one, self._tried) for one in roots]
        return average(found)

    # What there is

    def _member(self, number: int) -> Member:
        tiers = [
            (place, kind)
            for place, kind in enumerate(self._scenario.tiers)
            for _ in range(kind.count)
        ]
        place, kind = tiers[number]
        first = self._scenario.tiers[0].count
        honest = not first - self._scenario.liars <= number < first
        machine = Machine(self._landscape, number, place, self._scenario.slots, honest=honest)
        key = _key(number)
        researcher: Researcher
        if self._scenario.rule == "evidence":
            everybody = range(self._scenario.nodes) if self._scenario.roots == "all" else [number]
            roots = frozenset(_key(one) for one in everybody)
            researcher = ByEvidence(self._task, key, machine, self._landscape, self._draw, roots)
        else:
            researcher = KeepIfLower(self._task, machine, self._landscape)
        return Member(key, machine, researcher, self._scenario.run_s / kind.speed)

    def _draw(self, split: Split) -> Draw:
        return Draw(int(self._rng.integers(1, 2**63)), split)


def _key(number: int) -> bytes:
    """Public key of a machine."""
    return hashlib.sha256(b"machine %d" % number).digest()


def _task(scenario: Scenario) -> TaskFacts:
    sigma = SIGMA * scenario.nature.believed
    return TaskFacts(
        name="simulated",
        id=TASK,
        metric="val_bpb",
        direction="min",
        scored_by=scenario.scored_by,
        budget_ms=20_000,
        sigma=sigma,
        noise=sigma,
        seed_program=START,
    )


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total for name, count in sorted(counts.items())}
