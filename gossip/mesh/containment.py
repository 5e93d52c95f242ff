"""Keeping a failure where it happened: one stream, one message, one task, never the node.

py-libp2p runs what strangers send in the same tasks as itself, and any exception there ends all of
it. What is caught here is counted and logged at debug level: whoever can cause an error must not be
able to fill a log with it.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from libp2p.tools.anyio_service.api import ServiceAPI
from libp2p.tools.anyio_service.trio_manager import TrioManager

log = logging.getLogger("skep.mesh")


class Failures:
    """What was caught so far, for tests and status."""

    def __init__(self) -> None:
        self.caught = 0
        self.last = ""

    @contextmanager
    def contained(self, where: str) -> Iterator[None]:
        """Let no ordinary exception out of this block; cancellation passes."""
        try:
            yield
        except Exception as error:
            self._note(where, error)
        except BaseExceptionGroup as group:
            ordinary, rest = group.split(Exception)
            if ordinary is not None:
                self._note(where, ordinary)
            if rest is not None:
                raise rest from None

    def _note(self, where: str, error: BaseException) -> None:
        self.caught += 1
        self.last = f"{where}: {type(error).__name__}: {error}"
        log.debug("%s", self.last, exc_info=error)


class ContainedTasks(TrioManager):
    """Runs a libp2p service whose tasks may fail one by one without ending the service.

    Its daemons are another matter: without them it does nothing, so their failure ends it, and
    the mesh starts anew.
    """

    def __init__(self, service: ServiceAPI, failures: Failures) -> None:
        super().__init__(service)
        service._manager = self
        self._failures = failures

    def run_task(
        self,
        async_fn: Callable[..., Awaitable[Any]],
        *args: Any,
        daemon: bool = False,
        name: str | None = None,
        _internal: bool = False,
    ) -> None:
        """Start a task; one that is neither a daemon nor the service itself is contained."""

        async def contained(*args: Any) -> None:
            with self._failures.contained(str(async_fn)):
                await async_fn(*args)

        essential = daemon or _internal
        task = async_fn if essential else contained
        super().run_task(task, *args, daemon=daemon, name=name, _internal=_internal)
