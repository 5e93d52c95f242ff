"""Try to get out of a sandbox and print what could not be done. Runs inside; imports little.

    python -I -S -B escape.py SECRET PORT PID

SECRET is a world-readable file of the outside, PORT listens on the outside's 127.0.0.1, PID is a
process of the outside. Prints {"files": true, ...}: true where the way out was closed.
"""

import ctypes
import errno
import json
import os
import platform
import socket
import sys
from contextlib import suppress

CANNOT_WRITE = ("/", "/usr", "/dev", "/etc", "/proc/sys/kernel")
_NUMBERS = {
    "x86_64": {"ptrace": 101, "keyctl": 250, "bpf": 321, "io_uring_setup": 425},
    "aarch64": {"ptrace": 117, "keyctl": 219, "bpf": 280, "io_uring_setup": 425},
}
_NEW_USER, _AF_VSOCK = 0x1000_0000, 40
CANNOT_READ = ("/etc/passwd", "/etc/shadow", "/root", "/home", "/var")


def files(secret: str) -> bool:
    """Neither the secret nor anyone's files can be read, and nothing fixed can be written."""
    if any(_readable(path) for path in (secret, *CANNOT_READ)):
        return False
    return not any(_writable(folder) for folder in CANNOT_WRITE)


def _readable(path: str) -> bool:
    """Whether there is anything to be read; folders on the way to Python are empty but for that."""
    with suppress(OSError):
        if not os.path.isdir(path):
            with open(path, "rb") as file:
                return bool(file.read(1))
        # Without `site`, which is not asked here, the prefix of a virtual environment is not known.
        environment = os.path.dirname(os.path.dirname(sys.executable))
        prefixes = (sys.prefix, sys.base_prefix, environment)
        entries = [f"{path}/{name}/" for name in os.listdir(path)]
        return not all(any(f"{p}/".startswith(entry) for p in prefixes) for entry in entries)
    return False


def _writable(folder: str) -> bool:
    with suppress(OSError):
        name = f"{folder}/core_pattern" if folder.startswith("/proc") else f"{folder}/.skep-probe"
        with open(name, "a"):
            return True
    return False


def network(port: int) -> bool:
    """No interface but loopback, and not even the machine's own services on it."""
    with suppress(OSError):  # who may not even ask has none
        if any(name != "lo" for _, name in socket.if_nameindex()):
            return False
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return False
    return True


def processes(pid: int) -> bool:
    """We are process 1 and no other process is there."""
    with suppress(OSError):
        if int(pid) > 1:
            os.kill(pid, 0)
            return False
    others = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    return os.getpid() == 1 and not others


def environment() -> bool:
    """All that can be read of any environment is what we were given on purpose."""
    names = set(os.environb)
    for process in ("1", "self"):
        with suppress(OSError), open(f"/proc/{process}/environ", "rb") as file:
            names |= {entry.split(b"=")[0] for entry in file.read().split(b"\0") if entry}
    return names <= {b"HOME", b"TMPDIR", b"PWD", b"LC_CTYPE"}


def privileges() -> bool:
    """Not root, no capabilities at all, and no way to gain any by exec."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        lines = (line.partition(":") for line in file)
        status = {name: value.strip() for name, _, value in lines}
    capabilities = [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
    held = any(int(value, 16) for value in capabilities)
    return os.getuid() != 0 and not held and status.get("NoNewPrivs") == "1"


def kernel() -> bool:
    """No system call that attacks the kernel, leaves a namespace, or reads other processes."""
    library = ctypes.CDLL(None, use_errno=True)
    for number in _NUMBERS[platform.machine()].values():
        if library.syscall(number, -1, 0, 0, 0, 0) != -1 or ctypes.get_errno() != errno.EPERM:
            return False
    if library.unshare(_NEW_USER) != -1:
        return False
    with suppress(OSError):
        socket.socket(_AF_VSOCK, socket.SOCK_STREAM).close()
        return False
    return True


def main(secret: str, port: str, pid: str) -> None:
    found = {
        "files": files(secret),
        "network": network(int(port)),
        "processes": processes(int(pid)),
        "environment": environment(),
        "privileges": privileges(),
        "kernel": kernel(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
