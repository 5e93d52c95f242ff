"""What is a valid record, and what no bytes can do to whoever reads them."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gossip.wire import decode, encode, frame, split_frames
from skep.errors import NewerRecord, RecordError
from skep.records import (
    Claim,
    Environment,
    Hunk,
    Members,
    Note,
    Payload,
    Profile,
    Rescore,
    Retract,
    Run,
    Score,
    SetConstant,
    Unknown,
    encode_body,
)
from tests.factories import CPU, content_id, make_run
from tests.gossip.scenes import make_record, make_signed

SIGNATURE = bytes(64)
GOOD = encode(make_record())

u64 = st.integers(0, 2**64 - 1)
count = st.integers(0, 2**63 - 1)
ids = st.binary(min_size=32, max_size=32)
line = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
number = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
splits = st.sampled_from(["dev", "heldout"])
micro = st.integers(1, 32_000_000)
text = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\n\té"))
edits = st.lists(
    st.builds(
        SetConstant,
        name=line,
        value=number | st.lists(number, max_size=5).map(tuple),
    )
    | st.builds(Hunk, line=st.integers(1, 4000), before=text, after=text),
    max_size=4,
).map(tuple)
environments = st.builds(
    Environment,
    backend=line,
    device=line,
    dtype=line,
    memory_mib=count,
    threads=count,
    torch=line,
    driver=line,
    isa=line,
    probe_ns=count,
    sandbox=line,
)
scores = st.lists(st.builds(Score, u64, splits, micro), max_size=4, unique_by=lambda s: s.draw)
rescored = st.lists(
    st.builds(Rescore, ids, u64, splits, micro), max_size=4, unique_by=lambda s: s.run
)
runs = st.builds(
    Run,
    program=ids,
    parent=ids | st.none(),
    edits=edits,
    strategy=line.filter(bool),
    seed=u64,
    steps=count,
    tokens=count,
    budget_ms=count,
    spent_ms=count,
    train_ms=count,
    total_ms=count,
    peak_kib=count,
    parameters=count,
    status=st.just("done"),
    weights=ids | st.none(),
    scores=scores.map(tuple),
    rescored=rescored.map(tuple),
    scored_by=st.just("harness"),
    environment=environments,
    claim=ids | st.none(),
    note=line,
)


@given(runs)
def test_a_record_reads_back_as_it_was_written(run: Run) -> None:
    record = make_record(run)
    body = encode(record)
    signed = decode(SIGNATURE + body)
    assert (signed.record, signed.body, signed.signature) == (record, body, SIGNATURE)


@pytest.mark.parametrize("value", [1, 1.0, -0.0, 2**63, (1, 2.0), ()])
def test_whole_floats_stay_floats_and_integers_integers(value: Any) -> None:
    body = encode(make_record(make_run("p", edits=(SetConstant("LR", value),))))
    (edit,) = decode(SIGNATURE + body).run.edits
    assert isinstance(edit, SetConstant)
    assert repr(edit.value) == repr(value)


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_record_errors(signed: bytes) -> None:
    with pytest.raises(RecordError):
        decode(signed)


@given(st.data())
def test_a_mutated_record_is_refused_or_is_itself_canonical(data: st.DataObject) -> None:
    body = bytearray(encode(make_record(data.draw(runs))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        length = data.draw(st.integers(0, 3))
        body[at : at + length] = data.draw(st.binary(max_size=3))
    try:
        signed = decode(SIGNATURE + bytes(body))
    except RecordError:
        return
    assert encode(signed.record) == bytes(body)


plain = st.recursive(
    st.none() | st.booleans() | u64 | st.floats() | st.text(max_size=5) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.data(), plain)
def test_a_field_of_any_other_value_raises_nothing_but_record_errors(
    data: st.DataObject, value: Any
) -> None:
    fields = msgpack.unpackb(GOOD)
    inside = data.draw(
        st.sampled_from([fields, fields["payload"], fields["payload"]["environment"]])
    )
    inside[data.draw(st.sampled_from(sorted(inside)))] = value
    try:
        decode(SIGNATURE + msgpack.packb(fields))
    except RecordError as error:
        assert "record" in str(error)  # noqa: PT017 - most values are refused, some are valid


def repacked(fields: Any) -> bytes:
    return bytes(msgpack.packb(fields))


def _changed(**fields: Any) -> bytes:
    return repacked({**msgpack.unpackb(GOOD), **fields})


def _reordered() -> bytes:
    return repacked(dict(reversed(msgpack.unpackb(GOOD).items())))


def _without(name: str) -> bytes:
    fields = msgpack.unpackb(GOOD)
    del fields["payload"][name]
    return repacked(fields)


NON_CANONICAL = {
    "trailing byte": GOOD + b"\0",
    "truncated": GOOD[:-1],
    "unknown field": _changed(extra=1),
    "other key order": _reordered(),
    "default left out": _without("note"),
    "field missing": _without("seed"),
    "long integer": GOOD.replace(b"\xa3seq\x00", b"\xa3seq\xcc\x00"),
    "long string": GOOD.replace(b"\xa4kind\xa3run", b"\xa4kind\xd9\x03run"),
    "duplicate key": b"\x8b" + GOOD[1:] + b"\xa1v\x01",
    "boolean as integer": _changed(v=True),
    "float as integer": _changed(seq=0.0),
    "text as bytes": _changed(session="session1"),
    "bytes as text": GOOD.replace(b"\xa4kind\xa3run", b"\xa4kind\xc4\x03run"),
    "byte keys": GOOD.replace(b"\xa4kind", b"\xc4\x04kind"),
    "bad UTF-8": GOOD.replace(b"\xa3cpu", b"\xa3c\xffu"),
    "extension type": _changed(time=msgpack.ExtType(1, b"x")),
    "timestamp": _changed(time=msgpack.Timestamp(1, 1)),
    "payload of another kind": _changed(kind="claim"),
    "payload that is no map": _changed(kind="later", payload=[1]),
    "array": msgpack.packb(list(msgpack.unpackb(GOOD).values())),
    "nothing": b"",
    "deep nesting": b"\x91" * 5000,
}


@pytest.mark.parametrize("name", NON_CANONICAL)
def test_only_the_canonical_encoding_is_valid(name: str) -> None:
    assert NON_CANONICAL[name] != GOOD
    with pytest.raises(RecordError):
        decode(SIGNATURE + NON_CANONICAL[name])


BROKEN_ENVELOPES = [
    {"v": 2},
    {"swarm": bytes(31)},
    {"task": bytes(33)},
    {"author": b""},
    {"session": bytes(7)},
    {"prev": b"short"},
    {"seq": -1},
    {"seq": 2**63, "prev": content_id("x")},
    {"seq": 1},
    {"prev": content_id("x")},
    {"time": -1},
    {"time": 2**63},
]


@pytest.mark.parametrize("fields", BROKEN_ENVELOPES)
def test_an_envelope_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        encode(make_record(**fields))


INFINITE = float("inf")
NOT_A_NUMBER = float("nan")
DONE = Score(1, "dev", 2_000_000)
BROKEN_RUNS: list[dict[str, Any]] = [
    {"program": bytes(31)},
    {"parent": b""},
    {"weights": bytes(20)},
    {"claim": bytes(1)},
    {"seed": -1},
    {"seed": 2**64},
    {"steps": -1},
    {"peak_kib": 2**63},
    {"strategy": ""},
    {"strategy": "x" * 129},
    {"strategy": "two\nlines"},
    {"note": "x" * 501},
    {"note": "\x1b[31mred"},
    {"note": "right to left \u202e"},
    {"edits": (SetConstant("LR", NOT_A_NUMBER),)},
    {"edits": (SetConstant("LR", INFINITE),)},
    {"edits": (SetConstant("LR", (1.0, -INFINITE)),)},
    {"edits": (SetConstant("LR", 2**64),)},
    {"edits": (SetConstant("L\nR", 1),)},
    {"edits": (SetConstant("LR", True),)},
    {"edits": (Hunk(0, "", "x\n"),)},
    {"edits": (Hunk(1, "", "x\r\n"),)},
    {"edits": (Hunk(1, "", "\u200b"),)},
    {"edits": (Hunk(1, "", "\ud800"),)},
    {"edits": (SetConstant("LR", 1),) * 129},
    {"edits": (Hunk(1, "", "x" * 33_000),)},
    {"scores": (Score(-1, "dev", 1),)},
    {"scores": (Score(2**64, "dev", 1),)},
    {"scores": (Score(1, "dev", 0),)},
    {"scores": (Score(1, "dev", 32_000_001),)},
    {"scores": (Score(1, "dev", True),)},
    {"scores": (DONE, DONE)},
    {"scores": (DONE,), "status": "crash"},
    {"rescored": (Rescore(bytes(31), 1, "dev", 1),)},
    {"rescored": (Rescore(bytes(32), 1, "dev", 0),)},
    {"scores": (Score(1, "dev", 2**53 + 1),), "scored_by": "program"},
    {"environment": replace(CPU, threads=-1)},
    {"environment": replace(CPU, device="x" * 129)},
]


@pytest.mark.parametrize("number", range(len(BROKEN_RUNS)))
def test_a_run_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(RecordError):
        encode(make_record(replace(make_run("p"), **BROKEN_RUNS[number])))


EDGE_RUNS: list[dict[str, Any]] = [
    {"seed": 2**64 - 1},
    {"steps": 2**63 - 1},
    {"scores": (Score(2**64 - 1, "heldout", 32_000_000),)},
    {"scores": (Score(0, "dev", 1), Score(0, "heldout", 1))},
    {"scores": (Score(1, "dev", -(2**53)),), "scored_by": "program"},
    {"note": "x" * 500},
    {"note": "ünï → 猫"},
    {"edits": (Hunk(1, "", "\tx = '猫'\n"),)},
    {"edits": (SetConstant("LR", 1),) * 128},
    {"edits": (Hunk(1, "", "x" * 31_000),)},
    {"status": "oom"},
]


@pytest.mark.parametrize("number", range(len(EDGE_RUNS)))
def test_a_run_at_the_edge_of_its_range_is_valid(number: int) -> None:
    record = make_record(replace(make_run("p"), **EDGE_RUNS[number]))
    assert decode(SIGNATURE + encode(record)).record == record


@given(st.lists(st.binary(min_size=65, max_size=200), max_size=5), st.binary(max_size=100))
def test_frames_split_up_to_what_is_torn(entries: list[bytes], tail: bytes) -> None:
    whole = b"".join(map(frame, entries))
    torn = frame(make_signed().signature + GOOD)[: 8 + len(tail)]
    assert split_frames(whole + torn) == (entries, len(whole))


@given(st.integers(0, len(frame(SIGNATURE + GOOD)) - 1), st.integers(0, 7))
def test_no_flipped_bit_of_a_frame_goes_unseen(position: int, bit: int) -> None:
    damaged = bytearray(frame(SIGNATURE + GOOD))
    damaged[position] ^= 1 << bit
    assert split_frames(bytes(damaged)) == ([], 0)


def _said(kind: str, payload: Payload | Unknown) -> bytes:
    return encode_body(make_record(kind=kind, payload=payload))


CLAIM = Claim(program=b"p" * 32, parent=b"q" * 32, run=b"r" * 32, effect=-1500, note="wider")
NOTE = Note(role="finding", about=None, text="width pays until 96", cites=(b"r" * 32,))
PROFILE = Profile(name="attic", tier="cpu-float32-cpu-o3", role="full", software="skep 0.1.0")
RETRACT = Retract(record=b"r" * 32, reason="the fan was off")
MEMBERS = Members((b"a" * 32, b"b" * 32))
LATER = Unknown({"text": "hello", "deep": {"list": [1, 2.5, None, b"x"]}})


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("claim", CLAIM),
        ("note", NOTE),
        ("profile", PROFILE),
        ("retract", RETRACT),
        ("members", MEMBERS),
        ("members", Members(tuple(bytes([n]) * 32 for n in range(256)))),
        ("later", LATER),
    ],
)
def test_every_kind_reads_back(kind: str, payload: Payload | Unknown) -> None:
    signed = decode(SIGNATURE + _said(kind, payload))
    assert (signed.record.kind, signed.record.payload) == (kind, payload)
    with pytest.raises(TypeError):
        _ = signed.run


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("claim", replace(CLAIM, run=b"short")),
        ("claim", replace(CLAIM, effect=2**53 + 1)),
        ("claim", replace(CLAIM, note="two\nlines")),
        ("claim", RETRACT),
        ("note", replace(NOTE, text="")),
        ("note", replace(NOTE, text="x" * 501)),
        ("note", replace(NOTE, cites=(b"r" * 31,))),
        ("note", replace(NOTE, cites=(b"r" * 32,) * 17)),
        ("profile", replace(PROFILE, name="\u202eevil")),
        ("retract", replace(RETRACT, record=b"")),
        ("members", Members(())),
        ("members", Members((b"b" * 32, b"a" * 32))),
        ("members", Members((b"a" * 32, b"a" * 32))),
        ("members", Members((b"a" * 31,))),
        ("members", Members(tuple(n.to_bytes(32, "big") for n in range(257)))),
        ("", LATER),
        ("a\nb", LATER),
        ("k" * 33, LATER),
    ],
)
def test_payloads_out_of_range_are_refused(kind: str, payload: Payload | Unknown) -> None:
    with pytest.raises(RecordError):
        decode(SIGNATURE + _said(kind, payload))


def _nested(levels: int) -> bytes:
    """A record of a kind of later, with so many arrays in one another in its payload."""
    body = _said("later", Unknown({"deep": None}))
    assert body.endswith(b"\xc0")
    return body[:-1] + b"\x91" * levels + b"\xc0"


def test_what_is_nested_deeper_than_any_library_has_to_follow_is_refused_everywhere() -> None:
    assert decode(SIGNATURE + _nested(14)).record.kind == "later"
    for levels in (15, 100, 500, 960, 1000, 1019, 1021, 5000, 30_000):
        with pytest.raises(RecordError):
            decode(SIGNATURE + _nested(levels))


def test_a_later_version_is_nobodys_fault() -> None:
    body = _changed(v=2)
    with pytest.raises(NewerRecord):
        decode(SIGNATURE + body)
    with pytest.raises(RecordError) as caught:
        decode(SIGNATURE + _changed(v=0))
    assert not isinstance(caught.value, NewerRecord)
