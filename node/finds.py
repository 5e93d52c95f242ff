"""Which edits helped on this machine without being in the champion: what can be recombined. Pure.

Edits that were too small to be kept by themselves, those that a better one overtook, and what was
kept before a peer's program took its place. Whether the champion holds one already is found out by
whoever merges it.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

from node.plan import SCREEN_OPTIMISM
from skep.evidence import Candidate, Research
from skep.evidence.evalue import variance_of
from skep.evidence.research import BASELINES_MIN
from skep.ports import Find

FINDS_MAX = 12
Text = Callable[[bytes], str | None]
Parent = Callable[[bytes], bytes | None]


def finds(research: Research, text: Text, parent: Parent) -> tuple[Find, ...]:
    """Edits that helped, most of all first.

    Args:
        research: what the own runs support.
        text: of a program; None where it is not known.
        parent: the program that another was made from.
    """
    candidates = research.candidates.values()
    known = {one.program: measured(one, research.noise.sigma) for one in candidates}
    helped = {
        program: found
        for program, found in known.items()
        if found and found[0] < 0.0 and program != research.champion
    }
    best = sorted(helped, key=lambda program: helped[program])[:FINDS_MAX]
    found = (_find(program, *helped[program], text, parent) for program in best)
    return tuple(one for one in found if one is not None)


def _find(program: bytes, effect: float, spread: float, text: Text, parent: Parent) -> Find | None:
    base = parent(program)
    source, before = text(program), text(base) if base else None
    if source is None or before is None:
        return None
    chance = NormalDist().cdf(-effect / spread)
    return Find(program=program, source=source, base=before, effect=effect, chance=chance)


def measured(candidate: Candidate, sigma: float) -> tuple[float, float] | None:
    """Effect and its standard deviation: by re-runs, else by what is believed of a screen.

    None for what is not settled, failed, or was never compared.
    """
    if candidate.stage not in ("kept", "discarded"):
        return None
    if candidate.effect is not None and candidate.reruns:
        parents = max(BASELINES_MIN, candidate.reruns)
        spread = variance_of(sigma, children=candidate.reruns, parents=parents, between=0.0)
        return candidate.effect, math.sqrt(spread)
    if candidate.delta is None:
        return None
    spread = variance_of(sigma, children=1, parents=BASELINES_MIN, between=0.0)
    return SCREEN_OPTIMISM * candidate.delta, math.sqrt(SCREEN_OPTIMISM * spread)
