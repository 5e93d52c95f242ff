"""`skep simulate`: what a swarm would come to, in virtual time and a world of known truth."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import to_builtins
from msgspec.structs import replace

from node.cli.output import AsJson, emit, facts
from node.export.documents import Document
from node.simulation.outcome import Found, Outcome, Summary, summary
from node.simulation.scenario import (
    Roots,
    Rule,
    Scenario,
    Tier,
    checked,
    lone,
    read_scenario,
)
from node.simulation.swarm import Swarm
from skep.errors import ConfigError

SEEDS_MAX = 10_000
TOLD_EVERY = 25
"""Runs between two signs of life."""


def simulate(
    scenario: Annotated[Path | None, Parameter(name="SCENARIO")] = None,
    /,
    *,
    nodes: int | None = None,
    world: str | None = None,
    runs: int | None = None,
    roots: Roots | None = None,
    liars: int | None = None,
    rule: Rule | None = None,
    seeds: int = 1,
    seed: int | None = None,
    json: AsJson = False,
) -> None:
    """Simulate a swarm: the code that decides is the real one, training is not.

    Args:
        scenario: JSON file that describes the swarm; options change single things in it.
        nodes: so many machines of the first tier, and no other tiers.
        world: letter of a world, A to H.
        runs: finished runs in all.
        roots: whose replications count: each machine's own (one), or those of all, as in a lab.
        liars: so many machines invent their results.
        rule: by which an edit is kept.
        seeds: simulate so many times, with this seed and those that follow.
        seed: the first of them; the same seed is the same course.
        json: print a JSON object.
    """
    base = read_scenario(scenario) if scenario else Scenario()
    given = {"world": world, "runs": runs, "roots": roots, "liars": liars, "rule": rule}
    chosen = replace(base, **{name: value for name, value in given.items() if value is not None})
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    if nodes is not None:
        first = chosen.tiers[0] if chosen.tiers else Tier()
        chosen = replace(chosen, tiers=(replace(first, count=nodes),))
    if not 1 <= seeds <= SEEDS_MAX:
        raise ConfigError(f"--seeds is {seeds}", f"It lies between 1 and {SEEDS_MAX}")
    outcomes, alone = _simulated(checked(chosen), seeds)
    found = summary(outcomes, alone)
    if json:
        emit(_document(chosen, found, outcomes))
    else:
        _show(chosen, found)


def _simulated(scenario: Scenario, seeds: int) -> tuple[list[Outcome], list[Outcome]]:
    """The outcomes of all seeds, and of one machine alone unless that is what is simulated."""
    outcomes, alone = [], []
    for number in range(seeds):
        with_seed = replace(scenario, seed=scenario.seed + number)
        outcomes.append(Swarm(with_seed).run(_progress(with_seed, number, seeds, "")))
        if scenario.nodes > 1:
            one = lone(with_seed)
            alone.append(Swarm(one).run(_progress(one, number, seeds, " of one machine")))
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    return outcomes, alone


def _progress(scenario: Scenario, number: int, seeds: int, of: str) -> Callable[[int], None]:
    """Shows on a terminal how far it is."""

    def tell(runs: int) -> None:
        if runs % TOLD_EVERY == 0:
            text = f"seed {number + 1} of {seeds}: {runs:,} of {scenario.runs:,} runs{of}"
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    return tell if sys.stderr.isatty() else lambda runs: None


def _show(scenario: Scenario, found: Summary) -> None:
    machines = ", ".join(
        f"{tier.count} {tier.name}" + (f" at {tier.speed:g}×" if tier.speed != 1.0 else "")
        for tier in scenario.tiers
    )
    liars = f", {scenario.liars} of them liars" if scenario.liars else ""
    world = scenario.world if isinstance(scenario.world, str) else "of its own"
    seeds = f"{found.seeds} seeds from {scenario.seed}" if found.seeds > 1 else scenario.seed
    error = f" ± {found.mean_error:.1f}" if found.mean_error is not None else ""
    spoilt = f"; {found.invented} steps brought in what liars invented" if scenario.liars else ""
    wasted = f"; {100 * found.wasted:.1f} % of time on lies" if scenario.liars else ""
    facts(
        [
            ("machines", f"{machines}{liars}"),
            ("world", f"{world}, {scenario.runs:,} runs, seed {seeds}"),
            ("virtual time", f"{found.hours:.1f} h"),
            ("true gain", f"best {found.best:.1f}σ, mean {found.mean:.1f}σ{error}"),
            ("one machine", _alone(found)),
            ("kept", f"{_found(found.kept)}{spoilt}"),
            ("confirmed", _found(found.confirmed)),
            ("runs by purpose", _percent(found.purposes)),
            ("by strategy", _percent(found.strategies)),
            ("replications", f"{100 * found.replications:.0f} % of runs{wasted}"),
            ("records", f"{found.records:,.0f}, {found.bytes / 1e6:.1f} MB"),
        ]
    )


def _alone(found: Summary) -> str:
    if found.alone is None:
        return ""
    hours = f"{found.alone:.1f}σ in {found.alone_hours:.1f} h with as many runs"
    if found.speed_up is None:
        return hours
    return f"{hours}; the swarm had as much {found.speed_up:.1f} times as soon"


def _found(found: Found) -> str:
    return (
        f"{found.decided:.1f}, {100 * found.false_share:.1f} % of them false; among them "
        f"{100 * found.large:.0f} % of the edits worth 1σ, {100 * found.great:.0f} % of 2σ"
    )


def _percent(shares: Mapping[str, float]) -> str:
    best = sorted(shares.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in best)


def _document(scenario: Scenario, found: Summary, outcomes: list[Outcome]) -> Document:
    return {
        "scenario": to_builtins(scenario),
        "summary": _with_false_shares(found),
        "seeds": [_with_false_shares(one) for one in outcomes],
    }


def _with_false_shares(one: Summary | Outcome) -> Document:
    document: Document = to_builtins(one)
    document["kept"]["false_share"] = one.kept.false_share
    document["confirmed"]["false_share"] = one.confirmed.false_share
    return document
