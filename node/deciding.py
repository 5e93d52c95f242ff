"""What an idle slot gets to do: the plan's action, made into a job with the help of strategies.

Nothing is started and nothing is queued here, and no rule is made: those are `node.plan`'s. Only a
strategy that asks a model ever waits.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

from msgspec.structs import replace

from gossip.jobs import Job
from node.arms import arms
from node.notebook import Notebook
from node.plan import Action, Adopt, Flight, Repeat, Replicate, Stop, Wait, next_action
from node.stores import Records
from skep.errors import SandboxError
from skep.patch import fingerprint
from skep.ports import ADOPT, FOREIGN, REPLICATE, Code, Offer, Proposal, Strategy, View
from skep.records import Role, program_id
from strategies.policy import in_order

KNOWN_PROPOSALS_MAX = 20
"""Proposals in a row that were known already before a strategy counts as out of ideas."""

Refusal = Callable[[Code], SandboxError | None]
Keep = Callable[[str, bytes], Awaitable[object]]


class Decider:
    """Makes the next job of a node.

    Args:
        notebook: what the node knows.
        strategies: the first that has a proposal is taken; who is asked first changes.
        records: where texts of programs are known.
        keep: stores the text of a program, with its fingerprint.
        refusal: why code of a class may not run here, if it may not.
        role: a node that only verifies tries nothing of its own.
        proposals: stop after so many programs in all; None to go on.
    """

    def __init__(
        self,
        notebook: Notebook,
        strategies: Sequence[Strategy],
        *,
        records: Records,
        keep: Keep,
        refusal: Refusal,
        role: Role = "full",
        proposals: int | None = None,
    ) -> None:
        self._notebook = notebook
        self._strategies = strategies
        self._records = records
        self._keep = keep
        self._refusal = refusal
        self._role = role
        self._proposals = proposals
        self.announced: Callable[[], Collection[bytes]] = tuple
        """Programs that peers say are in training there now."""
        self.thought_s: dict[str, float] = {}
        """Seconds that a strategy has spent on thinking, by its name; whoever thinks says so."""

    async def decide(self, others: Sequence[Job]) -> Job | Wait | Stop | None:
        """The next job; None where no strategy has anything left and nothing is in flight.

        Args:
            others: jobs queued or running.
        """
        offers = self._notebook.adoption.offers(self._notebook.research, others)
        worth = self._notebook.adoption.worth_it(offers, self._notebook.research)
        ideas = self._role == "full"
        claims = self._claims(others, ideas=ideas)
        action = self._action(others, worth, claims, ideas=ideas)
        job = await self._job(action, others, worth, claims)
        if job is None:
            claims = claims or self._claims(others, ideas=False)
            action = self._action(others, offers, claims, ideas=False)
            job = await self._job(action, others, offers, claims)
        if job is not None:
            return job
        if isinstance(action, Stop):
            return action
        return Wait() if others else None

    def _claims(self, others: Sequence[Job], *, ideas: bool) -> list[Offer]:
        """What could be re-run, if there is time for it: to know that costs a verdict on all."""
        time_for_it = self._notebook.adoption.swarm((), others).affords_replication()
        return self._notebook.claims_open(others) if time_for_it or not ideas else []

    def _action(
        self,
        others: Sequence[Job],
        offers: Sequence[Offer],
        claims: Sequence[Offer],
        *,
        ideas: bool,
    ) -> Action:
        return next_action(
            self._notebook.research,
            [Flight(job.program, job.purpose) for job in others],
            comparable=self._notebook.comparable(),
            proposals=self._proposals,
            swarm=self._notebook.adoption.swarm(offers, others, len(claims)),
            ideas=ideas,
        )

    async def _job(
        self,
        action: Action,
        others: Sequence[Job],
        offers: Sequence[Offer],
        claims: Sequence[Offer],
    ) -> Job | None:
        """The job of an action; None where nothing can be proposed."""
        if isinstance(action, Repeat):
            return self._notebook.repetition(action, others)
        if isinstance(action, Wait | Stop):
            return None
        chosen = isinstance(action, Adopt) and [o for o in offers if o.doubtful == action.doubtful]
        asked = claims if isinstance(action, Replicate) else ()
        proposal = await self._propose(others, tuple(chosen or ()), tuple(asked))
        if proposal is None:
            return None
        await self._keep(proposal.source, self._fingerprint(proposal.source))
        return self._notebook.screening(proposal, others)

    async def _propose(
        self, others: Sequence[Job], offers: tuple[Offer, ...], claims: tuple[Offer, ...]
    ) -> Proposal | None:
        """Ask the strategies in their order: about offers or claims, if any, else for ideas.

        What may not be tried counts as known when they are asked again: a strategy whose best idea
        leaves nothing to chance would else say the same every time.
        """
        about = ADOPT if offers else REPLICATE if claims else None
        asked = [one for one in self._strategies if _kind(one) == about]
        refused: set[bytes] = set()
        for attempt in range(KNOWN_PROPOSALS_MAX):
            view = self._notebook.view(others, attempt, offers, claims)
            view = replace(view, fingerprints=view.fingerprints | refused)
            for strategy in asked if about else self._in_order(asked, view.seed):
                if not strategy.ready(view):
                    continue
                proposal = await strategy.propose(view)
                if proposal is None:
                    continue
                if self._may_try(proposal, view):
                    return proposal
                refused.add(self._fingerprint(proposal.source))
        return None

    def _in_order(self, strategies: Sequence[Strategy], seed: int) -> list[Strategy]:
        """Those with ideas of their own, by what each has brought."""
        runs = self._notebook.runs
        known = arms(self._notebook.research, runs, self.thought_s)
        run_s = sum(run.total_ms for _, run in runs) / max(len(runs), 1) / 1000
        return in_order(strategies, known, run_s, seed)

    def _may_try(self, proposal: Proposal, view: View) -> bool:
        """Whether it is new and its code may run on this machine."""
        if self._fingerprint(proposal.source) in view.fingerprints:
            return False
        program = program_id(proposal.source)
        elsewhere = self._notebook.peers.ran(program) or program in self.announced()
        if elsewhere and proposal.strategy not in FOREIGN:
            return False  # Whoever ran it says what it is worth.
        source, parent, strategy = proposal.source, proposal.parent, proposal.strategy
        code = self._notebook.provenance.code_of_new(source, parent, strategy)
        return self._refusal(code) is None

    def _fingerprint(self, source: str) -> bytes:
        """Of a program; one that is known is not parsed for it."""
        known = self._records.programs().get(program_id(source))
        return known.fingerprint if known else fingerprint(source)


def _kind(strategy: Strategy) -> str | None:
    """What a strategy is about, if not about ideas of its own."""
    return strategy.name if strategy.name in FOREIGN else None
