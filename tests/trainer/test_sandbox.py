"""The sandbox lets nothing out, and the self-test notices when one would."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from skep.errors import SandboxError
from trainer import sandbox
from trainer.enclose import landlock_abi
from trainer.sandbox import Backend, Command, Guarantees, Mount, installation, python_prefixes
from trainer.sandbox.bwrap import Bubblewrap
from trainer.sandbox.landlock import SYMLINKS_ABI
from trainer.sandbox.none import NoSandbox
from trainer.worker import _empty, usage

NOBODY = 65534

needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


class Leaky(Bubblewrap):
    """Bubblewrap with some of its options taken away or added."""

    def __init__(self, *, without: Sequence[str] = (), extra: Sequence[str] = ()) -> None:
        super().__init__()
        self._without = without
        self._extra = extra

    def wrap(self, argv: Sequence[str], env: Mapping[str, str], *args: Any, **more: Any) -> Command:
        command = super().wrap(argv, env, *args, **more)
        kept = [part for part in command.argv if part not in self._without]
        at = len(kept) - kept[::-1].index("--remount-ro") - 1
        return Command((*kept[:at], *self._extra, *kept[at:]), command.env)


@needs_bwrap
def test_bubblewrap_keeps_everything_in() -> None:
    found = Bubblewrap().probe()
    assert found == Guarantees("bwrap", True, True, True, True, True, True)
    assert found.strength == "strong"


@needs_bwrap
def test_an_environment_below_the_home_is_no_leak() -> None:
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        venv = Path(folder, "a project", ".venv")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        probe = "from trainer.sandbox.bwrap import Bubblewrap; print(Bubblewrap().probe().strength)"
        inherited = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [venv / "bin/python", "-c", probe],
            env={**os.environ, "PYTHONPATH": inherited},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("strong\n", "")


@needs_bwrap
@pytest.mark.parametrize(
    ("leak", "what"),
    [
        (Leaky(without=["--unshare-net"]), "network"),
        (Leaky(without=["--unshare-pid", "--as-pid-1"]), "processes"),
        (Leaky(extra=["--ro-bind", "/etc", "/etc"]), "files"),
        (Leaky(extra=["--bind", *2 * [tempfile.gettempdir()]]), "files"),
        (Leaky(extra=["--setenv", "TOKEN", "secret"]), "environment"),
        (
            Leaky(extra=["--cap-add", "CAP_SYS_ADMIN"], without=["--bounding-set=-all"]),
            "privileges",
        ),
    ],
)
def test_the_self_test_notices_a_leak(leak: Leaky, what: str) -> None:
    if what == "privileges" and os.geteuid() != 0:
        pytest.skip("an ordinary user has no capabilities to leak")
    with pytest.raises(SandboxError, match=what):
        leak.probe()


@needs_bwrap
@needs_root
def test_an_ordinary_user_gets_a_sandbox_as_strong(everybodys: tuple[Path, str]) -> None:
    folder, python = everybodys
    probe = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); "
        "from trainer.sandbox import choose; print(choose()[1])"
    )
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    done = subprocess.run(
        [*user, python, "-I", "-c", probe], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(Guarantees("bwrap", True, True, True, True, True, True)), (
        done.stderr
    )


def test_a_machine_without_bubblewrap_has_landlock_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    backend, found = sandbox.choose()
    if landlock_abi() < SYMLINKS_ABI:
        assert (backend.name, found.strength) == ("none", "none")
    else:
        assert (backend.name, found.strength) == ("landlock", "reduced")
    assert found.note.endswith("bubblewrap is not installed")


def test_a_machine_with_neither_has_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("trainer.sandbox.landlock.landlock_abi", lambda: 0)
    backend, found = sandbox.choose()
    assert (backend.name, found.strength) == ("none", "none")
    assert found.note == ("no sandbox: bubblewrap is not installed; the kernel has no Landlock")


def test_without_a_sandbox_commands_run_as_they_are(tmp_path: Path) -> None:
    backend: Backend = NoSandbox()
    mount = Mount(tmp_path, "/inside")
    command = backend.wrap(
        ["/bin/true"], {"A": "b"}, [mount], slot=0, scratch=tmp_path, devices=False
    )
    assert command.argv == ("/bin/true",)
    assert command.env == {"A": "b", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    assert backend.path(mount) == str(tmp_path)


def run(argv: list[str], *mounts: Mount, slot: int = 0) -> subprocess.CompletedProcess[str]:
    """A command in bubblewrap."""
    command = Bubblewrap().wrap(
        argv, {"A": "b"}, mounts, slot=slot, scratch=Path("/"), devices=False
    )
    return subprocess.run(
        command.argv, env=dict(command.env), capture_output=True, text=True, check=False
    )


@needs_bwrap
def test_mounts_are_read_only_unless_they_are_to_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("fixed", "open"):
        (tmp_path / name).mkdir(mode=0o777)
        (tmp_path / name).chmod(0o777)
    script = "touch /skep/a/b/fixed/x; touch /skep/open/x; ls -A /skep/a/b/fixed /skep/open"
    done = run(
        ["/bin/sh", "-c", script],
        Mount(tmp_path / "fixed", "/skep/a/b/fixed"),
        Mount(tmp_path / "open", "/skep/open", writable=True),
    )
    assert "Read-only file system" in done.stderr
    assert list((tmp_path / "fixed").iterdir()) == []
    assert (tmp_path / "open" / "x").exists()


@needs_bwrap
def test_slots_are_different_users_and_none_of_ours() -> None:
    users = [run(["/usr/bin/id", "-u"], slot=slot).stdout.strip() for slot in (0, 1)]
    assert users == ["65520", "65521"]


@needs_bwrap
def test_this_python_runs_inside_with_its_packages() -> None:
    done = run([sys.executable, "-s", "-P", "-B", "-c", "import numpy; print(numpy.__name__)"])
    assert done.stdout == "numpy\n", done.stderr


@needs_bwrap
def test_the_scratch_folders_are_private_and_of_limited_size() -> None:
    script = (
        "head -c 300000000 /dev/zero > /tmp/x; stat -c %s /tmp/x; touch /dev/shm/x; touch /dev/x"
    )
    done = run(["/bin/sh", "-c", script])
    assert int(done.stdout) == 256 * 1024 * 1024
    assert done.stderr.count("No space left") == 1
    assert "cannot touch '/dev/x'" in done.stderr
    assert done.stderr.count("cannot touch") == 1


def test_a_python_below_tmp_is_mounted_into_the_private_tmp_not_under_it() -> None:
    mount = Mount(Path(__file__), "/tmp/deep/folder/file.py")  # noqa: S108
    command = Bubblewrap().wrap(
        ["true"], {}, [mount], slot=0, scratch=Path("/nowhere"), devices=False
    )
    tmpfs = command.argv.index("--tmpfs")
    while command.argv[tmpfs + 1] != "/tmp":  # noqa: S108
        tmpfs = command.argv.index("--tmpfs", tmpfs + 1)
    prefixes = [i for i, part in enumerate(command.argv) if part == str(python_prefixes()[0])]
    assert tmpfs < min(prefixes)
    assert tmpfs < command.argv.index(mount.inside)


def test_scratch_counts_names_as_well_as_what_they_hold(tmp_path: Path) -> None:
    page = resource.getpagesize()
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert 100 * page <= usage(str(tmp_path), frozenset()) < 200 * page
    (tmp_path / "large").write_bytes(bytes(200 * page))
    assert usage(str(tmp_path), frozenset()) >= 300 * page


def test_what_is_mounted_into_scratch_is_not_what_a_program_wrote(tmp_path: Path) -> None:
    (tmp_path / "a" / "mount").mkdir(parents=True)
    (tmp_path / "a" / "mount" / "much").write_bytes(bytes(1 << 20))
    assert usage(str(tmp_path), frozenset()) > 1 << 20
    assert usage(str(tmp_path), frozenset({str(tmp_path / "a" / "mount")})) < 1 << 16


def test_emptying_scratch_spares_mounts_and_the_folders_that_lead_to_them(tmp_path: Path) -> None:
    (tmp_path / "a" / "mount").mkdir(parents=True)
    (tmp_path / "a" / "mount" / "kept").touch()
    (tmp_path / "a" / "gone").touch()
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/")
    _empty(str(tmp_path), frozenset({str(tmp_path / "a" / "mount")}))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "a",
        "a/mount",
        "a/mount/kept",
    ]


def test_a_python_among_the_files_of_its_user_does_not_take_them_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    local = tmp_path / ".local"
    for part in ("bin", "lib", "share/skep"):
        (local / part).mkdir(parents=True)
    (tmp_path / "lib").mkdir()
    assert installation(local) == [local / "bin", local / "lib"]
    assert installation(tmp_path) == [tmp_path / "lib"]
    assert installation(tmp_path / ".venv") == [tmp_path / ".venv"]
    assert installation(local / "share/uv/python") == [local / "share/uv/python"]


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_where_signals_cannot_be_kept_to_a_programs_own_nobody_is_signalled() -> None:
    script = (
        "import errno, os, platform\n"
        "from trainer import enclose\n"
        "giving = enclose.Giving(children=False, internet=False, outside=True, signals=True)\n"
        "enclose.restrict_calls(enclose.candidate_filter(giving, platform.machine()))\n"
        "try: os.kill(os.getppid(), 0)\n"
        "except PermissionError: os.setsid(); print('kept')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "kept\n"
