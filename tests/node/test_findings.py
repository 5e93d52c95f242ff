"""Who found a program and who ran it: each author against its own baselines, claims as claims."""

import json
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from gossip.identity import Identity
from gossip.ledger import Ledger
from node.cli import main
from node.findings import findings
from node.home import Home, remember_task
from skep.patch import fingerprint
from skep.records import Rescore, Run, program_id
from tests.gossip.scenes import SWARM
from tests.node.recorded import SEED_PROGRAM, STORIES
from tests.node.strangers import BOB, EVE, Stranger, claims, deliver
from tests.node.test_adoption import run_of, text
from tests.node.test_notebook import baseline

CHILD = program_id(text(0.01))
ANN = Stranger(Identity(b"ann".ljust(32, b".")))


def reruns(key: bytes, value: float, claim: bytes) -> list[Run]:
    """A screen and a re-run of CHILD that adopt it, after three baselines with these ids."""
    rows = tuple(Rescore(key[:31] + bytes([n]), 7, "dev", 2_000_000) for n in range(3))
    return [
        run_of(0.01, value, seed=n, strategy="adopt", claim=claim, rescored=rows) for n in (1, 2)
    ]


async def recorded(home: Path) -> None:
    """Bob finds and claims CHILD; Eve re-runs it in vain, and this node adopts it."""
    me, bob, eve = Identity.load(home), Stranger(BOB), Stranger(EVE)
    async with Ledger.open(home, me, swarm=SWARM, clock=lambda: 0) as ledger:
        for source in (SEED_PROGRAM, text(0.01)):
            await ledger.add_program(source, fingerprint(source))
        claim = await claims(ledger, bob, run_of(0.01, 1.5))
        await deliver(ledger, *(eve.says(baseline(n)) for n in range(3)))
        bad = [replace(run, note="") for run in reruns(EVE.public, 2.2, claim)]
        await deliver(ledger, *(eve.says(run) for run in bad))
        for n in range(3):
            await ledger.publish(baseline(n), STORIES.id)
        for run in reruns(me.public, 1.6, claim):
            await ledger.publish(run, STORIES.id)
    remember_task(Home(home), STORIES)


def test_everybody_is_judged_by_own_baselines_and_the_finder_only_claims(tmp_path: Path) -> None:
    trio.run(recorded, tmp_path)
    with Ledger.read(tmp_path) as ledger:
        found = findings(CHILD, STORIES, ledger)
    assert found.found_by == BOB.public
    assert found.claimed == -0.5
    bob, eve, me = found.runners
    assert (bob.author, bob.standing, bob.runs, bob.effect) == (BOB.public, "claimed", 1, None)
    assert (eve.author, eve.standing, eve.runs) == (EVE.public, "not reproduced", 2)
    assert (me.standing, me.runs) == ("reproduced", 2)
    assert me.effect == pytest.approx(-0.4)
    assert me.sigmas is not None
    assert me.sigmas < -5


def test_show_says_who_found_a_program_and_who_reproduced_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trio.run(recorded, tmp_path)
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    assert main(["show", CHILD.hex()]) == 0
    shown = capsys.readouterr().out
    assert f"found by  {BOB.name}  ({BOB.peer_id})\n" in shown
    assert "claim     -0.500000 against its parent, by its author's word\n" in shown
    assert f"  {BOB.name:<24}    1 run  claimed\n" in shown
    assert f"  {EVE.name:<24}   2 runs  not reproduced: +0.200000 (" in shown
    assert "  me                         2 runs  reproduced by me: -0.400000 (" in shown
    assert main(["show", CHILD.hex(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["found"]
    assert found["by"] == {"name": BOB.name, "peer_id": BOB.peer_id}
    assert [(one["me"], one["standing"]) for one in found["runners"]] == [
        (False, "claimed"),
        (False, "not reproduced"),
        (True, "reproduced"),
    ]


def test_own_runs_stay_the_only_rows_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trio.run(recorded, tmp_path)
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    assert main(["runs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["strategy"], len(row["runs"])) for row in rows] == [("baseline", 3), ("adopt", 2)]
