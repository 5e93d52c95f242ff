"""The key file, signatures, peer ids and names."""

import os
import subprocess
import sys
from pathlib import Path

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.identity import Identity, friendly_name, parse_peer_id, peer_id, verify
from skep.errors import ConfigError, HomeError

KEY = Identity(bytes(range(32)))
PEER_ID = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"

_LIBP2P_READS = """
import sys
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.pb.crypto_pb2 import Ed25519, PrivateKey
from libp2p.peer.id import ID
message = PrivateKey.FromString(open(sys.argv[1], "rb").read())
assert message.key_type == Ed25519
public = Ed25519PrivateKey.from_bytes(message.data[:32]).get_public_key()
assert message.data[32:] == public.to_bytes()
print(ID.from_pubkey(public))
"""


def test_libp2p_reads_the_key_file_and_computes_the_same_peer_id(tmp_path: Path) -> None:
    identity = Identity.load(tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", _LIBP2P_READS]
    command.append(str(tmp_path / "identity.key"))
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == identity.peer_id


def test_a_fixed_seed_has_a_fixed_name() -> None:
    assert KEY.peer_id == PEER_ID
    assert KEY.name == "elder-bloom-dBfeSB"


def test_a_new_key_is_private_and_stays_the_same(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    first, second = Identity.load(home), Identity.load(home)
    assert first.public == second.public
    assert (home / "identity.key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(home) == ["identity.key"]
    assert Identity.load(tmp_path / "other").public != first.public


def test_a_key_open_to_others_is_refused(tmp_path: Path) -> None:
    Identity.load(tmp_path)
    (tmp_path / "identity.key").chmod(0o640)
    with pytest.raises(HomeError, match=r"open to other users \(mode 0640\).*chmod 600"):
        Identity.load(tmp_path)


def test_a_symbolic_link_is_refused_and_not_followed(tmp_path: Path) -> None:
    Identity.load(tmp_path / "real")
    (tmp_path / "identity.key").symlink_to(tmp_path / "real" / "identity.key")
    with pytest.raises(HomeError, match="is a symbolic link"):
        Identity.load(tmp_path)


def test_a_dangling_link_is_refused_and_no_key_is_made_behind_it(tmp_path: Path) -> None:
    (tmp_path / "identity.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError, match="is a symbolic link"):
        Identity.load(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_pipe_in_place_of_the_key_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "identity.key", 0o600)
    with pytest.raises(HomeError, match="not a regular file"):
        Identity.load(tmp_path)


@pytest.mark.parametrize("length", [0, 36, 67, 69])
def test_a_key_of_the_wrong_length_is_refused(tmp_path: Path, length: int) -> None:
    Identity.load(tmp_path)
    path = tmp_path / "identity.key"
    path.write_bytes((path.read_bytes() * 2)[:length])
    with pytest.raises(HomeError, match="does not have the 68 bytes of a key"):
        Identity.load(tmp_path)


@pytest.mark.parametrize("position", [0, 3, 10, 67])
def test_a_damaged_key_is_refused(tmp_path: Path, position: int) -> None:
    Identity.load(tmp_path)
    path = tmp_path / "identity.key"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(HomeError, match="holds no libp2p Ed25519 private key"):
        Identity.load(tmp_path)


def test_a_home_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeError, match=r"Cannot use .*: Not a directory"):
        Identity.load(tmp_path / "home")


def test_a_signature_holds_for_its_author_and_body_only() -> None:
    signature = KEY.sign(b"body")
    assert verify(KEY.public, b"body", signature)
    assert not verify(KEY.public, b"bodY", signature)
    assert not verify(Identity(bytes(32)).public, b"body", signature)


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_verify_answers_false_to_any_bytes(author: bytes, body: bytes, signature: bytes) -> None:
    assert verify(author, body, signature) is False


@given(st.binary(min_size=32, max_size=32))
def test_every_public_key_survives_its_peer_id(public: bytes) -> None:
    assert parse_peer_id(peer_id(public)) == public
    assert friendly_name(public).endswith(peer_id(public)[-6:])


@pytest.mark.parametrize(
    "text",
    [
        "",
        PEER_ID[:-1],
        PEER_ID + "1",
        "1" + PEER_ID,
        " " + PEER_ID[1:],
        PEER_ID[:-1] + "l",
        PEER_ID[:-1] + "é",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        base58.b58encode(bytes.fromhex("0024080212200000") + bytes(30)).decode(),
        base58.b58encode(bytes.fromhex("002408011221") + bytes(33)).decode(),
    ],
)
def test_what_is_not_exactly_the_peer_id_of_an_ed25519_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no peer id"):
        parse_peer_id(text)


@given(st.text(max_size=60))
def test_parsing_a_peer_id_raises_nothing_else(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_peer_id(text)
