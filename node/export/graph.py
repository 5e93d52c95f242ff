"""The ablation graph as text and as JSON values, with the keys that docs/cli.md promises.

The text is a tree of the kept edits, each under the one that it needs.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from node.export.documents import Document
from node.graph import Contribution, Edge, Graph, Node
from node.history import History
from node.pairs import Interaction

PAIRS_MAX = 12
"""Measured pairs that are listed, the surest first."""

DESCRIPTION_MAX = 48
HEADINGS = ("edit", "when kept", "now", "")


class Branches(Struct, frozen=True):
    """The characters of the tree."""

    middle: str
    last: str
    past: str


UNICODE = Branches(middle="├─ ", last="└─ ", past="│  ")
ASCII = Branches(middle="|- ", last="`- ", past="|  ")


def graph_text(found: History, drawn: Graph, branches: Branches = UNICODE) -> str:
    """The graph as lines of text, without a line end.

    Args:
        found: the search, for its noise floor.
        drawn: its graph, of at least one node.
        branches: characters that the terminal can show.
    """
    sigma = found.research.noise.sigma
    rows = [HEADINGS]
    for place, prefix in _tree(drawn, branches):
        node = drawn.nodes[place]
        together = f" (of {node.parts} together)" if node.parts > 1 else ""
        rows.append(
            (
                f"{prefix}#{node.number} {_clip(node.description)}",
                in_sigma(node.kept, sigma) + together,
                in_sigma(node.now, sigma),
                words(place, drawn),
            )
        )
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([title(found, drawn), "", *lines, *_pairs(drawn, sigma)])


def graph_document(found: History, drawn: Graph) -> Document:
    """The ablation graph; effects in units of the metric, as measured, and in noise floors."""
    sigma, sign = found.research.noise.sigma, -1 if found.task.direction == "max" else 1

    def worth(one: Contribution | None) -> Document | None:
        if one is None:
            return None
        return {**measured(one), "runs": one.runs, "e": one.e}

    def measured(one: Contribution | Interaction) -> Document:
        sizes = {"sigmas": one.effect / sigma, "sd": one.spread / sigma}
        return {"delta": sign * one.effect, **sizes}

    return {
        "task": found.task.id.hex(),
        "champion": found.research.champion.hex(),
        "sigma": sigma,
        "nodes": [
            {
                "number": node.number,
                "program": node.program.hex(),
                "constant": node.name or None,
                "description": node.description,
                "parts": node.parts,
                "kept": worth(node.kept),
                "now": worth(node.now),
                "state": node.state,
            }
            for node in drawn.nodes
        ],
        "edges": [
            {
                "first": edge.first,
                "second": edge.second,
                "link": edge.link,
                "together": measured(edge.together) if edge.together else None,
            }
            for edge in drawn.edges
        ],
    }


def title(found: History, drawn: Graph) -> str:
    """One line that says what it is about."""
    count, gone = len(drawn.nodes), sum(not is_held(node) for node in drawn.nodes)
    plural = "" if count == 1 else "s"
    held = "all in the champion" if not gone else f"{count - gone} of them in the champion"
    return f"{found.task.name}: {count} kept edit{plural}, {held}"


def is_held(node: Node) -> bool:
    """Whether the champion still holds an edit."""
    return node.state not in ("overwritten", "no longer pays")


def in_sigma(one: Contribution | None, sigma: float) -> str:
    """`-1.2σ ±0.4, 6 runs`; negative is better."""
    if one is None:
        return "-"
    runs = f"{one.runs} run{'' if one.runs == 1 else 's'}" if one.runs else "screen"
    return f"{one.effect / sigma:+.1f}σ ±{one.spread / sigma:.1f}, {runs}"


def words(place: int, drawn: Graph) -> str:
    """The state of a node, and who is to blame where it was overwritten."""
    node = drawn.nodes[place]
    by = [one.second for one in drawn.edges if one.first == place and one.link == "overwrites"]
    return f"{node.state} by #{drawn.nodes[by[0]].number}" if by else node.state


def surest(drawn: Graph, most: int) -> list[Edge]:
    """Edges with a measured interaction, those that are surely not zero first."""
    measured = [one for one in drawn.edges if one.together is not None]
    return sorted(measured, key=_doubt)[:most]


def _doubt(edge: Edge) -> float:
    one = edge.together
    return -abs(one.effect) / one.spread if one is not None and one.spread else 0.0


def _pairs(drawn: Graph, sigma: float) -> Iterator[str]:
    listed = surest(drawn, PAIRS_MAX)
    if not listed:
        return
    yield ""
    yield "together, beyond the sum of each (negative: they help one another)"
    for edge in listed:
        first, second = drawn.nodes[edge.first], drawn.nodes[edge.second]
        assert edge.together is not None  # noqa: S101
        size, spread = edge.together.effect / sigma, edge.together.spread / sigma
        names = " and ".join(f"#{one.number} {_clip(one.description)}" for one in (first, second))
        yield f"{size:+.1f}σ ±{spread:.1f}  {names}"
    more = sum(one.together is not None for one in drawn.edges) - len(listed)
    if more:
        yield f"and {more} more pairs (--json)"


def _tree(drawn: Graph, branches: Branches) -> Iterator[tuple[int, str]]:
    """Places of the nodes in the order of the tree, with what stands before each."""
    below: dict[int | None, list[int]] = {}
    for place in range(len(drawn.nodes)):
        needed = [e.first for e in drawn.edges if e.second == place and e.link == "needs"]
        below.setdefault(max(needed, default=None), []).append(place)
    yield from _branch(below, below.get(None, ()), "", branches, top=True)


def _branch(
    below: dict[int | None, list[int]],
    places: Sequence[int],
    before: str,
    branches: Branches,
    *,
    top: bool = False,
) -> Iterator[tuple[int, str]]:
    for place in places:
        is_last = place == places[-1]
        mark = "" if top else branches.last if is_last else branches.middle
        after = "" if top else " " * len(branches.past) if is_last else branches.past
        yield place, before + mark
        yield from _branch(below, below.get(place, ()), before + after, branches)


def _clip(text: str) -> str:
    return text if len(text) <= DESCRIPTION_MAX else f"{text[: DESCRIPTION_MAX - 1]}…"
