"""Messages of the protocol: what is written reads back, and nothing else than `MessageError` ends
the reading of bytes that are none."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.chains import HEAD_BYTES
from gossip.messages import (
    Answer,
    Compare,
    Have,
    MessageError,
    Peers,
    Presence,
    Programs,
    Proof,
    Range,
    Records,
    Request,
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
from gossip.replica import Row

ids = st.binary(min_size=32, max_size=32)
keys = st.binary(min_size=16, max_size=16)
positions = st.integers(0, 2**31 - 1)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=256)
addresses = st.lists(texts, max_size=64).map(tuple)
counts = st.integers(0, 2**63 - 1)


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """Rows in order of their names."""
    names = sorted(draw(st.sets(keys, max_size=20)))
    heads = st.binary(min_size=HEAD_BYTES, max_size=HEAD_BYTES)
    return b"".join(
        Row(name, draw(positions), draw(heads), draw(st.booleans())).packed() for name in names
    )


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Ranges that hold something."""
    start, stop = sorted(draw(st.sets(positions, min_size=2, max_size=2)))
    return Range(draw(keys), start, stop)


requests = st.one_of(
    st.builds(Compare, ids, ids, st.one_of(st.just(b""), keys)),
    st.builds(Want, ids, st.lists(ranges(), min_size=1, max_size=64).map(tuple)),
    st.builds(Proof, ids, keys),
    st.builds(Have, ids, rows()),
    st.builds(WantPrograms, ids, st.lists(ids, min_size=1, max_size=16).map(tuple)),
    st.builds(WantPeers, ids, addresses),
)
answers = st.one_of(
    st.just(Same()),
    st.builds(Rows, rows(), st.booleans()),
    st.builds(Records, st.lists(st.binary(max_size=200), max_size=20).map(tuple)),
    st.builds(
        Programs, st.lists(st.one_of(st.none(), st.binary(max_size=99)), max_size=16).map(tuple)
    ),
    st.builds(Peers, addresses),
)
presences = st.builds(
    Presence,
    swarm=ids,
    author=ids,
    instance=st.binary(min_size=8, max_size=8),
    number=counts,
    time=counts,
    lasts_s=st.integers(1, 3600),
    role=st.sampled_from(["full", "verify", "relay"]),
    tier=texts.map(lambda text: text[:128]),
    task=st.one_of(st.just(b""), ids),
    records=counts,
    running=st.lists(ids, max_size=64).map(tuple),
    software=texts.map(lambda text: text[:128]),
)


@given(requests)
def test_requests_read_back_as_they_were(request: Request) -> None:
    assert unpack_request(pack(request)) == request


@given(answers)
def test_answers_read_back_as_they_were(answer: Answer) -> None:
    assert unpack_answer(pack(answer)) == answer


@given(presences)
def test_announcements_read_back_as_they_were(presence: Presence) -> None:
    body = pack(presence)
    assert unpack_presence(bytes(64) + body) == (presence, body, bytes(64))


plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.binary(max_size=40),
        st.text(max_size=20),
        st.sampled_from(["compare", "want", "proof", "have", "programs", "peers", "same", "rows"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=12), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)


def survives(data: bytes) -> None:
    """Read bytes as everything there is."""
    for read in (unpack_request, unpack_answer, lambda said: unpack_presence(bytes(64) + said)):
        try:
            read(data)
        except MessageError:
            continue


@given(st.binary(max_size=300))
def test_bytes_that_are_no_message_are_an_error_of_one_kind(data: bytes) -> None:
    survives(data)


@given(plain)
def test_values_that_are_no_message_are_an_error_of_one_kind(value: object) -> None:
    survives(msgpack.packb(value))


@given(st.one_of(requests, answers, presences).map(pack), st.data())
def test_damaged_messages_are_an_error_of_one_kind(whole: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    survives(whole[:at])
    survives(whole[:at] + data.draw(st.binary(min_size=1, max_size=3)) + whole[at + 1 :])


@pytest.mark.parametrize(
    "bomb",
    [b"\x91" * 100_000, b"\x81" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b""],
)
def test_parse_bombs_are_refused(bomb: bytes) -> None:
    for read in (unpack_request, unpack_answer, lambda said: unpack_presence(bytes(64) + said)):
        with pytest.raises(MessageError):
            read(bomb)
