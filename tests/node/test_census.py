"""What a home holds of a swarm, counted; and how `skep swarm` and its documentation say it."""

import json
import re
from contextlib import closing
from pathlib import Path

import pytest

from gossip.feeds import Link
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.statements import prune_record
from gossip.store import Reader, Store
from gossip.swarms import PUBLIC_SWARM, SOLO_SWARM
from gossip.view import LedgerView
from node.census import Claims, OfTask, OfTier, census, swarm_of
from node.cli import main
from node.home import Home
from skep.records import NO_PREVIOUS, NO_TASK, Claim, Members, Retract, SignedRecord
from skep.tier import tier
from tests.factories import CPU, content_id, make_run
from tests.gossip.scenes import chain_by
from tests.node.recorded import STORIES, Recording, setting, small_search
from tests.node.strangers import BOB, EVE
from tests.node.test_cli_docs import SECTIONS

HERE = tier(CPU)
OTHER = content_id("another task")


def says(key: Identity, *payloads: object, session: bytes = b"claiming") -> list[SignedRecord]:
    """Records under STORIES of the public swarm, in a chain of their own."""
    records: list[SignedRecord] = []
    link = Link(session, 0, NO_PREVIOUS)
    for payload in payloads:
        kind = type(payload).__name__.lower()
        fields = {"payload": payload, "kind": kind, "task": STORIES.id, "swarm": PUBLIC_SWARM}
        (one,) = chain_by(key, 1, link, **fields)
        records.append(one)
        link = link.after(one.body)
    return records


def claim(program: bytes) -> Claim:
    return Claim(program=program, parent=content_id("p"), run=bytes(32), effect=-1, note="why")


async def take(home: Path, *records: SignedRecord) -> None:
    async with Ledger.open(home, Identity.load(home), swarm=SOLO_SWARM, clock=lambda: 0) as ledger:
        await ledger.admit(records)


async def test_authors_tiers_and_tasks_are_those_of_one_swarm(tmp_path: Path) -> None:
    await take(
        tmp_path,
        *chain_by(BOB, 3, swarm=PUBLIC_SWARM),
        *chain_by(BOB, 1, Link(b"session2", 0, NO_PREVIOUS), swarm=PUBLIC_SWARM, task=OTHER),
        *chain_by(EVE, 2, swarm=PUBLIC_SWARM),
        *says(EVE, claim(content_id("x"))),
        *chain_by(EVE, 5, Link(b"elsewher", 0, NO_PREVIOUS), swarm=content_id("a lab")),
    )
    with Ledger.read(tmp_path) as ledger:
        found = census(ledger, [], PUBLIC_SWARM)
        assert (found.records, found.feeds, found.authors, found.forked) == (7, 4, 2, ())
        assert found.tiers == (OfTier(HERE, 2, 6), OfTier(None, 1, 1))
        assert [(one.task, one.runs, one.claims) for one in found.tasks] == [
            (STORIES.id, 5, 1),
            (OTHER, 1, 0),
        ]
        sizes = [one.size for one in ledger.stock(PUBLIC_SWARM)]
        assert found.others_bytes == sum(sizes) > 7 * 64
        assert swarm_of(ledger) == content_id("a lab"), "records came from there last"


async def test_what_is_said_of_the_swarm_as_a_whole_is_a_record_but_no_task(tmp_path: Path) -> None:
    fields = {
        "payload": Members((EVE.public,)),
        "kind": "members",
        "task": NO_TASK,
        "swarm": PUBLIC_SWARM,
    }
    await take(tmp_path, *chain_by(BOB, 1, Link(b"listing.", 0, NO_PREVIOUS), **fields))
    with Ledger.read(tmp_path) as ledger:
        found = census(ledger, [], PUBLIC_SWARM)
        assert (found.records, found.tasks) == (1, ())


async def test_pruned_records_are_counted_apart(tmp_path: Path) -> None:
    records = chain_by(BOB, 5, swarm=PUBLIC_SWARM)
    await take(tmp_path, *records)
    with closing(Store.open(Home(tmp_path).database)) as store:
        store.commit(one for signed in records[:2] for one in prune_record(signed))
    with Ledger.read(tmp_path) as ledger:
        found = census(ledger, [], PUBLIC_SWARM)
        assert (found.records, found.pruned, found.feeds) == (3, 2, 1)
        assert [(one.task, one.runs) for one in found.tasks] == [(STORIES.id, 3)]
        assert found.tiers == (OfTier(HERE, 1, 3),)


async def test_who_said_two_things_at_once_is_named_once(tmp_path: Path) -> None:
    trunk = chain_by(BOB, 2, swarm=PUBLIC_SWARM)
    place = Link(trunk[1].record.session, 1, trunk[1].record.prev)
    await take(tmp_path, *trunk, *chain_by(BOB, 1, place, swarm=PUBLIC_SWARM, time=5))
    await take(tmp_path, *chain_by(EVE, 2, swarm=PUBLIC_SWARM))
    with Ledger.read(tmp_path) as ledger:
        found = census(ledger, [], PUBLIC_SWARM)
        assert (found.forked, found.feeds, found.records) == ((BOB.public,), 2, 5)


async def test_a_claim_is_reproduced_refused_or_open_by_own_runs_alone(tmp_path: Path) -> None:
    search = Recording()
    kept = search.try_out(setting("LR", 0.012, worth=-0.15))
    discarded = search.try_out(setting("DEPTH", 9, worth=+0.08))
    await search.write(tmp_path)
    claims = [claim(one) for one in (kept, discarded, content_id("new"), content_id("gone"))]
    said = says(BOB, *claims)
    taken_back = says(BOB, Retract(record=said[3].id), session=b"regrets!")
    not_hers = says(EVE, Retract(record=said[2].id))
    mine = says(Identity.load(tmp_path), claim(kept))
    await take(tmp_path, *said, *taken_back, *not_hers, *mine)
    with Ledger.read(tmp_path) as ledger:
        (found,) = census(ledger, [STORIES], PUBLIC_SWARM).tasks
        standing = Claims(own=1, reproduced=1, not_reproduced=1, open=1)
        assert found == OfTask(
            task=STORIES.id, name="stories", runs=0, claims=5, standing=standing
        ), "own runs carry another swarm here and are not counted"


async def test_the_latest_run_of_a_chain_tells_its_tier(tmp_path: Path) -> None:
    records = says(BOB, make_run("a", pinned=1.0), make_run("b", pinned=2.0), claim(bytes(32)))
    await take(tmp_path, *records)
    reader = Reader.open(Home(tmp_path).database)
    try:
        found = LedgerView(reader).last_run(BOB.public, b"claiming")
        assert found is not None
        assert found.program == content_id("b")
        assert LedgerView(reader).last_run(BOB.public, b"nothing!") is None
    finally:
        reader.close()


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


async def test_without_a_node_the_ledger_alone_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    await small_search().write(tmp_path)
    await take(tmp_path, *chain_by(BOB, 1200, swarm=PUBLIC_SWARM))
    await take(tmp_path, *says(EVE, claim(content_id("x"))))
    lines = shown(capsys, "swarm").splitlines()
    assert lines[0] == f"no node is running on {tmp_path}"
    assert "1,201 records of 2 authors" in lines
    assert [line.split() for line in lines if line.startswith("stories")] == [
        ["stories", "1,200", "1", "0", "1", "0", "0"]
    ]
    assert any(line.startswith("2 feeds, none forked; ") for line in lines)
    assert lines[-1] == "time         baseline 100 %, tune 0 %"
    found = json.loads(shown(capsys, "swarm", "--json"))
    assert (found["running"], found["records"], found["groups"]) == (False, 1201, None)


def test_a_fresh_home_has_an_empty_swarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    assert "0 records of 0 authors" in shown(capsys, "swarm")
    found = json.loads(shown(capsys, "swarm", "--json"))
    documented = set(re.findall(r"`([a-z_]+)`", SECTIONS["swarm"]))
    assert set(found) <= documented
    assert list(tmp_path.iterdir()) == [], "reading makes nothing"
