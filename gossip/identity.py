"""Who a node is: its Ed25519 key file, signatures, peer ids and the names people see.

The key file is a libp2p private key in protobuf form, as go-libp2p and js-libp2p write it, so the
mesh and foreign tools know the node by the same PeerID. libp2p itself is not imported here: that
takes 1.8 s and the command line has to answer before.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path

import base58
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from gossip.disk import home_error, make_folder, sync, sync_folder, write_all
from skep.errors import ConfigError, HomeError
from skep.records import SIGNING_PREFIX

KEY_FILE = "identity.key"
PUBLIC_KEY_BYTES = 32
PRESENCE_PREFIX = b"skep/presence/1\0"

# libp2p's peer-ids specification: PrivateKey { Type = 1: Ed25519 (1), Data = 2: seed ‖ public key }
_PRIVATE_PREFIX = bytes.fromhex("08011240")
_PRIVATE_BYTES = len(_PRIVATE_PREFIX) + 64
# A peer id is the identity multihash (0x00, length 36) of PublicKey { Type = 1, Data = 2 }.
_PEER_PREFIX = bytes.fromhex("002408011220")
_PEER_ID_LENGTH = 52

_FIRST = """
    amber apple ashen autumn barley birch blue bold brave bright bronze calm cedar clear clever
    clover copper coral crisp dawn dusky early elder fair fern flax fleet fresh gentle gilded
    golden green hazel honey humble ivory jade keen kind light lively loyal lunar maple mellow
    merry misty mossy noble olive patient plain quick quiet ruby rustic silver steady sunny swift
    velvet violet wild winter
""".split()  # noqa: SIM905 - a word list is easier to read as words
_SECOND = """
    acorn alder ant badger bark bee beetle bloom bramble brook burrow cliff comb crane cricket
    daisy dale drone dune fawn field finch forest fox garden glade grove harbor hare hawk heath
    hedge heron hill hive island lake lark larch marsh meadow moth nectar nest oak orchard otter
    owl petal pine pollen pond poppy quail reed ridge river robin skep sparrow thistle thrush wren
    yarrow
""".split()  # noqa: SIM905 - a word list is easier to read as words


class Identity:
    """A private key and what it can do. Never printed, pickled or sent."""

    def __init__(self, seed: bytes) -> None:
        """From the 32-byte Ed25519 seed."""
        self._key = SigningKey(seed)
        self.public = bytes(self._key.verify_key)
        """The author field of every record: 32 bytes."""
        self.peer_id = peer_id(self.public)
        self.name = friendly_name(self.public)

    @classmethod
    def load(cls, home: Path) -> "Identity":
        """The key of a home folder, made on first use.

        Raises:
            HomeError: the key is no private regular file, does not read back, or cannot be made.
        """
        path = home / KEY_FILE
        try:
            if not os.path.lexists(path):
                make_folder(home)
                _create(path)
            content = _read_private(path)
        except OSError as error:
            raise home_error(path, error) from error
        return cls(_seed(path, content))

    @property
    def seed(self) -> bytes:
        """The 32 bytes it was made from. For the mesh alone, whose handshakes prove this key."""
        return bytes(self._key)

    def sign(self, body: bytes) -> bytes:
        """Signature (64 bytes) of a record body."""
        return bytes(self._key.sign(SIGNING_PREFIX + body).signature)

    def sign_presence(self, body: bytes) -> bytes:
        """Signature (64 bytes) of an announcement, which can never pass for a record's."""
        return bytes(self._key.sign(PRESENCE_PREFIX + body).signature)


def verify(author: bytes, body: bytes, signature: bytes) -> bool:
    """Whether `author` signed this record body. False for anything malformed; never raises."""
    return _verify(author, SIGNING_PREFIX + body, signature)


def verify_presence(author: bytes, body: bytes, signature: bytes) -> bool:
    """Whether `author` signed this announcement. False for anything malformed; never raises."""
    return _verify(author, PRESENCE_PREFIX + body, signature)


def _verify(author: bytes, signed: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(author).verify(signed, signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def peer_id(public: bytes) -> str:
    """libp2p's name of a public key: `12D3KooW` and 44 more characters."""
    text = base58.b58encode(_PEER_PREFIX + public)
    return str(text, "ascii")


def parse_peer_id(text: str) -> bytes:
    """The public key (32 bytes) that a peer id stands for.

    libp2p's own parser takes the empty string and much else for an id. This one extracts the key,
    insists on Ed25519 and on the one spelling that the key encodes to.

    Raises:
        ConfigError: it is not the peer id of an Ed25519 key.
    """
    decoded = b""
    if len(text) == _PEER_ID_LENGTH and text.isascii():
        try:
            decoded = base58.b58decode(text)
        except ValueError:
            decoded = b""
    public = decoded[len(_PEER_PREFIX) :]
    if len(public) != PUBLIC_KEY_BYTES or peer_id(public) != text:
        advice = f"One looks like 12D3KooW… and has {_PEER_ID_LENGTH} letters and digits"
        raise ConfigError(f"{text[:80]!r} is no peer id", advice)
    return public


def friendly_name(public: bytes) -> str:
    """What people call a node: two words and the end of its peer id, e.g. `calm-otter-x7Qp2a`.

    The words are for the eye and repeat; only the peer id names a node.
    """
    digest = hashlib.sha256(public).digest()
    first, second = _FIRST[digest[0] % len(_FIRST)], _SECOND[digest[1] % len(_SECOND)]
    return f"{first}-{second}-{peer_id(public)[-6:]}"


def _create(path: Path) -> None:
    """Make a key file that is either complete and durable, or not there."""
    key = SigningKey.generate()
    content = _PRIVATE_PREFIX + bytes(key) + bytes(key.verify_key)
    fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(fresh, flags, 0o600)
    try:
        write_all(descriptor, content, 0)
        sync(descriptor)
        # Unlike a rename, a link never replaces a key that another process made meanwhile.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        os.unlink(fresh)
    sync_folder(path.parent)


def _read_private(path: Path) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise HomeError(f"{path} is not a regular file", "Move it away to get a new key")
        if mode & 0o077:
            raise HomeError(
                f"{path} is open to other users (mode {stat.S_IMODE(mode):04o})",
                f"If nobody has copied it: chmod 600 {path}",
            )
        return os.read(descriptor, _PRIVATE_BYTES + 1)
    finally:
        os.close(descriptor)


def _seed(path: Path, content: bytes) -> bytes:
    advice = "Restore it from a backup, or move it away to start as a new node"
    if len(content) != _PRIVATE_BYTES:
        raise HomeError(f"{path} does not have the {_PRIVATE_BYTES} bytes of a key", advice)
    seed, public = content[4:36], content[36:]
    if not content.startswith(_PRIVATE_PREFIX) or bytes(SigningKey(seed).verify_key) != public:
        raise HomeError(f"{path} holds no libp2p Ed25519 private key", advice)
    return seed
