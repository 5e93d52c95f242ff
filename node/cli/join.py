"""`skep join`: read the settings, open a view, and let the node run until it ends."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.cli import EXIT_INTERRUPTED
from node.cli.asking import Asking
from node.cli.consent import OwnFlag, StrangersFlag, consent
from node.cli.meeting import Part
from node.cli.output import number, say, short
from node.cli.relay import relay_until_told
from node.config import load

if TYPE_CHECKING:
    from node.app import Summary


async def join(
    part: Part | None = None,
    asking: Asking | None = None,
    *,
    task: Annotated[str | None, Parameter(negative="")] = None,
    experiments: int | None = None,
    minutes: float | None = None,
    budget: float | None = None,
    jobs: int | None = None,
    device: str | None = None,
    program: Path | None = None,
    unsandboxed_own_code: OwnFlag = False,
    run_strangers_code_without_a_sandbox: StrangersFlag = None,
) -> int:
    """Start researching: try edits, keep what this machine reproduces, until told to stop.

    Ctrl-C ends it cleanly; the next start goes on where it was. Every option but the last two can
    be made permanent in the home's config.toml under the same name.

    Args:
        task: name of a task, or path of a folder with one.
        experiments: stop after this many experiments have their verdict.
        minutes: stop after this many minutes.
        budget: training seconds of one experiment, in place of the task's own.
        jobs: experiments at once; by default what the machine offers.
        device: auto, cpu, cuda, cuda:N or mps.
        program: start from this file in place of the task's train.py.
        unsandboxed_own_code: where there is no sandbox, run programs that were edited here all the
            same: they can do whatever you can.
        run_strangers_code_without_a_sandbox: where there is no sandbox, run programs of people you
            do not know all the same: they can do whatever you can.
    """
    flags = {
        "task": task,
        "experiments": experiments,
        "minutes": minutes,
        "budget": budget,
        "jobs": jobs,
        "device": device,
        "program": program,
    }
    where = part or Part()
    settings = load(where.home(), flags | where.flags() | (asking or Asking()).flags())
    given = consent(unsandboxed_own_code, run_strangers_code_without_a_sandbox)
    if not settings.train:
        return await relay_until_told(settings, wide=False)
    # Loading the node takes longer than telling the user what is wrong with the line.
    from node.app import run
    from node.cli.live import view

    with view() as watching:
        summary = await run(settings, given, watching.show)
    return _conclude(summary)


def _conclude(summary: "Summary | None") -> int:
    """Say what came of it; the exit code."""
    if summary is None:
        say("stopped before the research began; nothing was lost")
        return EXIT_INTERRUPTED
    plural = "" if summary.judged == 1 else "s"
    say(f"{summary.judged} experiment{plural} judged, {summary.kept} kept, {summary.runs} runs")
    if summary.best is not None:
        say(
            f"champion {short(summary.champion)}: {number(summary.first)} → "
            f"{number(summary.best)}, reproduced by me"
        )
        say("see `skep best`, `skep runs` and `skep plot`")
    return EXIT_INTERRUPTED if summary.interrupted else 0
