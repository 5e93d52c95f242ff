"""Runs prepare.py in a child process: the code of a pack never runs inside the node."""

import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import trio

from skep.errors import TaskError

CHILD = Path(__file__).with_name("preparing.py")
STAMP = ".prepared"
"""Written last; what stands beside it is whole and was checked."""
LINE_MAX = 2000


def is_made(data: Path) -> bool:
    """Whether the folder holds what prepare.py makes."""
    return (data / STAMP).is_file()


async def make(prepare_file: Path, data: Path, report: Callable[[str], None]) -> None:
    """Run prepare.py for a data folder. Cancelling kills the child; it can be repeated.

    Args:
        prepare_file: defines `prepare(data, report)`.
        data: folder to fill, made if missing.
        report: is told every line that the child prints.

    Raises:
        TaskError: the child failed, with the last line it printed, or the folder is unusable.
    """
    command = [sys.executable, "-I", "-B", str(CHILD), str(prepare_file), str(data)]
    try:
        await trio.Path(data).mkdir(parents=True, exist_ok=True)
        last, code = await _run(command, report)
        if code == 0:
            await trio.Path(data / STAMP).touch()
    except OSError as error:
        raise TaskError(
            f"the data of the task cannot be prepared: {error}", "Free space or mend permissions."
        ) from None
    if code != 0:
        raise TaskError(
            f"{prepare_file} failed: {last or f'exit status {code}'}",
            "Remove the cause and start again; nothing that was finished is lost.",
        )


async def _run(command: list[str], report: Callable[[str], None]) -> tuple[str, int]:
    """Run a command to its end; the last line it printed that is not blank, and its status."""
    last = ""
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with process.stdout, aclosing(_lines(process.stdout)) as lines:
            async for last in lines:
                report(last)
        return last, await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncGenerator[str, None]:
    """Lines that are not blank; progress bars end theirs with a carriage return."""
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        rest = rest[-LINE_MAX:]
        for line in lines:
            if line.strip():
                yield line[:LINE_MAX].decode(errors="replace").rstrip()
    if rest.strip():
        yield rest.decode(errors="replace").rstrip()
