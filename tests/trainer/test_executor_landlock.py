"""Where no namespace can be made, Landlock and seccomp still keep a program in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from skep.errors import SandboxError
from tests.trainer.small import PROGRAM, Bench, make_task, program
from trainer.sandbox.landlock import Landlock
from trainer.sandbox.none import NoSandbox

IMPORTS = "import ctypes, os, signal, socket, tempfile, time; from pathlib import Path"

FORBIDDEN = {
    "reads files of others": "open(HOST)",
    "reads the home": "os.listdir(os.path.expanduser('~root'))",
    "writes elsewhere": "open('/var/tmp/x', 'w')",
    "writes into the installation": "open(Path(os.__file__).parent / 'x.py', 'w')",
    "reads the worker": "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "reads the node's environment": "open(f'/proc/{NODE}/environ', 'rb').read()",
    "signals the node": "os.kill(NODE, 0)",
    "makes sockets": "socket.socket()",
    "connects to local sockets": "socket.socket(socket.AF_UNIX)",
    "empties files elsewhere": "os.truncate(HOST, 0)",
    "stops the worker": "os.kill(os.getppid(), signal.SIGSTOP)",
    "leaves notes at files elsewhere": "os.setxattr(HOST, 'user.note', b'1')",
    "makes namespaces": "UNSHARE",
}
UNSHARE = "(_ for _ in ()).throw(OSError()) if ctypes.CDLL(None).unshare(0x10000000) else None"

STOPPED = {
    "fills the disk": (
        "for number in range(10**6):\n"
        "    Path(tempfile.gettempdir(), str(number)).write_bytes(bytes(2**20))",
        "it wrote more than its scratch folder may hold",
    ),
    "buries what it writes": (
        "os.chdir(tempfile.gettempdir())\n"
        "for number in range(300): os.mkdir('x' * 250); os.chdir('x' * 250)\n"
        "time.sleep(60)",
        "it wrote more than its scratch folder may hold",
    ),
    "closes what it writes": (
        "os.chdir(tempfile.gettempdir())\n"
        "os.makedirs('a/b')\n"
        "os.umask(0o777)\n"
        "os.makedirs('c')\n"
        "time.sleep(60)",
        "it wrote more than its scratch folder may hold",
    ),
    "starts processes and more processes": (  # an end, for who watches badly has to survive it
        "for number in range(500):\n    if os.fork() == 0: time.sleep(1000)\ntime.sleep(1000)",
        # Those of a user are counted by the kernel, but root's by nobody but the worker.
        "BlockingIOError" if os.geteuid() else "it started more processes than it may",
    ),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    backend = Landlock()
    try:
        backend.probe()
    except SandboxError:
        pytest.skip("no Landlock here")
    folder = tmp_path_factory.mktemp("bench")
    task = make_task(folder)
    # So much time and memory that what a program does too often is noticed first.
    limits = replace(task.limits, timeout_s=60, memory_mib=1 << 16)
    with Bench(replace(task, limits=limits), folder, backend) as running:
        yield running


def attempt(bench: Bench, deed: str) -> str:
    """A program that trains if it was kept from the deed, and returns nothing if it was not."""
    body = FORBIDDEN[deed].replace("UNSHARE", UNSHARE).replace("NODE", str(os.getpid()))
    body = body.replace("HOST", repr(str(bench.task.folder / "prepare.py")))
    return program(f"try: {body}\nexcept OSError: return honest(run)", IMPORTS)


@pytest.mark.parametrize("deed", FORBIDDEN)
def test_a_program_never(bench: Bench, deed: str) -> None:
    outcome = bench.train(attempt(bench, deed), steps=2)
    assert (outcome.status, outcome.reason) == ("done", "")


def test_the_same_can_be_done_without_it(bench: Bench, tmp_path: Path) -> None:
    """Of what would not change this machine: each deed succeeds where nothing forbids it."""
    harmless = [
        "reads files of others",
        "reads the home",
        "reads the node's environment",
        "signals the node",
        "makes sockets",
        "connects to local sockets",
    ]
    with Bench(make_task(tmp_path), tmp_path, NoSandbox()) as free:
        for deed in harmless:
            outcome = free.train(attempt(free, deed), steps=2)
            assert "returned NoneType" in outcome.reason, deed


def test_results_are_the_same_to_the_last_bit(bench: Bench, tmp_path: Path) -> None:
    with Bench(make_task(tmp_path), tmp_path, NoSandbox()) as free:
        outcomes = free.train(steps=20), bench.train(steps=20)
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert outcomes[0].weights == outcomes[1].weights


@pytest.mark.parametrize("deed", STOPPED)
def test_it_is_stopped_when_it(bench: Bench, deed: str) -> None:
    body, reason = STOPPED[deed]
    outcome = bench.train(program(body, IMPORTS), steps=2)
    assert outcome.reason.startswith(reason)
    assert outcome.status == ("killed" if reason.startswith("it ") else "crash")
    assert bench.train(PROGRAM, steps=1).status == "done"


def test_attributes_of_files_stay_as_they_are(bench: Bench) -> None:
    path = bench.task.folder / "prepare.py"
    before = path.stat()
    deeds = f"""
    for path in ({str(path)!r}, tempfile.gettempdir()):
        os.chmod(path, 0)
        os.utime(path, (1, 1))
        os.chown(path, 1, 1)
    return honest(run)
    """
    outcome = bench.train(program(deeds, IMPORTS), steps=2)
    assert (outcome.status, outcome.reason) == ("done", "")
    after = path.stat()
    assert (after.st_mode, after.st_mtime, after.st_uid) == (
        before.st_mode,
        before.st_mtime,
        before.st_uid,
    )
    assert bench.train(PROGRAM, steps=1).status == "done"


def test_who_forks_for_ever_does_not_outrun_its_end(bench: Bench) -> None:
    chain = """
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork(): os._exit(0)
    return honest(run)
    """
    outcome = bench.train(program(chain, IMPORTS), steps=2)
    assert (outcome.status, outcome.reason) == ("done", "")
    assert bench.train(PROGRAM, steps=1).status == "done"
