"""Keeps the machine's description steady from start to start, so that its tier is.

The probe kernel's time says how fast a machine is, but a start beside other work measures it too
slow, and a tier that flips would orphan every run made before. So the home notes the fastest time
that was ever seen here; a machine of another kind starts a note of its own.
"""

import msgspec
from msgspec.structs import replace

from node.home import Home, write_atomic
from skep.records import Environment

FASTER = 0.8
"""A probe faster than this share of the noted one is news about the machine, not noise."""


def settle(home: Home, measured: Environment) -> Environment:
    """The environment that goes into runs: as measured, with the noted probe time.

    Raises:
        HomeError: the note cannot be written.
    """
    noted = _noted(home)
    if noted is not None:
        same = replace(noted, probe_ns=measured.probe_ns, sandbox=measured.sandbox)
        if same == measured and measured.probe_ns > FASTER * noted.probe_ns:
            return replace(measured, probe_ns=noted.probe_ns)
    write_atomic(home.machine, msgspec.json.encode(measured).decode())
    return measured


def _noted(home: Home) -> Environment | None:
    try:
        return msgspec.json.decode(home.machine.read_bytes(), type=Environment)
    except (OSError, msgspec.MsgspecError):
        return None  # Never written, or by another version: it is measured anew.
