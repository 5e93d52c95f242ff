"""Nothing gets out of a sandbox that would get out without one: as root and as an ordinary user."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skep.errors import SandboxError
from tests.trainer.test_sandbox import NOBODY, needs_bwrap, needs_root
from trainer.sandbox import Backend
from trainer.sandbox.bwrap import Bubblewrap
from trainer.sandbox.landlock import Landlock
from trainer.sandbox.none import NoSandbox
from trainer.sandbox.probing import try_all

ENVIRONMENT = "find the node's environment in process 1"
CANNOT_SUCCEED = {
    ENVIRONMENT: "only bubblewrap as it comes has such a process 1: shown below",
    "pull the emergency brake (sysrq)": "kernels of virtual machines often have none",
    "talk to the hypervisor": "there may be none",
    "leave a control group": "they may be mounted read-only",
}
"""Attempts that need not get out even as root without a sandbox, and why."""


def got_out(backend: Backend) -> set[str]:
    return {tried.name for tried in try_all(backend) if tried.open}


@needs_root
def test_without_a_sandbox_every_attempt_of_root_succeeds() -> None:
    tried = try_all(NoSandbox())
    failed = {attempt.name: attempt.found for attempt in tried if not attempt.open}
    assert len(tried) >= 40
    assert failed.keys() <= CANNOT_SUCCEED.keys(), failed


def test_what_could_be_read_is_not_told() -> None:
    script = (
        "from trainer.sandbox.none import NoSandbox\n"
        "from trainer.sandbox.probing import try_all\n"
        "print(try_all(NoSandbox()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"TOKEN": "secret", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "name='read an ssh key', open=True" in done.stdout
    for secret in ("secret", "TOKEN", "to be hidden", "root:"):
        assert secret not in done.stdout


@needs_bwrap
def test_bubblewrap_lets_nothing_out() -> None:
    assert got_out(Bubblewrap()) == set()


def test_landlock_lets_nothing_out() -> None:
    try:
        Landlock().probe()
    except SandboxError:
        pytest.skip("no Landlock here")
    assert got_out(Landlock()) == set()


@needs_bwrap
def test_bubblewrap_as_it_comes_shows_the_environment_it_was_started_with() -> None:
    script = "tr '\\0' '\\n' < /proc/1/environ"
    bare = ["bwrap", "--unshare-pid", "--clearenv", "--ro-bind", "/", "/", "--proc", "/proc"]
    done = subprocess.run(
        [*bare, "/bin/sh", "-c", script],
        env={"TOKEN": "secret", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TOKEN=secret" in done.stdout


@needs_root
@pytest.mark.parametrize("backend", ["Bubblewrap", "Landlock"])
def test_an_ordinary_user_is_kept_in_as_well(everybodys: tuple[Path, str], backend: str) -> None:
    folder, python = everybodys
    script = (
        f"import sys, json; sys.path.insert(0, {str(folder)!r})\n"
        f"from trainer.sandbox.{'bwrap' if backend == 'Bubblewrap' else 'landlock'} import *\n"
        "from trainer.sandbox.none import NoSandbox\n"
        "from trainer.sandbox.probing import try_all\n"
        f"inside, outside = try_all({backend}()), try_all(NoSandbox())\n"
        "print(json.dumps([[[t.name, t.open] for t in way] for way in (inside, outside)]))"
    )
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    done = subprocess.run(
        [*user, python, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    inside, outside = ({name for name, out in way if out} for way in json.loads(done.stdout))
    assert inside == set()
    assert len(outside) >= 20  # what needs no powers
