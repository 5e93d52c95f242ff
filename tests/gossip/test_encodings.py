"""Messages as bytes: what is read, what is not, and what later versions may add."""

from typing import Any

import msgpack
import pytest
from msgspec.structs import replace

from gossip.messages import (
    Compare,
    MessageError,
    Presence,
    Range,
    Same,
    Want,
    pack,
    unpack_answer,
    unpack_presence,
    unpack_request,
)
from gossip.wire import is_line

SWARM, DIGEST, KEY = b"\x55" * 32, b"\x66" * 32, b"\x77" * 16
NO_SIGNATURE = bytes(64)
PRESENCE = Presence(
    SWARM, b"a" * 32, b"instance", 1, 2, 3, "full", "cpu", b"", 4, (b"p" * 32,), "skep 0.1"
)


def packed(*items: Any) -> bytes:
    """A message of these items."""
    return bytes(msgpack.packb(items))


def announced(presence: Presence, *more: Any) -> bytes:
    """An announcement with items behind the known ones."""
    return NO_SIGNATURE + packed(*msgpack.unpackb(pack(presence)), *more)


def test_items_behind_the_known_ones_are_left_aside() -> None:
    assert unpack_request(packed("compare", SWARM, DIGEST, b"", 1, ["x"])) == Compare(SWARM, DIGEST)
    assert unpack_request(packed("want", SWARM, [[KEY, 0, 1, None]])) == Want(
        SWARM, (Range(KEY, 0, 1),)
    )
    assert unpack_answer(packed("same", "later")) == Same()
    assert unpack_presence(announced(PRESENCE, 7, ["x", None], 1.5))[0] == PRESENCE


def test_a_request_has_several_encodings() -> None:
    assert unpack_request(packed("compare", SWARM, DIGEST)) == Compare(SWARM, DIGEST)
    long = b"\xdc\x00\x04" + pack(Compare(SWARM, DIGEST))[1:]
    assert unpack_request(long) == Compare(SWARM, DIGEST)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        packed("compare", SWARM),
        packed("compare", SWARM, DIGEST) + b"\0",
        packed("compare", SWARM, DIGEST, b"", {"a": 1}),
        packed("compare", SWARM, "x" * 32),
        packed(b"compare", SWARM, DIGEST),
        packed("later", SWARM, DIGEST),
        packed("want", SWARM, []),
        packed("want", SWARM, [[KEY, 0, 1]] * 65),
        packed("want", SWARM, [[KEY, 1, 1]]),
        packed("want", SWARM, [[KEY, -1, 1]]),
        packed("want", SWARM, [[KEY, 0, 2**31]]),
        packed("want", SWARM, [[KEY, False, 1]]),
        packed("want", SWARM, [[KEY, 0.0, 1]]),
        b"\x91" * 100_000,
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        unpack_request(data)


def test_an_announcement_has_one_encoding() -> None:
    """It is passed on: where two nodes disagreed on it, one would blame the other."""
    body = pack(PRESENCE)
    long = b"\xdc\x00\x0d" + body[1:]
    widened = body.replace(b"\x01\x02\x03\xa4full", b"\xcc\x01\x02\x03\xa4full")
    assert unpack_presence(NO_SIGNATURE + body)[1] == body
    assert len(widened) == len(body) + 1
    for other in (long, widened, body + b"\0", packed(*msgpack.unpackb(body), [[]])):
        with pytest.raises(MessageError):
            unpack_presence(NO_SIGNATURE + other)
    for other in (b"\x80", b"\x91\x80", b"\xc7\x00\x05", b"\xca" + bytes(4)):
        other = b"\x9e" + body[1:] + other
        with pytest.raises(MessageError):
            unpack_presence(NO_SIGNATURE + other)


def test_an_announcement_names_roles_and_characters_of_later() -> None:
    later = replace(PRESENCE, role="teach", tier="\U0001fae9" * 128, software="\u0378")
    assert unpack_presence(announced(later))[0] == later


@pytest.mark.parametrize("text", ["\n", "\u202e", "\x00", "x" * 129])
@pytest.mark.parametrize("field", ["role", "tier", "software"])
def test_a_text_that_hides_something_is_refused(field: str, text: str) -> None:
    assert not is_line(text, 128)
    with pytest.raises(MessageError):
        unpack_presence(announced(replace(PRESENCE, **{field: text})))
