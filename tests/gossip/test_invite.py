"""Invites: what goes in comes out, and nothing else than a whole invite does."""

import base64
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gossip.identity import Identity
from gossip.invite import PREFIX, Invite, _checksum, decode_invite, encode_invite, is_lab_name
from skep.errors import ConfigError
from tests.gossip.scenes import SWARM
from tests.skep.test_members import ANN, BOB, FOUNDER, a_list

ADDRESS = f"/ip4/192.0.2.7/tcp/4601/p2p/{FOUNDER.peer_id}"
LIST = a_list(FOUNDER, ANN)
INVITE = Invite(
    version=1,
    name="physics",
    swarm=SWARM,
    key=bytes(range(32)),
    founder=FOUNDER.public,
    addresses=(ADDRESS,),
    members=LIST.signature + LIST.body,
)
LINE = encode_invite(INVITE)

keys = st.binary(min_size=32, max_size=32)


@given(
    st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,31}\Z").filter(is_lab_name),
    keys,
    keys,
    keys,
    st.lists(st.just(ADDRESS), max_size=16),
)
def test_an_invite_reads_back(
    name: str, swarm: bytes, key: bytes, founder: bytes, addresses: list[str]
) -> None:
    invite = Invite(1, name, swarm, key, founder, tuple(addresses), b"")
    line = encode_invite(invite)
    assert line.startswith("skep-lab-")
    assert len(line.split()) == 1
    assert decode_invite(line) == invite


def test_the_largest_lab_fits_into_an_invite() -> None:
    many = [Identity(number.to_bytes(32, "big")) for number in range(255)]
    full = a_list(FOUNDER, *many)
    invite = replace(INVITE, addresses=(ADDRESS,) * 16, members=full.signature + full.body)
    assert decode_invite(encode_invite(invite)) == invite


def test_a_line_that_a_mail_program_broke_is_still_whole() -> None:
    broken = "\n  ".join(LINE[at : at + 70] for at in range(0, len(LINE), 70))
    assert decode_invite(f"\t{broken}\r\n") == INVITE


@pytest.mark.parametrize("length", [0, 1, 8, 9, 10, 20, 21, len(LINE) // 2, len(LINE) - 1])
def test_a_truncated_invite_is_refused(length: int) -> None:
    with pytest.raises(ConfigError, match="invite"):
        decode_invite(LINE[:length])


@given(st.integers(0, len(LINE) - 1), st.characters(codec="utf-8"))
def test_no_changed_letter_goes_unseen(at: int, letter: str) -> None:
    changed = LINE[:at] + letter + LINE[at + 1 :]
    if "".join(changed.split()) == LINE:
        return
    with pytest.raises(ConfigError):
        decode_invite(changed)


@given(st.text(max_size=200) | st.text(max_size=200).map(PREFIX.__add__))
def test_no_text_raises_anything_but_an_error_to_explain(text: str) -> None:
    with pytest.raises(ConfigError):
        decode_invite(text)


@given(st.binary(max_size=100))
def test_what_has_a_right_checksum_is_looked_at_all_the_same(packed: bytes) -> None:
    with pytest.raises(ConfigError):
        decode_invite(sealed(packed))


def sealed(packed: bytes) -> str:
    text = base64.urlsafe_b64encode(_checksum(packed) + packed).decode()
    return PREFIX + text.rstrip("=")


FOREIGN = a_list(FOUNDER, ANN, by=BOB)
ELSEWHERE = a_list(FOUNDER, ANN, swarm=b"x" * 32)
BROKEN: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "../public"},
    {"name": "Physics"},
    {"name": "skep-lab-x"},
    {"swarm": bytes(31)},
    {"key": b""},
    {"founder": bytes(33)},
    {"addresses": ("nonsense",)},
    {"addresses": (ADDRESS,) * 17},
    {"members": b"no record"},
    {"members": bytes(64) + LIST.body},
    {"members": LIST.signature + LIST.body + b"\0"},
    {"members": FOREIGN.signature + FOREIGN.body},
    {"members": ELSEWHERE.signature + ELSEWHERE.body},
    {"version": 0},
    {"version": True},
    {"addresses": None},
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_an_invite_out_of_range_is_refused(number: int) -> None:
    plain = {**msgspec.structs.asdict(INVITE), **BROKEN[number]}
    with pytest.raises(ConfigError, match="this invite"):
        decode_invite(sealed(msgpack.packb(list(plain.values()))))


def test_an_invite_of_later_says_so() -> None:
    later = sealed(msgpack.packb([2, "whatever comes"]))
    with pytest.raises(ConfigError, match="newer Skep"):
        decode_invite(later)


@pytest.mark.parametrize("name", ["a", "0", "physics", "lab_2-b", "x" * 32])
def test_names_of_labs(name: str) -> None:
    assert is_lab_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "-a", "_a", "A", "ä", "a b", "a\n", "x" * 33, "skep-lab-abc"]
)
def test_what_is_no_name_of_a_lab(name: str) -> None:
    assert not is_lab_name(name)
