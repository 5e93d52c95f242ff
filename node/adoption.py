"""What this node makes of what peers offer: what is left to try, whose word held, what it cost.

Kept up run by run from own runs, and so the same after every start. Whose the offers were that ran
here is only known once all is read that peers had said before; until then nothing is on offer. An
author's standing here is this machine's own experience with it and nobody else's. How much time
offers may take is decided by `node.plan`, which of them is tried next by `strategies.adopt`.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache

from msgspec import Struct

from gossip.identity import friendly_name
from gossip.jobs import Job
from gossip.statements import Program
from node.offers import Lead, Peers
from node.plan import Swarm
from skep.evidence import Research
from skep.evidence.research import SETTLED
from skep.ports import ADOPT, Offer
from skep.records import Run

RECENT = 4
"""Latest offers tried here among which no author shall have more than its share."""

name_of = lru_cache(maxsize=4096)(friendly_name)


class _Step(Struct, frozen=True):
    """What one own run means for the history.

    Attributes:
        run: the run.
        begins: whether it is the first of an offer.
        settled: offers that have their verdict now, and whether they held.
    """

    run: Run
    begins: bool
    settled: tuple[tuple[bytes, bool], ...]


class Adoption:
    """The own history with offers of peers.

    Args:
        peers: what they say.
        programs: texts known here.
        may_run: whether the code of an offer may run on this machine.
    """

    def __init__(
        self, peers: Peers, programs: Mapping[bytes, Program], may_run: Callable[[str], bool]
    ) -> None:
        self._peers = peers
        self._programs = programs
        self._may_run = may_run
        self._held: Counter[bytes] = Counter()
        self._failed: Counter[bytes] = Counter()
        self._recent: deque[bytes | None] = deque(maxlen=RECENT)
        self._authors: dict[bytes, bytes | None] = {}
        self._doubted: set[bytes] = set()
        self._begun: set[bytes] = set()
        self._open: set[bytes] = set()
        self._unread: list[_Step] | None = []
        self._runs = self._total_ms = self._spent_ms = self._doubted_ms = 0

    def take_in(self, run: Run, research: Research) -> None:
        """Take in an own run, with what all of them support after it."""
        self._runs += 1
        self._total_ms += run.total_ms
        begins = run.strategy == ADOPT and run.program not in self._begun
        if begins:
            self._begun.add(run.program)
            self._open.add(run.program)
        known = [(one, research.candidates.get(one)) for one in self._open]
        settled = [(one, it.stage == "kept") for one, it in known if it and it.stage in SETTLED]
        self._open.difference_update(one for one, _ in settled)
        if run.strategy != ADOPT and not settled:
            return
        step = _Step(run, begins, tuple(settled))
        if self._unread is None:
            self._take(step)
        else:
            self._unread.append(step)

    def begin(self) -> None:
        """All is read that peers had said before this start. More than once is as good as once."""
        steps, self._unread = self._unread or [], None
        for step in steps:
            self._take(step)

    def _take(self, step: _Step) -> None:
        run = step.run
        if step.begins:
            self._begin(run.program, run.claim)
        if run.strategy == ADOPT:
            self._spent_ms += run.total_ms
            self._doubted_ms += run.total_ms * (run.program in self._doubted)
        for program, held in step.settled:
            if author := self._authors[program]:
                (self._held if held else self._failed)[author] += 1

    def leads(self, authors: Iterable[bytes], research: Research) -> list[Lead]:
        """What these authors say is better and was not tried here; texts may be missing."""
        tried = self._tried(research)
        return [lead for one in authors for lead in self._peers.leads(one, research, tried)]

    def offers(self, research: Research, flying: Collection[Job]) -> list[Offer]:
        """What could be tried now: its text is known, may run, and is none of what ran here.

        A program that several authors offer is that of the one who claims it, or has the better
        standing here.
        """
        if self._unread is not None:
            return []
        taken = {job.program for job in flying} | {*research.candidates, research.start}
        used = {self._programs[p].fingerprint for p in taken if p in self._programs}
        found: dict[bytes, Offer] = {}
        for lead in self.leads(self._peers.authors, research):
            known = self._programs.get(lead.program)
            if known is None or not known.fingerprint or known.fingerprint in used:
                continue
            if not self._may_run(known.source):
                continue
            offer = self._offer(lead, known, flying)
            rival = found.get(offer.fingerprint)
            if rival is None or _rank(offer) < _rank(rival):
                found[offer.fingerprint] = offer
        return list(found.values())

    def swarm(self, offers: Iterable[Offer], flying: Collection[Job]) -> Swarm:
        """What the plan needs to know of all this; runs in flight count as the usual time."""
        run_ms = self._total_ms / self._runs if self._runs else 0.0
        adopting = [job for job in flying if job.strategy == ADOPT]
        doubted = [job for job in adopting if self._is_doubted(job)]
        doubtful = [offer.doubtful for offer in offers]
        return Swarm(
            trusted=doubtful.count(False),
            doubtful=doubtful.count(True),
            doubted=frozenset(self._doubted),
            total_ms=self._total_ms + run_ms * len(flying),
            spent_ms=self._spent_ms + run_ms * len(adopting),
            doubted_ms=self._doubted_ms + run_ms * len(doubted),
            run_ms=run_ms,
        )

    def _begin(self, program: bytes, claim: bytes | None) -> None:
        author = self._authors[program] = self._peers.origin(program, claim)
        self._recent.append(author)
        if author is not None and self._failed[author] > self._held[author]:
            self._doubted.add(program)

    def _is_doubted(self, job: Job) -> bool:
        if job.program in self._authors:
            return job.program in self._doubted
        author = self._peers.origin(job.program, job.claim)
        return author is not None and self._failed[author] > self._held[author]

    def _tried(self, research: Research) -> Callable[[bytes], bool]:
        return lambda program: program in research.candidates or program == research.start

    def _offer(self, lead: Lead, known: Program, flying: Collection[Job]) -> Offer:
        first = [job for job in flying if job.strategy == ADOPT and job.purpose == "screen"]
        recent = [*self._recent, *(self._peers.origin(job.program, job.claim) for job in first)]
        return Offer(
            program=lead.program,
            source=known.source,
            fingerprint=known.fingerprint,
            author=lead.author,
            name=name_of(lead.author),
            note=lead.note,
            claim=lead.claim,
            estimate=lead.estimate,
            held=self._held[lead.author],
            failed=self._failed[lead.author],
            recent=recent[-RECENT:].count(lead.author),
        )


def _rank(offer: Offer) -> tuple[bool, int]:
    return offer.claim is None, offer.failed - offer.held
