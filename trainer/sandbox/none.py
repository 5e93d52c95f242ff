"""No sandbox: for machines that have none, and only for code that the user answers for.

Limits of CPU, memory, time and file size still hold, since the worker enforces them; nothing is
hidden and nothing is forbidden.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.sandbox import Command, Guarantees, Mount


class NoSandbox:
    """Runs commands as they are, in the user's own name."""

    name = "none"

    def __init__(self, because: str = "") -> None:
        self._because = because

    def probe(self) -> Guarantees:
        """Promise nothing, and say why there is no sandbox."""
        note = f"no sandbox: {self._because}" if self._because else "no sandbox"
        return Guarantees(
            backend=self.name,
            files=False,
            network=False,
            processes=False,
            environment=False,
            privileges=False,
            kernel=False,
            note=note,
        )

    def path(self, mount: Mount) -> str:
        """Its own place: nothing is mounted."""
        return str(mount.source)

    def wrap(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        mounts: Sequence[Mount],
        *,
        slot: int,
        scratch: Path,
        devices: bool,
    ) -> Command:
        """The command itself, with `scratch` for a home."""
        home = {"HOME": str(scratch), "TMPDIR": str(scratch)}
        return Command(tuple(argv), {**env, **home})
