"""What several tests of the trainer need of this machine."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import skep
from trainer import sandbox


@pytest.fixture
def everybodys() -> Iterator[tuple[Path, str]]:
    """A copy of the sandbox code that every user of this machine can import, and a Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"  # as msgspec is compiled for
    python = shutil.which(f"python{version}", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no Python here that another user may run")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for package in (skep, msgspec, sandbox):
            source = Path(str(package.__file__)).parent
            target = folder / Path(*package.__name__.split("."))
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(sandbox.ENCLOSE, folder / "trainer")
        yield folder, python
