"""Every program that ran here with its scores, as strategies see them. Pure."""

from collections.abc import Iterable, Mapping

from gossip.statements import Program
from node.experiment import value_of
from skep.ports import Trial
from skep.records import Run


def trials(
    runs: Iterable[tuple[bytes, Run]], programs: Mapping[bytes, Program]
) -> tuple[Trial, ...]:
    """Programs in the order of their first run; those whose text is not known are left out."""
    seen: dict[bytes, tuple[list[float], int]] = {}
    for _, run in runs:
        values, failed = seen.get(run.program, ([], 0))
        value = value_of(run)
        if value is not None:
            values.append(value)
        seen[run.program] = values, failed + (run.status not in ("done", "void"))
    return tuple(
        Trial(
            program=program,
            source=programs[program].source,
            values=tuple(values),
            failed=failed,
        )
        for program, (values, failed) in seen.items()
        if program in programs
    )
