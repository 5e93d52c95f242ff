"""Whatever a program does to itself, its limits, its parent or its pipes ends in an outcome."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import psutil
import pytest
import trio
from msgspec.structs import replace

from skep.errors import TrainerFault
from skep.ports import Order, Outcome, Progress
from tests.trainer.small import PROGRAM, Bench, make_task, processes_of, program
from trainer import sandbox

IMPORTS = "import ctypes, os, resource, signal, socket, subprocess, sys, time, torch"
EVERY_PIPE = "[fd for fd in range(3, 64) if os.path.exists(f'/proc/self/fd/{fd}')]"

FAILURES = {
    "raises": ("raise ValueError('no\\ngood')", "crash", "ValueError: no"),
    "leaves": ("sys.exit(0)", "crash", "SystemExit: 0"),
    "leaves at once": ("os._exit(0)", "crash", "it ended early, with exit status 0"),
    "kills itself": ("os.kill(os.getpid(), signal.SIGKILL)", "killed", "killed by a signal"),
    "segfaults": ("ctypes.string_at(1)", "crash", "it died of SIGSEGV"),
    "diverges": ("raise FloatingPointError('the loss is nan')", "nan", "the loss is nan"),
    "logs nan": (
        "for _ in run.steps(): run.log(float('nan'), 1)",
        "nan",
        "the training loss is nan",
    ),
    "returns nothing": ("for _ in run.steps(): pass", "crash", "train() returned NoneType"),
    "never steps": ("return build_model(run.meta)", "crash", "without asking run.steps()"),
    "asks for a petabyte": ("torch.empty(2**48)", "oom", "can't allocate memory"),
    "eats memory": (
        "hoard = []\nwhile True: hoard.append(b'x' * 2**24)",
        "oom",
        "more memory than it may",
    ),
    "hides memory in page tables": (
        "libc = ctypes.CDLL(None)\n"
        "libc.mmap.restype = ctypes.c_void_p\n"
        "libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *4 * [ctypes.c_long]]\n"
        "start = libc.mmap(None, 2**40, 1, 0x4022, -1, 0)\n"  # PROT_READ, PRIVATE ANONYMOUS
        "for place in range(start, start + 2**40, 2**21): ctypes.c_char.from_address(place).value",
        "oom",
        "more memory than it may",
    ),
    "writes garbage": (
        f"for fd in {EVERY_PIPE}:\n"
        "    try: os.write(fd, b'\\xff' * 100)\n    except OSError: pass\n"
        "time.sleep(1)",
        "crash",
        "garbage into the result pipe",
    ),
    "closes everything": ("os.closerange(0, 64)\nreturn honest(run)", "crash", "it ended early"),
    "fills the disk": (
        "with open('/tmp/x', 'wb') as f:\n    while True: f.write(bytes(2**20))",
        "crash",
        "No space left on device",
    ),
    "makes files without end": (
        "os.chdir('/tmp')\nfor n in range(10**8): os.close(os.open(str(n), os.O_CREAT))",
        "killed",
        "more than its scratch folder may hold",
    ),
    "closes what it writes": (
        "os.makedirs('/tmp/a/b')\nos.chmod('/tmp/a', 0)\ntime.sleep(60)",
        "killed",
        "more than its scratch folder may hold",
    ),
    "buries what it writes": (
        "os.chdir('/tmp')\nfor _ in range(2000): os.mkdir('abc'); os.chdir('abc')\ntime.sleep(60)",
        "killed",
        "more than its scratch folder may hold",
    ),
    "forks without end": (  # the kernel lets it have 64, which is too much memory already
        "while True:\n    try: os.fork()\n    except OSError: pass",
        "oom",
        "more memory than it may",
    ),
}

HARMLESS = {
    "prints 50 MB": "for _ in range(50): print('x' * 2**20)\nreturn honest(run)",
    "ignores every signal it can": (
        "for n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "if os.fork() == 0: time.sleep(1000)\n"
        "return honest(run)"
    ),
    "kills its parent": (
        "for number in (signal.SIGKILL, signal.SIGINT, signal.SIGSTOP, signal.SIGTERM):\n"
        "    os.kill(os.getppid(), number)\n"
        "return honest(run)"
    ),
    "kills everybody": (
        "try: os.kill(-1, signal.SIGKILL)\nexcept ProcessLookupError: pass\nreturn honest(run)"
    ),
    "leaves a daemon": (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(1000)\n"
        "    os._exit(0)\n"
        "return honest(run)"
    ),
    "registers exit handlers": (
        "import atexit\natexit.register(time.sleep, 1000)\nreturn honest(run)"
    ),
}

FORBIDDEN = {
    "sees other processes": "assert {p for p in os.listdir('/proc') if p.isdigit()} == {'1', PID}",
    "finds what it left": (
        "for folder in ('/tmp', '/dev/shm'):\n"
        "    assert os.listdir(folder) == [], folder\n"
        "    os.makedirs(f'{folder}/a/b')\n"
        "    os.chmod(f'{folder}/a', 0o500)\n"
        "libc = ctypes.CDLL(None)\n"
        "assert libc.shmget(77, 4096, 0o600) == -1\n"
        "assert libc.shmget(77, 4096, 0o1600) == -1"
    ),
    "writes elsewhere": (
        "for folder in ('/', '/dev', '/usr', '/skep', '/proc', os.path.dirname(sys.executable)):\n"
        "    try: open(f'{folder}/x', 'w')\n"
        "    except OSError: continue\n"
        "    raise AssertionError(folder)"
    ),
    "reads the worker": (
        "for name in ('mem', 'environ', 'fd', 'maps'):\n"
        "    path = f'/proc/1/{name}'\n"
        "    try: os.listdir(path) if name == 'fd' else open(path).read()\n"
        "    except OSError: continue\n"
        "    raise AssertionError(name)"
    ),
    "has a network": (  # not even the one within this machine, where somebody listens
        "try: socket.create_connection(('127.0.0.1', PORT), timeout=9)\nexcept OSError: pass\n"
        "else: raise AssertionError"
    ),
    "leaves closed connections for the next": (
        "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):\n"
        "    try: socket.socket(family)\n"
        "    except OSError: continue\n"
        "    raise AssertionError(family)\n"
        "socket.socket(socket.AF_UNIX)"
    ),
    "has memory that is nobody's": (
        "import mmap\n"
        "for fd in (-1, os.open('/dev/zero', os.O_RDWR)):\n"
        "    try: mmap.mmap(fd, 4096)\n"
        "    except OSError: continue\n"
        "    raise AssertionError(fd)\n"
        "mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)\n"
        "assert open('/dev/zero', 'rb').read(9) == bytes(9)"
    ),
    "leaves notes in the page cache": (
        "fd = os.open(sys.executable, os.O_RDONLY)\n"
        "os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)\n"  # succeeds, and does nothing
        "try: os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)\n"
        "except OSError as error: assert error.errno == 95\n"
        "else: raise AssertionError\n"
        "libc = ctypes.CDLL(None)\n"
        "assert libc.mincore(0, 0, 0) == -1 and libc.syscall(451, fd, 0, 0, 0) == -1"
    ),
    "leaves notes at a file": (
        "try: os.setxattr('/tmp', 'user.note', b'1')\nexcept PermissionError: pass\n"
        "else: raise AssertionError"
    ),
    "reads validation code": "assert not os.path.exists(HOST)",
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    backend, guarantees = sandbox.choose()
    if guarantees.strength != "strong":
        pytest.skip("no strong sandbox here")
    folder = tmp_path_factory.mktemp("bench")
    task = make_task(folder)
    patient = replace(task, limits=replace(task.limits, timeout_s=60))  # or a busy machine decides
    with Bench(patient, folder, backend) as running:
        yield running


@pytest.mark.parametrize("deed", FAILURES)
def test_a_failing_program_has_a_status_and_a_reason(bench: Bench, deed: str) -> None:
    body, status, reason = FAILURES[deed]
    outcome = bench.train(program(body, IMPORTS), steps=None if deed == "never steps" else 3)
    assert outcome.status == status, outcome.reason
    assert reason in outcome.reason
    assert outcome.checkpoint is None
    assert outcome.weights is None


@pytest.mark.parametrize("deed", HARMLESS)
def test_some_deeds_harm_nobody(bench: Bench, deed: str) -> None:
    outcome = bench.train(program(HARMLESS[deed], IMPORTS), steps=3)
    assert (outcome.status, outcome.reason) == ("done", "")


@pytest.mark.parametrize("deed", FORBIDDEN)
def test_a_program_never(bench: Bench, deed: str) -> None:
    body = FORBIDDEN[deed].replace("PID", "str(os.getpid())")
    body = body.replace("HOST", repr(str(bench.task.folder / "prepare.py")))
    with socket.create_server(("127.0.0.1", 0)) as server:
        body = body.replace("PORT", str(server.getsockname()[1]))
        source = program(f"{body}\nreturn honest(run)", IMPORTS)
        # Twice calibrated and twice trained, so that whatever one phase leaves, another would find.
        for _ in range(2):
            outcome = bench.train(source)
            assert outcome.status in ("done", "void"), outcome.reason


def test_a_program_may_lower_its_own_priority(bench: Bench) -> None:
    own = "os.nice(1); os.sched_setaffinity(0, {0}); return honest(run)"
    assert bench.train(program(own, IMPORTS), steps=1).status == "done"


FILES_OF_THE_MACHINE = """
import fcntl, os, stat
for fd in range(3, 64):
    if os.path.exists(f"/proc/self/fd/{fd}"):
        found, mode = os.fstat(fd), fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        assert mode or not found.st_nlink or not stat.S_ISREG(found.st_mode), fd
"""


def test_what_a_program_reads_is_a_copy_in_memory(bench: Bench) -> None:
    # A file it could open again, for writing, where it has the same user as the node.
    source = program("return honest(run)", FILES_OF_THE_MACHINE)
    outcome = bench.train(source, steps=1)
    assert outcome.checkpoint is not None, outcome.reason
    assert bench.score(source, outcome.checkpoint).fault == ""


def test_training_on_the_sly_after_calibration_is_void(bench: Bench) -> None:
    greedy = """
    model = honest(run)
    while time.process_time() < 1.0: pass
    return model
    """
    outcome = bench.train(program(greedy, IMPORTS))
    assert outcome.status == "void"
    assert "of a budget of 0.2 s" in outcome.reason
    assert outcome.spent_ms > 400
    assert outcome.checkpoint is None


@pytest.mark.parametrize(
    ("before", "in_the_child"),
    [
        ("", ""),
        ("", "if os.fork(): os._exit(0)"),
        ("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", ""),
    ],
    ids=["children", "orphans", "children that it ignores"],
)
def test_it_is_charged_for_the_work_of(bench: Bench, before: str, in_the_child: str) -> None:
    helped = f"""
    {before}
    reader, writer = os.pipe()
    if os.fork() == 0:
        {in_the_child}
        while time.process_time() < 0.6: pass
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)
    return honest(run)
    """
    outcome = bench.train(program(helped, IMPORTS), steps=3)
    assert outcome.status == "done", outcome.reason
    assert outcome.train_ms > 500


def test_a_flood_of_output_is_cut_in_the_middle(bench: Bench) -> None:
    order = bench.order(
        program("print('first')\nfor _ in range(9): print('x' * 2**20)\nraise KeyError('last')"),
        steps=1,
    )
    outcome = bench.call(lambda: bench.executor.train(0, order, lambda _: None))
    log = (order.folder / "log.txt").read_text()
    assert log.startswith("first\nxxx")
    assert "bytes left out" in log
    assert outcome.log_tail.endswith("KeyError: 'last'")
    assert len(log) < 140_000


def test_a_program_that_takes_its_sandbox_down_is_blamed_the_second_time(bench: Bench) -> None:
    # Nothing that is known does; so the test ends the worker itself.
    deadly = program("for _ in run.steps(): time.sleep(0.2); run.log(1.0, 1)", IMPORTS)

    async def fall(order: Order) -> Outcome:
        def report(progress: Progress) -> None:
            if progress.loss is not None:
                for process in processes_of("worker.py"):
                    with suppress(psutil.NoSuchProcess):  # it took the others along
                        process.kill()

        return await bench.executor.train(0, order, report)

    with pytest.raises(TrainerFault):
        bench.call(partial(fall, bench.order(deadly, steps=20)))
    outcome = bench.call(partial(fall, bench.order(deadly, steps=20)))
    assert (outcome.status, outcome.reason) == ("killed", "the sandbox died under it, twice")
    assert bench.train(PROGRAM, steps=1).status == "done"


@pytest.mark.parametrize(
    "deed",
    [
        "resource.prlimit(1, resource.RLIMIT_CPU, (0, 0))",
        "os.setpriority(os.PRIO_PROCESS, 1, 19)",
        "os.setpriority(os.PRIO_PGRP, 0, 19)",
        "os.setpriority(os.PRIO_USER, 0, 19)",
        "os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))",
        "os.sched_setaffinity(1, {0})",
    ],
)
def test_limits_and_priority_of_the_worker_cannot_be_lowered(bench: Bench, deed: str) -> None:
    source = program(f"try: {deed}\nexcept PermissionError: return honest(run)", IMPORTS)
    assert bench.train(source, steps=1).status == "done"


def test_cancelling_kills_what_runs_and_leaves_the_slot_usable(bench: Bench) -> None:
    order = bench.order(program("for _ in run.steps(): run.log(1.0, 1)\nwhile True: pass"), steps=2)

    async def cancel_while_it_trains() -> bool:
        with trio.CancelScope() as scope:

            def report(progress: Progress) -> None:
                if progress.loss is not None:
                    scope.cancel()

            await bench.executor.train(0, order, report)
        return scope.cancelled_caught

    assert bench.call(cancel_while_it_trains)
    assert list(order.folder.glob("*.safetensors")) == []
    alone = FORBIDDEN["sees other processes"].replace("PID", "str(os.getpid())")
    outcome = bench.train(program(f"{alone}\nreturn honest(run)", IMPORTS), steps=1)
    assert (outcome.status, outcome.reason) == ("done", "")
