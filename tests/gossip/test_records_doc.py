"""docs/records.md says what the code does: its vectors are read back, its field lists compared."""

import hashlib
import re
from pathlib import Path

from gossip.identity import Identity, parse_peer_id, verify
from gossip.wire import decode, encode, frame
from skep.records import (
    Environment,
    Hunk,
    Record,
    Rescore,
    Run,
    Score,
    SetConstant,
)

DOC = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")

RECORD = Record(
    v=1,
    swarm=b"\x55" * 32,
    task=b"\x66" * 32,
    author=Identity(bytes(range(32))).public,
    session=bytes.fromhex("0102030405060708"),
    seq=0,
    prev=bytes(32),
    time=1_700_000_000_000,
    kind="run",
    payload=Run(
        program=b"\x11" * 32,
        parent=b"\x22" * 32,
        edits=(
            SetConstant("LEARNING_RATE", 0.003),
            SetConstant("WIDTHS", (64, 2.0)),
            Hunk(7, "a = 1\n", "a = 2\n"),
        ),
        strategy="tune",
        seed=7,
        steps=230,
        tokens=471_040,
        budget_ms=20_000,
        spent_ms=19_950,
        train_ms=19_900,
        total_ms=23_000,
        peak_kib=300_000,
        parameters=288_000,
        status="done",
        weights=b"\x33" * 32,
        scores=(Score(0, "dev", 2_084_000), Score(2**64 - 1, "dev", 2_101_250)),
        rescored=(Rescore(b"\x44" * 32, 2**64 - 1, "dev", 2_110_000),),
        scored_by="harness",
        environment=Environment(
            backend="cpu",
            device="Example CPU",
            dtype="float32",
            memory_mib=8192,
            threads=1,
            torch="2.13.0",
            driver="",
            isa="AVX2",
            probe_ns=1_000_000,
            sandbox="bwrap",
        ),
        claim=None,
        note="a lower rate",
    ),
)


def vector(name: str) -> bytes:
    (digits,) = re.findall(rf"```hex {name}\n([0-9a-f\n]+)```", DOC)
    return bytes.fromhex(digits)


def fields(name: str) -> tuple[str, ...]:
    (listed,) = re.findall(rf"\*\*{name}\*\*, in this order: `([^`]+)`", DOC)
    return tuple(re.split(r",\s+", listed))


def test_the_documented_record_is_the_one_the_code_writes_signs_and_reads() -> None:
    body, signature = vector("body"), vector("signature")
    assert encode(RECORD) == body
    assert Identity(bytes(range(32))).sign(body) == signature
    assert decode(signature + body).record == RECORD
    assert verify(vector("public"), body, signature)
    assert vector("id") == hashlib.sha256(body).digest()
    assert frame(signature + body)[:8] == vector("header")


def test_the_documented_peer_id_is_that_of_the_key() -> None:
    (peer_id,) = re.findall(r"PeerID: `(\w+)`", DOC)
    assert parse_peer_id(peer_id) == vector("public")


def test_the_documented_fields_are_those_of_the_code_in_order() -> None:
    assert fields("Record") == Record.__struct_fields__
    assert fields("Run") == Run.__struct_fields__
    assert fields("Environment") == Environment.__struct_fields__
