"""The swarm's verdicts, as this home's ledger supports them: which records and roots go in.

What a verdict is stands in `skep.evidence`. Every run of the task is read for it, so this is for
commands; a node keeps its own `Evidence` up as records arrive.
"""

from collections.abc import Iterable
from pathlib import Path

from gossip.view import LedgerView
from node.health import Health, health
from node.labs import read_lab
from node.roster import latest_list
from skep.evidence import Evidence, Verdicts, verdict
from skep.members import listed, roots
from skep.ports import TaskFacts
from skep.records import Claim, Run
from skep.tier import tier


def roots_of(root: Path, me: bytes) -> frozenset[bytes]:
    """Whose replications count in a home without having earned it: in a lab all members.

    Raises:
        HomeError: the ledger does not read back.
    """
    lab = read_lab(root)
    return roots(me, listed(lab.founder_key, latest_list(root, lab)) if lab else ())


def verdicts(ledger: LedgerView, task: TaskFacts, here: str, counted: Iterable[bytes]) -> Verdicts:
    """All claims of a task on one tier, judged by everything that the ledger holds.

    Args:
        ledger: of the home.
        task: its facts.
        here: name of the tier.
        counted: roots.
    """
    evidence, _ = _gathered(ledger, task, here)
    return verdict(evidence, frozenset(counted))


def _gathered(
    ledger: LedgerView, task: TaskFacts, here: str
) -> tuple[Evidence, list[tuple[bytes, Run]]]:
    """The evidence of a tier, and (author, run) of its runs in the order they arrived."""
    evidence, runs = Evidence(task, here), []
    for kind in ("claim", "run"):
        for signed in ledger.all_said(task.id, kind):
            record = signed.record
            evidence.take(signed.id, record.author, record.time, record.payload)
            if isinstance(record.payload, Run) and tier(record.payload.environment) == here:
                runs.append((record.author, record.payload))
    return evidence, runs


def health_of(ledger: LedgerView, task: TaskFacts, here: str, counted: Iterable[bytes]) -> Health:
    """How the search of a task on one tier is doing; arguments as for `verdicts`."""
    evidence, runs = _gathered(ledger, task, here)
    known = verdict(evidence, frozenset(counted))
    return health(runs, known, -1 if task.direction == "max" else 1)


def claims_of(ledger: LedgerView, task: TaskFacts, content_id: bytes) -> dict[bytes, str | None]:
    """The claims that an id names, with their tiers: a claim's own, or those of a program.

    The tier is that of the author's run; None where that is not here.
    """
    found: dict[bytes, str | None] = {}
    for signed in ledger.all_said(task.id, "claim"):
        claim = signed.record.payload
        if isinstance(claim, Claim) and content_id in (signed.id, claim.program, claim.run):
            found[signed.id] = _tier_of(ledger, claim.run)
    return found


def _tier_of(ledger: LedgerView, run_id: bytes) -> str | None:
    try:
        payload = ledger.record(run_id).record.payload
    except KeyError:
        return None
    return tier(payload.environment) if isinstance(payload, Run) else None
