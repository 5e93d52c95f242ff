"""Options about other nodes, which `skep join` and `skep bootstrap` share."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where to meet others.

    Attributes:
        bootstrap: address of a peer to begin with, or a file of them; may be given several times.
        listen: where to listen for peers, as /ip4/0.0.0.0/tcp/4601.
        announce: address to tell others, where it is not one of this machine's own.
    """

    bootstrap: Annotated[list[str] | None, Parameter(negative="")] = None
    listen: Annotated[list[str] | None, Parameter(negative="")] = None
    announce: Annotated[list[str] | None, Parameter(negative="")] = None

    def flags(self) -> dict[str, Any]:
        """As settings."""
        return asdict(self)
