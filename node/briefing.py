"""What the language model is told: a `Brief` out of ledger, notebook, library and program.md.

Everything in it is measured or fenced text; nothing of it is a secret. Which words carry what is
told is `strategies.prompt`'s business, when it is asked `node.thinking`'s.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gossip.jobs import job_of
from gossip.view import LedgerView
from node.experiment import Bench
from node.home import Home
from node.knowledge import topic_of
from node.notebook import SCREEN_PARENTS, Notebook
from node.program_md import shipped
from node.ranking import ranked
from node.thoughts import Hypothesis, Thoughts
from skep.errors import PatchError
from skep.evidence import Candidate
from skep.evidence.evalue import variance_of
from skep.evidence.research import SETTLED, Stage
from skep.patch import hunks
from skep.ports import ABLATE
from skep.records import Run
from skep.tier import tier
from strategies.constants import form
from strategies.prompt import (
    CONFIRMED_MAX,
    HYPOTHESES_MAX,
    REFUTED_MAX,
    Brief,
    Experiment,
    Learnt,
    Passage,
    Thought,
)
from strategies.shown import Shown, bare, whole

PROGRAM_MD_BYTES = 64 * 1024
LOG_BYTES = 64 * 1024
RECENT = 60
"""Own experiments that are looked through for what did not help."""


class Told(NamedTuple):
    """A brief, with the hypotheses of peers in it as they were said."""

    brief: Brief
    hypotheses: Sequence[Hypothesis]


class Briefing:
    """Puts together what a model is told.

    Args:
        notebook: what the node knows.
        ledger: own runs, and texts of programs.
        bench: task and folder of runs.
        thoughts: hypotheses of peers.
        home: where program.md may be.
        roots: whose replications count for verdicts.
    """

    def __init__(
        self,
        notebook: Notebook,
        ledger: LedgerView,
        bench: Bench,
        thoughts: Thoughts,
        home: Home,
        roots: Callable[[], frozenset[bytes]],
    ) -> None:
        self._notebook = notebook
        self._ledger = ledger
        self._bench = bench
        self._thoughts = thoughts
        self._home = home
        self._roots = roots
        self._here = tier(bench.environment)

    @property
    def can_tell(self) -> bool:
        """Whether the champion has a score and a text; before, there is nothing to improve on.

        After a database was lost its text is rebuilt when the search begins.
        """
        champion = self._notebook.research.champion
        known = champion in self._ledger.programs()
        return known and self._notebook.level(champion) is not None

    def query(self, about: str) -> str:
        """What to look for: what a question is about, else what was tried last."""
        return about or self._words()

    def brief(self, query: str, passages: Sequence[Passage]) -> Told:
        """Everything that is worth telling now.

        Args:
            query: words of what it is about; decides what of the rest is relevant.
            passages: of the library.

        Raises:
            PatchError: the champion cannot be shown.
        """
        task, research = self._bench.task, self._notebook.research
        champion = self._ledger.program(research.champion)
        runs = [run for run in self._runs(research.champion) if run.status == "done"]
        thoughts = self._thoughts.relevant(query, HYPOTHESES_MAX, self.stage)
        found = form(champion, frozenset(task.deny))
        brief = Brief(
            program_md=program_md(self._home),
            metric=task.metric,
            direction=task.direction,
            tier=self._here,
            run_s=_mean([run.total_ms / 1000 for run in runs]),
            steps=round(_mean([run.steps for run in runs])),
            score=self._notebook.level(research.champion) or 0.0,
            sigma=research.noise.sigma,
            deny=task.deny,
            constants=tuple(found.values) if found else (),
            program=self.shown(champion),
            confirmed=self._confirmed(),
            refuted=self._refuted(query),
            hypotheses=tuple(self._thought(one) for one in thoughts),
            passages=tuple(passages),
        )
        return Told(brief, thoughts)

    def foreign(self, source: str) -> bool:
        """Whether a program that was taken on here holds text of strangers."""
        return self._notebook.provenance.code_of(source) == "stranger"

    def shown(self, source: str) -> Shown:
        """A program as a model may see it.

        Raises:
            PatchError: it cannot be shown.
        """
        return (
            bare(source, self._bench.task.seed_program) if self.foreign(source) else whole(source)
        )

    def stage(self, program: bytes) -> Stage | None:
        """Where a program stands by the own runs."""
        known = self._notebook.research.candidates.get(program)
        return known.stage if known else None

    def experiment(self, program: bytes) -> Experiment | None:
        """A settled experiment for the critic; None for one that is not, or cannot be shown."""
        known = self._notebook.research.candidates.get(program)
        runs = self._runs(program)
        if known is None or known.stage not in SETTLED or not runs:
            return None
        effect, spread, count = self._effect(known)
        last = runs[-1]
        try:
            edit = self._diff(known.parent, program)
        except (PatchError, KeyError):
            return None
        return Experiment(
            hypothesis=self._notebook.note_of(program) or last.note,
            edit=edit,
            status=last.status,
            effect=effect,
            error=spread,
            runs=count,
            curve=self._curve(last),
            log=self.log(last) if last.status != "done" else "",
        )

    def records_of(self, program: bytes) -> tuple[bytes, ...]:
        """Ids of the latest own runs of a program."""
        runs = self._ledger.runs(self._bench.task.id)
        return tuple(one for one, run in runs if run.program == program)[-4:]

    def log(self, run: Run) -> str:
        """What the program of a run printed, and why it ended."""
        folder = self._bench.folder / job_of(self._bench.task.id, run)
        try:
            with open(folder / "log.txt", "rb") as file:
                text = file.read(2 * LOG_BYTES + 4096).decode(errors="replace")
        except OSError:
            text = ""
        return f"{text.rstrip()}\n{run.status}: {run.note}".strip()

    def _curve(self, run: Run) -> tuple[tuple[int, float], ...]:
        path = self._bench.folder / job_of(self._bench.task.id, run) / "curve.json"
        try:
            points = [(int(step), float(loss)) for step, loss in json.loads(path.read_bytes())]
        except (OSError, ValueError, TypeError, OverflowError):
            return ()
        return tuple(point for point in points if math.isfinite(point[1]))

    def _diff(self, parent: bytes, program: bytes) -> str:
        old, new = self._ledger.program(parent), self._ledger.program(program)
        texts = [self.shown(text).text for text in (old, new)]
        rows = [
            f"{sign}{row}"
            for hunk in hunks(*texts)
            for sign, part in (("-", hunk.before), ("+", hunk.after))
            for row in part.splitlines()
        ]
        return "\n".join(rows)

    def _runs(self, program: bytes) -> list[Run]:
        return [
            run
            for _, run in self._ledger.runs(self._bench.task.id)
            if run.program == program and tier(run.environment) == self._here
        ]

    def _effect(self, known: Candidate) -> tuple[float | None, float, int]:
        """Effect and its standard deviation in sigma, and the runs behind it."""
        sigma = self._notebook.research.noise.sigma
        children = max(known.reruns, 1)
        spread = math.sqrt(variance_of(1.0, children=children, parents=SCREEN_PARENTS, between=0))
        effect = known.delta if known.effect is None else known.effect
        return (None if effect is None else effect / sigma), spread, children

    def _words(self) -> str:
        """What the latest own experiments were about."""
        latest = list(self._notebook.research.candidates)[-5:]
        return " ".join(self._topic(program) for program in latest)

    def _topic(self, program: bytes) -> str:
        runs = self._runs(program)
        return self._notebook.note_of(program) or (topic_of(runs[0], self._text) if runs else "")

    def _text(self, program: bytes) -> str | None:
        known = self._ledger.programs().get(program)
        return known.source if known else None

    def _confirmed(self) -> tuple[Learnt, ...]:
        research, sigma = self._notebook.research, self._notebook.research.noise.sigma
        own = [
            Learnt(
                topic=self._topic(kept.program),
                effect=kept.effect / sigma,
                error=kept.spread / sigma,
                runs=kept.reruns,
                machines=1,
            )
            for kept in research.kept
            if kept.strategy != ABLATE
        ]
        mine = {kept.program for kept in research.kept}
        swarm = [one for program, one in self._judged("confirmed") if program not in mine]
        return tuple(sorted([*own, *swarm], key=lambda one: one.effect)[:CONFIRMED_MAX])

    def _refuted(self, query: str) -> tuple[Learnt, ...]:
        known = list(self._notebook.research.candidates.values())[-RECENT:]
        failed = [one for one in reversed(known) if one.stage == "discarded" and one.delta]
        own = []
        for one in (one for one in failed if one.strategy != ABLATE):
            effect, spread, runs = self._effect(one)
            topic = self._topic(one.program)
            if effect is not None and topic:
                row = Learnt(topic=topic, effect=effect, error=spread, runs=runs, machines=1)
                own.append(row)
        mine = {one.program for one in failed}
        swarm = [
            one
            for program, one in self._judged("refuted", "overturned")
            if program not in mine and one.topic
        ]
        rows = [*own, *swarm]
        order = dict.fromkeys([*ranked(query, [one.topic for one in rows]), *range(len(rows))])
        return tuple(rows[place] for place in list(order)[:REFUTED_MAX])

    def _judged(self, *states: str) -> list[tuple[bytes, Learnt]]:
        """Programs of claims that the swarm has judged so, and what was learnt."""
        verdicts = self._notebook.evidence.verdicts(self._roots())
        found = []
        for one in verdicts.claims.values():
            if one.state not in states or one.effect is None or one.spread is None:
                continue
            claim = one.claim.claim
            learnt = Learnt(
                topic=claim.note,
                effect=one.effect / verdicts.sigma,
                error=one.spread / verdicts.sigma,
                runs=sum(voice.replication.children for voice in one.voices if voice.counts),
                machines=one.counted,
            )
            found.append((claim.program, learnt))
        return found

    def confirmed_of(self, programs: set[bytes]) -> int:
        """How many of these programs the swarm confirmed."""
        return len({program for program, _ in self._judged("confirmed")} & programs)

    def _thought(self, one: Hypothesis) -> Thought:
        held, failed = self._thoughts.record(one.author, self.stage)
        return Thought(text=one.text, held=held, failed=failed)


def program_md(home: Home) -> str:
    """What the user wants researched: the home's program.md, else the one that comes with Skep.

    It is read each time, so that a change counts from the next question on.
    """
    try:
        with open(home.program_md, "rb") as file:
            return file.read(PROGRAM_MD_BYTES).decode(errors="replace")
    except OSError:
        return shipped().read_text("utf-8")


def added_lines(before: str, after: str) -> list[str]:
    """What an edit brings: the lines that only the new program has."""
    return [one.after for one in hunks(before, after)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
