"""What a program's last run cost, for buying the steps of its next one.

The whole of a training, metered from outside, says better what a step costs than a calibration
of a second, and says it for nothing. Each run tells the pace of one other: if several were bought
by the same measurement, its error would be theirs in common, and no scatter between them would
show it. (After a restart one may be told twice; that costs less than calibrating everything anew.)
"""

from skep.ports import Pace


class Paces:
    """Runs that have not told another's pace yet, the latest of each program."""

    def __init__(self) -> None:
        self._latest: dict[bytes, Pace] = {}

    def note(self, program: bytes, steps: int, spent_ms: int) -> None:
        """A run has ended; if it was metered, another may go by it."""
        if steps and spent_ms:
            self._latest[program] = Pace(steps, spent_ms)

    def take(self, program: bytes) -> Pace | None:
        """The pace for a run that begins now; None if it has to calibrate."""
        return self._latest.pop(program, None)
