"""Give up what the kernel would still allow, then become another program. Runs inside; Linux.

    python -I -S -B enclose.py SPEC -- PROGRAM ARGUMENT...

SPEC is the JSON of `Spec`. A seccomp filter refuses the system calls that no experiment needs and
that attack the kernel, escape from namespaces, or hide memory and CPU time from the watchdog;
Landlock, where asked for, refuses every file but the listed ones. Both bind everything that
PROGRAM starts and cannot be taken off again. Standard library only: this file is mounted into the
sandbox by itself.
"""

import ctypes
import errno
import json
import os
import platform
import signal
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

# ---- seccomp -------------------------------------------------------------------------------------

LOAD, EQUAL, GREATER, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06

# fmt: off
ATTACKS = (
    "mount", "umount2", "pivot_root", "chroot", "swapon", "swapoff", "reboot", "sethostname",
    "setdomainname", "init_module", "delete_module", "finit_module", "kexec_load",
    "kexec_file_load", "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "unshare", "setns",
    "open_by_handle_at", "name_to_handle_at", "settimeofday", "clock_settime", "clock_adjtime",
    "adjtimex", "acct", "quotactl", "quotactl_fd", "lookup_dcookie", "syslog", "personality",
    "vhangup", "move_pages", "migrate_pages", "fanotify_init", "fanotify_mark", "open_tree",
    "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "statmount",
    "listmount", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
    "process_mrelease", "kcmp", "pidfd_getfd", "iopl", "ioperm", "modify_ldt", "uselib", "sysfs",
    "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
    "io_setup",
)
HIDDEN_MEMORY = ("memfd_create", "memfd_secret", "shmget", "msgget", "semget")
"""Memory that belongs to no process, and so escapes a watchdog that adds up processes."""

X86_64 = {
    "rt_sigaction": 13, "ioctl": 16, "shmget": 29, "socket": 41, "clone": 56, "semget": 64,
    "msgget": 68, "ptrace": 101, "syslog": 103, "uselib": 134, "personality": 135, "sysfs": 139,
    "vhangup": 153, "modify_ldt": 154, "pivot_root": 155, "adjtimex": 159, "chroot": 161,
    "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
    "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    "init_module": 175, "delete_module": 176, "quotactl": 179, "lookup_dcookie": 212,
    "clock_settime": 227, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
    "migrate_pages": 256, "unshare": 272, "move_pages": 279, "perf_event_open": 298,
    "fanotify_init": 300, "fanotify_mark": 301, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
    "kcmp": 312, "finit_module": 313, "memfd_create": 319, "kexec_file_load": 320, "bpf": 321,
    "prlimit64": 302, "setpriority": 141, "sched_setscheduler": 144, "sched_setparam": 142,
    "sched_setattr": 314, "ioprio_set": 251, "userfaultfd": 323, "sched_setaffinity": 203,
    "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198,
    "fremovexattr": 199, "mmap": 9, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93,
    "lchown": 94, "utime": 132, "utimes": 235, "fchownat": 260, "futimesat": 261, "fchmodat": 268,
    "utimensat": 280, "setpgid": 109, "setsid": 112, "kill": 62, "tkill": 200, "tgkill": 234,
    "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "mincore": 27, "madvise": 28,
    "fadvise64": 221, "preadv2": 327, "io_setup": 206,
}
AARCH64 = {
    "lookup_dcookie": 18, "ioctl": 29, "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51,
    "vhangup": 58, "quotactl": 60, "acct": 89, "personality": 92, "unshare": 97, "kexec_load": 104,
    "init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117,
    "rt_sigaction": 134, "reboot": 142, "sethostname": 161, "setdomainname": 162,
    "settimeofday": 170, "adjtimex": 171, "msgget": 186, "semget": 190, "shmget": 194,
    "socket": 198, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224,
    "swapoff": 225, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241,
    "fanotify_init": 262, "fanotify_mark": 263, "name_to_handle_at": 264, "open_by_handle_at": 265,
    "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
    "kcmp": 272, "finit_module": 273, "memfd_create": 279, "bpf": 280, "userfaultfd": 282,
    "prlimit64": 261, "setpriority": 140, "sched_setscheduler": 119, "sched_setparam": 118,
    "sched_setattr": 274, "ioprio_set": 30, "kexec_file_load": 294, "sched_setaffinity": 122,
    "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
    "fremovexattr": 16, "mmap": 222, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55,
    "utimensat": 88, "setpgid": 154, "setsid": 157, "kill": 129, "tkill": 130, "tgkill": 131,
    "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "mincore": 232, "madvise": 233,
    "fadvise64": 223, "preadv2": 286, "io_setup": 0,
}
EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435,
    "pidfd_send_signal": 424, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
    "quotactl_fd": 443, "memfd_secret": 447, "process_mrelease": 448, "cachestat": 451,
    "fchmodat2": 452,
    "statmount": 457, "listmount": 458,
}
"""Calls that are younger than the numbers of one architecture."""
OF_OTHERS: dict[str, dict[int, int]] = {
    "prlimit64": {0: 0}, "sched_setscheduler": {0: 0}, "sched_setparam": {0: 0},
    "sched_setattr": {0: 0}, "sched_setaffinity": {0: 0},
    "setpriority": {0: 0, 1: 0}, "ioprio_set": {0: 1, 1: 0},  # a process, no group and no user
}
"""Calls that may be made on the caller itself alone, which these arguments have to name: others of
its user are the worker, whose limits, priority and processors they could change for good."""
CACHE: dict[str, tuple[int, int, tuple[int, ...], int]] = {
    "fadvise64": (3, EQUAL, (4,), 0),  # POSIX_FADV_DONTNEED
    "madvise": (2, EQUAL, (20, 21), 0),  # MADV_COLD, MADV_PAGEOUT
    "preadv2": (5, ANY_BIT, (8,), errno.EOPNOTSUPP),  # RWF_NOWAIT among its flags
}
"""What writes and reads exactly which pages of everybody's files are in memory: one program, or one
process of it, could tell the next something. Call: argument, test, values, how it is answered."""
CACHED = ("mincore", "cachestat")
ATTRIBUTES = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime",
    "utimes", "futimesat", "utimensat",
)
"""What Landlock lets everybody change of any file of theirs, whether or not they can open it."""
GROUPS = ("setpgid", "setsid")
SIGNALS = (
    "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal",
)
# fmt: on

LAST_KNOWN = 462
"""Younger calls than this (mseal, Linux 6.10) are answered as an older kernel would."""
ARCHITECTURES = {
    "x86_64": (0xC000003E, X86_64 | EVERYWHERE),
    "aarch64": (0xC00000B7, AARCH64 | EVERYWHERE),
}
X32_BIT = 0x4000_0000
NAMESPACES = 0x7E02_0000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX

LOCAL = 1
"""AF_UNIX."""
SHARED, ANONYMOUS = 0x01, 0x20

ALLOW, KILL = 0x7FFF_0000, 0x8000_0000
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16

Instruction = tuple[int, int, int, int]


def refuse(code: int) -> int:
    """A filter's verdict: the call fails with this errno (0: it does nothing and succeeds)."""
    return 0x0005_0000 | code


class Spec(NamedTuple):
    """What to give up.

    Attributes:
        sockets: address families that may be used (AF_UNIX 1, AF_INET 2, AF_INET6 10, AF_NETLINK
            16); without any, `socket` itself is refused and only pairs are left.
        hidden_memory: whether memory that belongs to no process may be made.
        landlock: (list, read, write) files and folders that stay in reach; None for no such limit.
        drop: whether to drop root's capabilities.
    """

    sockets: tuple[int, ...]
    hidden_memory: bool = False
    landlock: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None = None
    drop: bool = False


class Giving(NamedTuple):
    """What a candidate gives up that the worker which started it keeps.

    Attributes:
        children: to ignore SIGCHLD, which would hide the CPU time of its children from the meter.
        internet: all but local sockets. They reach nobody, but what the kernel remembers of closed
            connections would outlive the program and tell the next one something.
        outside: where it shares files and processes with others: to change the attributes of
            files, and to leave its process group. Both calls do nothing and succeed.
        signals: to signal anybody, where that cannot be limited to its own processes.
    """

    children: bool
    internet: bool
    outside: bool
    signals: bool


def attack_filter(spec: Spec, machine: str) -> bytes:
    """The BPF program for an architecture that refuses what a spec gives up.

    Raises:
        OSError: nothing is known of the architecture.
    """
    numbers, program = _opening(machine)
    denied = ATTACKS if spec.hidden_memory else ATTACKS + HIDDEN_MEMORY
    program += [
        *_when(AT_LEAST, X32_BIT, KILL),
        *_when(GREATER, LAST_KNOWN, refuse(errno.ENOSYS)),
        *_when(EQUAL, numbers["clone3"], refuse(errno.ENOSYS)),  # its flags are out of sight
    ]
    for name in denied:
        if name in numbers:
            program += _when(EQUAL, numbers[name], refuse(errno.EPERM))
    program += _block(numbers["clone"], 0, _when(ANY_BIT, NAMESPACES, refuse(errno.EPERM)))
    stolen = [step for code in TERMINAL_INPUT for step in _when(EQUAL, code, refuse(errno.EPERM))]
    program += _block(numbers["ioctl"], 1, stolen)
    for name, arguments in OF_OTHERS.items():
        for argument, own in arguments.items():
            program += _block(
                numbers[name],
                argument,
                _unless(EQUAL, own, refuse(errno.EPERM)),
                last=argument == max(arguments),
            )
    if not spec.hidden_memory:
        # Pages of shared mappings stay when a process lets go of them, and are then nobody's.
        nobodys = [(AND, 0, 0, SHARED | ANONYMOUS)]
        nobodys += _when(EQUAL, SHARED | ANONYMOUS, refuse(errno.EPERM))
        program += _block(numbers["mmap"], 3, nobodys)
    for name in CACHED:
        program += _when(EQUAL, numbers[name], refuse(errno.ENOSYS))
    for name, (argument, test, values, code) in CACHE.items():
        steps = [step for value in values for step in _when(test, value, refuse(code))]
        program += _block(numbers[name], argument, steps)
    families = [step for family in spec.sockets for step in _when(EQUAL, family, ALLOW)]
    verdict = (RETURN, 0, 0, refuse(errno.EACCES))
    program += _block(numbers["socket"], 0, [*families, verdict])
    return _assembled(program)


def candidate_filter(giving: Giving, machine: str) -> bytes:
    """The BPF program for an architecture that takes from a candidate what its worker keeps.

    Raises:
        OSError: nothing is known of the architecture.
    """
    numbers, program = _opening(machine)
    for name in (*ATTRIBUTES, *GROUPS) if giving.outside else ():
        if name in numbers:
            program += _when(EQUAL, numbers[name], refuse(0))
    for name in SIGNALS if giving.signals else ():
        program += _when(EQUAL, numbers[name], refuse(errno.EPERM))
    if giving.internet:
        program += _block(numbers["socket"], 0, _unless(EQUAL, LOCAL, refuse(errno.EACCES)))
    if giving.children:
        program += _default_for_children(numbers["rt_sigaction"])
    return _assembled(program)


def _default_for_children(number: int) -> list[Instruction]:
    """SIGCHLD keeps its default action; setting it does nothing."""
    low, high = ARGUMENTS_AT + 8, ARGUMENTS_AT + 12
    changed = [
        *_unless(EQUAL, signal.SIGCHLD, ALLOW),
        (LOAD, 0, 0, low),  # a null pointer only asks
        *_unless(EQUAL, 0, refuse(0)),
        (LOAD, 0, 0, high),
        *_unless(EQUAL, 0, refuse(0)),
    ]
    return _block(number, 0, changed)


def _opening(machine: str) -> tuple[dict[str, int], list[Instruction]]:
    """Numbers of the calls, and the steps that let no other architecture's pass."""
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no system call numbers for {machine}")
    token, numbers = ARCHITECTURES[machine]
    opening = [(LOAD, 0, 0, ARCHITECTURE_AT), *_unless(EQUAL, token, KILL), (LOAD, 0, 0, NUMBER_AT)]
    return numbers, opening


def _assembled(program: list[Instruction]) -> bytes:
    steps = [*program, (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _when(test: int, value: int, verdict: int) -> list[Instruction]:
    return [(test, 0, 1, value), (RETURN, 0, 0, verdict)]


def _unless(test: int, value: int, verdict: int) -> list[Instruction]:
    return [(test, 1, 0, value), (RETURN, 0, 0, verdict)]


def _block(
    number: int, argument: int, steps: list[Instruction], *, last: bool = True
) -> list[Instruction]:
    """Steps on the low half of an argument of one call; what passes the last ones is allowed."""
    end = (RETURN, 0, 0, ALLOW) if last else (LOAD, 0, 0, NUMBER_AT)
    body = [(LOAD, 0, 0, ARGUMENTS_AT + 8 * argument), *steps, end]
    return [(EQUAL, 0, len(body), number), *body]


# ---- Landlock ------------------------------------------------------------------------------------

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PATH_BENEATH, VERSION_ONLY = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15  # and truncate, ioctl on devices
RIGHTS_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""File rights that each version of the interface added up to."""
TCP_ABI, SCOPES_ABI = 4, 6
BIND_AND_CONNECT, ABSTRACT_SOCKETS_AND_SIGNALS = 3, 3
READ = EXECUTE | READ_FILE | READ_DIR


def landlock_abi() -> int:
    """Version of the kernel's Landlock, 0 where there is none."""
    return max(0, int(ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, VERSION_ONLY)))


def restrict_files(listed: Sequence[str], read: Sequence[str], write: Sequence[str]) -> None:
    """Put every file out of reach but those at and below the given paths.

    Args:
        listed: folders whose names may be seen.
        read: what may be read and executed.
        write: what may be changed, too.

    Raises:
        OSError: the kernel has no Landlock.
    """
    abi = landlock_abi()
    handled = max((rights for least, rights in RIGHTS_OF_ABI.items() if least <= abi), default=0)
    fields = [handled]
    if abi >= TCP_ABI:
        fields.append(BIND_AND_CONNECT)
    if abi >= SCOPES_ABI:
        fields.append(ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"<{len(fields)}Q", *fields)
    ruleset = _call(CREATE_RULESET, attributes, len(attributes), 0)
    for paths, rights in ((listed, READ_DIR), (read, READ), (write, handled)):
        for path in paths:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = rights & handled & (-1 if os.path.isdir(path) else FILE_RIGHTS)
            _call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("<Qi", allowed, descriptor), 0)
            os.close(descriptor)
    _restrict_self(ruleset)


def _restrict_self(ruleset: int) -> None:
    _call(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


# ---- Both ----------------------------------------------------------------------------------------

CONTROL, DESCRIPTORS_END = 3, 4096
"""The one descriptor that a program is given besides its standard three; where to stop looking."""
SET_NO_NEW_PRIVS, SET_SECCOMP, DROP_BOUND, FILTER_MODE = 38, 22, 24, 2
CLEAR_AMBIENT = (47, 4)
CAPABILITIES_END, CAPABILITY_VERSION, CAPSET = 64, 0x20080522, {"x86_64": 126, "aarch64": 91}


def _call(number: int, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    result = int(library.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(*arguments: object) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def restrict_calls(steps: bytes) -> None:
    """Install a seccomp filter in this process and all that it will start, for good.

    Raises:
        OSError: the kernel or the architecture has none.
    """

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    _prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _prctl(SET_SECCOMP, FILTER_MODE, ctypes.byref(Program(len(steps) // 8, steps)), 0, 0)


def drop_capabilities() -> None:
    """Keep none of root's powers, and gain none by exec."""
    for capability in range(CAPABILITIES_END):
        ctypes.CDLL(None).prctl(DROP_BOUND, capability, 0, 0, 0)  # fails past the last one
    _prctl(*CLEAR_AMBIENT, 0, 0, 0)
    header = struct.pack("<Ii", CAPABILITY_VERSION, 0)
    _call(CAPSET[platform.machine()], header, bytes(24))


def enclose(spec: Spec) -> None:
    """Give it all up, the most powerful things last.

    Raises:
        OSError: something cannot be given up here; nothing may run then.
    """
    _prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if spec.drop:
        drop_capabilities()
    if spec.landlock is not None:
        restrict_files(*spec.landlock)
    restrict_calls(attack_filter(spec, platform.machine()))


def enclose_candidate(*, metered: bool, internet: bool, outside: bool) -> None:
    """Give up, for this process and all below it, what its worker needs to keep (Linux).

    Args:
        metered: whether its CPU time counts.
        internet: whether it may have sockets that are not local.
        outside: whether there are files and processes of others around it (Landlock).
    """
    if sys.platform != "linux":
        return
    scoped = outside and landlock_abi() >= SCOPES_ABI
    if scoped:
        attributes = struct.pack("<3Q", 0, 0, ABSTRACT_SOCKETS_AND_SIGNALS)
        _restrict_self(_call(CREATE_RULESET, attributes, len(attributes), 0))
    giving = Giving(
        children=metered, internet=not internet, outside=outside, signals=outside and not scoped
    )
    restrict_calls(candidate_filter(giving, platform.machine()))


def main(text: str, separator: str, *argv: str) -> NoReturn:
    assert separator == "--"  # noqa: S101 - we wrote it
    os.closerange(CONTROL + 1, DESCRIPTORS_END)  # whatever leaked
    enclose(Spec(**json.loads(text)))
    os.execv(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
