"""What a model is told: the messages for planner, coder, critic and editor, of plain values. Pure.

The words stand in `strategies/prompts`. Their order: who asks and by which rules; program.md; the
machine and its noise; what was learnt; the program; what to do, with the example of the format
last. What the user wrote, the rules and the program are never cut; of the rest, what matters least
goes first where all together are too long.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from string import Template
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from skep.errors import PromptError
from skep.ports import BETTER, Direction
from strategies.fence import code_line, fenced, quoted, trace
from strategies.reply import Format, Miss
from strategies.shown import Shown
from strategies.tokens import tokens

TOKENS_MAX = 12_000
CONFIRMED_MAX, REFUTED_MAX, HYPOTHESES_MAX, PASSAGES_MAX = 5, 10, 8, 4
EFFECTS_MAX = 20
"""Of either kind, for who changes program.md."""
EDIT_LINES = 80
PASSAGE_LINES = 3
"""Lines of 280 characters of one passage."""

BLOCKS_FROM, FUNCTIONS_FROM = 13e9, 6e9
"""Parameters: models called 14B have 14 to 15e9, those called 7B from 6.7e9."""
TRIED_MIN, APPLIED_MIN = 12, 0.5
"""A format of which, after so many ideas, fewer apply, gives way to the next simpler one."""
FORMATS: tuple[Format, ...] = ("blocks", "functions", "settings")

Role = Literal["planner", "coder", "critic"]
ROLES: tuple[Role, ...] = ("planner", "coder", "critic")


class Prompt(Struct, frozen=True):
    """What a model is sent: who it is and by which rules, and what is asked."""

    system: str
    user: str


class Learnt(Struct, frozen=True, kw_only=True):
    """One kind of edit, and what all runs of it came to.

    Attributes:
        topic: what is changed; may be words of strangers.
        effect: in sigma, negative is better.
        error: its standard deviation, in sigma.
        runs, machines: how many were compared.
    """

    topic: str
    effect: float
    error: float
    runs: int
    machines: int


class Thought(Struct, frozen=True, kw_only=True):
    """A hypothesis of a peer that nobody has tested, and how earlier ones of its author did."""

    text: str
    held: int
    failed: int


class Passage(Struct, frozen=True):
    """Part of a paper or note that the user gave."""

    title: str
    text: str


class Brief(Struct, frozen=True, kw_only=True):
    """All that a model may be told. Nothing in it is secret; numbers are the ledger's.

    Attributes:
        program_md: the user's own words.
        metric, direction: what is optimised.
        tier: hardware tier.
        run_s: seconds of one run here.
        steps: optimiser steps that these buy for the champion.
        score: of the champion, in units of the metric.
        sigma: noise floor, in the same.
        deny: names that may not be touched.
        constants: names that may be set.
        program: the champion as it is shown.
        confirmed: best first. refuted: most relevant first.
        hypotheses, passages: most relevant first.
    """

    program_md: str
    metric: str
    direction: Direction
    tier: str
    run_s: float
    steps: int
    score: float
    sigma: float
    deny: tuple[str, ...]
    constants: tuple[str, ...]
    program: Shown
    confirmed: tuple[Learnt, ...] = ()
    refuted: tuple[Learnt, ...] = ()
    hypotheses: tuple[Thought, ...] = ()
    passages: tuple[Passage, ...] = ()


class Experiment(Struct, frozen=True, kw_only=True):
    """A finished experiment, for the critic.

    Attributes:
        hypothesis: what it was to show.
        edit: what was changed, as text.
        status: how it ended, as in `skep.records.Status`.
        effect: child minus parent in sigma, negative is better; None without a score.
        error: its standard deviation in sigma.
        runs: of the child.
        curve: (step, training loss); ten of them are shown.
        log: what it printed, if it failed.
    """

    hypothesis: str
    edit: str
    status: str
    effect: float | None
    error: float
    runs: int
    curve: tuple[tuple[int, float], ...] = ()
    log: str = ""


class Arm(Struct, frozen=True, kw_only=True):
    """A way of finding ideas, and what came of it here.

    Attributes:
        name: of the strategy.
        tried: experiments that have their verdict.
        kept: how many of them were kept.
        minutes: what their runs took.
    """

    name: str
    tried: int
    kept: int
    minutes: float


class Told(Struct, frozen=True, kw_only=True):
    """What is known when program.md is to be changed; attributes as in `Brief`.

    Attributes:
        arms: the track record of each strategy.
    """

    program_md: str
    metric: str
    direction: Direction
    confirmed: tuple[Learnt, ...] = ()
    refuted: tuple[Learnt, ...] = ()
    arms: tuple[Arm, ...] = ()


def choose_format(
    size: float | None, applied: Mapping[Format, int], tried: Mapping[Format, int]
) -> Format:
    """The format to ask a model for: the first for its size in which enough applies.

    Where none is good enough, it is the one in which most applied, once all have been tried.

    Args:
        size: its parameters; None where nobody says so, as of hosted models, which are large.
        applied: how many ideas of this model applied, by format.
        tried: how many it wrote.
    """
    large = size is None or size >= BLOCKS_FROM
    first = 0 if large else 1 if size is not None and size >= FUNCTIONS_FROM else 2
    rates: dict[Format, float] = {}
    for form in FORMATS[first:]:
        count = tried.get(form, 0)
        rates[form] = applied.get(form, 0) / max(count, 1)
        if count < TRIED_MIN or rates[form] >= APPLIED_MIN:
            return form
    return max(rates, key=lambda form: rates[form])


def coder(
    brief: Brief, form: Format, *, ideas: int, tag: str, wish: str = "", limit: int = TOKENS_MAX
) -> Prompt:
    """Asks for edits.

    Args:
        brief: what to tell.
        form: how edits are to be written.
        ideas: how many.
        tag: 16 hex digits, new for each prompt.
        wish: a hypothesis that all of them are to test; may be a stranger's.
        limit: tokens of the whole, by `strategies.tokens`.

    Raises:
        PromptError: rules, program.md and program alone are too long.
        ValueError: the tag stands in a text.
    """
    names = ", ".join(brief.constants)
    task = _template("coder", ideas=str(ideas), format=_template(form, names=names))
    if wish:
        task = f"The hypothesis to test:\n\n{fenced(tag, 'hypothesis', quoted(wish))}\n\n{task}"
    return _fitting(brief, tag, task, limit)


def planner(brief: Brief, *, ideas: int, tag: str, limit: int = TOKENS_MAX) -> Prompt:
    """Asks for hypotheses; arguments and errors as of `coder`."""
    return _fitting(brief, tag, _template("planner", ideas=str(ideas)), limit)


def critic(brief: Brief, experiment: Experiment, *, tag: str, limit: int = TOKENS_MAX) -> Prompt:
    """Asks what a finished experiment has shown; arguments and errors as of `coder`."""
    task = f"{_experiment(experiment, tag)}\n\n{_template('critic')}"
    return _fitting(brief, tag, task, limit)


def editor(told: Told, *, tag: str) -> Prompt:
    """Asks for a change of program.md; errors as of `coder`."""
    system = _template("editor", metric=told.metric, direction=BETTER[told.direction], tag=tag)
    rows = [
        f"{arm.kept} of {arm.tried} kept, in {arm.minutes:.0f} minutes: {quoted(arm.name)}"
        for arm in told.arms
    ]
    parts = [
        f"program.md:\n\n{fenced(tag, 'program', told.program_md)}",
        *_learnt("These changes helped", told.confirmed[:EFFECTS_MAX], tag),
        *_learnt("These did not", told.refuted[:EFFECTS_MAX], tag),
    ]
    if rows:
        parts.append(f"Ideas by where they came from:\n\n{fenced(tag, 'arms', _listed(rows))}")
    prompt = Prompt(system, "\n\n".join([*parts, _template("program")]))
    if tokens(prompt.system) + tokens(prompt.user) > TOKENS_MAX:
        raise PromptError(f"program.md alone is over {TOKENS_MAX} tokens", "Shorten program.md.")
    return prompt


def repair(misses: Sequence[Miss]) -> str:
    """What is said, once, to a model of whose answer something did not apply."""
    faults = [
        f"{n}. {miss.hypothesis or 'An idea'}\n{miss.why}" for n, miss in enumerate(misses, 1)
    ]
    return _template("repair", faults="\n\n".join(faults))


def crashed(hypothesis: str, log: str, *, tag: str) -> str:
    """What is said to a model whose program failed.

    Args:
        hypothesis: of its idea.
        log: what the program printed; its end is shown as a text of others.
        tag: as of `coder`.
    """
    return _template("crash", hypothesis=quoted(hypothesis), trace=fenced(tag, "log", trace(log)))


def _fitting(brief: Brief, tag: str, task: str, limit: int) -> Prompt:
    """The prompt with as much of what was learnt as there is room for."""
    system = _template(
        "rules",
        metric=brief.metric,
        direction=BETTER[brief.direction],
        deny=", ".join(brief.deny) or "the seed",
        tag=tag,
    )
    for told in _shorter(brief):
        prompt = Prompt(system, "\n\n".join([*_parts(told, tag), task]))
        if tokens(prompt.system) + tokens(prompt.user) <= limit:
            return prompt
    raise PromptError(
        f"program.md and the program alone are over {limit} tokens",
        "Shorten program.md, or move what no experiment should change out of train.py.",
    )


def _shorter(brief: Brief) -> Iterator[Brief]:
    """The brief with less and less: the least relevant of what there is most of goes first."""
    limits = {
        "passages": PASSAGES_MAX,
        "hypotheses": HYPOTHESES_MAX,
        "refuted": REFUTED_MAX,
        "confirmed": CONFIRMED_MAX,
    }
    left = {name: getattr(brief, name)[:most] for name, most in limits.items()}
    while True:
        yield replace(brief, **left)
        name = max(left, key=lambda one: len(left[one]) / limits[one])
        if not left[name]:
            return
        left[name] = left[name][:-1]


def _parts(brief: Brief, tag: str) -> Iterator[str]:
    yield f"What the person who runs this machine asks for:\n\n{brief.program_md.strip()}"
    yield (
        f"The machine: {brief.tier}. One run takes {brief.run_s:.0f} s and pays for about"
        f" {brief.steps} steps of the program below. Its {brief.metric} is {brief.score:.4f}."
        f" Gains under 2 sigma are invisible here; sigma is {brief.sigma:.4f}."
    )
    yield from _learnt("These changes helped", brief.confirmed, tag)
    yield from _learnt("These did not, do not repeat them", brief.refuted, tag)
    if brief.hypotheses:
        rows = [
            f"of its author's ideas {one.held} held and {one.failed} failed: {quoted(one.text)}"
            for one in brief.hypotheses
        ]
        yield f"Others suggest, untested:\n\n{fenced(tag, 'hypotheses', _listed(rows))}"
    if brief.passages:
        rows = [row for one in brief.passages for row in _passage(one)]
        text = "\n".join(rows)
        yield f"From the user's library:\n\n{fenced(tag, 'passages', text)}"
    yield f"train.py:\n\n{fenced(tag, 'program', brief.program.text)}"


def _learnt(title: str, effects: Sequence[Learnt], tag: str) -> Iterator[str]:
    if effects:
        rows = [
            f"{one.effect:+.1f} +- {one.error:.1f} sigma, {one.runs} runs on {one.machines}"
            f" machines: {quoted(one.topic)}"
            for one in effects
        ]
        yield f"{title} (negative is better):\n\n{fenced(tag, 'effects', _listed(rows))}"


def _passage(passage: Passage) -> Iterator[str]:
    yield f"- {quoted(passage.title)}"
    words = " ".join(passage.text.split())
    size = 270  # so that no line grows over 280 by what `quoted` writes out
    for start in range(0, min(len(words), PASSAGE_LINES * size), size):
        yield f"  {quoted(words[start : start + size])}"


def _listed(rows: Sequence[str]) -> str:
    return "\n".join(f"- {row}" for row in rows)


def _experiment(done: Experiment, tag: str) -> str:
    rows = [code_line(row) for row in done.edit.split("\n")[:EDIT_LINES]]
    parts = [
        "The experiment:",
        fenced(tag, "hypothesis", quoted(done.hypothesis)),
        fenced(tag, "edit", "\n".join(rows)),
        f"It ended as: {done.status}. {_effect(done)}",
    ]
    if done.curve:
        chosen = dict([*done.curve[:: -(-len(done.curve) // 10)], done.curve[-1]])
        points = ", ".join(f"{step}: {loss:.3f}" for step, loss in chosen.items())
        parts.append(f"Training loss by step: {points}.")
    if done.log:
        parts.append(fenced(tag, "log", trace(done.log)))
    return "\n\n".join(parts)


def _effect(done: Experiment) -> str:
    if done.effect is None:
        return "There is no score."
    return (
        f"Effect against its parent: {done.effect:+.1f} +- {done.error:.1f} sigma"
        f" in {done.runs} runs; negative is better."
    )


def _template(name: str, **values: str) -> str:
    return _text(name).substitute(values).strip()


@cache
def _text(name: str) -> Template:
    file = resources.files("strategies").joinpath("prompts", f"{name}.md")
    return Template(file.read_text("utf-8"))
