"""Memory and files as a candidate's process may have them.

A descriptor of a file on disk is more than it seems: whoever has the same user as the file's owner
can open it again by way of /proc, for writing, and change its attributes. So candidates get copies
in memory, which are sealed and which nobody else is given.
"""

import fcntl
import os
import sys
import tempfile


def shared_memory(size: int) -> int:
    """A descriptor of memory that two processes can map and neither can shrink."""
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            file.truncate(size)
            return os.dup(file.fileno())
    descriptor = os.memfd_create("skep", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    # Without the seals a candidate could truncate it, and the scorer would die of SIGBUS.
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def sealed_copy(descriptor: int) -> int:
    """A read-only descriptor of a copy of a file that nobody can change; at its beginning.

    Raises:
        OSError: there is no memory for it.
    """
    if sys.platform != "linux":  # and no sandbox that it could weaken
        return os.dup(descriptor)
    copy = os.memfd_create("skep", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        size, done = os.fstat(descriptor).st_size, 0
        while done < size and (sent := os.sendfile(copy, descriptor, done, size - done)):
            done += sent
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals)
        return os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(copy)
