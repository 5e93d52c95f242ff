"""Finds what must not leave this machine in a text that is about to: keys, paths, names, tokens.

A model reads text of strangers and writes text for strangers; what it was made to say is looked at
here before it is published. Found are secrets as they are, in another case, backwards, spaced out
or with invisible characters in between, escaped, in hex, base64, base32 and base58, two of these
within one another, and of long ones any part of 16 characters. Whoever wants one
out through a cipher of his own is not stopped here: that a model is told no secrets is the wall,
and this is the net behind it.

Names that everybody uses are no secrets: see `Scanner`. Pure; no value of a secret is ever printed.
"""

import base64
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

import base58
from msgspec import Struct

PART = 16
"""Characters of a long secret, or twice the bytes of a key, that give it away."""
SPACED_MIN = 8
"""A shorter secret is only found as a word, neither spaced out nor encoded."""
WORD_MIN = 4
"""A name that is shorter is only found where it names somebody: in a path, beside an `@`."""
EVERYBODYS = frozenset(
    {
        *("root", "user", "admin", "guest", "ubuntu", "debian", "runner", "jovyan", "vagrant"),
        *("host", "localhost", "node", "worker", "master", "main", "compute", "cluster", "docker"),
        *("home", "local", "data", "train", "test", "model", "notebook", "container"),
    }
)
"""Names of users and machines that name nobody."""

Kind = Literal["key", "name", "path", "text"]

INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
ESCAPE = re.compile(
    r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|%([0-9a-fA-F]{2})|&#x([0-9a-fA-F]{2,4});"
)
LEAD = re.compile(r"\\x|0x|%|&#x")
"""What stands in front of each byte where bytes are listed in hex."""
DECIMAL = re.compile(r"&#(\d{2,4});")
BETWEEN = re.compile(r"[\W_]+")
HEX_RUN = re.compile(rf"[0-9a-f]{{{SPACED_MIN * 2},}}")
BASE64_RUN = re.compile(r"[A-Za-z0-9+/]{10,}")
BASE32_RUN = re.compile(r"[a-z2-7]{12,}")
BASE58_RUN = re.compile(r"[1-9A-HJ-NP-Za-km-z]{11,88}")
NAMED = r"(?:(?:home|users|documents and settings)[\\/]{word}\b|\b{word}@|@{word}\b)"


class Secret(Struct, frozen=True):
    """Something that must not leave.

    Attributes:
        label: what it is, for messages.
        kind: `key`, bytes that nobody else may have; `path`, of a folder of this machine; `name`,
            of the user or the machine; `text`, any other.
        value: the secret; of a key its bytes, else characters.
    """

    label: str
    kind: Kind
    value: str | bytes

    def __repr__(self) -> str:
        return f"Secret({self.label!r}, {self.kind!r}, ...)"


class Scanner:
    """Looks for secrets in texts.

    A name that many have, or that also stands as a word in a public text (`root`, `data`), says
    nothing: it is only found where it names somebody, in the path of a home or beside an `@`. So
    are names of fewer than four characters. Other values as short cannot be guarded.

    Args:
        secrets: what to look for.
        public: texts that everybody has, e.g. the seed program and the user's program.md.
    """

    def __init__(self, secrets: Iterable[Secret], public: str = "") -> None:
        self._words: list[tuple[str, re.Pattern[str]]] = []
        """Found in a text as it is, small and without invisible characters."""
        self._parts: dict[str, str] = {}
        """Found in a text of which only small letters and digits are left: part, label."""
        self._exact: dict[str, str] = {}
        """The same where case counts."""
        self._sizes: set[int] = set()
        self.unguarded: tuple[str, ...] = ()
        """Labels of what is too short to be looked for."""
        common = EVERYBODYS.union(re.findall(r"\w+", public.casefold()))
        for secret in secrets:
            self._add(secret, common)

    def __repr__(self) -> str:
        return "Scanner(...)"

    def found(self, text: str) -> tuple[str, ...]:
        """Labels of the secrets in a text, sorted; none twice."""
        plain = _plain(text)
        small = plain.casefold()
        labels = {label for label, pattern in self._words if pattern.search(small)}
        squeezed = BETWEEN.sub("", plain)
        numbers = _squeezed(LEAD.sub("", text))
        for layer in (squeezed, squeezed[::-1], numbers, _squeezed(_decoded(plain))):
            labels |= set(self._hits(layer.casefold(), self._parts))
            labels |= set(self._hits(layer, self._exact))
        return tuple(sorted(labels))

    def _hits(self, text: str, parts: dict[str, str]) -> Iterator[str]:
        for size in self._sizes:
            for start in range(len(text) - size + 1):
                label = parts.get(text[start : start + size])
                if label is not None:
                    yield label

    def _add(self, secret: Secret, common: frozenset[str]) -> None:
        if isinstance(secret.value, bytes):
            self._add_key(secret.label, secret.value)
            return
        word = INVISIBLE.sub("", unicodedata.normalize("NFKC", secret.value)).casefold().strip()
        bare = _squeezed(word)
        named = secret.kind == "name" and (word in common or len(bare) < WORD_MIN)
        short = len(bare) < WORD_MIN and secret.kind == "text"
        if not bare or short:
            self.unguarded = (*self.unguarded, secret.label)
            return
        own = re.escape(word.rstrip("/\\"))
        pattern = NAMED.replace("{word}", own) if named else rf"(?<!\w){own}(?!\w)"
        self._words.append((secret.label, re.compile(pattern)))
        if not named and len(bare) >= SPACED_MIN:
            self._remember(self._parts, bare, secret.label)
            for form in {secret.value, secret.value.casefold(), secret.value.upper()}:
                self._encode(secret.label, form.encode())

    def _add_key(self, label: str, key: bytes) -> None:
        if len(key) < SPACED_MIN:
            self.unguarded = (*self.unguarded, label)
        else:
            self._encode(label, key)

    def _encode(self, label: str, value: bytes) -> None:
        """Remember bytes in every alphabet.

        What stands in front moves a text in base64 or base32 by some places, so that the first and
        last characters are not always the same.
        """
        self._remember(self._parts, value.hex(), label)
        self._remember(self._exact, base58.b58encode(value).decode(), label)
        for lead in range(3):
            text = base64.b64encode(bytes(lead) + value).decode().rstrip("=")
            self._remember(self._exact, _squeezed(text[lead + 1 : -1]), label)
        for lead in range(5):
            text = base64.b32encode(bytes(lead) + value).decode().rstrip("=").casefold()
            self._remember(self._parts, text[-(-lead * 8 // 5) : -1], label)

    def _remember(self, parts: dict[str, str], whole: str, label: str) -> None:
        size = min(len(whole), PART)
        self._sizes.add(size)
        for start in range(len(whole) - size + 1):
            parts.setdefault(whole[start : start + size], label)


def _plain(text: str) -> str:
    """Without invisible characters, escapes undone, letters in their normal form."""
    shown = ESCAPE.sub(lambda found: chr(int(next(filter(None, found.groups())), 16)), text)
    shown = DECIMAL.sub(lambda found: chr(int(found[1])), shown)
    return INVISIBLE.sub("", unicodedata.normalize("NFKC", shown))


def _squeezed(text: str) -> str:
    """Letters and digits alone."""
    return BETWEEN.sub("", text)


def _decoded(text: str) -> str:
    """What stands in hex, base64, base32 and base58 in a text; most of it means nothing."""
    squeezed = _squeezed(text)
    small = squeezed.casefold()
    raw = [_even(run[at:]) for run in HEX_RUN.findall(small) for at in (0, 1)]
    joined = "".join(text.split()).replace("-", "+").replace("_", "/")
    for run in {*BASE64_RUN.findall(joined), *BASE64_RUN.findall(squeezed)}:
        raw += [base64.b64decode(run[at : at + (len(run) - at) // 4 * 4]) for at in range(4)]
    for run in BASE32_RUN.findall(small):
        raw += [
            base64.b32decode(run[at : at + (len(run) - at) // 8 * 8].upper()) for at in range(8)
        ]
    raw += [base58.b58decode(run) for run in BASE58_RUN.findall(text)]
    return "\n".join(one.decode("latin-1") for one in raw)


def _even(run: str) -> bytes:
    return bytes.fromhex(run[: len(run) // 2 * 2])
