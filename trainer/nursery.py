"""A nursery whose lone error is raised as itself, not as a group of one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from skep.errors import lone_error


@asynccontextmanager
async def open_nursery() -> AsyncIterator[trio.Nursery]:
    """Like `trio.open_nursery`, for code that documents which exceptions it raises."""
    with lone_error():
        async with trio.open_nursery() as nursery:
            yield nursery
