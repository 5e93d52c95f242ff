"""docs/protocol.md says what the code does: its vectors are read back, its numbers compared."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

import gossip.admission
import gossip.answers
import gossip.chains
import gossip.company
import gossip.early
import gossip.fetches
import gossip.holes
import gossip.limits
import gossip.mesh.host
import gossip.mesh.muxer
import gossip.mesh.node
import gossip.mesh.topic
import gossip.messages
import gossip.presence
import gossip.protocol
import gossip.replica
import gossip.sync
import gossip.transport
from gossip.identity import Identity, parse_peer_id, verify, verify_presence
from gossip.mesh.frames import sized
from gossip.messages import (
    Compare,
    Have,
    Peers,
    Presence,
    Programs,
    Proof,
    Range,
    Records,
    Rows,
    Same,
    Want,
    WantPeers,
    WantPrograms,
    pack,
    unpack_answer,
    unpack_presence,
    unpack_request,
)
from gossip.params import NODE
from gossip.protocol import SERVICE
from gossip.replica import Replica, chain_key, unpack_rows
from gossip.swarms import PUBLIC_SWARM
from gossip.transport import SERVICES
from gossip.validate import PRESENCE, RECORD, Validator
from gossip.wire import decode, encode
from node.swarm import TOPIC
from skep.records import NO_PREVIOUS, Note, Record, SignedRecord

DOC = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
MODULES: tuple[Any, ...] = (
    gossip.messages,
    gossip.transport,
    gossip.replica,
    gossip.chains,
    gossip.answers,
    gossip.early,
    gossip.fetches,
    gossip.holes,
    gossip.sync,
    gossip.presence,
    gossip.protocol,
    gossip.company,
    gossip.admission,
    gossip.limits,
    gossip.mesh.topic,
    gossip.mesh.muxer,
    gossip.mesh.host,
    gossip.mesh.node,
    NODE,
)

ANNA = Identity(bytes(range(32)))
SESSION = bytes.fromhex("0102030405060708")
PROGRAM = hashlib.sha256(b"print(1)\n").digest()
ADDRESS = f"/ip4/203.0.113.7/tcp/4001/p2p/{ANNA.peer_id}"


def note(text: str, seq: int, prev: bytes) -> SignedRecord:
    """A record of the document."""
    payload = Note(role="finding", about=None, text=text, cites=())
    record = Record(
        v=1,
        swarm=PUBLIC_SWARM,
        task=bytes(32),
        author=ANNA.public,
        session=SESSION,
        seq=seq,
        prev=prev,
        time=1_700_000_000_000 + seq,
        kind="note",
        payload=payload,
    )
    body = encode(record)
    return decode(ANNA.sign(body) + body)


FIRST = note("first", 0, NO_PREVIOUS)
LEFT, RIGHT = note("left", 1, FIRST.id), note("right", 1, FIRST.id)
KEY = chain_key(ANNA.public, SESSION)


def replica(*records: SignedRecord) -> Replica:
    """An index of these."""
    found = Replica()
    for one in records:
        assert found.place(one) in ("new", "fork")
        found.put(one)
    return found


def row(*records: SignedRecord) -> bytes:
    """The row of the one chain that these make."""
    return b"".join(one.packed() for one in replica(*records).rows())


def signed(one: SignedRecord) -> bytes:
    """A record as it travels."""
    return one.signature + one.body


REQUESTS = {
    "compare": Compare(PUBLIC_SWARM, replica().digest()),
    "compare-on": Compare(PUBLIC_SWARM, replica().digest(), KEY),
    "want": Want(PUBLIC_SWARM, (Range(KEY, 0, 1),)),
    "proof": Proof(PUBLIC_SWARM, KEY),
    "have": Have(PUBLIC_SWARM, row(FIRST)),
    "want-programs": WantPrograms(PUBLIC_SWARM, (PROGRAM, bytes(32))),
    "want-peers": WantPeers(PUBLIC_SWARM, (ADDRESS,)),
}
ANSWERS = {
    "same": Same(),
    "rows": Rows(row(FIRST), False),
    "records": Records((signed(FIRST),)),
    "proof-records": Records(tuple(map(signed, sorted((LEFT, RIGHT), key=lambda one: one.id)))),
    "programs": Programs((b"print(1)\n", None)),
    "peers": Peers((ADDRESS,)),
}
HERE = Presence(
    swarm=PUBLIC_SWARM,
    author=ANNA.public,
    instance=bytes.fromhex("1112131415161718"),
    number=7,
    time=1_700_000_000_000,
    lasts_s=150,
    role="full",
    tier="cpu-float32",
    task=bytes(32),
    records=3,
    running=(PROGRAM,),
    software="skep 0.1.0",
)


def vectors() -> dict[str, bytes]:
    """What the code makes of every named vector."""
    body = pack(HERE)
    return {
        "key": KEY,
        "first": signed(FIRST),
        "left": signed(LEFT),
        "right": signed(RIGHT),
        "row": row(FIRST),
        "forked-row": row(FIRST, LEFT, RIGHT),
        "digest-of-nothing": replica().digest(),
        "digest": replica(FIRST).digest(),
        "forked-digest": replica(FIRST, LEFT, RIGHT).digest(),
        **{name: pack(message) for name, message in REQUESTS.items()},
        **{name: pack(message) for name, message in ANSWERS.items()},
        "presence-body": body,
        "presence": PRESENCE + ANNA.sign_presence(body) + body,
        "framed": sized(pack(REQUESTS["proof"])),
    }


def vector(name: str) -> bytes:
    """A vector of the document."""
    (digits,) = re.findall(rf"```hex {name}\n([0-9a-f\n]+)```", DOC)
    return bytes.fromhex(digits)


@pytest.mark.parametrize("name", sorted(vectors()))
def test_the_code_writes_what_the_document_shows(name: str) -> None:
    assert vector(name) == vectors()[name]


def test_the_code_reads_what_the_document_shows() -> None:
    assert {name: unpack_request(vector(name)) for name in REQUESTS} == REQUESTS
    assert {name: unpack_answer(vector(name)) for name in ANSWERS} == ANSWERS
    assert [one.packed() for one in unpack_rows(vector("forked-row"))] == [vector("forked-row")]
    assert vector("framed")[4:] == vector("proof")


def test_the_documented_presence_is_signed_and_accepted() -> None:
    message = vector("presence")
    presence, body, signature = unpack_presence(message[1:])
    assert presence == HERE
    assert body == vector("presence-body")
    assert verify_presence(ANNA.public, body, signature)
    assert Validator(PUBLIC_SWARM).message(message).answer == "accept"
    assert Validator(PUBLIC_SWARM).message(RECORD + vector("first")).answer == "accept"


def test_the_documented_forks_end_alike_whatever_came_first() -> None:
    assert row(FIRST, LEFT, RIGHT) == row(FIRST, RIGHT, LEFT) == vector("forked-row")


def test_the_signature_that_equations_disagree_on_is_refused() -> None:
    assert not verify(vector("mixed-key"), b"m", vector("mixed-signature"))


def test_every_vector_of_the_document_is_checked() -> None:
    names = re.findall(r"```hex (\S+)\n", DOC)
    assert len(set(names)) == len(names)
    assert set(names) == {*vectors(), "mixed-key", "mixed-signature"}


def number(text: str) -> float:
    """A number as the document writes it."""
    return float(text.replace(",", ""))


def test_the_documented_numbers_are_those_of_the_code() -> None:
    found = re.findall(r"^\| `(\w+)` \| ([\d,.]+) \|", DOC, re.M)
    assert len(found) >= 50
    assert len(dict(found)) == len(found)
    for name, value in found:
        (holder, *_) = [one for one in MODULES if hasattr(one, name)]
        assert (name, number(value)) == (name, float(getattr(holder, name)))


def test_every_limit_on_messages_is_documented() -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", DOC, re.M))
    for module in (gossip.messages, gossip.transport):
        assert {
            name for name in vars(module) if re.search(r"_(MAX|TIMEOUT)(_|$)", name)
        } <= documented


def test_every_field_of_a_message_is_documented_in_order() -> None:
    for message in [Presence, *map(type, [*REQUESTS.values(), *ANSWERS.values()])]:
        tag = message.__struct_config__.tag
        listed = re.findall(r"^\| `(\[.*?\])` \|", DOC, re.M)
        wanted = f'["{tag}"' + "".join(f", {name}" for name in message.__struct_fields__) + "]"
        assert wanted in listed


def test_the_documented_names_are_those_of_the_code() -> None:
    for name in (*SERVICES, *gossip.mesh.topic.PROTOCOLS, ANNA.peer_id):
        assert f"`{name}`" in DOC
    assert f"`{TOPIC.format(swarm='SWARM')}`" in DOC
    assert set(SERVICE.values()) == set(SERVICES)
    assert PUBLIC_SWARM.hex() in DOC
    assert parse_peer_id(ANNA.peer_id) == ANNA.public
