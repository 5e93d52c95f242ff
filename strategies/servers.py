"""Where a model server is and how long to wait for it. Opens nothing."""

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec import Struct

from skep.errors import ConfigError

DEFAULT_PORT = 11434
"""ollama's."""


class Patience(Struct, frozen=True, kw_only=True):
    """How long to wait for a server, in seconds.

    Attributes:
        connect: for a connection.
        answer: for anything short: lists, names.
        first: for the first word of an answer: the model is loaded and reads the prompt before.
        silence: from word to word.
        whole: for a whole answer.
        unload: for memory to be free.
        poll: between two looks at whether it is.
    """

    connect: float = 5
    answer: float = 30
    first: float = 600
    silence: float = 60
    whole: float = 1800
    unload: float = 60
    poll: float = 0.2


def server_url(given: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """Where the server is: as given, else as `OLLAMA_HOST` has it, else on this machine.

    What is left out is filled in as ollama does it: `http`, this machine, port 11434 (80 or 443
    behind an explicit scheme). An address to listen on, `0.0.0.0`, means this machine.

    Raises:
        ConfigError: it is no address.
    """
    text = (given or environ.get("OLLAMA_HOST", "")).strip()
    source = f"--ollama-url {given}" if given else f"OLLAMA_HOST={text}"
    scheme, explicit, rest = text.rpartition("://")
    scheme = scheme.lower() or "http"
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        host, port = "", None
    if scheme not in ("http", "https") or not host or parts.username or " " in rest or parts.query:
        raise ConfigError(f"{source} is no address", "It looks like http://HOST:11434.")
    usual = {"http": 80, "https": 443}[scheme] if explicit else DEFAULT_PORT
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not listened on
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}:{port or usual}{parts.path.rstrip('/')}"


def stands_here(url: str) -> bool:
    """Whether a server is on this machine, by its address alone."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
