"""Two homes and the real trainer: what one finds the other re-runs, adopts and builds upon.

Home A is led to a good edit and takes the shipped way from there: screen, claim, re-runs, keep.
Its records, and nothing else, are put into the ledger of home B, where a plain `skep join` runs.
And two nodes on a mesh, each of which comes with a find of its own.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.swarms import SOLO_SWARM
from node.app import open_node
from node.config import Settings
from node.experiment import Bench
from node.history import history
from node.home import Home, known_tasks
from node.loop import Researcher
from skep.patch import apply
from skep.ports import Proposal, View
from skep.records import SetConstant, program_id
from tests.e2e.nodes import (
    QUICK_PROGRAM,
    acquainted,
    quick_task,
    skep,
    skep_json,
    skep_process,
)
from tests.e2e.test_join import wait_for
from trainer.policy import Consent

BUDGET_S = 0.5
GOOD = (SetConstant("LR", 0.012), SetConstant("BATCH_SIZE", 8))
"""Many sigma better than the seed program at so small a budget: it is far from converged."""


def seed_program(home: Path) -> str:
    return known_tasks(Home(home))[0].seed_program


class Told:
    """A strategy that was told what to propose."""

    name = "tune"

    def __init__(self, edits: Sequence[SetConstant]) -> None:
        self._edits = tuple(edits)

    def ready(self, view: View) -> bool:
        return True

    async def propose(self, view: View) -> Proposal | None:
        source = apply(view.task.seed_program, self._edits)
        if program_id(source) in {trial.program for trial in view.trials} or source in view.pending:
            return None
        return Proposal(
            source=source,
            parent=view.champion,
            edits=self._edits,
            strategy=self.name,
            note="hotter",
        )


async def find(
    home: Path,
    edits: Sequence[SetConstant] = GOOD,
    *,
    task: str = "stories",
    budget: float | None = BUDGET_S,
) -> bytes:
    """Let a node find these edits, if they are good; its champion afterwards."""
    settings = Settings(home=home, task=task, budget=budget, jobs=1, device="cpu")
    async with open_node(settings, Consent(), lambda line: None) as node:
        researcher = Researcher(
            ledger=node.ledger,
            bench=Bench(node.task.facts, node.executor, node.home.runs, node.environment),
            strategies=[Told(edits)],
            author=node.identity.public,
            proposals=1,
            emit=lambda event: None,
        )
        await researcher.run()
        return researcher.research.champion


async def hand_over(giver: Path, taker: Path) -> None:
    """Put everything that a node said into another one's ledger, as a mesh would."""
    shutil.copytree(giver / "tasks", taker / "tasks")
    shutil.copy(giver / "machine.json", taker)  # one machine, one tier
    (task,) = known_tasks(Home(giver))
    with Ledger.read(giver) as ledger:
        said = [one for kind in ("run", "claim") for one in ledger.said(task.id, kind)]
    identity = Identity.load(taker)
    async with Ledger.open(taker, identity, swarm=SOLO_SWARM, clock=lambda: 0) as mine:
        assert await mine.admit(said) == len(said)


def built_upon(home: Path, program: bytes) -> bool:
    """Whether a home has a run of anything that was made from a program."""
    with Ledger.read(home) as ledger:
        runs = ledger.runs(known_tasks(Home(home))[0].id)
    return any(run.parent == program for _, run in runs)


def champion(home: Path) -> bytes:
    """The program that a home builds on."""
    (task,) = known_tasks(Home(home))
    with Ledger.read(home) as ledger:
        lineage = history(ledger.runs(task.id), task, ledger.program).lineage
        return lineage[-1].program if lineage else b""


def joined(home: Path, until: Callable[[], bool], *options: str) -> str:
    """What a node says that runs on a home until something has happened."""
    usual = ["--solo", "--budget", str(BUDGET_S), "--jobs", "1", "--device", "cpu"]
    process = skep_process(home, "join", *usual, *options)
    wait_for(until, process, limit_s=600)
    skep(home, "finish")
    out, _ = process.communicate(timeout=300)
    return out


def test_what_one_home_finds_another_reruns_adopts_and_builds_upon(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    found = trio.run(find, a)
    assert found == program_id(apply(seed_program(a), GOOD)), "home A keeps it"
    trio.run(hand_over, a, b)
    # First with all its time for what others found, then as a node that goes on by itself.
    out = joined(b, lambda: champion(b) == found, "--verify-only")
    joined(b, lambda: built_upon(b, found))
    name = Identity.load(a).name
    assert f"adopted from {name} ({found.hex()[:12]}): hotter" in out

    with Ledger.read(a) as ledger:
        (claim,) = [one.id for one in ledger.said(known_tasks(Home(a))[0].id, "claim")]
    shown = skep_json(b, "show", found.hex())
    assert shown["experiment"]["verdict"] == "keep"
    assert {(run["strategy"], run["claim"]) for run in shown["runs"]} >= {("adopt", claim.hex())}
    assert shown["found"]["by"]["name"] == name
    standings = [(one["me"], one["standing"]) for one in shown["found"]["runners"]]
    assert standings == [(False, "claimed"), (True, "reproduced")]
    later = [row for row in skep_json(b, "runs") if row["parent"] == found.hex()]
    assert later, "the search goes on from what was adopted"


def test_two_nodes_with_a_find_each_end_with_both_in_one_champion(tmp_path: Path) -> None:
    finds = [SetConstant("RATE", 4.0)], [SetConstant("DECAY", 0.1)]
    task, homes = str(quick_task(tmp_path / "task")), (tmp_path / "a", tmp_path / "b")
    for home, edits in zip(homes, finds, strict=True):
        champion_before = trio.run(partial(find, home, edits, task=task, budget=None))
        assert champion_before == program_id(apply(QUICK_PROGRAM, edits))
        if home is homes[0]:
            homes[1].mkdir()
            shutil.copy(home / "machine.json", homes[1])  # one machine, one tier
    both = program_id(apply(QUICK_PROGRAM, [edit for edits in finds for edit in edits]))
    # They have no ideas of their own, so that neither finds by itself what the other has.
    usual = ["--task", task, "--jobs", "1", "--verify-only"]
    nodes = [
        skep_process(home, "join", *usual, *meeting)
        for home, meeting in zip(homes, acquainted(homes), strict=True)
    ]
    try:
        for node, home in zip(nodes, homes, strict=True):
            wait_for(partial(lambda one: champion(one) == both, home), node, limit_s=120)
    finally:
        for node in nodes:
            node.terminate()
    said = [node.communicate(timeout=30)[0] for node in nodes]
    for out, other in zip(said, reversed(homes), strict=True):
        assert f"adopted from {Identity.load(other).name}" in out
    assert [skep_json(home, "best")["program"] for home in homes] == [both.hex()] * 2
