"""Who found a program, and who ran it since: the records of all authors, seen from one program.

Each author's runs are judged against that author's own baselines, by the shipped fold, and only
runs of one tier at a time. "Reproduced" is what this machine did; what an author says of its own
program is a claim. A verdict of the swarm is not here.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from gossip.view import LedgerView
from skep.evidence import research
from skep.evidence.research import Stage
from skep.ports import FOREIGN, TaskFacts
from skep.records import MICRO, Claim, Run, program_id
from skep.tier import tier

Standing = Literal["claimed", "reproduced", "not reproduced", "pending"]
STANDINGS: dict[Stage, Standing] = {
    "kept": "reproduced",
    "discarded": "not reproduced",
    "failed": "not reproduced",
}


class Runner(Struct, frozen=True, kw_only=True):
    """One author's finished runs of a program.

    Attributes:
        author: public key.
        runs: how many.
        standing: what its runs say; the one who found the program can only claim.
        effect: program - baseline by its re-runs, in units of the metric, as measured; None for a
            claim, and where there is no comparison.
        sigmas: the same in noise floors of that author; negative is better.
        e: e-value.
    """

    author: bytes
    runs: int
    standing: Standing
    effect: float | None = None
    sigmas: float | None = None
    e: float | None = None


class Findings(Struct, frozen=True, kw_only=True):
    """What all authors' records say of one program.

    Attributes:
        found_by: whose run of it, other than an adoption, was the first to get here.
        claim: id of the claim of whoever found it.
        claimed: the effect in that claim, in units of the metric: the author's word.
        runners: everybody with a finished run, in order of arrival.
    """

    found_by: bytes | None
    claim: bytes | None
    claimed: float | None
    runners: tuple[Runner, ...]


def findings(program: bytes, task: TaskFacts, ledger: LedgerView) -> Findings:
    """Read from the ledger what there is of a program."""
    finished: Counter[bytes] = Counter()
    finder: bytes | None = None
    for _, author, run in ledger.all_runs(task.id):
        if run.program == program:
            finished[author] += run.status == "done"
            if finder is None and run.strategy not in FOREIGN:
                finder = author
    claim, claimed = _claim(program, finder, task, ledger)
    runners = (
        _runner(program, author, count, task, ledger.runs(task.id, author), found=author == finder)
        for author, count in finished.items()
        if count
    )
    return Findings(found_by=finder, claim=claim, claimed=claimed, runners=tuple(runners))


def _claim(
    program: bytes, author: bytes | None, task: TaskFacts, ledger: LedgerView
) -> tuple[bytes | None, float | None]:
    for signed in ledger.said(task.id, "claim"):
        claim = signed.record.payload
        if isinstance(claim, Claim) and claim.program == program and signed.record.author == author:
            return signed.id, claim.effect / MICRO
    return None, None


def _runner(
    program: bytes,
    author: bytes,
    count: int,
    task: TaskFacts,
    runs: Iterable[tuple[bytes, Run]],
    *,
    found: bool,
) -> Runner:
    if found or program == program_id(task.seed_program):
        return Runner(author=author, runs=count, standing="claimed" if found else "pending")
    everything = list(runs)
    here = next(tier(run.environment) for _, run in everything if run.program == program)
    known = research(
        [(one, run) for one, run in everything if tier(run.environment) == here],
        start=program_id(task.seed_program),
        direction=task.direction,
        sigma_prior=task.sigma,
        noise_prior=task.noise,
    )
    candidate = known.candidates.get(program)
    if candidate is None or candidate.effect is None:
        stage = candidate.stage if candidate else "open"
        return Runner(author=author, runs=count, standing=STANDINGS.get(stage, "pending"))
    sign = -1 if task.direction == "max" else 1
    return Runner(
        author=author,
        runs=count,
        standing=STANDINGS.get(candidate.stage, "pending"),
        effect=sign * candidate.effect,
        sigmas=candidate.effect / known.noise.upper,
        e=candidate.e,
    )
