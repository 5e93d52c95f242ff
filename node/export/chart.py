"""The plot on a terminal: the same scale and points as `node.export.plot`, in characters."""

from msgspec import Struct

from node.export.plot import Scale, decimals, scale_of, subtitle, ticks, title
from node.history import History

HEIGHT = 16
WIDTH_MIN = 40


class Marks(Struct, frozen=True):
    """The characters of the chart."""

    keep: str
    discard: str
    pending: str
    crash: str
    level: str
    axis: str


UNICODE = Marks(keep="●", discard="·", pending="○", crash="×", level="─", axis="│")
ASCII = Marks(keep="O", discard=".", pending="?", crash="x", level="-", axis="|")


def chart(found: History, width: int, marks: Marks = UNICODE) -> str:
    """The plot as lines of text, without a line end.

    Args:
        found: what to show.
        width: columns of the terminal; less than `WIDTH_MIN` is taken as that.
        marks: characters that the terminal can show.
    """
    scale = scale_of(found)
    labels = _labels(scale)
    margin = max((len(text) for text in labels.values()), default=0)
    grid = _grid(found, scale, max(width, WIDTH_MIN) - margin - 3, marks)
    lines = [title(found), subtitle(found), ""]
    for number, cells in enumerate(grid):
        lines.append(f"{labels.get(number, ''):>{margin}} {marks.axis} {''.join(cells)}".rstrip())
    last = str(scale.last)
    lines.append(f"{'':>{margin}}   0{last:>{len(grid[0]) - 1}}")
    lines.append(
        f"{'':>{margin}}   {marks.keep} kept  {marks.discard} discarded  {marks.crash} crashed  "
        f"{marks.level}{marks.level} champion"
    )
    return "\n".join(lines)


def _grid(found: History, scale: Scale, columns: int, marks: Marks) -> list[list[str]]:
    grid = [[" "] * columns for _ in range(HEIGHT)]
    lineage = [row for row in found.lineage if row.value is not None]
    ends = [*(row.number for row in lineage[1:]), scale.last]
    for row, end in zip(lineage, ends, strict=False):
        for column in range(_column(row.number, scale, columns), _column(end, scale, columns) + 1):
            grid[_line(row.value or 0.0, scale)][column] = marks.level
    worse_edge = 0 if found.task.direction == "min" else HEIGHT - 1
    order = ("crash", "discard", "pending", "keep", "baseline")
    for row in sorted(found.experiments, key=lambda row: order.index(row.verdict)):
        column = _column(row.number, scale, columns)
        if row.verdict == "crash":
            grid[worse_edge][column] = marks.crash
        elif row.value is not None:
            name = "keep" if row.verdict == "baseline" else row.verdict
            grid[_line(row.value, scale)][column] = getattr(marks, name)
    return grid


def _column(number: int, scale: Scale, columns: int) -> int:
    return round((columns - 1) * number / max(scale.last, 1))


def _line(value: float, scale: Scale) -> int:
    inside = min(max(value, scale.low), scale.high)
    return round((HEIGHT - 1) * (scale.high - inside) / (scale.high - scale.low))


def _labels(scale: Scale) -> dict[int, str]:
    """Text of the value axis by line of the chart."""
    values = ticks(scale.low, scale.high, HEIGHT // 3)
    return {_line(value, scale): f"{value:.{decimals(values)}f}" for value in values}
