"""The secrets of this machine that no text may carry away: keys, names, paths, tokens, addresses.

What is looked for is decided here, and what stands in its place; `skep.secrets` looks. A model is
told none of it: this is the net behind that wall.
"""

import getpass
import os
import platform
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from node.config import CONFIG_NAME, Settings
from node.labs import read_lab
from skep.errors import SkepError
from skep.events import Event, Said
from skep.secrets import Scanner, Secret
from strategies.endpoint import read_key

TELLING = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|SESSION|CANARY", re.IGNORECASE)
"""Names of environment variables whose values are nobody else's business."""

ADDRESS = re.compile(r"[/\\@:]")
"""What stands in paths, URLs and addresses, and in no name of a task."""


HELD_BACK = "(held back)"
"""What is published in the place of words that hold a secret."""

FAULT = re.compile(r"[A-Za-z_]\w{0,60}(?=:)")
"""The class of an exception, at the beginning of the reason for a crash."""


def wording(scanner: Scanner, emit: Callable[[Event], None]) -> Callable[[str], str]:
    """What becomes of words that are about to be published, whoever wrote them.

    A program can say anything when it crashes, so that its last line is not repeated unread.
    Whoever watches is told once of each kind of secret.

    Args:
        scanner: knows the secrets of this machine.
        emit: called with every event.
    """
    told: set[tuple[str, ...]] = set()

    def worded(text: str) -> str:
        found = scanner.found(text)
        if not found:
            return text
        if found not in told:
            told.add(found)
            words = f"published without its words, which hold {', '.join(found)}"
            emit(Said(f"a record was {words}", alarm=True))
        fault = FAULT.match(text)
        known = fault is not None and not scanner.found(fault[0])
        return f"{fault[0]}: {HELD_BACK}" if fault and known else HELD_BACK

    return worded


def scanner_of(
    settings: Settings, seed: bytes, public: str, environ: Mapping[str, str] = os.environ
) -> Scanner:
    """A scanner for everything that leaves a home.

    Args:
        settings: of the home.
        seed: 32 bytes of the node's private key.
        public: texts that everybody has: the seed program, program.md.
        environ: the node's environment.

    Raises:
        ConfigError: the file of a key cannot be read.
    """
    return Scanner(_secrets(settings, seed, environ), public)


def _secrets(settings: Settings, seed: bytes, environ: Mapping[str, str]) -> Iterator[Secret]:
    yield Secret("the key of this node", "key", seed)
    try:
        lab = read_lab(settings.home)
    except SkepError:
        lab = None  # A lab that does not read back is refused elsewhere.
    if lab:
        yield Secret("the key of the lab", "key", lab.key)
    if settings.openai_key_file:
        yield Secret("the key of the endpoint", "text", read_key(settings.openai_key_file).reveal())
    for path in {settings.home, settings.home.resolve(), Path.home()}:
        if len(path.parts) > 2:
            yield Secret("a path of this machine", "path", str(path))
    yield Secret("the name of this machine", "name", platform.node())
    for name in {_user(), environ.get("USER", ""), environ.get("LOGNAME", "")}:
        yield Secret("the name of the user", "name", name)
    for name, value in environ.items():
        if TELLING.search(name) and len(value) >= 8:
            yield Secret(f"the environment's {name}", "text", value)
    for value in _addresses(_config(settings.home)):
        yield Secret("an address or path of config.toml", "text", value)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _config(home: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((home / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # Whoever starts the node was told already.


def _addresses(value: object) -> Iterator[str]:
    """Values in which something is addressed, however deep."""
    if isinstance(value, dict):
        for one in value.values():
            yield from _addresses(one)
    elif isinstance(value, list):
        for one in value:
            yield from _addresses(one)
    elif isinstance(value, str) and len(value) >= 8 and ADDRESS.search(value):
        yield value
