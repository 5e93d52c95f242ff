"""What goes first when others take too much room, what never does, and what is left of it."""

from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from gossip.feeds import Link
from gossip.identity import Identity
from gossip.intake import Intake
from gossip.quota import PLACE_BYTES, ROW_BYTES, built_on, cost, to_prune
from gossip.store import Store
from skep.errors import ArchiveFull
from skep.records import Claim, Note, Payload, Profile, Retract, SignedRecord, Unknown
from tests.factories import content_id, make_run
from tests.gossip import scenes
from tests.gossip.scenes import KEY, SESSION, SWARM, TASK, chain_by, open_ledger

OTHER = Identity(bytes(32))


def run_of(program: str, parent: str | None = None, seed: int = 0) -> SignedRecord:
    """A run by OTHER."""
    return said(make_run(program, parent=parent and content_id(parent), seed=seed))


def said(payload: Payload | Unknown, kind: str = "run", key: Identity = OTHER) -> SignedRecord:
    """Anything at all."""
    return chain_by(key, 1, kind=kind, payload=payload)[0]


def a_claim(program: str, parent: str) -> SignedRecord:
    """A claim by OTHER."""
    run = content_id("a run")
    claim = Claim(program=content_id(program), parent=content_id(parent), run=run, effect=-1)
    return said(claim, "claim")


def gone(
    records: Sequence[SignedRecord], excess: int = 1 << 30, kept: Collection[str] = ()
) -> list[SignedRecord]:
    """What the rule takes."""
    return to_prune(records, KEY.public, {content_id(one) for one in kept}.__contains__, excess)


def test_the_oldest_go_first_and_no_more_than_it_takes() -> None:
    runs = [run_of("a", seed=seed) for seed in range(5)]
    assert gone(runs, excess=0) == []
    assert gone(runs, excess=1) == runs[:1]
    assert gone(runs, excess=cost(runs[0]) + 1) == runs[:2]
    assert gone(runs) == runs


def test_what_was_built_on_or_claimed_stays_and_so_does_all_that_is_no_run() -> None:
    note = Note(role="finding", about=None, text="x")
    profile = Profile(name="", tier="", role="full", software="skep")
    staying = [
        run_of("parent"),
        a_claim("b", "a"),
        said(note, "note"),
        said(profile, "profile"),
        said(Retract(record=bytes(32)), "retract"),
        said(make_run("own"), key=KEY),
    ]
    losing = [run_of("child", "parent"), said(Unknown({}), "dance"), run_of("x")]
    assert gone([*staying, *losing], kept=["parent"]) == losing


def test_a_record_speaks_for_what_it_builds_on_but_not_for_itself() -> None:
    assert built_on(run_of("child", "parent")) == {content_id("parent")}
    assert built_on(run_of("seed")) == frozenset()
    assert built_on(run_of("same", "same")) == frozenset()
    assert built_on(a_claim("b", "a")) == {content_id("a"), content_id("b")}
    assert built_on(said(Note(role="finding", about=content_id("a"), text="x"), "note")) == set()


def chain_of(programs: Sequence[str], parent: str | None = "start") -> list[SignedRecord]:
    """A chain by OTHER of one run for each program."""
    records: list[SignedRecord] = []
    link = scenes.FIRST
    for seed, program in enumerate(programs):
        run = make_run(program, parent=parent and content_id(parent), seed=seed, pinned=2.0)
        records += chain_by(OTHER, 1, link, run=run)
        link = link.after(records[-1].body)
    return records


def test_a_full_home_prunes_for_what_is_new_and_keeps_the_places(tmp_path: Path) -> None:
    records = chain_of([f"p{number}" for number in range(10)])
    whole = sum(map(cost, records[:5]))
    with closing(Store.open(tmp_path / "skep.db")) as store:
        intake = Intake(store, KEY.public, whole)
        assert intake.take(records[:5]) == records[:5]
        assert list(store.feeds()) == records[:5]
        assert intake.take(records[5:6]) == records[5:6]
        left = list(store.feeds())
        assert left == records[1:6]
        assert [one.id for one in store.positions(SWARM)] == [one.id for one in records[:6]]
        assert store.chain(OTHER.public, SESSION, 0, 9, 1 << 20) == [
            one.signature + one.body for one in left
        ]
        assert store.knows(records[0].id)
        assert store.record(records[0].id) is None
        assert store.matching(records[0].id, records[0].id) == []
        assert [one.id for one in store.said(TASK, "run")] == [one.id for one in left]
        assert intake.take(records[:2]) == []
        intake.take(records[6:7])
        rows = store._rows("SELECT prev, time, length(body) FROM records ORDER BY seq LIMIT 3")
        time = records[0].record.time
        assert rows[:2] == [(bytes(32), time, 0), (records[0].id, time, 0)]
        assert rows[2][2] > 0
        left = list(store.feeds())
    with closing(Store.open(tmp_path / "skep.db")) as store:
        count, size, places = store.kept_of_others(KEY.public)
        assert places == 2
        assert (count, count * ROW_BYTES + size) == (5, sum(map(cost, left)))


def test_parents_stay_when_their_child_came_later_or_comes_now(tmp_path: Path) -> None:
    records = chain_of(["b", "a", "c", "d"])
    link = Link(SESSION, 4, records[-1].id)
    child = chain_by(OTHER, 1, link, run=make_run("e", parent=content_id("b"), pinned=2.0))
    with closing(Store.open(tmp_path / "skep.db")) as store:
        Intake(store, KEY.public).take(records)
        Intake(store, KEY.public, sum(map(cost, records))).take(child)
        assert list(store.feeds()) == [records[0], *records[2:], *child]


def test_the_last_of_a_chain_and_both_records_of_a_fork_stay(tmp_path: Path) -> None:
    records = chain_of(["a", "b", "c", "d"])
    twin = chain_by(OTHER, 1, Link(SESSION, 1, records[0].id), time=9)
    alone = chain_by(Identity(b"a" * 32), 1)
    with closing(Store.open(tmp_path / "skep.db")) as store:
        Intake(store, KEY.public).take([*alone, *records, *twin])
        going = [one for _, one in store.prunable(KEY.public, 0, 99)]
        assert going == [records[0], records[2]]
        assert [one.id for _, one in store.prunable(OTHER.public, 0, 99)] == []


def test_own_records_take_no_room_and_never_go(tmp_path: Path) -> None:
    own = chain_by(KEY, 20)
    others = chain_of(["a", "b", "c"])
    with closing(Store.open(tmp_path / "skep.db")) as store:
        intake = Intake(store, KEY.public, sum(map(cost, others[:2])))
        assert len(intake.take([*own[:10], *others[:2]])) == 12
        assert intake.take(own[10:]) == own[10:]
        assert intake.take(others[2:]) == others[2:]
        assert sorted(one.id for one in store.feeds()) == sorted(
            one.id for one in [*own, *others[1:]]
        )


def test_where_nothing_may_go_nothing_of_others_comes_in(tmp_path: Path) -> None:
    records = chain_of(["a", "b"])
    claims = chain_by(
        OTHER,
        1,
        Link(b"session2", 0, bytes(32)),
        kind="claim",
        payload=Claim(program=content_id("b"), parent=content_id("a"), run=bytes(32), effect=-1),
    )
    own = chain_by(KEY, 1)
    more = chain_by(OTHER, 1, Link(SESSION, 2, records[1].id))
    with closing(Store.open(tmp_path / "skep.db")) as store:
        intake = Intake(store, KEY.public, sum(map(cost, [*records, *claims])))
        intake.take([*records, *claims])
        with pytest.raises(ArchiveFull, match="Raise archive_gb"):
            intake.take([*more, *own])
        assert {one.id for one in store.feeds()} == {one.id for one in [*records, *claims, *own]}


def test_pruning_goes_on_where_it_was_and_passes_over_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossip.intake.LOOK_AT_RECORDS", 3)
    names = ["start"] * 7 + [f"p{number}" for number in range(20)]
    records = chain_of(names)
    quota = sum(map(cost, records[:12]))
    with closing(Store.open(tmp_path / "skep.db")) as store:
        intake = Intake(store, KEY.public, quota)
        for signed in records:
            assert intake.take([signed]) == [signed]
        left = list(store.feeds())
        assert left[:7] == records[:7]
        assert records[-1] in left
        assert records[7] not in left
        count, size, _ = store.kept_of_others(KEY.public)
        assert count * ROW_BYTES + size <= quota + 4 * cost(records[0])


def test_the_room_of_pruned_records_is_used_again(tmp_path: Path) -> None:
    records = chain_of([f"p{number}" for number in range(600)])
    path = tmp_path / "skep.db"
    with closing(Store.open(path)) as store:
        intake = Intake(store, KEY.public, sum(map(cost, records[:300])))
        intake.take(records[:300])
        pages = store._rows("PRAGMA page_count")[0][0]
        for start in range(300, 600, 20):
            intake.take(records[start : start + 20])
        assert store.kept_of_others(KEY.public)[0] in (299, 300)
        # 300 places take up to 500 bytes each; unused room would take as much as 300 records.
        assert store._rows("PRAGMA page_count")[0][0] - pages < 300 * 500 / 4096


def test_places_of_pruned_records_take_no_more_than_records_may(tmp_path: Path) -> None:
    records = chain_of([f"p{number}" for number in range(40)])
    quota = sum(map(cost, records[:4]))
    taken = 0
    with closing(Store.open(tmp_path / "skep.db")) as store:
        intake = Intake(store, KEY.public, quota)
        while store.kept_of_others(KEY.public)[2] * PLACE_BYTES <= quota:
            taken += len(intake.take(records[taken : taken + 1]))
        with pytest.raises(ArchiveFull, match="were pruned"):
            intake.take(records[taken : taken + 1])
        assert 4 < taken < 40
        assert store.kept_of_others(KEY.public)[2] == quota // PLACE_BYTES + 1
    with closing(Store.open(tmp_path / "skep.db")) as store:
        with pytest.raises(ArchiveFull, match="were pruned"):
            Intake(store, KEY.public, quota).take(records[taken : taken + 1])
        more = Intake(store, KEY.public, 2 * quota)
        assert more.take(records[taken : taken + 1]) == records[taken : taken + 1]


async def test_a_ledger_keeps_to_its_quota(tmp_path: Path) -> None:
    records = chain_of([f"p{number}" for number in range(8)])
    async with open_ledger(tmp_path) as ledger:
        await ledger.admit(records[:4])
    quota = sum(map(cost, records[:4]))
    async with open_ledger(tmp_path, archive_bytes=quota) as ledger:
        (own,) = [await ledger.publish(make_run("own", pinned=2.0), TASK)]
        assert await ledger.admit(records[4:5]) == 1
        assert [one.id for one in ledger.said(TASK, "run")] == [
            *(one.id for one in records[1:4]),
            own.id,
            records[4].id,
        ]
        assert await ledger.admit(records[:5]) == 0
        with pytest.raises(ArchiveFull):
            await ledger.admit([*records[5:], *chain_by(Identity(b"x" * 32), 5)])
