"""What it takes until bytes on disk survive a power cut, and plain words when the disk refuses.

It knows nothing of records: `identity`, `feeds` and `store` build on it.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from skep.errors import HomeError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
FULL_ADVICE = "Free some space and start again; nothing that was acknowledged is lost"
FORBIDDEN_ADVICE = "Give this user write access to the folder, or set SKEP_HOME to another one"


def home_error(path: Path, error: OSError) -> HomeError:
    """The operating system's refusal in words for the person at the keyboard."""
    if error.errno in _FULL:
        return HomeError(f"No space left to write {path}", FULL_ADVICE)
    if error.errno in _FORBIDDEN:
        return HomeError(f"No permission to write {path}", FORBIDDEN_ADVICE)
    if error.errno == errno.ELOOP:
        return HomeError(f"{path} is a symbolic link", "Put the file itself there")
    return HomeError(f"Cannot use {path}: {error.strerror or error}")


def make_folder(path: Path) -> None:
    """Make a private folder and the missing ones above it, durably; existing ones stay as they are.

    Raises:
        HomeError: it cannot be made.
    """
    try:
        if not path.parent.exists():
            make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            sync_folder(path.parent)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise home_error(path, error) from error


def sync(descriptor: int) -> None:
    """Return when the file's bytes are on the medium itself.

    On macOS fsync leaves them in the drive's cache; F_FULLFSYNC does not. File systems without it
    refuse it, and fsync is then the best there is.
    """
    if hasattr(fcntl, "F_FULLFSYNC"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder (new, renamed, removed files) are on the medium."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes, offset: int) -> None:
    """Write `content` at `offset`, however many calls it takes.

    Raises:
        OSError: some of it may have been written.
    """
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written
