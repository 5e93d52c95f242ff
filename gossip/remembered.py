"""Addresses of peers that answered, noted in the home so that the next start knows whom to ask.

A convenience: what is lost here, others will tell again.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

PEERS_FILE = "peers.json"
REMEMBERED_MAX = 64


def remembered_peers(home: Path) -> list[str]:
    """Addresses that were noted in a home; a damaged file is as good as none."""
    try:
        found = msgspec.json.decode((home / PEERS_FILE).read_bytes(), type=list[str])
    except (OSError, ValueError):
        return []
    return found[:REMEMBERED_MAX]


def remember_peers(home: Path, addresses: Sequence[str]) -> None:
    """Note addresses in place of those noted before. None change nothing; failing does no harm."""
    if not addresses:
        return
    fresh = (home / PEERS_FILE).with_suffix(".tmp")
    with contextlib.suppress(OSError):
        fresh.write_bytes(msgspec.json.encode(addresses[:REMEMBERED_MAX]))
        fresh.replace(home / PEERS_FILE)
