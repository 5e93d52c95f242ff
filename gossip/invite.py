"""Invitations to a lab: one line of text that holds everything a newcomer needs. Pure.

It holds the lab's key, so whoever reads it can knock at the lab's doors; being let in takes a
place on the founder's list as well. That list travels along as the founder's own signed record, so
that a newcomer can meet any member, not just the founder.
"""

import base64
import binascii
import hashlib
import re

import msgpack
import msgspec
from msgspec import Struct

from gossip.addresses import parse_address
from gossip.identity import verify
from gossip.wire import ID_BYTES, decode
from skep.errors import ConfigError, RecordError
from skep.members import says_members
from skep.records import SignedRecord

PREFIX = "skep-lab-"
VERSION = 1
KEY_BYTES = 32
CHECKSUM_BYTES = 8
ADDRESSES_MAX = 16
INVITE_MAX = 32 * 1024
"""Characters: the longest list of members, and the most addresses, take half of that."""

LAB_NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
"""A name is that of a folder, too, on any file system; and nothing an invite could be."""

_ADVICE = "Copy the whole line that `skep lab invite NAME` prints, from skep-lab- to its end"


class Invite(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a newcomer has to know of a lab.

    Attributes:
        version: of this format.
        name: what its founder calls it; a folder name.
        swarm: id of its swarm (32 bytes).
        key: pre-shared key of its connections (32 bytes), a secret.
        founder: public key of whose list counts.
        addresses: where members can be reached.
        members: `signature + body` of the founder's latest list; empty before there is one.
    """

    version: int
    name: str
    swarm: bytes
    key: bytes
    founder: bytes
    addresses: tuple[str, ...]
    members: bytes

    def list_record(self) -> SignedRecord | None:
        """The founder's list that came with it."""
        return decode(self.members) if self.members else None


def is_lab_name(text: str) -> bool:
    """Whether a lab may be called so."""
    return re.fullmatch(LAB_NAME, text) is not None and not text.startswith(PREFIX)


def looks_like_invite(text: str) -> bool:
    """Whether somebody who gave this text meant an invite, be it a good one or not."""
    return text.strip().lower().startswith(PREFIX)


def encode_invite(invite: Invite) -> str:
    """The one line of an invite."""
    packed = msgpack.packb(msgspec.to_builtins(invite, builtin_types=(bytes,)))
    text = base64.urlsafe_b64encode(_checksum(packed) + packed)
    return PREFIX + text.decode().rstrip("=")


def decode_invite(text: str) -> Invite:
    """Read an invite; white space anywhere in it, as mail programs put it there, does no harm.

    Raises:
        ConfigError: it is incomplete, changed, or none at all.
    """
    line = "".join(text.split())
    if len(line) > INVITE_MAX or not line.startswith(PREFIX):
        raise ConfigError("this is no invite to a lab", _ADVICE)
    digits = line.removeprefix(PREFIX)
    try:
        content = base64.b64decode(digits + "=" * (-len(digits) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("this invite is damaged: letters are missing or wrong", _ADVICE) from None
    checksum, packed = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
    if not packed or checksum != _checksum(packed):
        raise ConfigError("this invite is incomplete or was changed", _ADVICE)
    invite = _unpack(packed)
    if encode_invite(invite) != line:
        raise ConfigError("this invite is damaged: its last letter is wrong", _ADVICE)
    return invite


def _checksum(packed: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + packed).digest()[:CHECKSUM_BYTES]


def _unpack(packed: bytes) -> Invite:
    """The values behind a right checksum, held to the rules all the same."""
    try:
        plain = msgpack.unpackb(packed, max_ext_len=0)
        version = plain[0] if isinstance(plain, list) and plain else 0
        if isinstance(version, int) and version > VERSION:
            raise ConfigError("this invite is of a newer Skep", "Update Skep to use it")
        invite = msgspec.convert(plain, Invite, strict=True, builtin_types=(bytes,))
        _check(invite)
    except RecordError as error:
        raise ConfigError(f"this invite holds a broken list of members ({error.what})") from error
    except ValueError as error:  # of msgpack and msgspec, and bad UTF-8
        raise ConfigError(f"this invite makes no sense ({error})", _ADVICE) from error
    return invite


def _check(invite: Invite) -> None:
    sizes = {len(invite.swarm), len(invite.key), len(invite.founder)}
    if invite.version != VERSION or sizes != {ID_BYTES} or not is_lab_name(invite.name):
        raise ValueError("a field is out of its range")
    if len(invite.addresses) > ADDRESSES_MAX:
        raise ValueError(f"more than {ADDRESSES_MAX} addresses")
    for address in invite.addresses:
        try:
            parse_address(address)
        except ConfigError as error:
            raise ValueError(error.what) from None
    found = invite.list_record()
    if found is None:
        return
    if not says_members(found, invite.founder, invite.swarm):
        raise ValueError("its list of members is not of its founder")
    if not verify(invite.founder, found.body, found.signature):
        raise ValueError("its list of members has a wrong signature")
