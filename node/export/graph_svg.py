"""The ablation graph as a picture: a row for each kept edit, arcs for what they do to one another.

Own SVG without scripts or outside fonts, 1200 wide and as high as there are edits. To the left of
the edits arcs lead from an edit to what it needs or overwrites; to the right bars show what each
gained when it was kept, and by the latest ablation. `node.export.graph` says the same in text.
"""

import html
from collections.abc import Iterator, Sequence

from msgspec import Struct

from node.export.graph import in_sigma, is_held, surest, title, words
from node.export.plot import decimals, ticks
from node.graph import Contribution, Edge, Graph, Node
from node.history import History

WIDTH, ROW, TOP, BOTTOM = 1200, 40, 116, 46
AXIS = 220
"""Where the circles stand; the arcs have the room to the left of it."""

BARS, END = 730, 1164
LABEL_MAX = 62
ARC_MIN, ARC_MAX = 18.0, 180.0
SURE = 2.0
"""Pairs whose interaction is so many standard deviations from zero get an arc."""

ARCS_MAX = 24
STYLE = """
text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#334155}
.title{font-size:20px;font-weight:600;fill:#0f172a}.sub,.tick,.legend,.state{font-size:12.5px}
.sub,.tick,.state{fill:#64748b}.edit{font-size:13.5px;fill:#0f172a}.gone{fill:#94a3b8}
.grid{stroke:#e8edf3}.zero{stroke:#94a3b8}.arc{fill:none;stroke-width:1.8}
.needs{stroke:#475569}.overwrites{stroke:#cbd5e1;stroke-dasharray:4 3}.helps{stroke:#16935a}
.hurts{stroke:#dc6b5f}.pays{fill:#16935a}.untested{fill:#7aa5d8}.doubtful{fill:#e0a030}
.left{fill:#fff;stroke:#94a3b8;stroke-width:1.5}.kept{fill:#7aa5d8}.now{fill:#16935a}
.spread{stroke:#334155;stroke-width:1.2}
"""


class Scale(Struct, frozen=True):
    """Where gains in sigma go on the bars' axis; zero is always on it."""

    low: float
    high: float

    def x(self, gain: float) -> float:
        inside = min(max(gain, self.low), self.high)
        return BARS + (END - BARS) * (inside - self.low) / (self.high - self.low)


def graph_svg(found: History, drawn: Graph) -> str:
    """The graph as an SVG document; of at least one node."""
    sigma = found.research.noise.sigma
    height = TOP + ROW * len(drawn.nodes) + BOTTOM
    scale = _scale(drawn, sigma)
    parts = [*_heading(found, drawn), *_axis(scale, height), *_arcs(drawn, sigma)]
    for place, node in enumerate(drawn.nodes):
        parts += _row(place, node, words(place, drawn), scale, sigma)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">\n<style>{STYLE}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _scale(drawn: Graph, sigma: float) -> Scale:
    known = [one for node in drawn.nodes for one in (node.kept, node.now) if one is not None]
    ends = [-one.effect / sigma + side * one.spread / sigma for one in known for side in (-1, 1)]
    return Scale(min(-0.5, *ends), max(0.5, *ends))


def _y(place: int) -> float:
    return TOP + ROW * (place + 0.5)


def _heading(found: History, drawn: Graph) -> Iterator[str]:
    yield f'<text class="title" x="36" y="36">{_escape(title(found, drawn))}</text>'
    below = f"σ between seeds {found.research.noise.sigma:.4f}; {found.tier}; reproduced by me"
    yield f'<text class="sub" x="36" y="58">{_escape(below)}</text>'
    yield from _legend()


def _legend() -> Iterator[str]:
    x = 36.0
    for kind, text in (
        ("needs", "needs"),
        ("overwrites", "overwrites"),
        ("helps", "more together"),
        ("hurts", "less together"),
    ):
        yield f'<path class="arc {kind}" d="M{x:.0f} 84h22"/>'
        yield f'<text class="legend" x="{x + 28:.0f}" y="88.5">{text}</text>'
        x += 44 + 7.2 * len(text)
    for kind, text in (("kept", "gain when kept"), ("now", "gain by ablation")):
        yield f'<rect class="{kind}" x="{x + 60:.0f}" y="79" width="18" height="9"/>'
        yield f'<text class="legend" x="{x + 84:.0f}" y="88.5">{text}</text>'
        x += 48 + 7.2 * len(text)


def _axis(scale: Scale, height: int) -> Iterator[str]:
    marks = ticks(scale.low, scale.high, 6)
    digits = decimals(marks)
    for mark in marks:
        x, kind = scale.x(mark), "zero" if abs(mark) < 1e-9 else "grid"
        yield f'<path class="{kind}" d="M{x:.1f} {TOP}V{height - BOTTOM}"/>'
        text = f"{mark + 0.0:.{digits}f}σ"
        yield (
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{height - 24}">{text}</text>'
        )


def _row(place: int, node: Node, state: str, scale: Scale, sigma: float) -> Iterator[str]:
    y, held = _y(place), is_held(node)
    kind = node.state if held else "left"
    tip = f"kept {in_sigma(node.kept, sigma)}; now {in_sigma(node.now, sigma)}"
    tip = f"#{node.number} {node.program.hex()[:8]} {node.description}: {tip} ({state})"
    yield (
        f'<circle class="{kind}" cx="{AXIS}" cy="{y:.1f}" r="7"><title>{_escape(tip)}</title>'
        f"</circle>"
    )
    label = _escape(_clip(f"#{node.number} {node.description}"))
    gone = "" if held else " gone"
    yield f'<text class="edit{gone}" x="{AXIS + 18}" y="{y - 1:.1f}">{label}</text>'
    together = f", {node.parts} edits together" if node.parts > 1 else ""
    yield (
        f'<text class="state" x="{AXIS + 18}" y="{y + 14:.1f}">{_escape(state + together)}</text>'
    )
    yield from _bar(node.kept, "kept", y - 8, scale, sigma)
    if node.now is not None:
        yield from _bar(node.now, "now", y + 4, scale, sigma)


def _bar(one: Contribution, kind: str, y: float, scale: Scale, sigma: float) -> Iterator[str]:
    gain, spread = -one.effect / sigma, one.spread / sigma
    left, right = sorted((scale.x(0.0), scale.x(gain)))
    width = max(right - left, 1.0)
    yield f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="9"/>'
    ends = scale.x(gain - spread), scale.x(gain + spread)
    yield f'<path class="spread" d="M{ends[0]:.1f} {y + 4.5:.1f}H{ends[1]:.1f}"/>'


def _arcs(drawn: Graph, sigma: float) -> Iterator[str]:
    """Links by text, then the measured ones that are hardly zero; the longest reach farthest."""
    edges: list[tuple[Edge, str]] = [(e, e.link) for e in drawn.edges if e.link is not None]
    for edge in surest(drawn, ARCS_MAX):
        one = edge.together
        if one is not None and abs(one.effect) >= SURE * one.spread:
            edges.append((edge, "helps" if one.effect < 0.0 else "hurts"))
    longest = max((e.second - e.first for e, _ in edges), default=1)
    for number, (edge, kind) in enumerate(edges):
        share = (edge.second - edge.first) / longest
        reach = ARC_MIN + (ARC_MAX - ARC_MIN) * share * (1 - 0.12 * (number % 3))
        yield _arc(edge, kind, reach, drawn.nodes, sigma)


def _arc(edge: Edge, kind: str, reach: float, nodes: Sequence[Node], sigma: float) -> str:
    start, end, x = _y(edge.second), _y(edge.first), AXIS - 9
    first, second = nodes[edge.first], nodes[edge.second]
    if edge.together is not None and kind in ("helps", "hurts"):
        size, spread = edge.together.effect / sigma, edge.together.spread / sigma
        tip = f"#{first.number} and #{second.number}: {size:+.1f}σ ±{spread:.1f} beyond their sum"
    else:
        tip = f"#{second.number} {kind} #{first.number}"
    # A curve comes three quarters as far as its handles.
    handle = x - reach / 0.75
    curve = f"M{x} {start:.1f}C{handle:.1f} {start:.1f} {handle:.1f} {end:.1f} {x} {end:.1f}"
    return f'<path class="arc {kind}" d="{curve}"><title>{_escape(tip)}</title></path>'


def _clip(text: str) -> str:
    return text if len(text) <= LABEL_MAX else text[: LABEL_MAX - 1].rstrip() + "…"


def _escape(text: str) -> str:
    """Text for XML, which does not know control characters at all."""
    return html.escape("".join(c for c in text if c.isprintable()))
