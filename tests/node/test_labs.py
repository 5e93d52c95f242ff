"""Labs on this machine: founding, inviting, entering, leaving; and what users get wrong."""

import io
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from gossip.identity import Identity
from gossip.invite import decode_invite, encode_invite
from gossip.ledger import Ledger
from gossip.swarms import PUBLIC_SWARM
from node.cli import main
from node.cli.meeting import Meeting
from node.config import Settings, home_folder
from node.home import hold
from node.labs import LAB_FILE, create_lab, enter_lab, read_lab
from node.roster import invite_of, latest_list
from node.swarm import place_of, public_place
from skep.members import listed
from skep.records import MEMBERS_MAX, NO_TASK, Members
from tests.factories import make_run
from tests.gossip.scenes import TASK

Skep = Callable[..., str]
OTHER = Identity(b"o" * 32)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def skep(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Skep:
    """Run a command line on the home: its output, or its one line of complaint if it must fail."""
    monkeypatch.setenv("SKEP_HOME", str(home))

    def run(*arguments: object, expect: int = 0) -> str:
        code = main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert code == expect, out + err
        assert bool(err) == (expect != 0)
        if expect:
            assert err.startswith("skep: ")
            assert err.count("\n") == 1
        return err or out

    return run


def line_of(text: str) -> str:
    """The invite in what a command printed."""
    (found,) = [line for line in text.splitlines() if line.startswith("skep-lab-")]
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_founding_prints_an_invite_that_names_everything(skep: Skep, home: Path) -> None:
    text = skep("lab", "create", "physics")
    assert "It contains the lab's key" in text
    assert "skep join --lab physics" in text
    invite = decode_invite(line_of(text))
    root = home / "labs" / "physics"
    me = Identity.load(root)
    assert (invite.name, invite.founder, invite.members) == ("physics", me.public, b"")
    assert all(one.endswith(me.peer_id) for one in invite.addresses)
    assert line_of(skep("lab", "invite", "physics")) == line_of(text)
    shown = json.loads(skep("lab", "invite", "physics", "--json"))
    assert shown["invite"] == line_of(text)
    assert set(shown) == {"name", "invite", "addresses"}


def test_a_lab_is_a_home_of_its_own_that_others_cannot_read(skep: Skep, home: Path) -> None:
    public = Identity.load(home)
    skep("lab", "create", "physics")
    skep("lab", "create", "biology")
    roots = [home / "labs" / name for name in ("physics", "biology")]
    keys = {Identity.load(root).public for root in roots} | {public.public}
    labs = [read_lab(root) for root in roots]
    assert len(keys) == 3
    assert all(lab is not None for lab in labs)
    assert len({(lab.swarm, lab.key) for lab in labs if lab}) == 2
    for root in roots:
        assert stat.S_IMODE((root / LAB_FILE).stat().st_mode) == 0o600
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert [row["name"] for row in json.loads(skep("lab", "list", "--json"))] == [
        "biology",
        "physics",
    ]


def test_the_option_before_the_command_chooses_the_home(skep: Skep, home: Path) -> None:
    skep("lab", "create", "physics")
    root = home / "labs" / "physics"
    for words in (("--lab", "physics"), ("--lab=physics",)):
        assert skep(*words, "status") == (
            f"no node is running on {root}\nnothing here yet: start with `skep join --solo`\n"
        )
        assert json.loads(skep(*words, "config", "paths", "--json"))["home"] == str(root)
    assert home_folder() == home, "for that one command only"
    assert "no lab 'chemistry' here. Labs here: physics." in skep(
        "--lab", "chemistry", "status", expect=1
    )
    assert "takes the name of a lab" in skep("--lab", expect=2)
    assert "the home of a lab itself" in skep("--lab", "physics", "lab", "list", expect=1)


def test_an_invite_is_entered_once_and_known_by_name_from_then_on(
    tmp_path: Path, home: Path
) -> None:
    line = encode_invite(invite_of(create_lab(home, "physics")))
    other = tmp_path / "other"
    root = enter_lab(other, line)
    assert root == enter_lab(other, line) == enter_lab(other, "physics")
    mine, theirs = read_lab(root), read_lab(home / "labs" / "physics")
    assert mine is not None
    assert theirs is not None
    assert (mine.swarm, mine.key, mine.founder) == (theirs.swarm, theirs.key, theirs.founder)
    assert mine.addresses == invite_of(home / "labs" / "physics").addresses
    assert Identity.load(root).peer_id != theirs.founder


def say_lists(root: Path, *lists: list[Identity]) -> None:
    """What the founder's running node would say."""
    lab = read_lab(root)
    assert lab is not None

    async def say() -> None:
        me = Identity.load(root)
        async with Ledger.open(root, me, swarm=lab.swarm, clock=lambda: 1) as ledger:
            for number, members in enumerate(lists):
                keys = {me.public, *(one.public for one in members)}
                await ledger.publish(Members(tuple(sorted(keys))), NO_TASK, not_before=5 + number)

    trio.run(say)


def test_the_latest_list_travels_with_the_invite_and_a_newer_invite_brings_a_newer_one(
    tmp_path: Path, home: Path
) -> None:
    root = create_lab(home, "physics")
    say_lists(root, [OTHER])
    first = encode_invite(invite_of(root))
    other = enter_lab(tmp_path / "other", first)
    lab = read_lab(other)
    assert lab is not None
    assert listed(lab.founder_key, latest_list(other, lab)) == {lab.founder_key, OTHER.public}
    say_lists(root, [OTHER], [])
    for line in (encode_invite(invite_of(root)), first):
        enter_lab(tmp_path / "other", line)
        lab = read_lab(other)
        assert lab is not None
        assert listed(lab.founder_key, latest_list(other, lab)) == {lab.founder_key}


def test_the_founder_allows_and_revokes(skep: Skep) -> None:
    skep("lab", "create", "physics")
    assert "2 members" in skep("lab", "allow", "physics", OTHER.peer_id)
    assert "listed in physics already" in skep("lab", "allow", "physics", OTHER.peer_id)
    rows = json.loads(skep("lab", "members", "physics", "--json"))
    assert set(rows[0]) == {"peer_id", "name", "founder", "me", "state"}
    assert [(row["founder"], row["me"], row["state"]) for row in rows] == [
        (True, True, "listed"),
        (False, False, "allowed, not said yet"),
    ]
    assert OTHER.name in skep("lab", "members", "physics")
    assert "1 left" in skep("lab", "revoke", "physics", OTHER.peer_id)
    assert len(json.loads(skep("lab", "members", "physics", "--json"))) == 1


def test_what_cannot_be_allowed_or_revoked_changes_nothing(skep: Skep, home: Path) -> None:
    skep("lab", "create", "physics")
    root = home / "labs" / "physics"
    me = Identity.load(root).peer_id
    before = contents(root)
    for verb in ("allow", "revoke"):
        assert "is no peer id" in skep("lab", verb, "physics", "garbage", expect=1)
        assert "no lab 'biology'" in skep("lab", verb, "biology", OTHER.peer_id, expect=1)
    assert "the founder of physics" in skep("lab", "allow", "physics", me, expect=1)
    assert "cannot be taken off" in skep("lab", "revoke", "physics", me, expect=1)
    assert "is not listed in physics" in skep("lab", "revoke", "physics", OTHER.peer_id, expect=1)
    assert contents(root) == before


def test_a_list_that_is_full_takes_nobody_more(skep: Skep, home: Path) -> None:
    skep("lab", "create", "physics")
    root = home / "labs" / "physics"
    many = tuple(Identity(n.to_bytes(32, "big")).peer_id for n in range(MEMBERS_MAX - 1))
    path = root / LAB_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "members": many}))
    assert "can have more" in skep("lab", "allow", "physics", OTHER.peer_id, expect=1)


def test_elsewhere_than_at_the_founder_the_commands_say_who_can(
    skep: Skep, tmp_path: Path, home: Path
) -> None:
    there = create_lab(tmp_path / "there", "physics")
    enter_lab(home, encode_invite(invite_of(there)))
    founder = Identity.load(there)
    for verb in ("allow", "revoke"):
        said = skep("lab", verb, "physics", OTHER.peer_id, expect=1)
        assert f"{founder.name} ({founder.peer_id})" in said
        assert f"There: skep lab {verb} physics {OTHER.peer_id}" in said
    (row,) = json.loads(skep("lab", "list", "--json"))
    assert (row["founded"], row["listed"], row["members"]) == (False, False, 1)
    assert "not listed" in skep("lab", "members", "physics")


@pytest.mark.parametrize("command", [["join"], ["bootstrap"]])
def test_a_broken_invite_leaves_no_trace(skep: Skep, tmp_path: Path, command: list[str]) -> None:
    line = encode_invite(invite_of(create_lab(tmp_path / "there", "physics")))
    for broken in (line[:-1], line[:20], "skep-lab-", "SKEP-LAB-abc", f"{line[:-30]}!{line[-29:]}"):
        assert "invite" in skep(*command, "--lab", broken, expect=1)
    assert "there is no lab 'chemistry'" in skep(*command, "--lab", "chemistry", expect=1)
    assert not (tmp_path / "home" / "labs").exists()


def test_an_invite_can_come_by_the_standard_input(
    skep: Skep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = encode_invite(invite_of(create_lab(tmp_path / "there", "physics")))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{line[:-1]}\n{line}\n"))
    assert "invite" in skep("bootstrap", "--lab=-", expect=1)
    assert Meeting(lab="-").home() == tmp_path / "home" / "labs" / "physics"


def test_another_lab_of_the_same_name_is_not_mixed_up(
    skep: Skep, tmp_path: Path, home: Path
) -> None:
    foreign = invite_of(create_lab(tmp_path / "there", "physics"))
    skep("lab", "create", "physics")
    before = contents(home)
    for invite in (foreign, replace(invite_of(home / "labs" / "physics"), key=bytes(32))):
        said = skep("join", "--lab", encode_invite(invite), expect=1)
        assert "another lab with the name physics" in said
    assert "there is a lab physics already" in skep("lab", "create", "physics", expect=1)
    assert contents(home) == before


@pytest.mark.parametrize("name", ["", "..", "a/b", "Physics", "skep-lab-x", "x" * 33])
def test_a_name_that_is_no_folder_name_is_explained(skep: Skep, home: Path, name: str) -> None:
    assert "is no name for a lab" in skep("lab", "create", name, expect=1)
    assert not home.exists()


def test_a_home_that_cannot_be_written_is_one_line_and_loses_nothing(
    skep: Skep, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skep("lab", "create", "physics")
    before = contents(home)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        patch.setattr(Path, "replace", refuse)
        assert "No permission" in skep("lab", "create", "biology", expect=1)
        assert "No permission" in skep("lab", "allow", "physics", OTHER.peer_id, expect=1)
        assert "No permission" in skep("lab", "leave", "physics", expect=1)
    after = {name: content for name, content in contents(home).items() if "lock" not in name}
    assert after == before
    (home.parent / "file").touch()
    monkeypatch.setenv("SKEP_HOME", str(home.parent / "file"))
    assert "file" in skep("lab", "create", "physics", expect=1)


def test_a_damaged_or_open_lab_file_is_one_line(skep: Skep, home: Path) -> None:
    skep("lab", "create", "physics")
    path = home / "labs" / "physics" / LAB_FILE
    good = path.read_text()
    for bad in ("", "{}", good[:-5], good.replace('"version": 1', '"version": 2')):
        path.write_text(bad)
        for command in (
            ["lab", "invite", "physics"],
            ["lab", "list"],
            ["bootstrap", "--lab", "physics"],
        ):
            assert "does not read back" in skep(*command, expect=1)
    path.write_text(good)
    path.chmod(0o644)
    assert "open to other users" in skep("lab", "members", "physics", expect=1)


def test_leaving_puts_the_home_aside_and_deletes_nothing(skep: Skep, home: Path) -> None:
    skep("lab", "create", "physics")
    root = home / "labs" / "physics"
    before = contents(root)
    with hold(root):
        assert "already running" in skep("lab", "leave", "physics", expect=1)
    said = skep("lab", "leave", "physics")
    aside = home / "labs" / ".left-physics-1"
    assert str(aside) in said
    assert before.items() <= contents(aside).items()
    assert skep("lab", "list").startswith("no labs here")
    skep("lab", "create", "physics")
    skep("lab", "leave", "physics")
    assert (home / "labs" / ".left-physics-2").is_dir()


@pytest.mark.parametrize(("source", "target"), [("lab", "public"), ("public", "lab")])
def test_an_archive_of_another_swarm_is_refused(
    skep: Skep, tmp_path: Path, home: Path, source: str, target: str
) -> None:
    skep("lab", "create", "physics")
    root = home / "labs" / "physics"
    lab = read_lab(root)
    assert lab is not None
    places = {"lab": (root, lab.swarm), "public": (home, PUBLIC_SWARM)}
    folder, swarm = places[source]

    async def furnish() -> None:
        async with Ledger.open(
            folder, Identity.load(folder), swarm=swarm, clock=lambda: 1
        ) as ledger:
            await ledger.publish(make_run("p", pinned=2.0), TASK)

    trio.run(furnish)
    words = {"lab": ("--lab", "physics"), "public": ()}
    file = tmp_path / "out.skep"
    assert "1 records" in skep(*words[source], "export", "archive", file)
    assert main([*words[target], "import", str(file)]) == 1
    with Ledger.read(places[target][0]) as view:
        assert list(view.feeds()) == []


@pytest.mark.parametrize(("asked", "here"), [(None, False), (True, True), (False, False)])
def test_a_lab_looks_nowhere_but_at_its_own_addresses(
    home: Path, asked: bool | None, here: bool
) -> None:
    root = create_lab(home, "physics")
    place = place_of(Settings(home=root, mdns=asked))
    assert (place.bootstrap, place.mdns) == ((), here)
    assert public_place(Settings(home=home, mdns=asked)).mdns == (asked is not False)
    assert place.swarm != PUBLIC_SWARM
    assert place.wide().lab == place.lab
