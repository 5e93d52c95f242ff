"""Options about other nodes and what they say, which `skep join` and `skep bootstrap` share."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from node.config import home_folder


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where to meet others, and how much of what they say to keep.

    Attributes:
        bootstrap: address of a peer to begin with, or a file of them; may be given several times.
        listen: where to listen for peers, as /ip4/0.0.0.0/tcp/4601.
        lab: a private lab: its name, or, for the first time, an invite; - reads that from the
            standard input, where no list of processes shows it.
        announce: address to tell others, where it is not one of this machine's own.
        mdns: look for others on the local network, and be found there.
        archive_gb: gigabytes of records of others to keep.
    """

    bootstrap: Annotated[list[str] | None, Parameter(negative="")] = None
    listen: Annotated[list[str] | None, Parameter(negative="")] = None
    announce: Annotated[list[str] | None, Parameter(negative="")] = None
    mdns: bool | None = None
    archive_gb: float | None = None
    lab: Annotated[str | None, Parameter(negative="")] = None

    def flags(self) -> dict[str, Any]:
        """As settings."""
        return {name: value for name, value in asdict(self).items() if name != "lab"}

    def home(self) -> Path:
        """The home to use: that of the lab, if one is named.

        Raises:
            ConfigError: there is no such lab, or the invite is broken.
            HomeError: the home cannot be written.
        """
        if self.lab is None:
            return home_folder()
        from gossip.invite import INVITE_MAX
        from node.labs import enter_lab

        named = sys.stdin.readline(INVITE_MAX).strip() if self.lab == "-" else self.lab
        return enter_lab(home_folder(), named)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Part(Meeting):
    """What a node does among others, and where it meets them.

    Attributes:
        solo: research alone, without peers.
        verify_only: try nothing of its own: only run again what peers found, and wait for that.
        train: run experiments; --no-train only keeps what the swarm says and passes it on.
    """

    solo: bool | None = None
    verify_only: bool | None = None
    train: bool | None = None
