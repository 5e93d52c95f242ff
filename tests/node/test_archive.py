"""`skep export archive` and `skep import`: what goes out comes in, if it is sound."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from gossip.archive import write_archive
from gossip.feeds import Link
from gossip.identity import Identity
from gossip.ledger import Ledger
from gossip.swarms import PUBLIC_SWARM, SOLO_SWARM
from gossip.view import LedgerView
from gossip.wire import decode
from node.cli import main
from node.home import hold
from skep.patch import fingerprint
from skep.records import Run, SignedRecord, program_id
from tests.factories import make_run
from tests.gossip.scenes import TASK, chain_by, feed_of

OTHER = Identity(bytes(32))
PARENT, CHILD, UNSPOKEN = "x = 1\n", "x = 2\n", "x = 3\n"

Skep = Callable[..., str]


@pytest.fixture
def skep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Skep:
    """Run a command line on a home: its output, and its complaint behind it if it must fail."""

    def run(home: Path, *arguments: object, expect: int = 0) -> str:
        monkeypatch.setenv("SKEP_HOME", str(home))
        code = main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert code == expect, out + err
        assert bool(err) == (expect != 0)
        return out + err

    return run


def a_run(seed: int) -> Run:
    """A run of CHILD."""
    run = make_run("p", pinned=2.0, seed=seed)
    return replace(run, program=program_id(CHILD), parent=program_id(PARENT))


def furnish(
    home: Path, said: Sequence[SignedRecord] = (), swarm: bytes = PUBLIC_SWARM, own: int = 2
) -> None:
    """A home with own runs in a swarm, records of others, and three programs."""

    async def main() -> None:
        identity = Identity.load(home)
        async with Ledger.open(home, identity, swarm=swarm, clock=lambda: 1) as ledger:
            for source in (PARENT, CHILD, UNSPOKEN):
                await ledger.add_program(source, fingerprint(source))
            for seed in range(own):
                await ledger.publish(a_run(seed), TASK)
            await ledger.admit(said)

    trio.run(main)


def read(home: Path) -> tuple[list[SignedRecord], dict[bytes, str]]:
    """All records and programs of a home."""
    with Ledger.read(home) as view:
        return list(view.feeds()), {one: held.source for one, held in view.programs().items()}


def test_a_home_is_carried_to_another_and_both_export_the_same(skep: Skep, tmp_path: Path) -> None:
    said = chain_by(OTHER, 3, swarm=PUBLIC_SWARM, run=a_run(7))
    furnish(tmp_path / "a", said)
    first, second = tmp_path / "a.skep", tmp_path / "b.skep"
    assert skep(tmp_path / "a", "export", "archive", first) == (
        f"wrote {first}: 5 records, 2 programs\n"
    )
    assert skep(tmp_path / "b", "import", first) == "took 5 records and 2 programs\n"
    assert skep(tmp_path / "b", "import", first) == (
        "took 0 records and 0 programs\n5 records were known already\n"
    )
    skep(tmp_path / "b", "export", "archive", second)
    assert first.read_bytes() == second.read_bytes()
    records, programs = read(tmp_path / "b")
    assert records == read(tmp_path / "a")[0]
    assert programs == {program_id(one): one for one in (PARENT, CHILD)}


def test_solo_research_is_exported_on_request_only(skep: Skep, tmp_path: Path) -> None:
    furnish(tmp_path / "a", swarm=SOLO_SWARM)
    furnish(tmp_path / "a", chain_by(OTHER, 1, swarm=SOLO_SWARM), own=1)
    file = tmp_path / "a.skep"
    answer = json.loads(skep(tmp_path / "a", "export", "archive", file, "--json"))
    size = file.stat().st_size
    assert answer == {"file": str(file), "records": 1, "programs": 2, "bytes": size}
    answer = json.loads(skep(tmp_path / "a", "export", "archive", file, "--json", "--solo"))
    assert answer["records"] == 3


def test_own_records_that_are_imported_are_in_the_own_feed_at_the_next_start(
    skep: Skep, tmp_path: Path
) -> None:
    furnish(tmp_path / "a")
    file = tmp_path / "a.skep"
    skep(tmp_path / "a", "export", "archive", file)
    (tmp_path / "b").mkdir()
    key = (tmp_path / "a" / "identity.key").read_bytes()
    (tmp_path / "b" / "identity.key").touch(mode=0o600)
    (tmp_path / "b" / "identity.key").write_bytes(key)
    skep(tmp_path / "b", "import", file)
    furnish(tmp_path / "b", own=1)
    with Ledger.read(tmp_path / "b") as view:
        assert [run.seed for _, run in view.runs(TASK)] == [0, 1, 0]
        assert view.programs()[program_id(CHILD)].fingerprint == fingerprint(CHILD)
        assert len({one.record.session for one in view.feeds()}) == 2
    assert len(feed_of(tmp_path / "b")) == 3


def test_the_texts_of_strangers_are_stored_and_not_looked_at(skep: Skep, tmp_path: Path) -> None:
    furnish(tmp_path / "a")
    skep(tmp_path / "a", "export", "archive", tmp_path / "a.skep")
    skep(tmp_path / "b", "import", tmp_path / "a.skep")
    with Ledger.read(tmp_path / "b") as view:
        assert view.programs()[program_id(CHILD)].fingerprint == b""


def archive(path: Path, records: Sequence[SignedRecord], programs: dict[bytes, str]) -> Path:
    """A file with these contents, whether they are sound or not."""
    ordered = sorted(
        records, key=lambda one: (one.record.author, one.record.session, one.record.seq, one.id)
    )
    with path.open("wb") as file:
        write_archive(file, ordered, sorted(programs.items()))
    return path


def test_good_chains_are_taken_and_bad_ones_refused_whole(skep: Skep, tmp_path: Path) -> None:
    good = chain_by(OTHER, 3, swarm=PUBLIC_SWARM)
    forged = chain_by(Identity(b"f" * 32), 3, swarm=PUBLIC_SWARM)
    forged[2] = decode(bytes(64) + forged[2].body)
    gappy = chain_by(OTHER, 4, Link(b"session2", 0, bytes(32)), swarm=PUBLIC_SWARM)
    other = chain_by(OTHER, 1, Link(b"session3", 0, bytes(32)), swarm=PUBLIC_SWARM, time=9)[0]
    torn = chain_by(OTHER, 3, Link(b"session3", 0, bytes(32)), swarm=PUBLIC_SWARM)
    file = archive(
        tmp_path / "x.skep",
        [*good, *forged, gappy[0], gappy[2], gappy[3], other, *torn[1:]],
        {program_id(CHILD): CHILD, bytes(32): PARENT},
    )
    answer = skep(tmp_path / "b", "import", file, expect=1)
    lines = answer.splitlines()
    assert lines[0] == "took 6 records and 1 programs"
    assert sorted(line.split(" of ")[0] + ":" + line.split(":")[1] for line in lines[1:3]) == [
        "refused 3 records: record 1 does not continue the one before it",
        "refused 3 records: record 2 has a wrong signature",
    ]
    assert lines[3:] == [
        "refused 1 programs that are not what their id says",
        "skep: not everything in x.skep could be taken",
    ]
    records, programs = read(tmp_path / "b")
    assert records == [*good, gappy[0], gappy[2], gappy[3]]
    assert programs == {program_id(CHILD): CHILD}
    found = json.loads(skep(tmp_path / "c", "import", file, "--json", expect=1).split("skep:")[0])
    assert (found["records"], found["known"], found["chains"]) == (6, 0, 4)
    assert [one["records"] for one in found["refused"]] == [3, 3]
    assert (found["mismatched"], found["unreadable"]) == (1, 0)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "absent", "other"])
def test_a_damaged_file_is_one_line_and_changes_nothing(
    skep: Skep, tmp_path: Path, damage: str
) -> None:
    file = archive(tmp_path / "x.skep", chain_by(OTHER, 2000), {})
    content = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(content[:-100])
        case "flipped":
            middle = len(content) // 2
            file.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        case "empty":
            file.write_bytes(b"")
        case "absent":
            file.unlink()
        case "other":
            file.write_bytes(gzip.compress(b"something else"))
    complaint = skep(tmp_path / "b", "import", file, expect=1)
    assert complaint.count("\n") == 1
    assert "x.skep" in complaint
    assert read(tmp_path / "b") == ([], {})


def test_an_archive_larger_than_the_home_keeps_is_refused(skep: Skep, tmp_path: Path) -> None:
    texts = [f"{number:03}" * 20_000 for number in range(200)]
    file = archive(tmp_path / "x.skep", [], {program_id(one): one for one in texts})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.toml").write_text("archive_gb = 0.01\n")
    complaint = skep(tmp_path / "b", "import", file, expect=1)
    assert "more than the 0.01 GB that this home keeps of others" in complaint
    assert read(tmp_path / "b") == ([], {})


def test_nothing_is_imported_while_a_node_runs(skep: Skep, tmp_path: Path) -> None:
    file = archive(tmp_path / "x.skep", chain_by(OTHER, 1), {})
    with hold(tmp_path / "b"):
        complaint = skep(tmp_path / "b", "import", file, expect=1)
    assert complaint.startswith("skep: a node is already running on ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("archive",), "an archive is one file of all tasks"),
        (("archive", "x.skep", "--task", "stories"), "an archive is one file of all tasks"),
        (("csv", "--solo"), "--solo and --json are for archives"),
        (("json", "--json"), "--solo and --json are for archives"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    skep: Skep, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    assert complaint in skep(tmp_path, "export", *arguments, expect=1)


def test_an_archive_replaces_a_file_only_when_it_is_complete(
    skep: Skep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(tmp_path / "a")
    file = tmp_path / "a.skep"
    file.write_text("older")

    def broken(self: LedgerView, content_id: bytes) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LedgerView, "program", broken)
    assert "No space left" in skep(tmp_path / "a", "export", "archive", file, expect=1)
    assert file.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.skep"]
