"""The own experiments as people see them: one row per program, with number, verdict and effect.

A pure reading of the own runs: the fold of `skep.evidence` says what they support, this says it in
words and columns. `runs`, `status`, the plot and results.tsv all show these rows. One machine's
verdicts are "reproduced by me"; what a swarm agrees on is not here.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct

from node.experiment import value_of
from skep.evidence import Candidate, Noise, Research, research
from skep.ports import TaskFacts
from skep.records import Edit, Run, SetConstant, program_id
from skep.tier import tier

DESCRIPTION_MAX = 200
OLD_VALUE_MAX = 24

Verdict = Literal["baseline", "keep", "discard", "crash", "pending"]
VERDICTS: dict[str, Verdict] = {"kept": "keep", "discarded": "discard", "failed": "crash"}

Source = Callable[[bytes], str]
"""Text of a program by its content id; KeyError where it is not known."""


class Experiment(Struct, frozen=True, kw_only=True):
    """One program and all its runs.

    Attributes:
        number: place in the order of first results; 0 is the start program. It never changes.
        program, parent: content ids; the start program has no parent.
        strategy: who proposed it.
        description: the edit in a few words.
        verdict: as in results.tsv, or `baseline`, or `pending` while evidence is missing.
        reason: the numbers behind the verdict in one clause.
        runs: record ids, oldest first.
        value: mean score of its re-runs on the pinned draw, in units of the metric; the screen's
            where there are none, None without a finished run.
        delta: child - parent by the evidence that there is (re-runs, else the screening run),
            in units of the metric, as measured.
        sigmas: the same in noise floors, as verdicts use them: the upper limit of sigma for
            re-runs, the best estimate for a screen; negative is better, whatever the direction.
        e: e-value of the re-runs.
        seconds: wall-clock time of all its runs, scoring included.
        memory_gib: highest peak memory.
    """

    number: int
    program: bytes
    parent: bytes | None
    strategy: str
    description: str
    verdict: Verdict
    reason: str
    runs: tuple[bytes, ...]
    value: float | None
    delta: float | None
    sigmas: float | None
    e: float | None
    seconds: float
    memory_gib: float


class History(Struct, frozen=True, kw_only=True):
    """Everything one node found out about one task on its present hardware tier.

    Attributes:
        task: facts of the task.
        tier: hardware tier of the rows; empty without runs.
        research: what the runs support.
        experiments: by number; empty without runs.
    """

    task: TaskFacts
    tier: str
    research: Research
    experiments: tuple[Experiment, ...]

    @property
    def lineage(self) -> tuple[Experiment, ...]:
        """From the start program to the champion; empty without runs."""
        chain = [self.research.start, *(kept.program for kept in self.research.kept)]
        rows = {row.program: row for row in self.experiments}
        return tuple(rows[program] for program in chain if program in rows)

    def row(self, program: bytes) -> Experiment | None:
        """The row of a program, if it was ever run."""
        return next((row for row in self.experiments if row.program == program), None)


def history(runs: Iterable[tuple[bytes, Run]], task: TaskFacts, source: Source) -> History:
    """The rows of a node's own runs.

    Runs of other tiers than the latest one's (the home moved, or the device changed) are left out:
    they cannot be compared.

    Args:
        runs: (record id, run) of one author and task, in feed order.
        task: its facts.
        source: for the old values in descriptions.
    """
    everything = list(runs)
    here = tier(everything[-1][1].environment) if everything else ""
    comparable = [(run_id, run) for run_id, run in everything if tier(run.environment) == here]
    start = program_id(task.seed_program)
    found = research(
        comparable,
        start=start,
        direction=task.direction,
        sigma_prior=task.sigma,
        noise_prior=task.noise,
    )
    by_program: dict[bytes, list[tuple[bytes, Run]]] = {}
    for run_id, run in comparable:
        by_program.setdefault(run.program, []).append((run_id, run))
    rows = []
    if start in by_program:
        rows.append(_baseline(start, by_program[start]))
    sign = -1 if task.direction == "max" else 1
    for number, candidate in enumerate(found.candidates.values(), 1):
        own = by_program[candidate.program]
        rows.append(_row(number, candidate, own, sign, found.noise, source))
    return History(task=task, tier=here, research=found, experiments=tuple(rows))


def _baseline(start: bytes, runs: Sequence[tuple[bytes, Run]]) -> Experiment:
    return Experiment(
        number=0,
        program=start,
        parent=None,
        strategy="baseline",
        description="baseline",
        verdict="baseline",
        reason="",
        delta=None,
        sigmas=None,
        e=None,
        runs=tuple(run_id for run_id, _ in runs),
        value=_mean_value(runs),
        seconds=_seconds(runs),
        memory_gib=_memory_gib(runs),
    )


def _row(
    number: int,
    candidate: Candidate,
    runs: Sequence[tuple[bytes, Run]],
    sign: int,
    noise: Noise,
    source: Source,
) -> Experiment:
    # After a change of champion the last re-run says what the program is compared with now.
    against = [run for _, run in runs if run.parent == candidate.parent]
    done = [run for run in against if run.status == "done"]
    screened = candidate.effect is None
    effect = candidate.delta if screened else candidate.effect
    sigma = noise.sigma if screened else noise.upper
    return Experiment(
        number=number,
        program=candidate.program,
        parent=candidate.parent,
        strategy=candidate.strategy,
        description=describe((done or against)[-1], source),
        verdict=VERDICTS.get(candidate.stage, "pending"),
        reason=candidate.reason,
        runs=tuple(run_id for run_id, _ in runs),
        value=_mean_value(_without_screen(runs)),
        delta=None if effect is None else sign * effect,
        sigmas=None if effect is None else effect / sigma,
        e=candidate.e,
        seconds=_seconds(runs),
        memory_gib=_memory_gib(runs),
    )


def describe(run: Run, source: Source) -> str:
    """The edit of a run in a few words: `LR 0.003 → 0.012`, else its author's line.

    The note of a failed run is the reason of the failure and says nothing of the edit.
    """
    if run.edits and all(isinstance(edit, SetConstant) for edit in run.edits):
        text = ", ".join(_setting(edit, run.parent, source) for edit in run.edits)
    elif run.note and run.status == "done":
        text = run.note
    else:
        text = ", ".join(_setting(edit, run.parent, source) for edit in run.edits) or run.strategy
    return text if len(text) <= DESCRIPTION_MAX else text[: DESCRIPTION_MAX - 1] + "…"


def _setting(edit: Edit, parent: bytes | None, source: Source) -> str:
    if not isinstance(edit, SetConstant):
        removed, added = len(edit.before.splitlines()), len(edit.after.splitlines())
        return f"line {edit.line}: -{removed} +{added}"
    new = repr(edit.value)
    try:
        old = written(edit.name, source(parent)) if parent else None
    except KeyError:
        old = None
    return f"{edit.name} {old} → {new}" if old else f"{edit.name} → {new}"


def written(name: str, source: str) -> str | None:
    """What a constant is set to, as the program writes it.

    By pattern, not by syntax tree: a table of a thousand rows must not parse a thousand programs.
    """
    pattern = rf"^[ \t]*{re.escape(name)}[ \t]*(?::[^=\n]+)?=[ \t]*([^#\n]+)"
    match = re.search(pattern, source, re.MULTILINE)
    value = match[1].strip() if match else ""
    return value if 0 < len(value) <= OLD_VALUE_MAX else None


def _without_screen(runs: Sequence[tuple[bytes, Run]]) -> Sequence[tuple[bytes, Run]]:
    """The re-runs; the screen, which was selected for its score, only where there are none."""
    finished = [(run_id, run) for run_id, run in runs if value_of(run) is not None]
    return finished[1:] or finished


def _mean_value(runs: Sequence[tuple[bytes, Run]]) -> float | None:
    values = [value for _, run in runs if (value := value_of(run)) is not None]
    return sum(values) / len(values) if values else None


def _seconds(runs: Sequence[tuple[bytes, Run]]) -> float:
    return sum(run.total_ms for _, run in runs) / 1000


def _memory_gib(runs: Sequence[tuple[bytes, Run]]) -> float:
    return max(run.peak_kib for _, run in runs) / 2**20
