"""What nodes say to each other besides records, as values and as bytes. Pure.

Requests and answers are msgpack arrays whose first item names them. Whatever does not decode
exactly raises `MessageError`; whether a message makes sense at this moment is `gossip.protocol`'s
question. Signed records inside messages stay opaque bytes here: `gossip.wire` reads those.
"""

from typing import Any

import msgpack
import msgspec
from msgspec import Struct

from gossip.replica import FORKED, KEY_BYTES, ROW_BYTES, Row, unpack_rows
from gossip.transport import REQUEST_MAX_BYTES
from gossip.wire import is_line
from skep.errors import RecordError
from skep.records import PROGRAM_MAX_BYTES, RECORD_MAX_BYTES

RANGES_MAX = 64
RECORDS_MAX = 256
RECORDS_MAX_BYTES = 1 << 20
ROWS_MAX = 32_768
HAVE_MAX = 256
PROGRAMS_MAX = 16
ADDRESSES_MAX = 64
ADDRESS_MAX = 256
RUNNING_MAX = 64
PRESENCE_MAX_BYTES = 8 * 1024
SIGNED_MAX_BYTES = RECORD_MAX_BYTES + 64

SIGNATURE_BYTES = 64
ID_BYTES = 32
INSTANCE_BYTES = 8
TEXT_MAX = 128
LASTS_MAX_S = 3600


class MessageError(RecordError):
    """Bytes that are no message of the protocol; whoever sent them is answerable."""


class Compare(Struct, frozen=True, array_like=True, tag="compare"):
    """Are our feeds the same? If not, the rows behind `after`.

    Attributes:
        swarm: id of the swarm (32 bytes), in every request.
        digest: of all rows of the asker.
        after: name of a chain, to go on behind it; empty to begin.
    """

    swarm: bytes
    digest: bytes
    after: bytes = b""


class Range(Struct, frozen=True, array_like=True):
    """Records of one chain from `start` up to but without `stop`."""

    key: bytes
    start: int
    stop: int


class Want(Struct, frozen=True, array_like=True, tag="want"):
    """Send me these records, as many as fit, in this order."""

    swarm: bytes
    ranges: tuple[Range, ...]


class Proof(Struct, frozen=True, array_like=True, tag="proof"):
    """Send me the two records that prove this chain forked."""

    swarm: bytes
    key: bytes


class Have(Struct, frozen=True, array_like=True, tag="have"):
    """These chains go further here than at your place."""

    swarm: bytes
    rows: bytes


class WantPrograms(Struct, frozen=True, array_like=True, tag="programs"):
    """Send me the texts of these programs."""

    swarm: bytes
    ids: tuple[bytes, ...]


class WantPeers(Struct, frozen=True, array_like=True, tag="peers"):
    """Tell me where other nodes of the swarm can be reached; and this is where I can be."""

    swarm: bytes
    addresses: tuple[str, ...]


Request = Compare | Want | Proof | Have | WantPrograms | WantPeers


class Same(Struct, frozen=True, array_like=True, tag="same"):
    """Nothing to add: the feeds are equal, or the announcement was heard."""


class Rows(Struct, frozen=True, array_like=True, tag="rows"):
    """How the chains stand here, `more` if that was not all."""

    rows: bytes
    more: bool


class Records(Struct, frozen=True, array_like=True, tag="records"):
    """Signed records, each `signature ‖ body`."""

    signed: tuple[bytes, ...]


class Programs(Struct, frozen=True, array_like=True, tag="programs"):
    """Texts in the order they were asked for; nil for what is not here or did not fit."""

    texts: tuple[bytes | None, ...]


class Peers(Struct, frozen=True, array_like=True, tag="peers"):
    """Multiaddrs, each ending in `/p2p/<peer id>`."""

    addresses: tuple[str, ...]


Answer = Same | Rows | Records | Programs | Peers


class Presence(Struct, frozen=True, array_like=True, tag="presence"):
    """A node is there now; ephemeral, signed by its author, no part of any feed.

    Attributes:
        swarm, author: ids (32 bytes).
        instance: drawn at each start; two at once mean that one key is used on two machines.
        number: counts up within an instance, so that old announcements cannot be replayed.
        time: milliseconds since the epoch at the author's.
        lasts_s: seconds until it is void unless another follows.
        role: what the node does for the swarm: one of `skep.records.Role`, or of later.
        tier: hardware tier, empty without training.
        task: id of the task it works on, empty without.
        records: how many records it holds, for showing who lags behind.
        running: ids of programs in training at this moment.
        software: name and version.
    """

    swarm: bytes
    author: bytes
    instance: bytes
    number: int
    time: int
    lasts_s: int
    role: str
    tier: str
    task: bytes
    records: int
    running: tuple[bytes, ...]
    software: str


_PACK: Any = msgpack.packb
_PLAIN = (type(None), bool, int, float, str, bytes)


def pack(message: Request | Answer | Presence) -> bytes:
    """Bytes of a message."""
    return bytes(_PACK(msgspec.to_builtins(message, builtin_types=(bytes,))))


def unpack_request(data: bytes) -> Request:
    """Read a request.

    Raises:
        MessageError: it is none, or breaks a limit.
    """
    request: Request = _convert(data, Request, REQUEST_MAX_BYTES, ROWS_MAX * ROW_BYTES)
    _require(len(request.swarm) == ID_BYTES, "swarm")
    if isinstance(request, Compare):
        _require(len(request.digest) == ID_BYTES, "digest")
        _require(len(request.after) in (0, KEY_BYTES), "after")
    elif isinstance(request, Want):
        _require(0 < len(request.ranges) <= RANGES_MAX, "ranges")
        for one in request.ranges:
            _require(len(one.key) == KEY_BYTES and 0 <= one.start < one.stop < FORKED, "range")
    elif isinstance(request, Proof):
        _require(len(request.key) == KEY_BYTES, "key")
    elif isinstance(request, Have):
        _require(len(rows_of(request.rows)) <= HAVE_MAX, "rows")
    elif isinstance(request, WantPrograms):
        _require(0 < len(request.ids) <= PROGRAMS_MAX, "ids")
        _require(all(len(one) == ID_BYTES for one in request.ids), "id")
    else:
        _check_addresses(request.addresses)
    return request


def unpack_answer(data: bytes) -> Answer:
    """Read an answer.

    Raises:
        MessageError: it is none, or breaks a limit.
    """
    longest = ROWS_MAX * ROW_BYTES
    answer: Answer = _convert(data, Answer, longest + RECORDS_MAX_BYTES, longest)
    if isinstance(answer, Rows):
        rows_of(answer.rows)
    elif isinstance(answer, Records):
        _require(len(answer.signed) <= RECORDS_MAX, "records")
        _require(all(len(one) <= SIGNED_MAX_BYTES for one in answer.signed), "record")
    elif isinstance(answer, Programs):
        _require(len(answer.texts) <= PROGRAMS_MAX, "texts")
        _require(all(len(one or b"") <= PROGRAM_MAX_BYTES for one in answer.texts), "text")
    elif isinstance(answer, Peers):
        _check_addresses(answer.addresses)
    return answer


def unpack_presence(signed: bytes) -> tuple[Presence, bytes, bytes]:
    """Read `signature ‖ body` of an announcement: its value, its body, its signature.

    Raises:
        MessageError: it is none, breaks a limit, or is not in its one encoding. It is passed on,
            so everybody has to agree on it. The signature is not checked here.
    """
    signature, body = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
    presence: Presence = _convert(body, Presence, PRESENCE_MAX_BYTES, ID_BYTES)
    plain = msgpack.unpackb(body)
    _require(all(map(_is_flat, plain)) and _PACK(plain) == body, "encoding")
    _require(len(presence.swarm) == len(presence.author) == ID_BYTES, "id")
    _require(len(presence.instance) == INSTANCE_BYTES, "instance")
    _require(len(presence.task) in (0, ID_BYTES), "task")
    for count in (presence.number, presence.time, presence.records):
        _require(0 <= count < 2**63, "count")
    _require(0 < presence.lasts_s <= LASTS_MAX_S, "lasts_s")
    _require(len(presence.running) <= RUNNING_MAX, "running")
    _require(all(len(one) == ID_BYTES for one in presence.running), "running")
    for text in (presence.role, presence.tier, presence.software):
        _require(is_line(text, TEXT_MAX), "text")
    return presence, body, signature


def rows_of(packed: bytes) -> list[Row]:
    """Rows of a message.

    Raises:
        MessageError: too many, out of order, or no whole number of them.
    """
    _require(len(packed) <= ROWS_MAX * ROW_BYTES, "rows")
    try:
        return unpack_rows(packed)
    except ValueError as error:
        raise MessageError(f"A message with {error}") from error


def _is_flat(item: Any) -> bool:
    return all(isinstance(one, _PLAIN) for one in (item if isinstance(item, list) else [item]))


def _check_addresses(addresses: tuple[str, ...]) -> None:
    _require(len(addresses) <= ADDRESSES_MAX, "addresses")
    for one in addresses:
        _require(len(one) <= ADDRESS_MAX and one.isascii() and one.isprintable(), "address")


def _convert(data: bytes, kind: Any, longest: int, binary: int) -> Any:
    _require(len(data) <= longest, "length")
    try:
        plain = msgpack.unpackb(
            data,
            max_str_len=4 * TEXT_MAX,
            max_bin_len=max(binary, PROGRAM_MAX_BYTES),
            max_array_len=RECORDS_MAX,
            max_map_len=0,
            max_ext_len=0,
        )
        return msgspec.convert(plain, kind, strict=True, builtin_types=(bytes,))
    except ValueError as error:
        raise MessageError(f"Bytes that are no message: {error}") from error


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise MessageError(f"A message that breaks a rule: {what}")
