"""What a notebook needs of a home: records and programs to read, and checkpoints that are kept.

Protocols, and the one implementation that the ledger does not bring: checkpoints in files. A
simulated node has neither files nor a ledger, and the same notebook.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from gossip.statements import Program
from node.experiment import CHECKPOINT_NAME
from skep.records import SignedRecord


class Records(Protocol):
    """The part of the ledger that a notebook reads."""

    def said_by(self, author: bytes, task: bytes, kind: str) -> list[SignedRecord]:
        """Records of one kind by one author, in feed order."""
        ...

    def program(self, content_id: bytes) -> str:
        """Text of a program; a KeyError where it is not known."""
        ...

    def programs(self) -> Mapping[bytes, Program]:
        """All programs known here by content id."""
        ...


class Checkpoints(Protocol):
    """Models of finished runs, by the names of their jobs, as long as they are kept."""

    def has(self, job: str) -> bool:
        """Whether the model of a job can still be scored."""
        ...

    def keep_only(self, jobs: Collection[str]) -> None:
        """Delete those of all other jobs."""
        ...


class CheckpointFiles:
    """Checkpoints in the folders of their jobs.

    Args:
        folder: `runs/` of the home.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, job: str) -> bool:
        """Whether its file is there."""
        return (self._folder / job / CHECKPOINT_NAME).exists()

    def keep_only(self, jobs: Collection[str]) -> None:
        """Delete the files of all other jobs."""
        for path in self._folder.glob(f"*/{CHECKPOINT_NAME}"):
            if path.parent.name not in jobs:
                path.unlink(missing_ok=True)
