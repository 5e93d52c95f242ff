"""Which kept edits could be left out of the champion, and which were, by the own runs. Pure.

Steps are read off what was kept and what each kept program was made from. What an ablation left
out is found by leaving out again: it is the edit without which its champion was the same text.
Whether the champion still holds an edit is found out by whoever takes it out.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from functools import lru_cache

from gossip.jobs import Job
from node.finds import FINDS_MAX, Parent, Text, finds, measured
from skep.errors import PatchError
from skep.evidence import Candidate, Kept, Research
from skep.evidence.research import SETTLED
from skep.merge import merge
from skep.ports import ABLATE, Find, Step
from skep.records import Run
from skep.source import lines
from skep.undo import Part, is_held, parts, without
from strategies.recombine import parts_of, shown

ABLATION_SHARE = 0.1
"""Part of this node's runs that may be screens and re-runs of ablations."""

STACKS_MAX = 2
"""Stacks in which one edit is tried: the whole one, and a half of it."""

RECOMBINE = "recombine"
NUMBER = re.compile(r"-?(?<![A-Za-z0-9_])[0-9][0-9a-zA-Z_.]*([eE]-?[0-9]+)?|\*\*")


class Makeup:
    """Takes kept programs apart. What was once found out of texts is remembered.

    Args:
        text: of a program; None where it is not known, or must not be merged.
        parent: the program that another was made from.
    """

    def __init__(self, text: Text, parent: Parent) -> None:
        self._text = text
        self._parent = parent
        self._members: dict[bytes, tuple[Part, ...]] = {}
        self._left_out: dict[tuple[bytes, str, str], bool] = {}
        self._runs = self._ablation_runs = 0
        self._stacks: set[bytes] = set()
        self._stacked: Counter[str] = Counter()

    def take_in(self, run: Run) -> None:
        """Count an own run."""
        self._runs += 1
        if run.strategy == RECOMBINE and run.program not in self._stacks:
            self._stacks.add(run.program)
            self._stacked.update(parts_of(run.note))
        self._ablation_runs += run.strategy == ABLATE

    def due(self, research: Research, flying: Collection[Job]) -> tuple[Step, ...]:
        """The steps, if one more ablation may begin: one at a time, and within their share."""
        busy = any(job.strategy == ABLATE for job in flying) or any(
            one.stage == "open" and one.strategy == ABLATE for one in research.candidates.values()
        )
        if busy or self._ablation_runs >= ABLATION_SHARE * self._runs:
            return ()
        return self.steps(research)

    def steps(self, research: Research) -> tuple[Step, ...]:
        """Edits that were kept, oldest first; those that are not in the champion among them."""
        return tuple(
            step
            for kept in research.kept
            if kept.strategy != ABLATE
            for step in self._steps_of(kept, research)
        )

    def finds(self, research: Research) -> tuple[Find, ...]:
        """What could be recombined: not what an ablation that was kept has left out, nor what has
        been in stacks often enough; each new champion would else be tried with all of it again.
        """
        dropped = [kept.program for kept in research.kept if kept.strategy == ABLATE]
        return tuple(
            find
            for find in finds(research, self._text, self._parent)
            if self._stacked[shown(find)] < STACKS_MAX
            and not any(self._leaves_out(one, find.source, find.base) for one in dropped)
        )

    def ablations(self, research: Research, source: str, base: str) -> list[Candidate]:
        """The ablations, oldest first, that left an edit out."""
        return [
            one
            for one in research.candidates.values()
            if one.strategy == ABLATE and self._leaves_out(one.program, source, base)
        ]

    def _steps_of(self, kept: Kept, research: Research) -> Iterable[Step]:
        found = self.parts_of(kept, research)
        for part in found:
            yield Step(
                program=kept.program,
                name=part.name,
                source=part.source,
                base=part.base,
                effect=kept.effect / len(found),
                spread=kept.spread,
                since=self._since(research, part),
            )

    def parts_of(self, kept: Kept, research: Research) -> tuple[Part, ...]:
        """What a kept program brought, taken apart; nothing where a text is missing."""
        if kept.program in self._members:
            return self._members[kept.program]
        made_from = self._parent(kept.program)
        source, base = self._text(kept.program), self._text(made_from) if made_from else None
        if source is None or base is None:
            return ()
        try:
            found = parts(source, base)
        except PatchError:
            return ()
        if len(found) == 1 and kept.strategy == RECOMBINE:
            found = self._edits_of(source, base, kept, research) or found
        self._members[kept.program] = found
        return found

    def _edits_of(self, source: str, base: str, kept: Kept, research: Research) -> tuple[Part, ...]:
        """The edits of a stack: those that helped before it and are in it, not in its parent."""
        helped: list[tuple[float, bytes]] = []
        for one in research.candidates.values():
            if one.program == kept.program:
                break  # What came later is in no stack of then.
            effect = measured(one, research.noise.sigma)
            if effect and effect[0] < 0.0:
                helped.append((effect[0], one.program))
        found = []
        for _, program in sorted(helped)[:FINDS_MAX]:
            before = self._parent(program)
            texts = self._text(program), self._text(before) if before else None
            if texts[0] is None or texts[1] is None:
                continue
            held = is_held(source, texts[0], texts[1])
            if held and not is_held(base, texts[0], texts[1]):
                found.append(Part(name="", source=texts[0], base=texts[1]))
        return tuple(found)

    def _since(self, research: Research, part: Part) -> int | None:
        judged = [
            one for one in self.ablations(research, part.source, part.base) if one.stage in SETTLED
        ]
        if not judged:
            return None
        chain = [research.start, *(kept.program for kept in research.kept)]
        parent = judged[-1].parent
        return len(chain) - 1 - chain.index(parent) if parent in chain else 0

    def _leaves_out(self, ablation: bytes, source: str, base: str) -> bool:
        """Whether an ablation is its parent without an edit."""
        key = ablation, source, base
        if key not in self._left_out:
            parent = self._parent(ablation)
            before, after = self._text(parent) if parent else None, self._text(ablation)
            if before is None or after is None:
                return False
            self._left_out[key] = _is_without(after, before, source, base)
        return self._left_out[key]


def _is_without(less: str, program: str, source: str, base: str) -> bool:
    """Whether `less` is a program without an edit, or the edit makes the program of it.

    Most edits change other lines altogether, which is found out without a merge.
    """
    if _changed(program, less) != _changed(source, base):
        return False
    try:
        return without(program, source, base) == less or merge(base, less, source) == program
    except PatchError:
        return False


@lru_cache(maxsize=1024)
def _changed(before: str, after: str) -> tuple[frozenset[tuple[str, int]], ...]:
    """The lines that go and those that come, how often, without the numbers in them."""
    old, new = Counter(lines(before)), Counter(lines(after))
    return tuple(
        frozenset(Counter(NUMBER.sub("#", line) for line in less.elements()).items())
        for less in (old - new, new - old)
    )
