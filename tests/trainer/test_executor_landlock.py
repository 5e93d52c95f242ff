"""Where no namespace can be made, Landlock and seccomp still keep a program in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    "changes modes elsewhere": "os.truncate(HOST, 0)",
    "makes namespaces": "UNSHARE",
}
UNSHARE = "(_ for _ in ()).throw(OSError()) if ctypes.CDLL(None).unshare(0x10000000) else None"

STOPPED = {
    "fills the disk": (
        "for number in range(10**6):\n"
        "    Path(tempfile.gettempdir(), str(number)).write_bytes(bytes(2**20))",
        ["wrote more than its scratch folder may hold", "took longer than it may"],
    ),
    "makes files without end": (  # which takes long, so that time may run out first
        "os.chdir(tempfile.gettempdir())\n"
        "for number in range(10**7): os.close(os.open(str(number), os.O_CREAT))",
        ["wrote more than its scratch folder may hold", "took longer than it may"],
    ),
    "starts processes without end": (
        "while True:\n    if os.fork() == 0: time.sleep(60); os._exit(0)",
        ["started more processes than it may", "used more memory than it may"],
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
    with Bench(make_task(folder), folder, backend) as running:
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
        assert free.train(steps=20).weights == bench.train(steps=20).weights


@pytest.mark.parametrize("deed", STOPPED)
def test_it_is_stopped_when_it(bench: Bench, deed: str) -> None:
    body, reasons = STOPPED[deed]
    outcome = bench.train(program(body, IMPORTS), steps=2)
    assert outcome.status in ("killed", "timeout", "oom")
    assert outcome.reason.removeprefix("it ") in reasons
    assert bench.train(PROGRAM, steps=1).status == "done"
