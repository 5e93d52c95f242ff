"""The plot: what every experiment scored, what was kept, and how the champion got better.

Own SVG without scripts or outside fonts, 1200 x 600. Every point carries its description as a
tooltip; kept edits are labelled where there is room. `node.export.chart` draws the same on a
terminal.
"""

import html
import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from node.history import Experiment, History

WIDTH, HEIGHT = 1200, 600
LEFT, RIGHT, TOP, BOTTOM = 84, 36, 84, 62
LABEL_MIN, LABEL_MAX = 10, 44
"""Characters; a shorter label says nothing, a longer one covers the plot."""

LABEL_DEGREES = 30
LABEL_GAP = 13.0
"""Least distance of two neighbouring label lines, in pixels."""

CHARACTER = 6.6
"""Mean width of a character at the size of the labels."""

STYLE = """
text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#334155}
.title{font-size:20px;font-weight:600;fill:#0f172a}.sub,.tick,.legend{font-size:12.5px}
.sub,.tick{fill:#64748b}.axis{font-size:13.5px}.grid{stroke:#e8edf3}.frame{stroke:#94a3b8}
.discard{fill:#b8c2cf}.pending{fill:#fff;stroke:#94a3b8}.crash{stroke:#dc6b5f;stroke-width:1.5}
.keep{fill:#16935a;stroke:#fff;stroke-width:1.2}.champion{fill:none;stroke:#16935a;stroke-width:2}
.label{font-size:11.5px;fill:#14693f;paint-order:stroke;stroke:#fff;stroke-width:3.5px}
"""


class Scale(Struct, frozen=True):
    """Where numbers go: experiments 0 to `last`, values `low` to `high`, better ones lower down
    for metrics to be minimised.
    """

    last: int
    low: float
    high: float

    def x(self, number: float) -> float:
        return LEFT + 14 + (WIDTH - LEFT - RIGHT - 28) * number / max(self.last, 1)

    def y(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - inside) / (self.high - self.low)


def plot_svg(found: History) -> str:
    """The plot as an SVG document; without a finished experiment it says so."""
    scale = scale_of(found)
    parts = [*_heading(found), *_axes(found, scale), *_steps(found, scale)]
    order = ("crash", "discard", "pending", "keep", "baseline")
    for row in sorted(found.experiments, key=lambda row: order.index(row.verdict)):
        parts += _point(row, scale, found.task.direction == "max")
    parts += _labels(found, scale)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">\n<style>{STYLE}</style>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def scale_of(found: History) -> Scale:
    """Ranges that show the search: far worse than the baseline is off the scale, on purpose.

    A run that went wrong can score five times the baseline, and would press everything that
    matters into one line of pixels.
    """
    values = [row.value for row in found.experiments if row.value is not None]
    if not values:
        return Scale(1, 0.0, 1.0)
    sign = -1 if found.task.direction == "max" else 1
    lineage = [row.value for row in found.lineage if row.value is not None] or values
    best, start = min(sign * value for value in values), sign * lineage[0]
    sigma = found.research.noise.sigma
    worst = min(max(sign * value for value in values), start + max(start - best, 6 * sigma) / 2)
    worst = max(worst, *(sign * value for value in lineage), best + 2 * sigma)
    span = worst - best
    # More room on the better side: that is where labels of late edits go.
    ends = sorted((sign * (best - 0.2 * span), sign * (worst + 0.06 * span)))
    return Scale(found.experiments[-1].number, ends[0], ends[1])


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(about, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def decimals(numbers: Sequence[float]) -> int:
    """Decimals that tell neighbouring ticks apart."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1.0
    return max(0, -math.floor(math.log10(abs(step)) + 1e-9))


def title(found: History) -> str:
    """One line that says what came of it."""
    rows = found.experiments[1:]
    kept = sum(row.verdict == "keep" for row in rows)
    plural = "" if len(rows) == 1 else "s"
    return f"{found.task.name}: {len(rows)} experiment{plural}, {kept} kept"


def subtitle(found: History) -> str:
    """From where to where the metric went, and what that is worth."""
    values = [row.value for row in found.lineage if row.value is not None]
    if not values:
        return "no finished experiment yet"
    first, last = values[0], values[-1]
    change = f" ({100 * (last - first) / abs(first):+.2f} %)" if first and last != first else ""
    return (
        f"{found.task.metric} {first:.4f} → {last:.4f}{change}, reproduced by me; "
        f"σ between seeds {found.research.noise.sigma:.4f}; {found.tier}"
    )


def _heading(found: History) -> Iterator[str]:
    yield f'<text class="title" x="{LEFT}" y="36">{_escape(title(found))}</text>'
    yield f'<text class="sub" x="{LEFT}" y="58">{_escape(subtitle(found))}</text>'
    x = WIDTH - RIGHT - 330
    yield f'<circle class="keep" cx="{x}" cy="32" r="5.5"/>' + _legend(x + 11, "kept")
    yield f'<circle class="discard" cx="{x + 68}" cy="32" r="4"/>' + _legend(x + 78, "discarded")
    yield _cross(x + 164, 32, "") + _legend(x + 174, "crashed")
    yield f'<path class="champion" d="M{x + 244} 32h22"/>' + _legend(x + 272, "champion")


def _legend(x: float, text: str) -> str:
    return f'<text class="legend" x="{x}" y="36.5">{text}</text>'


def _axes(found: History, scale: Scale) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    rows = ticks(scale.low, scale.high, 9)
    for value in rows:
        y = scale.y(value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>'
        yield _text("tick", LEFT - 9, y + 4, f"{value:.{decimals(rows)}f}", "end")
    columns = [number for number in ticks(0, scale.last, 12) if number == int(number)]
    for number in columns:
        yield _text("tick", scale.x(number), bottom + 19, f"{number:.0f}", "middle")
    yield f'<path class="frame" d="M{LEFT} {bottom}H{right}"/>'
    yield _text("axis", (LEFT + right) / 2, HEIGHT - 16, "experiment", "middle")
    better = "lower" if found.task.direction == "min" else "higher"
    name = _escape(f"{found.task.metric} ({better} is better)")
    middle = (TOP + bottom) / 2
    yield (
        f'<text class="axis" text-anchor="middle" transform="translate(22 {middle}) '
        f'rotate(-90)">{name}</text>'
    )


def _steps(found: History, scale: Scale) -> Iterator[str]:
    """The champion's own level, from the experiment that made it champion on."""
    rows = [(row.number, row.value) for row in found.lineage if row.value is not None]
    if rows:
        path = f"M{scale.x(rows[0][0]):.1f} {scale.y(rows[0][1]):.1f}"
        for number, value in rows[1:]:
            path += f"H{scale.x(number):.1f}V{scale.y(value):.1f}"
        yield f'<path class="champion" d="{path}H{scale.x(scale.last):.1f}"/>'


def _point(row: Experiment, scale: Scale, better_is_up: bool) -> Iterator[str]:
    tip = f"<title>{_escape(_tooltip(row))}</title>"
    x = scale.x(row.number)
    edge = HEIGHT - BOTTOM - 7 if better_is_up else TOP + 7
    if row.verdict == "crash":
        yield _cross(x, edge, tip)
    elif row.value is None:
        return
    elif not scale.low <= row.value <= scale.high:
        away = "l4 -7l4 7z" if row.value > scale.high else "l4 7l4 -7z"
        yield f'<path class="discard" d="M{x - 4:.1f} {edge}{away}">{tip}</path>'
    else:
        kind = "keep" if row.verdict == "baseline" else row.verdict
        radius = {"keep": 5.5, "discard": 4, "pending": 4}[kind]
        spot = f'cx="{x:.1f}" cy="{scale.y(row.value):.1f}" r="{radius}"'
        yield f'<circle class="{kind}" {spot}>{tip}</circle>'


def _labels(found: History, scale: Scale) -> Iterator[str]:
    """Descriptions of kept edits, biggest gains first, as long as none covers another.

    They lead away from their point to the right or, where more fits there, end at it coming from
    the side of the champion line on which nothing is better.
    """
    kept = [row for row in found.lineage[1:] if row.value is not None]
    better_is_up = found.task.direction == "max"
    turn = math.radians(LABEL_DEGREES if better_is_up else -LABEL_DEGREES)
    taken: list[tuple[float, float, float, float]] = []
    for row in sorted(kept, key=lambda row: row.sigmas or 0.0):
        x, y = scale.x(row.number), scale.y(row.value or 0.0)
        ends, room = _room(x, y, better_is_up)
        text = _clip(row.description, min(room, LABEL_MAX))
        # Coordinates along the text and across it; labels are parallel, so boxes are enough.
        along, across = _turned(x, y, turn)
        length = CHARACTER * len(text)
        start = along - 9 - length if ends else along + 9
        box = (start, start + length, across - LABEL_GAP / 2, across + LABEL_GAP / 2)
        if room < LABEL_MIN or any(_overlap(box, other) for other in taken):
            continue
        taken.append(box)
        anchor, shift = ("end", -9) if ends else ("start", 9)
        yield (
            f'<text class="label" text-anchor="{anchor}" transform="translate({x:.1f} {y:.1f}) '
            f'rotate({math.degrees(turn):.0f})" x="{shift}" y="4">{_escape(text)}</text>'
        )


def _room(x: float, y: float, better_is_up: bool) -> tuple[bool, int]:
    """Whether the label of a point should end at it, and how many characters fit."""
    up, down = y - TOP, HEIGHT - BOTTOM - y
    worse, better = (down, up) if better_is_up else (up, down)
    slope = math.radians(LABEL_DEGREES)
    starting = min((WIDTH - 8 - x) / math.cos(slope), worse / math.sin(slope))
    ending = min((x - LEFT) / math.cos(slope), better / math.sin(slope))
    ends = starting < min(ending, CHARACTER * LABEL_MAX)
    return ends, int((max(ending, 0) if ends else starting) / CHARACTER) - 2


def _turned(x: float, y: float, angle: float) -> tuple[float, float]:
    return (
        x * math.cos(angle) + y * math.sin(angle),
        y * math.cos(angle) - x * math.sin(angle),
    )


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _tooltip(row: Experiment) -> str:
    value = "" if row.value is None else f" {row.value:.6f}"
    reason = f" ({row.reason})" if row.reason else ""
    return f"#{row.number} {row.program.hex()[:7]}{value} {row.verdict}: {row.description}{reason}"


def _cross(x: float, y: float, inside: str) -> str:
    return f'<path class="crash" d="M{x - 3.5:.1f} {y - 3.5}l7 7m0 -7l-7 7">{inside}</path>'


def _text(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    spot = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {spot}>{text}</text>'


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _escape(text: str) -> str:
    """Text for XML, which does not know control characters at all."""
    return html.escape("".join(c for c in text if c.isprintable()))
