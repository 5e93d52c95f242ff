"""From what a worker metered and a candidate reported to an `Outcome`. Pure.

What was seen from outside comes first; the candidate's own word only decides between the ways in
which it can fail, and what it says of itself (tokens, losses, parameters) is recorded as said.
"""

import signal

from msgspec import Struct, field

from skep.ports import Outcome
from skep.records import Status
from trainer.log import printable
from trainer.messages import Begun, Calibrated, Failed, Finished, Garbled, Report, Step
from trainer.meter import Ended

CURVE_POINTS = 500
REASON_CHARACTERS = 200

LIMITS: dict[str, tuple[Status, str]] = {
    "memory": ("oom", "it used more memory than it may"),
    "cpu": ("timeout", "it used more CPU time than it may"),
    "wall": ("timeout", "it took longer than it may"),
    "processes": ("killed", "it started more processes than it may"),
    "folder": ("killed", "it wrote more than its scratch folder may hold"),
    "order": ("killed", "it was stopped"),
}


class Said(Struct):
    """What a candidate reported in one phase, the last word of each kind."""

    begun: bool = False
    step: int = 0
    tokens: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    calibrated: Calibrated | None = None
    finished: Finished | None = None
    failed: Failed | None = None
    garbled: bool = False

    def hear(self, report: Report | Garbled) -> None:
        """Take up one more report."""
        match report:
            case Begun():
                self.begun = True
            case Step():
                self.step, self.tokens = report.step, report.tokens
                self.curve.append((report.step, report.loss))
                if len(self.curve) > CURVE_POINTS:
                    del self.curve[::2]
            case Calibrated():
                self.calibrated = report
            case Finished():
                self.finished = report
            case Failed():
                self.failed = report
            case Garbled():
                self.garbled = True


def failure(ended: Ended, said: Said, *, complete: bool) -> tuple[Status, str] | None:
    """How a phase failed, or None when it did what it was for.

    Args:
        ended: what the worker saw.
        said: what the candidate reported.
        complete: whether it reported what the phase is to produce.
    """
    if ended.stopped:
        return LIMITS[ended.stopped]
    if said.garbled:
        return "crash", "it wrote garbage into the result pipe"
    if said.failed:
        return said.failed.kind, printable(said.failed.reason)[:REASON_CHARACTERS]
    if ended.status == -signal.SIGXCPU:
        return LIMITS["cpu"]
    if ended.status == -signal.SIGKILL:
        return "killed", "it was killed by a signal"
    if ended.status < 0:
        return "crash", f"it died of {signal.Signals(-ended.status).name}"
    if not complete or ended.status:
        return "crash", f"it ended early, with exit status {ended.status}"
    return None


def failed(status: Status, reason: str, said: Said, log_tail: str) -> Outcome:
    """The outcome of a training that left nothing to score."""
    return Outcome(
        status=status,
        reason=reason,
        steps=said.step,
        tokens=said.tokens,
        curve=tuple(said.curve),
        log_tail=log_tail,
    )
