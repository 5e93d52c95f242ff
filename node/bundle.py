"""The support bundle: what somebody who helps needs to know of a machine, and nothing secret.

A zip of text files: the checks of `node.doctor`, every escape attempt, versions and settings. Keys,
programs, logs, the ledger and the text of config.toml (which may say anything) stay out; paths
below the user's home say `~`, and addresses of this machine and of peers do not say where.
"""

import json
import os
import platform
import re
import sys
import zipfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from msgspec import structs

from node.check import Check
from node.config import KEYS, load
from skep.errors import ConfigError
from trainer.sandbox.probing import Tried

_ADDRESS = re.compile(
    r"/(ip[46]|dns[46]?)/(?!(?:0\.0\.0\.0|127\.0\.0\.1|::1?)/)[^/\s\"]+(/tcp/\d+)"
)
_SERVER = re.compile(r'("\w+_url": "https?://)[^/"]+')
_PEER = re.compile(r"12D3KooW\w+")

PACKAGES = ("skep", "torch", "libp2p", "trio", "msgpack", "msgspec", "numpy", "sqlite-utils")


def write_bundle(path: Path, root: Path, checks: list[Check], tried: list[Tried]) -> None:
    """Write the bundle.

    Args:
        path: a zip file that is not there yet.
        root: the home folder.
        checks, tried: what `skep doctor` found.

    Raises:
        ConfigError: the file exists or cannot be written.
    """
    files = {
        "checks.json": _json([structs.asdict(check) for check in checks]),
        "escape-attempts.json": _json([structs.asdict(attempt) for attempt in tried]),
        "versions.json": _json(_versions()),
    }
    with suppress(ConfigError):  # one of the checks says what is wrong with it
        settings = load(root)
        files["settings.json"] = _json({key: getattr(settings, key) for key in KEYS})
    try:
        with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as bundle:
            for name, text in files.items():
                bundle.writestr(name, _anonymous(text))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror})", "Name a new file: --bundle FILE.zip."
        ) from error


def _versions() -> dict[str, str]:
    found = {"python": sys.version, "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"


def _anonymous(text: str) -> str:
    """Without peers, and the user's name as far as paths and the machine's name tell it."""
    text = _PEER.sub("PEER", _ADDRESS.sub(r"/\1/ADDRESS\2", text))
    text = _SERVER.sub(r"\1ADDRESS", text)
    home = Path.home()
    names = {home.name, *(os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER"))}
    for secret, instead in ((str(home), "~"), (platform.node(), "HOST")):
        if len(secret) > 1:
            text = text.replace(secret, instead)
    for name in filter(None, names):
        text = re.sub(rf"(?<=/){re.escape(name)}(?![\w.-])", "USER", text)
    return text
