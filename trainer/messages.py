"""What a phase may report through its pipe, and what we make of the bytes that come instead.

The candidate shares the process that writes them: every message is decoded strictly, bounded in
size, and still only the candidate's word. Garbage is a value (`Garbled`), never an exception.
Pure: bytes in, messages out.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

MAX_BYTES = 64 * 1024
_PREFIX = 4

Count = Annotated[int, Meta(ge=0, le=2**53)]
Cost = Annotated[float, Meta(ge=0, le=1e12)]
Line = Annotated[str, Meta(max_length=2000)]


class Begun(Struct, frozen=True, tag="begun", forbid_unknown_fields=True):
    """The program asked for its first step."""


class Step(Struct, frozen=True, tag="step", forbid_unknown_fields=True):
    """A sign of life: optimiser steps done, tokens consumed, last training loss."""

    step: Count
    tokens: Count
    loss: float


class Calibrated(Struct, frozen=True, tag="calibrated", forbid_unknown_fields=True):
    """CPU seconds (wall-clock on a GPU) of a step, and of everything before the first one."""

    step: Cost
    setup: Cost


class Finished(Struct, frozen=True, tag="finished", forbid_unknown_fields=True):
    """Training ended and the checkpoint is written; `memory` is the GPU's, in bytes."""

    step: Count
    tokens: Count
    parameters: Count
    memory: Count


class Failed(Struct, frozen=True, tag="failed", forbid_unknown_fields=True):
    """The program raised; `reason` is the last line of the traceback."""

    kind: Literal["crash", "nan", "oom"]
    reason: Line


class Facts(Struct, frozen=True, tag="facts", forbid_unknown_fields=True):
    """What torch finds on this machine; `device` is empty where the wanted one is absent.

    Attributes:
        device: `cpu`, `cuda`, `mps`.
        name: the maker's name of a GPU, else empty.
        memory: bytes of a GPU's memory, else 0.
        driver: CUDA or ROCm version of torch, else empty.
        isa: instruction set that torch uses on the CPU.
        torch: version of torch.
        probe: seconds of the probe kernel on the device.
    """

    device: Line
    name: Line
    memory: Count
    driver: Line
    isa: Line
    torch: Line
    probe: Cost


class Garbled(Struct, frozen=True):
    """What came is no message; nothing that follows can be read."""


Report = Begun | Step | Calibrated | Finished | Failed | Facts
_DECODER = msgspec.json.Decoder(Report)


class Reader:
    """Cuts a stream of bytes into messages; holds at most one of `MAX_BYTES`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.garbled = False

    def feed(self, data: bytes) -> Iterator[Report | Garbled]:
        """The messages that `data` completes; after a `Garbled` there are no more."""
        self._buffer += data
        while not self.garbled and len(self._buffer) >= _PREFIX:
            size = int.from_bytes(self._buffer[:_PREFIX], "big")
            if size <= MAX_BYTES and len(self._buffer) < _PREFIX + size:
                return
            message = self._decode(size)
            del self._buffer[: _PREFIX + size]
            yield message

    def _decode(self, size: int) -> Report | Garbled:
        try:
            if size > MAX_BYTES:
                raise msgspec.DecodeError("too long")
            message: Report = _DECODER.decode(self._buffer[_PREFIX : _PREFIX + size])
            return message
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.garbled = True
            return Garbled()
