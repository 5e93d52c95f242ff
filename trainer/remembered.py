"""What torch found on a CPU at an earlier start, so that not every start has to load torch for it.

It is for tasks whose programs train and score themselves: the node needs torch for nothing else
then, and loading it takes seconds. Only a machine without a GPU is remembered, and only until its
processor, its Python or its torch is another one. That there is a GPU is asked anew every time.
"""

import contextlib
import hashlib
import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from trainer.messages import Facts

FACTS = "cache/facts.json"
"""Where it is noted, below the folder of an executor."""

GPU_NODES = ("nvidia*", "kfd", "dxg")
"""What a driver of NVIDIA, of AMD or of Windows' own Linux puts into /dev."""


class Remembered(Struct, frozen=True):
    """What was found, and a hash of what it depends on."""

    of: str
    facts: Facts


def recall(path: Path, device: str) -> Facts | None:
    """What was found when the same was here and the same was asked; None if it has to be asked.

    Args:
        path: the file; it need not be there.
        device: as the user gave it.
    """
    of = _depends_on(device)
    try:
        noted = msgspec.json.decode(path.read_bytes(), type=Remembered)
    except (OSError, msgspec.MsgspecError):
        return None
    return noted.facts if of and noted.of == of else None


def remember(path: Path, device: str, facts: Facts) -> None:
    """Note what was found, if it is of the kind that lasts; a full disk only costs time."""
    of = _depends_on(device)
    if of and facts.device == "cpu":
        new = path.with_suffix(".new")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(Remembered(of, facts)))
            new.replace(path)


def _depends_on(device: str) -> str:
    """Hash of all that an answer of torch depends on; empty where it cannot be told."""
    without_gpu = sys.platform == "linux" and not any(
        found for name in GPU_NODES for found in Path("/dev").glob(name)
    )
    if device != "cpu" and not (device == "auto" and without_gpu):
        return ""
    torch = find_spec("torch")  # found, not loaded
    if torch is None or torch.origin is None:
        return ""
    version = os.stat(Path(torch.origin).with_name("version.py"))
    parts = (device, torch.origin, version.st_mtime_ns, version.st_size, sys.version, _processor())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _processor() -> str:
    """The model of the processor and what it can do."""
    wanted = ("vendor_id", "model name", "flags", "Features", "CPU part")
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
    return f"{platform.machine()} {platform.processor()}"
