"""Bytes of strangers become records, or a `RecordError`. Pure; signatures are `identity.verify`'s.

A record travels and is stored as `signature (64 bytes) + body`. A body is valid in one encoding
only, the one `skep.records.encode_body` writes: what decodes is encoded again and has to give the
same bytes, which refuses unknown or missing fields, another key order, long forms of integers,
duplicate keys and trailing bytes in one stroke. Whether a record is *true* is not decided here.
"""

import math
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import msgpack
import msgspec

from skep.errors import NewerRecord, RecordError
from skep.records import (
    HARNESS_MICRO_MAX,
    KINDS,
    MEMBERS_MAX,
    NO_PREVIOUS,
    PROGRAM_MICRO_MAX,
    RECORD_MAX_BYTES,
    RECORD_VERSION,
    Claim,
    Edit,
    Environment,
    Header,
    Members,
    Note,
    Payload,
    Profile,
    Record,
    Rescore,
    Retract,
    Run,
    Score,
    SetConstant,
    SignedRecord,
    Unknown,
    encode_body,
)

ID_BYTES = 32
SESSION_BYTES = 8
SIGNATURE_BYTES = 64

EDITS_MAX = 128
EDITS_MAX_BYTES = 24 * 1024
"""Of edits that we write ourselves: scores, environment and note need the rest of a record."""
SCORES_MAX = 256
VALUES_MAX = 256
"""Length of a tuple constant."""
NAME_MAX = 128
KIND_MAX = 32
CITES_MAX = 16
DEPTH_MAX = 16
"""Arrays and maps within one another, the record's own map included. Kinds of later may use them;
how deep a library can follow depends on what called it, and nodes would not agree on what is valid.
"""
NOTE_MAX = 500
"""Characters of the one line a run carries for humans."""

COUNT_MAX = 2**63 - 1
"""Counts, times and positions have to fit SQLite's integers."""
UNSIGNED_MAX = 2**64 - 1

# What could hide or garble text on a screen: controls, foreign line ends, invisible and
# bidirectional characters. The ranges are spelled out because `str.isprintable` follows the
# Unicode version of the Python at hand, and all nodes have to agree on what is valid.
_HIDING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
_FORBIDDEN_IN_TEXT = re.compile(f"[{_HIDING}]")
_FORBIDDEN_IN_LINE = re.compile(f"[{_HIDING}\t\n]")

_HEADER = struct.Struct(">II")
FRAME_MAX_BYTES = _HEADER.size + SIGNATURE_BYTES + RECORD_MAX_BYTES


class _Envelope(Header, frozen=True, kw_only=True):
    """A record whose payload is not looked at yet."""

    payload: dict[str, Any]


def decode(signed: bytes) -> SignedRecord:
    """Read `signature + body`. The signature is carried along, not checked.

    Raises:
        RecordError: the bytes are not the canonical encoding of a valid record.
    """
    signature, body = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
    if not body:
        raise RecordError("A record of fewer bytes than a signature")
    return SignedRecord(_decode_body(body), body, signature)


def encode(record: Record) -> bytes:
    """Body of a record of our own, held to the same rules as those of others.

    Raises:
        RecordError: a field is out of its range, or the whole is too large.
    """
    try:
        body = encode_body(record)
    except (ValueError, TypeError, OverflowError) as error:
        raise RecordError(f"A record that cannot be encoded: {error}") from error
    _decode_body(body)
    return body


def carries(edits: Sequence[Edit]) -> bool:
    """Whether a run of our own can carry these edits, with room for everything else it says."""
    try:
        for edit in edits:
            _check_edit(edit)
        size = len(msgpack.packb(msgspec.to_builtins(list(edits))))
    except (RecordError, ValueError, TypeError, OverflowError):
        return False
    return len(edits) <= EDITS_MAX and size <= EDITS_MAX_BYTES


def is_line(text: str, limit: int) -> bool:
    """Whether a text is one line of at most `limit` visible characters, in every version."""
    return len(text) <= limit and not _FORBIDDEN_IN_LINE.search(text)


def frame(signed: bytes) -> bytes:
    """An entry of a feed file: length and CRC-32 (big-endian, 4 bytes each), then `signed`.

    The checksum tells a torn or rotten entry from a good one without the 60 µs that verifying a
    signature takes, and covers the signature, which the hash chain does not.
    """
    return _HEADER.pack(len(signed), zlib.crc32(signed)) + signed


def split_frames(content: bytes) -> tuple[list[bytes], int]:
    """The whole, intact entries at the start of `content`, and how many bytes they take."""
    entries: list[bytes] = []
    used = 0
    while len(content) - used > _HEADER.size:
        length, checksum = _HEADER.unpack_from(content, used)
        start = used + _HEADER.size
        signed = content[start : start + length]
        if not SIGNATURE_BYTES < length <= SIGNATURE_BYTES + RECORD_MAX_BYTES:
            break
        if len(signed) < length or zlib.crc32(signed) != checksum:
            break
        entries.append(signed)
        used = start + length
    return entries, used


def _decode_body(body: bytes) -> Record:
    if len(body) > RECORD_MAX_BYTES:
        raise RecordError(f"A record of {len(body)} bytes where {RECORD_MAX_BYTES} are allowed")
    try:
        plain = msgpack.unpackb(
            body,
            strict_map_key=True,
            max_str_len=RECORD_MAX_BYTES,
            max_bin_len=ID_BYTES,
            max_array_len=SCORES_MAX,
            max_map_len=32,
            max_ext_len=0,
        )
        _require(not _is_deeper(plain, DEPTH_MAX), f"at most {DEPTH_MAX} levels")
        record = _record_of(plain)
    except RecordError:
        raise
    except ValueError as error:  # msgpack's and msgspec's errors, and bad UTF-8
        raise RecordError(f"Bytes that are no record: {error}") from error
    if encode_body(record) != body:
        raise RecordError("A record that is not in its one canonical encoding")
    _check_envelope(record)
    _check_payload(record.payload)
    return record


def _record_of(plain: Any) -> Record:
    """The values of a decoded body; each kind has a payload type of its own.

    Raises:
        NewerRecord: its format version is not known here.
        ValueError: fields are missing, unknown or of a wrong type.
    """
    envelope = msgspec.convert(plain, _Envelope, strict=True, builtin_types=(bytes,))
    if envelope.v > RECORD_VERSION:
        raise NewerRecord(f"A record of version {envelope.v}", "Update Skep to read it")
    content: dict[str, Any] = envelope.payload
    kind = KINDS.get(envelope.kind)
    return Record(
        v=envelope.v,
        swarm=envelope.swarm,
        task=envelope.task,
        author=envelope.author,
        session=envelope.session,
        seq=envelope.seq,
        prev=envelope.prev,
        time=envelope.time,
        kind=envelope.kind,
        payload=msgspec.convert(content, kind, strict=True, builtin_types=(bytes,))
        if kind
        else Unknown(content),
    )


def _is_deeper(plain: Any, levels: int) -> bool:
    """Whether arrays and maps stand in one another on more levels than that. Not by recursion."""
    layer = [plain] if isinstance(plain, dict | list) else []
    for _ in range(levels):
        layer = [
            inner
            for one in layer
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return bool(layer)


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise RecordError(f"A record that breaks a rule: {rule}")


def _check_envelope(record: Record) -> None:
    _require(record.v == RECORD_VERSION, f"v is {RECORD_VERSION}")
    for name in ("swarm", "task", "author", "prev"):
        _require(len(getattr(record, name)) == ID_BYTES, f"{name} has {ID_BYTES} bytes")
    _require(len(record.session) == SESSION_BYTES, f"session has {SESSION_BYTES} bytes")
    for name in ("seq", "time"):
        _require(0 <= getattr(record, name) <= COUNT_MAX, f"{name} is in 0 … 2^63-1")
    _check_line("kind", record.kind, KIND_MAX)
    _require(record.kind != "", "kind is not empty")
    first = record.prev == NO_PREVIOUS
    _require(first == (record.seq == 0), "prev is zero at seq 0 and only there")


def _check_payload(payload: Payload | Unknown) -> None:
    if isinstance(payload, Run):
        _check_run(payload)
    elif isinstance(payload, Claim):
        for name in ("program", "parent", "run"):
            _require(len(getattr(payload, name)) == ID_BYTES, f"{name} has {ID_BYTES} bytes")
        _require(abs(payload.effect) <= PROGRAM_MICRO_MAX, "an effect is within ±2^53 millionths")
        _check_line("note", payload.note, NOTE_MAX)
    elif isinstance(payload, Note):
        ids = payload.cites if payload.about is None else (payload.about, *payload.cites)
        _require(all(len(one) == ID_BYTES for one in ids), f"an id has {ID_BYTES} bytes")
        _require(len(payload.cites) <= CITES_MAX, f"at most {CITES_MAX} cites")
        _require(payload.text != "", "text is not empty")
        _check_line("text", payload.text, NOTE_MAX)
    elif isinstance(payload, Profile):
        for name in ("name", "tier", "software"):
            _check_line(name, getattr(payload, name), NAME_MAX)
    elif isinstance(payload, Retract):
        _require(len(payload.record) == ID_BYTES, f"record has {ID_BYTES} bytes")
        _check_line("reason", payload.reason, NOTE_MAX)
    elif isinstance(payload, Members):
        listed = payload.listed
        _require(1 <= len(listed) <= MEMBERS_MAX, f"1 to {MEMBERS_MAX} members")
        _require(all(len(one) == ID_BYTES for one in listed), f"a key has {ID_BYTES} bytes")
        _require(list(listed) == sorted(set(listed)), "members are sorted, none twice")


def _check_run(run: Run) -> None:
    for name in ("program", "parent", "weights", "claim"):
        content_id = getattr(run, name)
        _require(content_id is None or len(content_id) == ID_BYTES, f"{name} has {ID_BYTES} bytes")
    for name in (
        "steps", "tokens", "budget_ms", "spent_ms", "train_ms", "total_ms", "peak_kib", "parameters"
    ):  # fmt: skip
        _require(0 <= getattr(run, name) <= COUNT_MAX, f"{name} is in 0 … 2^63-1")
    _require(0 <= run.seed <= UNSIGNED_MAX, "seed is in 0 … 2^64-1")
    _check_line("strategy", run.strategy, NAME_MAX)
    _require(run.strategy != "", "strategy is not empty")
    _check_line("note", run.note, NOTE_MAX)
    _require(len(run.edits) <= EDITS_MAX, f"at most {EDITS_MAX} edits")
    for edit in run.edits:
        _check_edit(edit)
    _check_scores(run)
    _check_environment(run.environment)


def _check_edit(edit: Edit) -> None:
    if isinstance(edit, SetConstant):
        _check_line("name of a constant", edit.name, NAME_MAX)
        values = edit.value if isinstance(edit.value, tuple) else (edit.value,)
        _require(len(values) <= VALUES_MAX, f"at most {VALUES_MAX} values of a constant")
        _require(all(map(math.isfinite, values)), "constants are finite")
    else:
        _require(1 <= edit.line <= COUNT_MAX, "line of a hunk counts from 1")
        for text in (edit.before, edit.after):
            _require(not _FORBIDDEN_IN_TEXT.search(text), "a hunk has no hidden characters")


def _check_scores(run: Run) -> None:
    _require(run.status == "done" or not run.scores, "only a run that is done has scores")
    _require(len(run.scores) <= SCORES_MAX, f"at most {SCORES_MAX} scores")
    _require(len(run.rescored) <= SCORES_MAX, f"at most {SCORES_MAX} rescored")
    measured: list[Score | Rescore] = [*run.scores, *run.rescored]
    for score in measured:
        _require(0 <= score.draw <= UNSIGNED_MAX, "draw is in 0 … 2^64-1")
        if run.scored_by == "harness":
            _require(0 < score.micro <= HARNESS_MICRO_MAX, "bits per byte are in (0, 32]")
        else:
            _require(abs(score.micro) <= PROGRAM_MICRO_MAX, "a score is within ±2^53 millionths")
    _require(all(len(one.run) == ID_BYTES for one in run.rescored), f"run has {ID_BYTES} bytes")
    for scores in (
        [(b"", one.draw, one.split) for one in run.scores],
        [(one.run, one.draw, one.split) for one in run.rescored],
    ):
        _require(len(set(scores)) == len(scores), "one score a draw and split")


def _check_environment(environment: Environment) -> None:
    for name in ("backend", "device", "dtype", "torch", "driver", "isa", "sandbox"):
        _check_line(name, getattr(environment, name), NAME_MAX)
    for name in ("memory_mib", "threads", "probe_ns"):
        _require(0 <= getattr(environment, name) <= COUNT_MAX, f"{name} is in 0 … 2^63-1")


def _check_line(name: str, text: str, limit: int) -> None:
    rule = f"{name} is one line of at most {limit} visible characters"
    _require(is_line(text, limit), rule)
