"""What a candidate is handed can be read, and changed by nobody."""

import os
import sys
from pathlib import Path

import pytest

from trainer.sealed import sealed_copy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="copies are sealed on Linux alone")


@pytest.mark.parametrize("size", [0, 5, 3 << 20])
def test_a_copy_holds_what_the_file_held(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        file.seek(size // 2)
        copy = os.fdopen(sealed_copy(file.fileno()), "rb")
    (tmp_path / "file").write_bytes(b"other")
    with copy:
        assert copy.read() == content


def test_who_opens_a_copy_again_cannot_change_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"honest")
    with (tmp_path / "file").open("rb") as file:
        copy = sealed_copy(file.fileno())
        again = os.open(f"/proc/self/fd/{copy}", os.O_RDWR)
    for change in (lambda: os.write(again, b"poison"), lambda: os.ftruncate(again, 0)):
        with pytest.raises(PermissionError):
            change()
    assert os.pread(copy, 9, 0) == b"honest"
    os.close(again)
    os.close(copy)
