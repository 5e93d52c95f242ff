"""A secret is found however it is lightly dressed up, and what everybody says is none."""

import base64
import codecs
from collections.abc import Callable
from pathlib import Path

import base58
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.secrets import Scanner, Secret

ROOT = Path(__file__).parents[2]
KEY = bytes.fromhex("9f1c04b7aa3e5d62708192a3b4c5d6e7f80112233445566778899aabbccddeef")
CANARY = "canary-Blue+Whale-7f3a91"
SECRETS = (
    Secret("the key", "key", KEY),
    Secret("the canary", "text", CANARY),
    Secret("the home", "path", "/srv/people/annabel/.skep"),
    Secret("the user", "name", "annabel"),
    Secret("the machine", "name", "data"),
    Secret("a port", "text", "411"),
)
PUBLIC = (ROOT / "program.md").read_text()
SCANNER = Scanner(SECRETS, PUBLIC)

Dress = Callable[[bytes], str]

DRESSES: dict[str, Dress] = {
    "hex": lambda value: value.hex(),
    "capital hex": lambda value: value.hex().upper(),
    "hex in pairs": lambda value: value.hex(":"),
    "hex in a list": lambda value: ", ".join(f"0x{byte:02x}" for byte in value),
    "escaped bytes": lambda value: "".join(f"\\x{byte:02x}" for byte in value),
    "base64": lambda value: base64.b64encode(value).decode(),
    "base64 for addresses": lambda value: base64.urlsafe_b64encode(value).decode(),
    "base64 behind one byte": lambda value: base64.b64encode(b"x" + value).decode(),
    "base64 behind two bytes": lambda value: base64.b64encode(b"xy" + value + b"z").decode(),
    "base64 in lines": lambda value: "\n".join(base64.b64encode(value).decode()),
    "base32": lambda value: base64.b32encode(b"abc" + value).decode(),
    "base58": lambda value: base58.b58encode(value).decode(),
    "hex in base64": lambda value: base64.b64encode(value.hex().encode()).decode(),
    "base64 in hex": lambda value: base64.b64encode(value).hex(),
    "backwards": lambda value: value.hex()[::-1],
    "half of it": lambda value: value.hex()[: len(value)],
    "with invisible characters": lambda value: "\u200b".join(value.hex()),
    "in wide letters": lambda value: "".join(chr(ord(c) + 0xFEE0) for c in value.hex()),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_a_key_is_found_in_every_dress(dress: str) -> None:
    assert "the key" in SCANNER.found(f"LR up helps: {DRESSES[dress](KEY)} and so on")
    assert SCANNER.found(f"LR up helps: {DRESSES[dress](bytes(range(100, 132)))}") == ()


@pytest.mark.parametrize(
    "dress",
    [name for name in DRESSES if name not in ("escaped bytes", "hex in a list", "half of it")],
)
def test_a_canary_is_found_in_every_dress(dress: str) -> None:
    assert "the canary" in SCANNER.found(f"norms help, {DRESSES[dress](CANARY.encode())}.")


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        CANARY.upper(),
        " ".join(CANARY),
        "_".join(CANARY),
        CANARY[::-1],
        CANARY.replace("-", "\u2060"),
        f"x = '{CANARY[:20]}'",
        "".join(f"\\u{ord(c):04x}" for c in CANARY),
        "".join(f"%{ord(c):02X}" for c in CANARY),
        "".join(f"&#{ord(c)};" for c in CANARY),
        base64.b64encode(CANARY.upper().encode()).decode(),
        base64.b64encode(b"{" + CANARY.title().encode() + b"}").decode(),
    ],
)
def test_a_text_is_found_however_it_is_spaced_or_escaped(text: str) -> None:
    assert SCANNER.found(text) == ("the canary",)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("seen in /srv/people/annabel/.skep/runs/1", ("the home", "the user")),
        ("/ s r v / people / ANNABEL / . skep", ("the home", "the user")),
        ("by Annabel, who found it", ("the user",)),
        ("annabel_lee and annabels do not count", ()),
        ("more data helps; data = run.data[data:]", ()),
        ("ssh me@data or /home/data/x", ("the machine",)),
        ("at line 411", ()),
    ],
)
def test_a_name_is_found_as_a_word_and_a_common_one_where_it_names_somebody(
    text: str, labels: tuple[str, ...]
) -> None:
    assert SCANNER.found(text) == labels


def test_a_user_called_root_blocks_nothing_but_the_path() -> None:
    scanner = Scanner((Secret("user", "name", "root"), Secret("home", "path", "/root")))
    assert scanner.found("the root of the variance: x ** 0.5  # root") == ()
    assert scanner.found("open('/root/.skep/key')") == ("home",)
    assert scanner.found("root@10.0.0.1") == ("user",)


def test_what_is_too_short_to_guard_is_named() -> None:
    assert SCANNER.unguarded == ("a port",)
    empty = Scanner((Secret("root", "path", "/"), Secret("key", "key", b"abc")))
    assert empty.unguarded == ("root", "key")
    assert empty.found("/ abc 616263") == ()


def test_nothing_in_the_own_sources_is_taken_for_a_secret() -> None:
    folders = ("strategies", "strategies/prompts", "trainer/tasks/stories", "tests/strategies")
    files = [path for name in folders for path in sorted((ROOT / name).glob("*.*"))]
    texts = [path.read_text() for path in files if path.suffix in (".py", ".md")]
    assert len(texts) > 25
    assert [text[:60] for text in texts if SCANNER.found(text)] == []


def test_no_secret_is_ever_printed() -> None:
    shown = repr(SECRETS) + repr(SCANNER) + str(SECRETS[1])
    assert SCANNER.found(shown) == ()
    assert "annabel" not in shown


def test_another_alphabet_is_beyond_it() -> None:
    assert SCANNER.found(codecs.encode(CANARY, "rot13")) == ()


@given(st.text(), st.text(), st.sampled_from(sorted(DRESSES)))
@settings(max_examples=100)
def test_whatever_stands_around_it_a_key_is_found(before: str, after: str, dress: str) -> None:
    text = f"{before.encode('utf-8', 'replace').decode()} {DRESSES[dress](KEY)} {after}"
    assert "the key" in SCANNER.found(text)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 65536,
        "%41" * 20000,
        "\\x41" * 16000,
        "&#99;" * 13000,
        "=" * 65536,
        "@" * 65536,
        "1" * 65536,
        "/" * 65536,
    ],
)
def test_long_texts_are_scanned_soon(text: str) -> None:
    assert SCANNER.found(text) == ()
