"""`skep why` and a verdict in words: every number is there, and what it means."""

import json
import re
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from gossip.identity import Identity, peer_id
from gossip.ledger import Ledger
from node.cli import main
from node.explain import headline, meaning, of_voice
from node.home import Home, remember_task
from node.verdicts import claims_of, verdicts
from skep.evidence import Evidence, replication_seed, verdict
from skep.patch import fingerprint
from skep.records import Rescore, Run, program_id
from skep.tier import tier
from tests.factories import CPU, content_id
from tests.gossip.scenes import SWARM
from tests.node.recorded import SEED_PROGRAM, STORIES
from tests.node.strangers import BOB, EVE, Stranger, claims, deliver
from tests.node.test_adoption import run_of, text
from tests.node.test_notebook import baseline
from tests.skep.test_verdict import NODES, TASK, swarm_of

CHILD = program_id(text(0.01))


def replication(claim: bytes, key: bytes, value: float, parent: int = 2_000_000) -> Run:
    rows = tuple(Rescore(one, 7, "dev", parent) for one in baselines_of[key])
    seed = replication_seed(claim, key, 0)
    return run_of(0.01, value, seed=seed, strategy="adopt", claim=claim, rescored=rows)


baselines_of: dict[bytes, list[bytes]] = {}


async def recorded(home: Path, eve_says: tuple[float, int] = (2.2, 2_000_000)) -> None:
    """Bob claims CHILD; Eve re-runs it in vain, and this node with success."""
    me, bob, eve = Identity.load(home), Stranger(BOB), Stranger(EVE)
    async with Ledger.open(home, me, swarm=SWARM, clock=lambda: 0) as ledger:
        for source in (SEED_PROGRAM, text(0.01)):
            await ledger.add_program(source, fingerprint(source))
        claim = await claims(ledger, bob, run_of(0.01, 1.5))
        theirs = [eve.says(baseline(n)) for n in range(3)]
        await deliver(ledger, *theirs)
        baselines_of[EVE.public] = [one.id for one in theirs]
        await deliver(ledger, eve.says(replication(claim, EVE.public, *eve_says)))
        own = [await ledger.publish(baseline(n), STORIES.id) for n in range(3)]
        baselines_of[me.public] = [one.id for one in own]
        await ledger.publish(replication(claim, me.public, 1.6), STORIES.id)
    remember_task(Home(home), STORIES)


def test_why_shows_every_machine_and_what_it_counts_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trio.run(recorded, tmp_path)
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    assert main(["why", CHILD.hex()[:12]]) == 0
    shown = capsys.readouterr().out
    assert "its word  -0.500000 val_bpb; never counted as evidence\n" in shown
    assert "verdict   open: no other machine's word counts here yet" in shown
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert "-0.400000" in lines["me"]
    assert lines["me"].rstrip().endswith(("counts", "the most of one machine"))
    assert lines[EVE.name].endswith("does not count: agreed on 0 of 4 claims")
    assert "One machine re-ran it whose word does not count here" in shown
    assert main(["why", CHILD.hex(), "--json"]) == 0
    (claim,) = json.loads(capsys.readouterr().out)["claims"]
    assert (claim["state"], claim["author"]) == ("open", BOB.peer_id)
    assert [(one["author"], one["counts"]) for one in claim["voices"]] == [
        (peer_id(next(key for key in baselines_of if key != EVE.public)), True),
        (EVE.peer_id, False),
    ]


def test_numbers_of_a_stranger_may_be_as_large_as_a_record_can_carry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trio.run(recorded, tmp_path, (0.000001, 32_000_000))
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    assert main(["why", CHILD.hex()]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert re.search(r" 1e\+\d{3,} ", lines[EVE.name])


def test_a_claim_can_be_named_by_itself_its_run_or_its_program(tmp_path: Path) -> None:
    trio.run(recorded, tmp_path)
    with Ledger.read(tmp_path) as ledger:
        (said,) = ledger.said(STORIES.id, "claim")
        payload = said.record.payload
        found = claims_of(ledger, STORIES, CHILD)
        assert list(found) == [said.id]
        for other in (said.id, getattr(payload, "run")):  # noqa: B009
            assert claims_of(ledger, STORIES, other) == found
        (here,) = found.values()
        assert here is not None
        known = verdicts(ledger, STORIES, here, {EVE.public, ledger.me})
    assert known.identities == 2
    assert known.claims[said.id].counted == 2


def test_a_program_that_nobody_claimed_is_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trio.run(recorded, tmp_path)
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    with Ledger.read(tmp_path) as ledger:
        own = ledger.runs(STORIES.id)[0][0]
    assert main(["why", own.hex()]) == 1
    assert "nobody has claimed" in capsys.readouterr().err


def test_confirmed_refuted_and_open_in_words() -> None:
    swarm = swarm_of(12)
    good, bad, new = (swarm.claim(NODES[0], name) for name in ("good", "bad", "new"))
    for node in NODES[1:5]:
        swarm.replicate(good, node, -20.0, program="good")
        swarm.replicate(bad, node, 2.0, program="bad")
    known = swarm.judged()
    lines = [headline(known, known.claims[claim]) for claim in (good, bad, new)]
    assert lines[0].startswith("confirmed by 4 machines that are not its author's: e = ")
    assert lines[0].endswith(", 40 needed")
    assert lines[1] == "refuted by 4 machines: e = 0.0039, below 0.1"
    assert lines[2] == "open: no machine whose word counts has re-run it"
    said = [" ".join(meaning(TASK, known, known.claims[claim])) for claim in (good, bad, new)]
    assert "at most 5 % are expected to be luck" in said[0]
    assert "changes val_bpb by -0.1" in said[0]
    assert "found no improvement worth speaking of" in said[1]
    assert "no evidence for its claim" in said[2]
    voices = [of_voice(known, known.claims[claim].voices[0]) for claim in (good, bad)]
    assert voices == [
        "counts as 3.42, the most of one machine",
        "counts as 0.25, the least of one machine",
    ]


def test_a_metric_that_grows_is_told_with_its_own_sign() -> None:
    task = replace(TASK, direction="max", metric="accuracy")
    swarm = swarm_of(12)
    claim = swarm.claim(NODES[0], effect=0.03)
    for node in NODES[1:4]:
        swarm.replicate(claim, node, 20.0)
    evidence = Evidence(task, tier(CPU))
    for one in swarm.said:
        evidence.take(*one)
    known = verdict(evidence, NODES)
    assert known.claims[claim].state == "confirmed"
    assert "changes accuracy by +0." in " ".join(meaning(task, known, known.claims[claim]))
    assert content_id("child") == known.claims[claim].claim.claim.program
