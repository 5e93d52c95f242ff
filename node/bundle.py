"""The support bundle: what somebody who helps needs to know of a machine, and nothing secret.

A zip of text files: the checks of `node.doctor`, every escape attempt, versions, settings and
counts. Keys, programs, logs and the ledger stay out; paths below the user's home say `~`.
"""

import json
import platform
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from msgspec import structs

from node.config import CONFIG_NAME
from node.doctor import Check
from skep.errors import ConfigError
from trainer.sandbox.probing import Tried

PACKAGES = ("skep", "torch", "libp2p", "trio", "msgpack", "msgspec", "numpy", "sqlite-utils")
CONFIG_MAX_BYTES = 64 * 1024


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
    config = root / CONFIG_NAME
    if config.is_file():
        with config.open(encoding="utf-8", errors="replace") as file:
            files[CONFIG_NAME] = file.read(CONFIG_MAX_BYTES)
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
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _anonymous(text: str) -> str:
    """Without the user's name, as far as paths and the machine's name tell it."""
    for secret, instead in ((str(Path.home()), "~"), (platform.node(), "HOST")):
        if len(secret) > 1:
            text = text.replace(secret, instead)
    return text
