"""Full and read-only homes, on a real small file system where this user may mount one."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossip.identity import Identity
from gossip.ledger import Ledger
from skep.errors import HomeError
from skep.records import SignedRecord
from tests.factories import make_run
from tests.gossip.scenes import TASK, assert_chains_hold, feed_of, open_ledger


class SmallDisk:
    """A file system of 512 KiB, mounted at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        try:
            self._mount("-t", "tmpfs", "-o", "size=512k", "skep-test", str(path))
        except (FileNotFoundError, subprocess.CalledProcessError):
            pytest.skip("this user may not mount a file system")

    def remount(self, option: str) -> None:
        self._mount("-o", f"remount,{option}", str(self.path))

    def unmount(self) -> None:
        subprocess.run(["umount", self.path], check=True)

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    small = SmallDisk(tmp_path / "small")
    yield small
    small.unmount()


async def test_a_node_on_a_full_disk_stops_with_all_it_acknowledged(disk: SmallDisk) -> None:
    home = disk.path / "home"
    acknowledged: list[SignedRecord] = []

    async def publish_for_ever(ledger: Ledger) -> None:
        for seed in itertools.count():
            run = make_run("p", seed=seed, note="x" * 500)
            acknowledged.append(await ledger.publish(run, TASK))

    async with open_ledger(home) as ledger:
        with pytest.raises(HomeError, match="No space left to write"):
            await publish_for_ever(ledger)
        assert [one for one, _ in ledger.runs(TASK)] == [one.id for one in acknowledged]
        assert feed_of(home) == acknowledged
        with pytest.raises(HomeError, match="No space left to write"):
            await ledger.add_program("x = 1\n" * 10_000, b"f")
    assert len(acknowledged) > 20
    disk.remount("size=2m")
    async with open_ledger(home) as ledger:
        acknowledged.append(await ledger.publish(make_run("p", seed=1000), TASK))
        assert [one for one, _ in ledger.runs(TASK)] == [one.id for one in acknowledged]
    assert_chains_hold(feed_of(home))


def test_a_full_disk_refuses_a_new_home_in_one_line(disk: SmallDisk) -> None:
    with pytest.raises(OSError, match="No space"):
        (disk.path / "filler").write_bytes(bytes(1 << 20))
    with pytest.raises(HomeError, match="No space left to write"):
        Identity.load(disk.path / "home")
    assert not list((disk.path / "home").glob("*"))


async def test_a_read_only_home_can_be_read_and_refuses_to_be_written(disk: SmallDisk) -> None:
    async with open_ledger(disk.path / "home") as ledger:
        signed = await ledger.publish(make_run("p"), TASK)
    disk.remount("ro")
    with Ledger.read(disk.path / "home") as view:
        assert [one for one, _ in view.runs(TASK)] == [signed.id]
    for home in (disk.path / "home", disk.path / "new"):
        with pytest.raises(HomeError, match=r"No permission to write .*SKEP_HOME"):
            async with open_ledger(home):
                pytest.fail("opened")
    with pytest.raises(HomeError, match="No permission to write"):
        Identity.load(disk.path / "new")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_others_own_refuses_to_be_written(locked: Path) -> None:
    with pytest.raises(HomeError, match=r"No permission to write .*SKEP_HOME"):
        Identity.load(locked / "home")
    with pytest.raises(HomeError, match=r"No permission to write .*SKEP_HOME"):
        async with open_ledger(locked / "home"):
            pytest.fail("opened")


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A folder this user may not write."""
    tmp_path.chmod(0o500)
    return tmp_path
