"""Keeps the machine's description steady from start to start, so that its tier is.

The probe kernel's time is part of the tier, and a start beside other work measures it too slow. A
tier that flips would orphan every run made before; so the home notes the first time that was
measured on a device and stays with it. Deleting `machine.json` has it measured anew, and torch
asked again what is here.
"""

import msgspec
from msgspec.structs import replace

from node.home import Home, write_atomic
from skep.records import Environment
from trainer.remembered import FACTS


def renew(home: Home) -> None:
    """Before a start: where nothing is noted, what the trainer remembers does not count either."""
    if not home.machine.exists():
        (home.root / FACTS).unlink(missing_ok=True)


def settle(home: Home, measured: Environment) -> Environment:
    """The environment that goes into runs: as measured, with the noted probe time.

    Raises:
        HomeError: the note cannot be written.
    """
    device = f"{measured.backend} {measured.device}"
    noted = _noted(home)
    if device not in noted:
        noted[device] = measured.probe_ns
        write_atomic(home.machine, msgspec.json.encode(noted).decode())
    return replace(measured, probe_ns=noted[device])


def _noted(home: Home) -> dict[str, int]:
    """Probe time in nanoseconds by device."""
    try:
        return msgspec.json.decode(home.machine.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return {}  # Never written, or by another version: it is measured anew.
