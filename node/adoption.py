"""What this node makes of what peers offer: what is left to try, whose word held, what it cost.

Kept up run by run from own runs, and so the same after every start. Whose the offers were that ran
here is only known once all is read that peers had said before; until then nothing is on offer. An
author's standing here is this machine's own experience with it and nobody else's. How much time
offers may take is decided by `node.plan`, which of them is tried next by `strategies.adopt`.
"""

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from gossip.jobs import Job
from gossip.statements import Program
from node.grafts import Graft, Grafts
from node.offers import Lead, Peers, name_of
from node.shares import Swarm
from skep.evidence import Research, Verdicts
from skep.evidence.research import SETTLED
from skep.ports import ADOPT, FOREIGN, REPLICATE, Offer
from skep.records import Run
from strategies.adopt import BELIEVED_SIGMA, can_be_stacked, origin_in, short

WORTH_SIGMA = 2.5
"""What promises less than this is left until more has come together: one run would not show it."""

ADOPTION_RUNS = 2.0
"""Runs that adopting costs, those of what is not kept among them; counted in simulated swarms."""

NEWCOMERS, NEWCOMERS_LEAST = 8, 2
"""Of the latest so many authors, those of whom something was tried for the first time, at least so
many must have been right, or whoever is new is doubted: keys cost nothing."""

RECENT = 4
"""Latest offers tried here among which no author shall have more than its share."""


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
        self._newcomers: deque[bool] = deque(maxlen=NEWCOMERS)
        """Whether the first offer that was tried of an author held; the latest authors."""
        self._recent: deque[tuple[bytes, ...]] = deque(maxlen=RECENT)
        self._authors: dict[bytes, tuple[bytes, ...]] = {}
        self._doubted: set[bytes] = set()
        self._begun: set[bytes] = set()
        self._open: set[bytes] = set()
        self._tasted: set[str] = set()
        self._own: set[bytes] = set()
        self._grafts = Grafts(programs, self._finder)
        self._unread: list[_Step] | None = []
        self._runs = self._total_ms = self._spent_ms = self._replicated_ms = self._doubted_ms = 0

    def take_in(self, run: Run, research: Research) -> None:
        """Take in an own run, with what all of them support after it."""
        self._runs += 1
        self._total_ms += run.total_ms
        if run.strategy not in FOREIGN and run.program not in self._begun:
            self._own.add(run.program)
        begins = run.strategy in FOREIGN and run.program not in self._begun
        if begins:
            self._begun.add(run.program)
            self._open.add(run.program)
        known = [(one, research.candidates.get(one)) for one in self._open]
        settled = [(one, it.stage == "kept") for one, it in known if it and it.stage in SETTLED]
        self._open.difference_update(one for one, _ in settled)
        if run.strategy not in FOREIGN and not settled:
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
            self._begin(run)
        if run.strategy in FOREIGN:
            self._spent_ms += run.total_ms * (run.strategy == ADOPT)
            self._replicated_ms += run.total_ms * (run.strategy == REPLICATE)
            self._doubted_ms += run.total_ms * (run.program in self._doubted)
        for program, held in step.settled:
            authors = self._authors[program]
            if len(authors) == 1 and authors[0] not in self._held | self._failed:
                self._newcomers.append(held)
            if held:
                self._held.update(authors)
            elif len(authors) == 1:  # Of several nobody knows whose it was.
                self._failed.update(authors)

    def leads(self, authors: Iterable[bytes], research: Research) -> list[Lead]:
        """What these authors say is better and was not tried here; texts may be missing."""
        tried = self._tried(research)
        return [lead for one in authors for lead in self._peers.leads(one, research, tried)]

    def offers(self, research: Research, flying: Collection[Job]) -> list[Offer]:
        """What could be tried now: its text is known, may run, and is none of what ran here.

        What an author found is put into the champion, where it fits; else, or where that was tried,
        its program may take the champion's place. What several authors offer is that of the one
        who claims it, or has the better standing here.
        """
        if self._unread is not None:
            return []
        used = self._used(research, flying)
        found: dict[bytes, Offer] = {}
        for lead in self.leads(self._peers.authors, research):
            offer = self._offer(lead, research, used, flying)
            if offer is None:
                continue
            rival = found.get(offer.fingerprint)
            if rival is None or _rank(offer) < _rank(rival):
                found[offer.fingerprint] = offer
        return list(found.values())

    def worth_it(self, offers: Sequence[Offer], research: Research) -> list[Offer]:
        """The offers that promise enough to be tried while there are ideas of one's own.

        Whoever adopts every little thing at once spends its time on comparing, and whoever waits
        too long goes on from an old champion. The best size of what is taken over at once is that
        of an order from stock: its promise, as a part of what there is then, is the root of twice
        the cost of adopting over all runs so far.
        """
        have = -sum(kept.effect for kept in research.kept)
        part = min(1.0, math.sqrt(2 * ADOPTION_RUNS / max(self._runs, 1)))
        least = max(WORTH_SIGMA * research.noise.sigma, have * part / max(1.0 - part, 1e-9))
        together = [one for one in offers if can_be_stacked(one)]
        if max((-one.estimate for one in together), default=0.0) < least:
            together = []
        return [one for one in offers if one in together or -one.estimate >= least]

    def swarm(self, offers: Iterable[Offer], flying: Collection[Job], claims: int = 0) -> Swarm:
        """What the plan needs to know of all this; runs in flight count as the usual time."""
        run_ms = self._total_ms / self._runs if self._runs else 0.0
        adopting = [job for job in flying if job.strategy == ADOPT]
        doubted = [job for job in adopting if self._is_doubted(job)]
        doubtful = [offer.doubtful for offer in offers]
        replicating = sum(job.strategy == REPLICATE for job in flying)
        return Swarm(
            claims=claims,
            replicated_ms=self._replicated_ms + run_ms * replicating,
            trusted=doubtful.count(False),
            doubtful=doubtful.count(True),
            doubted=frozenset(self._doubted),
            total_ms=self._total_ms + run_ms * len(flying),
            spent_ms=self._spent_ms + run_ms * len(adopting),
            doubted_ms=self._doubted_ms + run_ms * len(doubted),
            run_ms=run_ms,
        )

    def _begin(self, run: Run) -> None:
        authors = self._origins(run.program, run.claim, run.note)
        self._authors[run.program] = authors
        self._tasted.add(origin_in(run.note)[1])
        self._recent.append(authors)
        if self._is_any_doubted(authors):
            self._doubted.add(run.program)

    def claims(
        self, research: Research, known: Verdicts, me: bytes, flying: Collection[Job]
    ) -> list[Offer]:
        """The claim that a run of this machine would tell most of; none or one.

        It is open, and its author's own re-runs have kept it, so that it is likely to be true. That
        which most have tried goes first: what everybody tries a little is never decided. Then
        that which gains most by its author's own re-runs, for it takes the fewest runs here.

        Args:
            research: what the own runs support.
            known: the swarm's verdicts.
            me: own public key.
            flying: jobs queued or running.
        """
        if self._unread is not None:
            return []
        used = self._used(research, flying)
        waiting = [lead for one in self._peers.authors for lead in self._peers.claimed(one)]
        sigma = research.noise.sigma
        open_to = [lead for lead in waiting if self._asks_for(lead, known, me)]
        for lead in sorted(open_to, key=lambda one: _eagerness(one, known, me, sigma)):
            graft = self._grafts.edit(research.champion, lead)
            theirs = self._programs.get(lead.program)
            if graft is None or theirs is None or graft.fingerprint in used:
                continue
            if self._may_run(theirs.source):
                return [self._offered(lead, theirs.source, graft, flying, claim=lead.claim)]
        return []

    def _asks_for(self, lead: Lead, known: Verdicts, me: bytes) -> bool:
        """Whether a claim is open, and neither tried here nor of somebody whose claims failed."""
        verdict = known.claims.get(lead.claim or b"")
        if verdict is None or verdict.state != "open":
            return False
        tried = any(voice.replication.author == me for voice in verdict.voices)
        held, failed = self._standing(lead.author)
        return not tried and failed <= held

    def _used(self, research: Research, flying: Collection[Job]) -> set[bytes]:
        """Fingerprints of all that ran here, or is about to."""
        taken = {job.program for job in flying} | {*research.candidates, research.start}
        return {self._programs[p].fingerprint for p in taken if p in self._programs}

    def _origins(self, program: bytes, claim: bytes | None, note: str) -> tuple[bytes, ...]:
        """Whose offers are in a program."""
        origin = self._peers.origin(program, claim)
        if origin is not None:
            return (origin,)
        found = (self._peers.named(name) for name in origin_in(note)[0])
        return tuple(one for one in found if one is not None)

    def _finder(self, program: bytes) -> bytes | None:
        """Whose find a program is; of the start program and what was made here it is nobody's."""
        return None if program in self._own else self._peers.origin(program, None)

    def _is_doubted(self, job: Job) -> bool:
        if job.program in self._authors:
            return job.program in self._doubted
        return self._is_any_doubted(self._origins(job.program, job.claim, job.note))

    def _is_any_doubted(self, authors: Iterable[bytes]) -> bool:
        return any(failed > held for held, failed in map(self._standing, authors))

    def _standing(self, author: bytes) -> tuple[int, int]:
        """How many offers of an author held here and how many failed; of a new one, as a failure
        counts that hardly any of the new ones before were right.
        """
        held, failed = self._held[author], self._failed[author]
        discredited = len(self._newcomers) == NEWCOMERS and sum(self._newcomers) < NEWCOMERS_LEAST
        return held, failed + (not held and not failed and discredited)

    def _tried(self, research: Research) -> Callable[[bytes], bool]:
        return lambda program: program in research.candidates or program == research.start

    def _offer(
        self, lead: Lead, research: Research, used: Collection[bytes], flying: Collection[Job]
    ) -> Offer | None:
        """What of a lead can be tried now, if anything."""
        known = self._programs.get(lead.program)
        if known is None or not known.fingerprint or not self._may_run(known.source):
            return None
        mine = {research.start, *(kept.program for kept in research.kept)}
        graft = self._grafts.onto(research.champion, lead, mine)
        tasted = short(lead.program) in self._tasted
        if graft is not None and not tasted and graft.fingerprint not in used:
            return self._offered(lead, known.source, graft, flying)
        if lead.estimate < 0 and known.fingerprint not in used:
            whole = Graft("", known.source, known.fingerprint, lead.estimate, rooted=False)
            return self._offered(lead, known.source, whole, flying)
        return None

    def _offered(
        self,
        lead: Lead,
        theirs: str,
        graft: Graft,
        flying: Collection[Job],
        claim: bytes | None = None,
    ) -> Offer:
        held, failed = self._standing(lead.author)
        first = [job for job in flying if job.strategy in FOREIGN and job.purpose == "screen"]
        recent = [
            *self._recent,
            *(self._origins(job.program, job.claim, job.note) for job in first),
        ]
        return Offer(
            program=lead.program,
            theirs=theirs,
            base=graft.base,
            source=graft.source,
            fingerprint=graft.fingerprint,
            author=lead.author,
            name=name_of(lead.author),
            note=lead.note,
            claim=lead.claim if graft.source == theirs else claim,
            estimate=graft.gain,
            held=held,
            failed=failed,
            recent=sum(lead.author in authors for authors in recent[-RECENT:]),
            rooted=graft.rooted,
        )


def _eagerness(lead: Lead, known: Verdicts, me: bytes, sigma: float) -> tuple[int, float, bytes]:
    """Sorts claims, the first to be tried first; ties fall differently on every node."""
    assert lead.claim is not None  # noqa: S101
    estimate = max(lead.estimate, -BELIEVED_SIGMA * sigma)
    tie = hashlib.sha256(lead.claim + me).digest()
    return -len(known.claims[lead.claim].voices), estimate, tie


def _rank(offer: Offer) -> tuple[bool, int]:
    return offer.claim is None, -offer.balance
