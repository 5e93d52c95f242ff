"""Ways out of a sandbox, tried one by one. Runs inside; standard library only.

    python -I -S -B probes.py TARGETS

TARGETS is the JSON of what the outside has laid out (`Targets` in `trainer.sandbox.probing`).
Prints a JSON object: for every attempt {"open": whether it got out, "found": what came of it}. An
attempt changes nothing where it succeeds: it opens for writing without writing, sets clocks to what
they are. Nor does it tell what it could read, which may be the user's. What a program can do to the
limits on its resources is not tried here.
"""

import ctypes
import errno
import json
import os
import platform
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Attempt = Callable[[dict[str, Any]], object]
ATTEMPTS: dict[str, Attempt] = {}
_LIBC = ctypes.CDLL(None, use_errno=True)
_X86 = platform.machine() == "x86_64"


class Kept(Exception):
    """The attempt failed though no system call did."""


def attempt(name: str) -> Callable[[Attempt], Attempt]:
    """Register a way out under the name that people are shown."""

    def register(function: Attempt) -> Attempt:
        ATTEMPTS[name] = function
        return function

    return register


def call(x86_64: int, aarch64: int, *arguments: object) -> int:
    """A system call by its number on either architecture."""
    return checked(_LIBC.syscall(x86_64 if _X86 else aarch64, *arguments))


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read(path: str) -> object:
    with open(path, "rb") as file:
        found = file.read(64)
    if not found:
        raise Kept("it is empty")
    return "could be read"


def listed(path: str) -> object:
    return f"{len(os.listdir(path))} names could be read"


def open_for_writing(path: str) -> object:
    os.close(os.open(path, os.O_WRONLY))
    return "could be written"


# ---- Files ---------------------------------------------------------------------------------------


@attempt("list the home folder")
def _(targets: dict[str, Any]) -> object:
    return listed(targets["home"])


@attempt("read an ssh key")
def _(targets: dict[str, Any]) -> object:
    return read(f"{targets['home']}/.ssh/id_ed25519")


@attempt("read the node's key")
def _(targets: dict[str, Any]) -> object:
    return read(f"{targets['home']}/skep/identity.key")


@attempt("read a world-readable file elsewhere")
def _(targets: dict[str, Any]) -> object:
    return read(targets["readable"])


@attempt("read the machine's users")
def _(targets: dict[str, Any]) -> object:
    return read("/etc/passwd")


@attempt("read the machine's logs")
def _(targets: dict[str, Any]) -> object:
    return listed("/var/log")


@attempt("write into the home folder")
def _(targets: dict[str, Any]) -> None:
    os.close(os.open(f"{targets['home']}/.bashrc", os.O_WRONLY | os.O_CREAT))


@attempt("write into a world-writable folder")
def _(targets: dict[str, Any]) -> None:
    Path(targets["writable"], "x").touch()


@attempt("plant a module in the Python installation")
def _(targets: dict[str, Any]) -> None:
    folder = os.path.dirname(os.__file__)
    with open(f"{folder}/skep_planted.py", "x"):
        os.unlink(f"{folder}/skep_planted.py")


@attempt("plant compiled code in a cache")
def _(targets: dict[str, Any]) -> None:
    Path(targets["cache"], "planted.so").touch()


@attempt("change a system program")
def _(targets: dict[str, Any]) -> object:
    return open_for_writing(os.path.realpath("/usr/bin/env"))


@attempt("reach files past a mount by their handle")
def _(targets: dict[str, Any]) -> object:
    handle = struct.pack("<IiQ", 8, 1, 2)
    return call(304, 265, os.open("/", os.O_RDONLY), handle, os.O_RDONLY)


@attempt("make a device file")
def _(targets: dict[str, Any]) -> None:
    path = f"{os.environ.get('TMPDIR', '/tmp')}/skep-device"  # noqa: S108
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 1))
    os.unlink(path)


# ---- Processes -----------------------------------------------------------------------------------


@attempt("read another process's environment")
def _(targets: dict[str, Any]) -> object:
    return read(f"/proc/{targets['pid']}/environ")


@attempt("find the node's environment in process 1")
def _(targets: dict[str, Any]) -> object:
    names = os.environ.keys() - {"HOME", "TMPDIR", "PWD", "LC_CTYPE"}
    content = Path("/proc/1/environ").read_bytes()
    names |= {entry.split(b"=")[0].decode() for entry in content.split(b"\0") if entry}
    found = names - {"HOME", "TMPDIR", "PWD", "LC_CTYPE"}
    if not found:
        raise Kept("nothing but what it was given")
    return f"{len(found)} variables"


@attempt("signal another process")
def _(targets: dict[str, Any]) -> None:
    os.kill(targets["pid"], 0)


@attempt("read another process's memory")
def _(targets: dict[str, Any]) -> None:
    os.close(os.open(f"/proc/{targets['pid']}/mem", os.O_RDONLY))


@attempt("copy out of another process's memory")
def _(targets: dict[str, Any]) -> object:
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("<QQ", ctypes.addressof(buffer), 8)
    remote = struct.pack("<QQ", targets["address"], 8)
    return call(310, 270, targets["pid"], local, 1, remote, 1, 0)  # so many bytes


@attempt("trace another process")
def _(targets: dict[str, Any]) -> None:
    call(101, 117, 0x4206, targets["pid"], 0, 0)  # PTRACE_SEIZE, which stops nobody


@attempt("steal another process's descriptor")
def _(targets: dict[str, Any]) -> object:
    return call(438, 438, os.pidfd_open(targets["pid"]), 1, 0)


@attempt("lower another process's limits")
def _(targets: dict[str, Any]) -> object:
    return resource.prlimit(targets["pid"], resource.RLIMIT_CORE)


@attempt("use a descriptor that leaked")
def _(targets: dict[str, Any]) -> object:
    os.read(targets["descriptor"], 64)
    return "could be read"


# ---- Network -------------------------------------------------------------------------------------


@attempt("connect to a service on loopback")
def _(targets: dict[str, Any]) -> None:
    socket.create_connection(("127.0.0.1", targets["port"]), timeout=1).close()


@attempt("find a network besides loopback")
def _(targets: dict[str, Any]) -> object:
    found = [name for _, name in socket.if_nameindex() if name not in ("lo", "lo0")]
    if not found:
        raise Kept("there is none")
    return found


@attempt("connect to a local socket, such as docker's")
def _(targets: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(targets["socket"])


@attempt("connect to an abstract socket")
def _(targets: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{targets['abstract']}")


@attempt("make raw packets")
def _(targets: dict[str, Any]) -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


@attempt("talk to the hypervisor")
def _(targets: dict[str, Any]) -> None:
    socket.socket(40, socket.SOCK_STREAM).close()  # AF_VSOCK


# ---- Kernel --------------------------------------------------------------------------------------


@attempt("choose what runs when a program crashes")
def _(targets: dict[str, Any]) -> object:
    return open_for_writing("/proc/sys/kernel/core_pattern")


@attempt("pull the emergency brake (sysrq)")
def _(targets: dict[str, Any]) -> object:
    return open_for_writing("/proc/sysrq-trigger")


@attempt("mount a file system")
def _(targets: dict[str, Any]) -> object:
    return in_a_child(lambda: mounted(b"/proc", b"tmpfs", 0))


@attempt("make a mount writable again")
def _(targets: dict[str, Any]) -> object:
    return in_a_child(lambda: mounted(b"/", None, 0x20 | 0x1000))  # MS_REMOUNT | MS_BIND


@attempt("make a user namespace")
def _(targets: dict[str, Any]) -> object:
    return in_a_child(lambda: checked(_LIBC.unshare(0x1000_0000)))


@attempt("make a network namespace by clone")
def _(targets: dict[str, Any]) -> None:
    child = call(56, 220, 0x4000_0000 | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@attempt("change the root folder")
def _(targets: dict[str, Any]) -> object:
    return in_a_child(lambda: os.chroot("/proc"))


@attempt("use io_uring")
def _(targets: dict[str, Any]) -> None:
    os.close(call(425, 425, 1, ctypes.create_string_buffer(120)))


@attempt("keep something in the kernel's keyring")
def _(targets: dict[str, Any]) -> object:
    return call(248, 217, b"user", b"skep", b"x", 1, -1)  # of this thread: goes with it


@attempt("load a program into the kernel")
def _(targets: dict[str, Any]) -> None:
    attributes = struct.pack("<IIII", 1, 4, 4, 1) + bytes(112)  # a map: hash, 4, 4, 1
    os.close(call(321, 280, 0, attributes, len(attributes)))


@attempt("watch the machine by performance counters")
def _(targets: dict[str, Any]) -> None:
    attributes = struct.pack("<II", 1, 112) + bytes(104)  # software, CPU clock
    os.close(call(298, 241, attributes, -1, 0, -1, 0))


@attempt("handle page faults of the kernel")
def _(targets: dict[str, Any]) -> None:
    os.close(call(323, 282, 0))


@attempt("set the clock")
def _(targets: dict[str, Any]) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))


@attempt("rename the machine")
def _(targets: dict[str, Any]) -> None:
    socket.sethostname(socket.gethostname())


@attempt("read the kernel's messages")
def _(targets: dict[str, Any]) -> object:
    return call(103, 116, 10, None, 0)  # the size of its buffer


@attempt("hide memory from the watchdog")
def _(targets: dict[str, Any]) -> None:
    os.close(call(319, 279, b"skep", 0))


@attempt("leave a control group")
def _(targets: dict[str, Any]) -> object:
    found = [
        path for path in Path("/sys/fs/cgroup").rglob("cgroup.procs") if os.access(path, os.W_OK)
    ]
    if not found:
        raise Kept("none is in sight")
    return str(found[0])


@attempt("become root by a program")
def _(targets: dict[str, Any]) -> object:
    status = Path("/proc/self/status").read_text()
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    if values["NoNewPrivs"] == "1" and not int(values["CapEff"], 16):
        raise Kept("no powers, and none to be gained")
    return values["CapEff"]


def mounted(target: bytes, kind: bytes | None, flags: int) -> int:
    """Mount, where nobody else sees it if that can be arranged; the kernel is asked either way."""
    if _LIBC.unshare(0x2_0000) == 0:  # CLONE_NEWNS
        _LIBC.mount(None, b"/", None, 0x4_4000, None)  # MS_REC | MS_PRIVATE
    return checked(_LIBC.mount(b"none", target, kind, flags, None))


def in_a_child(deed: Callable[[], object]) -> object:
    """Do something that cannot be undone in a process that ends at once.

    Raises:
        OSError: the deed failed.
    """
    child = os.fork()
    if child == 0:
        code = 0
        try:
            deed()
        except OSError as error:
            code = error.errno or errno.EIO
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))
    return "could"


def main(text: str) -> None:
    targets = json.loads(text)
    report = {}
    for name, tried in ATTEMPTS.items():
        try:
            found = tried(targets)
        except (OSError, Kept, AttributeError, KeyError) as error:
            report[name] = {"open": False, "found": str(error)}
        else:
            report[name] = {"open": True, "found": str(found)[:200]}
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
