"""What `skep join` shows while it runs, on a terminal and off it."""

import io

from rich.console import Console
from rich.live import Live

from node.cli.live import Lines, Screen, view
from skep.events import (
    Best,
    Event,
    Finished,
    Judged,
    Met,
    Paused,
    Progressed,
    Said,
    Started,
)
from skep.ports import Progress
from tests.factories import content_id, make_run

NEW = content_id("new")


def started(slot: int, note: str = "LR 0.003 → 0.012") -> Started:
    return Started(
        slot=slot, job=f"job{slot}", program=NEW, strategy="tune", purpose="screen", note=note
    )


def finished(slot: int, **fields: object) -> Finished:
    run = make_run("new", **fields)
    return Finished(slot=slot, job=f"job{slot}", id=bytes(32), run=run, purpose="screen")


KEPT = Judged(
    program=NEW,
    number=1,
    verdict="keep",
    reason="-3.0σ over 2 against 3 runs, e = 41 ≥ 20",
    note="LR 0.003 → 0.012",
)

STORY: list[Event] = [
    Said("home     /somewhere"),
    started(0),
    Progressed(slot=0, job="job0", progress=Progress(phase="training", step=5, steps=9)),
    finished(0, pinned=2.25),
    started(1, ""),
    finished(1, status="oom", note="out of memory"),
    KEPT,
    Best(program=NEW, value=2.25),
    Paused(True),
    Paused(False),
]


def test_off_a_terminal_every_finished_run_and_every_verdict_is_one_line() -> None:
    out = io.StringIO()
    with view(out) as lines:
        assert isinstance(lines, Lines)
        for event in STORY:
            lines.show(event)
    assert out.getvalue().splitlines() == [
        "home     /somewhere",
        "run      6e65772e  screen    2.250000  LR 0.003 → 0.012",
        "run      6e65772e  screen    oom: out of memory",
        "verdict  6e65772e  keep     -3.0σ over 2 against 3 runs, e = 41 ≥ 20  LR 0.003 → 0.012",
        "best     6e65772e  2.250000",
        "paused",
        "resumed",
    ]


def picture(events: list[Event]) -> list[str]:
    """What stands on a terminal of 100 columns after these events."""
    out = io.StringIO()
    console = Console(file=out, width=100, markup=False, force_terminal=True, color_system=None)
    with Live(console=console, auto_refresh=False) as live:
        screen = Screen(live)
        for event in events:
            screen.show(event)
    paper = Console(file=io.StringIO(), width=100, markup=False)
    with paper.capture() as capture:
        paper.print(screen.picture())
    return [line.rstrip() for line in capture.get().splitlines()]


def test_on_a_terminal_every_slot_shows_how_far_it_is() -> None:
    training = Progress(phase="training", step=5, steps=9, loss=3.14159, left_s=12.4)
    rows = picture([started(1), started(0), Progressed(slot=0, job="job0", progress=training)])
    assert rows[0].split() == ["slot", "phase", "step", "loss", "left", "strategy", "experiment"]
    texts = [" ".join(row.split()) for row in rows]
    assert texts[1] == "0 training 5/9 3.142 12 s tune 6e65772e LR 0.003 → 0.012"
    assert texts[2] == "1 starting tune 6e65772e LR 0.003 → 0.012"
    assert rows[3].endswith("·  0 judged, 0 kept  ·  best so far -")


def test_on_a_terminal_a_finished_run_leaves_its_slot_and_verdicts_stay() -> None:
    rows = picture(STORY)
    assert rows[1].startswith("6e65772e  keep     -3.0σ over 2 against 3 runs, e = 41 ≥ 20  LR")
    assert rows[2].endswith("·  1 judged, 1 kept  ·  best so far 2.2500 by 6e65772e")
    assert len(rows) == 3


def test_on_a_terminal_only_the_last_verdicts_are_shown() -> None:
    rows = picture([KEPT] * 20)
    assert len(rows) == 1 + 6 + 1


def test_a_paused_node_says_so() -> None:
    assert picture([Paused(True)])[-1].startswith("paused  ·")


def test_the_number_of_peers_is_shown_in_a_swarm_and_changes() -> None:
    assert picture([Met(1), Met(3)])[-1].endswith("best so far -  ·  peers 3")
    assert "peers" not in picture([])[-1]


def test_progress_of_a_slot_that_has_just_finished_is_no_error() -> None:
    late = Progressed(slot=0, job="job0", progress=Progress(phase="scoring"))
    rows = picture([started(0), finished(0, pinned=2.0), late])
    assert rows[1].endswith("·  0 judged, 0 kept  ·  best so far -")


def test_text_that_looks_like_markup_is_shown_as_it_is() -> None:
    rows = picture([started(0, "[red]x[/red] [link=http://a]")])
    assert "[red]x[/red] [link=http://a]" in rows[1]
