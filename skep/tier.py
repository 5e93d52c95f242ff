"""Hardware tier and platform id: which results may be compared, and which must be equal.

Both are pure functions of the signed environment of a run. Comparing raw numbers across machines
halves the power of every test; so evidence is only ever pooled within a tier, and bit-equality is
only ever expected within a platform.
"""

import hashlib
import math

import msgpack

from skep.records import Environment

MEMORY_CLASSES_MIB = ((16 * 1024, "16GB"), (24 * 1024, "24GB"), (48 * 1024, "48GB"))
PROBE_OCTAVE_NS = 1_000_000
"""Probe times are binned by octaves around a millisecond."""


def tier(environment: Environment) -> str:
    """Name of the hardware tier, e.g. `cpu-float32-cpu-o3` or `cuda-bfloat16-xl-o0`.

    Built of backend, dtype, memory class (<=16, <=24, <=48, larger; `cpu` where memory is the
    host's) and the octave of the probe kernel's time, rounded to the nearest power of two.
    """
    octave = round(math.log2(max(environment.probe_ns, 1) / PROBE_OCTAVE_NS))
    return f"{environment.backend}-{environment.dtype}-{_memory_class(environment)}-o{octave}"


def _memory_class(environment: Environment) -> str:
    if environment.backend == "cpu":
        return "cpu"
    for limit, name in MEMORY_CLASSES_MIB:
        # Cards are sold in round GB but report a little less or more than that.
        if environment.memory_mib <= limit * 1.05:
            return name
    return "xl"


def platform_id(environment: Environment) -> bytes:
    """32-byte id of everything that makes equal seeds and steps give bit-identical weights."""
    parts = (
        environment.backend,
        environment.device if environment.backend != "cpu" else "",
        environment.dtype,
        environment.threads,
        environment.torch,
        environment.driver,
        environment.isa,
    )
    return hashlib.sha256(msgpack.packb(parts)).digest()
