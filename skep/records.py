"""Records: the frozen values that nodes sign and exchange, and the bytes they become.

A record's *body* is a msgpack map whose keys stand in a fixed order; its id is the SHA-256 of the
body and its signature an Ed25519 signature of `SIGNING_PREFIX + body`. The bytes are final: they
are stored and forwarded as received and never re-encoded. Reading bytes of strangers is the
business of `gossip.wire`; signing is that of `gossip.identity`.

Scores are integers of micro-units of the task's metric (for val_bpb: micro-bits), so that no
float ever enters a comparison that two machines must agree on.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgpack
import msgspec
from msgspec import Struct

SIGNING_PREFIX = b"skep/record/1\0"
RECORD_VERSION = 1
RECORD_MAX_BYTES = 32 * 1024
PROGRAM_MAX_BYTES = 64 * 1024
NO_PREVIOUS = bytes(32)
"""`prev` of the first record of a session."""

NO_TASK = bytes(32)
"""`task` of what is said about a swarm as a whole."""

MEMBERS_MAX = 256
"""Most members of a lab, its founder among them."""

MICRO = 1_000_000
HARNESS_MICRO_MAX = 32_000_000
"""Highest score of the harness: 32 bits per byte, far above any honest model; the lowest is 1."""

PROGRAM_MICRO_MAX = 2**53
"""Largest magnitude of a score that a program gives itself."""

PINNED_DRAW = 0
"""The draw that every run is scored on for plots and results.tsv; never evidence."""

Number = int | float
Status = Literal["done", "crash", "nan", "oom", "timeout", "killed", "void"]
Split = Literal["dev", "heldout"]
ScoredBy = Literal["harness", "program"]
Role = Literal["full", "verify", "relay"]
"""What a node does for the swarm: everything, only re-run what others found, or pass records on."""


class SetConstant(Struct, frozen=True, tag="set", tag_field="edit"):
    """The typed edit `set NAME = value` of a module-level constant or dataclass default."""

    name: str
    value: Number | tuple[Number, ...]


class Hunk(Struct, frozen=True, tag="hunk", tag_field="edit"):
    """A text edit: the lines `before`, standing at line `line` (from 1), become `after`.

    Both texts keep their line ends; an insertion has an empty `before` and goes in front of
    `line`. It applies exactly or not at all.
    """

    line: int
    before: str
    after: str


Edit = SetConstant | Hunk


class Score(Struct, frozen=True, array_like=True):
    """One score of a run: the validation text it was measured on and the result.

    Attributes:
        draw: names the validation text (generator seed or shard choice); `PINNED_DRAW` for plots.
        split: `dev`, or `heldout` for draws that no author's search ever reports.
        micro: the metric in micro-units.
    """

    draw: int
    split: Split
    micro: int


class Rescore(Struct, frozen=True, array_like=True):
    """A score that an *earlier* run of the same author got from its kept checkpoint.

    Child and parent are only ever compared on one draw, which is taken after the child is fixed;
    the parent's side of that comparison travels in the child's record.
    """

    run: bytes
    draw: int
    split: Split
    micro: int


class Environment(Struct, frozen=True):
    """The machine a run was measured on, as far as results depend on it.

    Attributes:
        backend: `cpu`, `cuda`, `mps` or `rocm`.
        device: the maker's name of the device.
        dtype: what the bulk of the arithmetic runs in.
        memory_mib: memory of the device (host memory for a CPU).
        threads: CPU threads of one experiment.
        torch: build of torch, empty where the task needs none.
        driver: driver or CUDA version, empty on a CPU.
        isa: instruction set that torch chose; part of what makes weights bit-identical.
        probe_ns: time of the fixed probe kernel on this machine, in nanoseconds.
        sandbox: backend the program ran in (`bwrap`, `none`).
    """

    backend: str
    device: str
    dtype: str
    memory_mib: int
    threads: int
    torch: str
    driver: str
    isa: str
    probe_ns: int
    sandbox: str


class Run(Struct, frozen=True, kw_only=True):
    """One budgeted execution of a program, with every number behind it. No verdict is stored.

    Attributes:
        program: content id of the program (SHA-256 of its UTF-8 text).
        parent: content id of the program the edits start from; None for the task's start program.
        edits: how the program was made from its parent.
        strategy: who proposed it (`baseline` for runs of the champion itself).
        seed: seed of initialisation and data order.
        steps: optimiser steps that the budget was turned into before step 1 (0 if unknown).
        tokens: training tokens consumed (0 if unknown).
        budget_ms: the granted budget: reference-milliseconds on a CPU, wall-clock on a GPU.
        spent_ms: what the run was metered at from outside, in the same unit.
        train_ms: training time: CPU milliseconds on a CPU, wall-clock on a GPU.
        total_ms: wall-clock of the whole experiment, scoring included.
        peak_kib: peak memory in KiB (device memory on a GPU).
        parameters: number of parameters of the model (0 if unknown).
        status: how it ended. Only `done` runs carry scores.
        weights: SHA-256 of the checkpoint; equal on one platform for equal program, seed, steps.
        scores: this run's scores.
        rescored: scores of earlier runs, taken on the same draws for comparison.
        scored_by: `harness`, or `program` for tasks that print their own score.
        environment: where it ran.
        claim: id of the claim this run replicates, if it does.
        note: one line by its author; the reason of a crash, the hypothesis of an edit.
    """

    program: bytes
    parent: bytes | None
    edits: tuple[Edit, ...]
    strategy: str
    seed: int
    steps: int
    tokens: int
    budget_ms: int
    spent_ms: int
    train_ms: int
    total_ms: int
    peak_kib: int
    parameters: int
    status: Status
    weights: bytes | None
    scores: tuple[Score, ...]
    rescored: tuple[Rescore, ...]
    scored_by: ScoredBy
    environment: Environment
    claim: bytes | None = None
    note: str = ""


class Claim(Struct, frozen=True, kw_only=True):
    """An author's word that a program is better than its parent; an invitation to re-run it.

    Attributes:
        program: content id of the program.
        parent: content id of the program it is said to improve on.
        run: id of the author's record that made it think so. Its own runs never count as evidence.
        effect: what the author measured, child minus parent in micro-units; never shown as the
            effect of the edit.
        note: one line, the hypothesis behind the edit.
    """

    program: bytes
    parent: bytes
    run: bytes
    effect: int
    note: str = ""


class Note(Struct, frozen=True, kw_only=True):
    """A thought for the swarm, with the records it rests on.

    Attributes:
        role: `hypothesis`, something worth trying, or `finding`, something learnt.
        about: content id of the program it is about; None for the task as a whole.
        text: one line.
        cites: ids of records.
    """

    role: Literal["hypothesis", "finding"]
    about: bytes | None
    text: str
    cites: tuple[bytes, ...] = ()


class Profile(Struct, frozen=True, kw_only=True):
    """What a node says of itself; its latest profile counts.

    Attributes:
        name: what its owner calls it; may be empty. Peer ids name nodes, this does not.
        tier: hardware tier of its runs, empty for a node that does not train.
        role: what it does for the swarm.
        software: name and version of the program it runs.
    """

    name: str
    tier: str
    role: Role
    software: str


class Retract(Struct, frozen=True, kw_only=True):
    """An author takes back a record of its own. The record stays; views leave it out.

    Attributes:
        record: id of the record.
        reason: one line.
    """

    record: bytes
    reason: str = ""


class Members(Struct, frozen=True):
    """Who may meet in a lab: said by its founder, whose latest list counts (see `skep.members`).

    It stands under no task: its `task` is `NO_TASK`.

    Attributes:
        listed: public keys of the members, sorted, none twice.
    """

    listed: tuple[bytes, ...]


class Unknown(Struct, frozen=True):
    """The payload of a kind that a later Skep may define: kept and passed on, never interpreted.

    Attributes:
        content: the payload's map as it was decoded.
    """

    content: Mapping[str, Any]


Payload = Run | Claim | Note | Profile | Retract | Members
KINDS: Mapping[str, type[Payload]] = {
    "run": Run,
    "claim": Claim,
    "note": Note,
    "profile": Profile,
    "retract": Retract,
    "members": Members,
}


class Header(Struct, frozen=True, kw_only=True):
    """Who says something, and where in that author's feed it stands.

    Attributes:
        v: format version.
        swarm: 32-byte id of the swarm the record belongs to.
        task: 32-byte task id.
        author: 32-byte Ed25519 public key.
        session: 8 random bytes; one hash chain per (author, session).
        seq: position in that chain, from 0.
        prev: id of the chain's previous record, `NO_PREVIOUS` for the first.
        time: milliseconds since the epoch by the author's clock; for display only.
        kind: names the type of what is said.
    """

    v: int
    swarm: bytes
    task: bytes
    author: bytes
    session: bytes
    seq: int
    prev: bytes
    time: int
    kind: str


class Record(Header, frozen=True, kw_only=True):
    """The header, and behind it the payload: what is said."""

    payload: Payload | Unknown


class SignedRecord(Struct, frozen=True):
    """A record together with the exact bytes that were signed."""

    record: Record
    body: bytes
    signature: bytes

    @property
    def run(self) -> Run:
        """The run it is about.

        Raises:
            TypeError: it is a record of another kind.
        """
        if not isinstance(self.record.payload, Run):
            raise TypeError(f"a record of kind {self.record.kind}")
        return self.record.payload

    @property
    def id(self) -> bytes:
        """Content id of the record: SHA-256 of its body."""
        return record_id(self.body)


def encode_body(record: Record) -> bytes:
    """Canonical body of a record: a msgpack map with the keys in the order of the class.

    Structs become maps in field order, tuples become arrays, `Score` and `Rescore` arrays of their
    fields, integers their shortest form and floats 64 bits; there is exactly one such encoding.
    """
    plain: Any = msgspec.to_builtins(record, builtin_types=(bytes,))
    if isinstance(record.payload, Unknown):
        plain["payload"] = plain["payload"]["content"]
    body = msgpack.packb(plain, use_bin_type=True)
    assert isinstance(body, bytes)  # noqa: S101 - packb is untyped; this is for the type checker
    return body


def record_id(body: bytes) -> bytes:
    """Content id of a record body (32 bytes)."""
    return hashlib.sha256(body).digest()


def program_id(source: str) -> bytes:
    """Content id of a program (32 bytes): SHA-256 of its UTF-8 text."""
    return hashlib.sha256(source.encode()).digest()
