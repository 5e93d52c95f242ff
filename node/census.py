"""What a home holds of a swarm, counted: authors, tiers, tasks, claims, feeds. No network.

Most of it stands in the database's indices. Read are the last run of every chain, the claims of
tasks that this home works on, and its own runs; so it takes about a second with 300,000 records of
1,000 authors. Who is there at this moment only a running node knows: `node.company`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from gossip.positions import Stock
from gossip.swarms import PUBLIC_SWARM, SOLO_SWARM
from gossip.view import LedgerView
from node.history import history
from skep.ports import TaskFacts
from skep.records import NO_TASK, Claim, Retract
from skep.tier import tier


class OfTier(Struct, frozen=True):
    """Records of one hardware tier.

    A chain is that of one home, so all its records count under the tier of its latest run.

    Attributes:
        tier: name; None for chains without a run.
        authors, records: how many.
    """

    tier: str | None
    authors: int
    records: int


class Claims(Struct, frozen=True, kw_only=True):
    """Claims of one task, withdrawn ones left out.

    Attributes:
        own: by this node.
        reproduced: of others, and this node's own runs say so, too.
        not_reproduced: of others, and this node's own runs say otherwise.
        open: of others, without a verdict of this node.
    """

    own: int = 0
    reproduced: int = 0
    not_reproduced: int = 0
    open: int = 0


class OfTask(Struct, frozen=True, kw_only=True):
    """Records of one task.

    Attributes:
        task: its id.
        name: what this home calls it; None for a task it never worked on.
        runs, claims: how many records.
        standing: what became of the claims; None for a task it never worked on.
    """

    task: bytes
    name: str | None
    runs: int
    claims: int
    standing: Claims | None


class Census(Struct, frozen=True, kw_only=True):
    """What a home holds of one swarm.

    Attributes:
        swarm: its id.
        records, feeds, authors: how many.
        pruned: how many more records there were, of which only the place is left.
        forked: authors who said two things at once.
        others_bytes: size of the records of others.
        tiers: the largest first.
        tasks: the largest first; what is said of the swarm as a whole is none.
    """

    swarm: bytes
    records: int
    pruned: int
    feeds: int
    authors: int
    forked: tuple[bytes, ...]
    others_bytes: int
    tiers: tuple[OfTier, ...]
    tasks: tuple[OfTask, ...]


def swarm_of(ledger: LedgerView) -> bytes:
    """The swarm that records came from last; the public one in a home that was always alone."""
    return ledger.last_swarm(SOLO_SWARM) or PUBLIC_SWARM


def census(ledger: LedgerView, tasks: Sequence[TaskFacts], swarm: bytes) -> Census:
    """Count what there is of a swarm.

    Args:
        ledger: of the home.
        tasks: those it knows.
        swarm: id.
    """
    stock = ledger.stock(swarm)
    return Census(
        swarm=swarm,
        records=sum(one.records for one in stock),
        pruned=sum(one.pruned for one in stock),
        feeds=len(stock),
        authors=len({one.author for one in stock}),
        forked=tuple(dict.fromkeys(one.author for one in stock if one.forked)),
        others_bytes=sum(one.size for one in stock if one.author != ledger.me),
        tiers=_tiers(ledger, stock),
        tasks=_tasks(ledger, {facts.id: facts for facts in tasks}, swarm),
    )


def _tiers(ledger: LedgerView, stock: Iterable[Stock]) -> tuple[OfTier, ...]:
    records: Counter[str | None] = Counter()
    authors: dict[str | None, set[bytes]] = {}
    for one in stock:
        run = ledger.last_run(one.author, one.session)
        here = tier(run.environment) if run else None
        records[here] += one.records
        authors.setdefault(here, set()).add(one.author)
    return tuple(OfTier(name, len(authors[name]), count) for name, count in records.most_common())


def _tasks(ledger: LedgerView, known: dict[bytes, TaskFacts], swarm: bytes) -> tuple[OfTask, ...]:
    kinds = ledger.kinds(swarm)
    total: Counter[bytes] = Counter()
    for (task, _), count in kinds.items():
        total[task] += count
    return tuple(
        OfTask(
            task=task,
            name=known[task].name if task in known else None,
            runs=kinds.get((task, "run"), 0),
            claims=kinds.get((task, "claim"), 0),
            standing=_standing(ledger, known[task], swarm) if task in known else None,
        )
        for task, _ in total.most_common()
        if task != NO_TASK
    )


def _standing(ledger: LedgerView, task: TaskFacts, swarm: bytes) -> Claims:
    """What became of the claims, by this node's own runs."""
    found = history(ledger.runs(task.id), task, ledger.program)
    verdicts = {one.program: one.verdict for one in found.experiments}
    withdrawn = {
        (signed.record.author, signed.record.payload.record)
        for signed in ledger.all_said(task.id, "retract")
        if isinstance(signed.record.payload, Retract)
    }
    counts: Counter[str] = Counter()
    for signed in ledger.all_said(task.id, "claim"):
        record = signed.record
        if record.swarm != swarm or (record.author, signed.id) in withdrawn:
            continue
        if record.author == ledger.me:
            counts["own"] += 1
        elif isinstance(record.payload, Claim):
            counts[verdicts.get(record.payload.program, "")] += 1
    return Claims(
        own=counts["own"],
        reproduced=counts["keep"],
        not_reproduced=counts["discard"] + counts["crash"],
        open=counts[""] + counts["pending"] + counts["baseline"],
    )
