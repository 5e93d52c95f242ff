"""What a checkpoint file must look like before anything reads the numbers in it.

A candidate wrote it, so it may be anything. Checked is the frame: a regular file of a sane size
whose safetensors header names few enough tensors of known types that fill the file without gap
and overlap. Whether they fit the model is found out in the sandbox. Pure Python over at most
`HEADER_MAX_BYTES`: no torch, no safetensors.
"""

import json
import math
import os
import stat
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

CHECKPOINT_MAX_BYTES = 1 << 30
HEADER_MAX_BYTES = 1 << 20
TENSORS_MAX = 4096
PREFIX_BYTES = 8
"""The length of the header, little-endian, stands before it."""

BITS = {
    "BOOL": 8,
    **dict.fromkeys(("U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""Bits of a number, by the name of its type."""

Count = Annotated[int, Meta(ge=0, le=1 << 40)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]


class BadCheckpoint(Exception):
    """The file is no checkpoint that may be loaded; says why in one line."""


class Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor of the header; offsets are bytes of what follows the header."""

    dtype: str
    shape: Annotated[tuple[Count, ...], Meta(max_length=32)]
    data_offsets: tuple[Count, Count]


def open_checkpoint(path: Path) -> int:
    """A descriptor of a checkpoint, at its beginning; whoever asked closes it.

    Raises:
        BadCheckpoint: it cannot be opened, or is none.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise BadCheckpoint(f"the checkpoint cannot be opened: {error.strerror}") from None
    try:
        _check_file(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_file(descriptor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise BadCheckpoint("the checkpoint is no file")
    if found.st_size > CHECKPOINT_MAX_BYTES:
        raise BadCheckpoint(f"the checkpoint has {found.st_size} bytes")
    size = int.from_bytes(os.pread(descriptor, PREFIX_BYTES, 0), "little")
    if not size <= min(HEADER_MAX_BYTES, found.st_size - PREFIX_BYTES):
        raise BadCheckpoint("the checkpoint's header is longer than it may be")
    check_header(os.pread(descriptor, size, PREFIX_BYTES), found.st_size - PREFIX_BYTES - size)


def check_header(header: bytes, data_bytes: int) -> None:
    """Check a header against the number of bytes that follow it.

    Raises:
        BadCheckpoint: they do not make a checkpoint.
    """
    try:
        named = json.loads(header.decode("utf-8"), object_pairs_hook=_unique)
        tensors = list(msgspec.convert(named, dict[Name, Tensor]).values())
    except (ValueError, RecursionError, msgspec.ValidationError):
        raise BadCheckpoint("the checkpoint's header cannot be read") from None
    if len(tensors) > TENSORS_MAX:
        raise BadCheckpoint(f"the checkpoint has {len(tensors)} tensors")
    position = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.data_offsets):
        start, end = tensor.data_offsets
        if tensor.dtype not in BITS:
            raise BadCheckpoint("the checkpoint has numbers of an unknown type")
        if start != position or 8 * (end - start) != math.prod(tensor.shape) * BITS[tensor.dtype]:
            raise BadCheckpoint("the checkpoint's tensors do not fill the file")
        position = end
    if position != data_bytes:
        raise BadCheckpoint("the checkpoint's tensors do not fill the file")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these pairs; `json` would keep the last of equal names.

    Raises:
        ValueError: a name comes twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found
