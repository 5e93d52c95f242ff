"""The ablation graph: which kept edits the champion is made of, and which need which. Pure.

A node is an edit that was kept, with what it gained then and what leaving it out has cost since.
Edges are read off the texts (an edit that stands on the lines of another, or overwrites it) and off
runs (two that together do more, or less, than the sum of each). What to do about it is not decided
here: `strategies.ablate` proposes, `skep.evidence` judges.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal

from msgspec import Struct

from node.history import History
from node.pairs import Contents, Interaction, Levels, comparisons, contents, interaction
from node.steps import Makeup
from skep.constants import outline
from skep.errors import PatchError
from skep.evidence import Candidate, Kept
from skep.evidence.evalue import variance_of
from skep.ports import ABLATE
from skep.records import Edit
from skep.undo import Part, without

State = Literal["untested", "pays", "doubtful", "no longer pays", "overwritten"]
Link = Literal["needs", "overwrites"]
Hold = Literal["free", "stuck", "gone"]


class Contribution(Struct, frozen=True, kw_only=True):
    """What an edit is worth, by runs: child - parent in units of the metric, negative is better.

    Attributes:
        effect, spread: with its standard deviation.
        runs: re-runs behind it; 0 where it is a screening run.
        e: e-value of its rule.
    """

    effect: float
    spread: float
    runs: int
    e: float | None


class Node(Struct, frozen=True, kw_only=True):
    """A kept edit.

    Attributes:
        number: of the experiment it came with.
        program: content id of that.
        name: of the constant that it sets, where several came in one step; else empty.
        description: the edit in a few words.
        parts: how many edits came in that step.
        kept: of the whole step, when it was kept.
        now: by the latest ablation; None without one.
        state: by that ablation: `pays` if it speaks for the edit, `doubtful` if against, `no longer
            pays` if the edit was left out; `overwritten` if later ones replaced it.
    """

    number: int
    program: bytes
    name: str
    description: str
    parts: int
    kept: Contribution
    now: Contribution | None
    state: State


class Edge(Struct, frozen=True, kw_only=True):
    """What two edits have to do with one another.

    Attributes:
        first, second: places of the nodes, the earlier one first.
        link: what the later one does to the earlier, by their texts; None if nothing.
        together: what both do beyond the sum of each; None where no runs tell.
    """

    first: int
    second: int
    link: Link | None
    together: Interaction | None


class Graph(Struct, frozen=True, kw_only=True):
    """The kept edits of a search, oldest first, and what they have to do with one another."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class _Piece(Struct, frozen=True):
    """An edit of a step, with the place of that step among the kept ones."""

    place: int
    kept: Kept
    part: Part
    parts: int


Text = Callable[[bytes], str | None]
Made = Mapping[bytes, tuple[bytes, Sequence[Edit]]]
"""What each program was made from, and how, by its first run."""


def graph(found: History, text: Text, made: Made) -> Graph:
    """The graph of a search. Parses and merges: seconds for forty edits.

    Args:
        found: the search.
        text: of a program; None where it is not known.
        made: see there.
    """
    research = found.research
    makeup = Makeup(text, lambda program: made[program][0] if program in made else None)
    pieces = [
        _Piece(place, kept, part, len(parts))
        for place, kept in enumerate(research.kept)
        if kept.strategy != ABLATE
        for parts in [makeup.parts_of(kept, research)]
        for part in parts
    ]
    chain = [text(kept.program) for kept in research.kept]
    ends = [_end(piece, chain) for piece in pieces]
    nodes = tuple(_node(found, makeup, piece, end) for piece, end in zip(pieces, ends, strict=True))
    links = _links(pieces, ends)
    measured = _measured(found, text, made, pieces)
    pairs = sorted(links.keys() | measured.keys())
    return Graph(
        nodes=nodes,
        edges=tuple(
            Edge(first=a, second=b, link=links.get((a, b)), together=measured.get((a, b)))
            for a, b in pairs
        ),
    )


def _hold(program: str | None, part: Part) -> Hold:
    """How a program holds an edit: so that it can be taken out, so that it cannot, or not."""
    if program is None:
        return "gone"
    try:
        return "gone" if without(program, part.source, part.base) is None else "free"
    except PatchError:
        return "stuck"


def _end(piece: _Piece, chain: Sequence[str | None]) -> tuple[int, Hold]:
    """The first kept program from which an edit cannot be taken out, and why not.

    The champion, and `free`, where it can. What is stuck or gone stays so, as good as always:
    the place is found by halving.
    """
    last = len(chain) - 1
    hold = _hold(chain[last], piece.part)
    if hold == "free":
        return last, hold
    low, high = piece.place, last
    while high - low > 1:
        middle = (low + high) // 2
        now = _hold(chain[middle], piece.part)
        low, high = (middle, high) if now == "free" else (low, middle)
    return high, _hold(chain[high], piece.part) if high < last else hold


def _links(
    pieces: Sequence[_Piece], ends: Sequence[tuple[int, Hold]]
) -> dict[tuple[int, int], Link]:
    """Which later edit stands on an earlier one, or overwrote it; of one step the nearest."""
    links: dict[tuple[int, int], Link] = {}
    for number, (place, hold) in enumerate(ends):
        if hold == "free":
            continue
        later = [n for n, one in enumerate(pieces) if one.place == place and n != number]
        named = [n for n in later if pieces[n].part.name == pieces[number].part.name]
        for other in (named or later)[:1]:
            links[number, other] = "needs" if hold == "stuck" else "overwrites"
    return links


def _node(found: History, makeup: Makeup, piece: _Piece, end: tuple[int, Hold]) -> Node:
    research, part, kept = found.research, piece.part, piece.kept
    row = found.row(kept.program)
    judged = [
        one
        for one in makeup.ablations(research, part.source, part.base)
        if one.stage != "open" and one.delta is not None
    ]
    now = _contribution(judged[-1], research.noise.sigma) if judged else None
    state = _state(judged[-1] if judged else None, end[1])
    return Node(
        number=row.number if row else 0,
        program=kept.program,
        name=part.name,
        description=_setting(part) or (row.description if row else ""),
        parts=piece.parts,
        kept=Contribution(effect=kept.effect, spread=kept.spread, runs=kept.reruns, e=kept.e),
        now=now,
        state=state,
    )


def _state(last: Candidate | None, hold: Hold) -> State:
    if hold == "gone":
        return "no longer pays" if last is not None and last.stage == "kept" else "overwritten"
    if last is None or last.stage == "failed":
        return "untested"
    return "doubtful" if last.e is not None and last.e >= 1.0 else "pays"


def _contribution(one: Candidate, sigma: float) -> Contribution:
    """What the edit gains that an ablation left out: the ablation's effect, the other way round."""
    effect = one.delta if one.effect is None else one.effect
    children = one.reruns if one.effect is not None else 1
    variance = variance_of(sigma, children=children, parents=max(3, children), between=0.0)
    return Contribution(
        effect=-(effect or 0.0),
        spread=variance**0.5,
        runs=one.reruns if one.effect is not None else 0,
        e=one.e,
    )


def _setting(part: Part) -> str:
    """`LR 0.003 → 0.01` for one of several constants; empty for a step of one edit."""
    if not part.name:
        return ""
    old, new = (outline(text).constants[part.name].value for text in (part.base, part.source))
    return f"{part.name} {old} → {new}"


def _measured(
    found: History, text: Text, made: Made, pieces: Sequence[_Piece]
) -> dict[tuple[int, int], Interaction]:
    """What pairs of edits do beyond their sum, by all comparisons."""
    research = found.research
    start = text(research.start)
    if start is None:
        return {}
    known = contents(research.start, start, ((p, *how) for p, how in made.items()))
    compared = comparisons(research)
    programs: dict[Contents, list[bytes]] = {}
    for name in dict.fromkeys(name for one in compared for name in (one.child, one.parent)):
        if name in known:
            programs.setdefault(known[name], []).append(name)
    brought = [_brought(piece, known, made) for piece in pieces]
    levels = Levels(compared)
    pairs = {
        (a, b): interaction(brought[a], brought[b], programs, levels.contrast)
        for a, b in combinations(range(len(pieces)), 2)
    }
    return {pair: one for pair, one in pairs.items() if one is not None}


def _brought(piece: _Piece, known: Mapping[bytes, Contents], made: Made) -> Contents:
    """What an edit brought into its program, in the words of `node.pairs`."""
    after = known.get(piece.kept.program, frozenset())
    before = known.get(made[piece.kept.program][0], frozenset())
    new = after - before
    if piece.part.name:
        return frozenset(atom for atom in new if atom[1] == piece.part.name)
    return new if piece.parts == 1 else frozenset()
