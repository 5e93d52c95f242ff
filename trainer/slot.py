"""A slot: the warm workers and the scorer that serve one experiment at a time.

Every slot has its own, so that slots never wait for one another. Both are started when first
needed and again after they died.
"""

import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio

from trainer.launcher import Launcher
from trainer.phases import WarmWorker
from trainer.sandbox import Backend, Mount
from trainer.scoring import Scorer
from trainer.task import PREPARE_FILE, Task

JUMP_S = 2.0
"""A suspended machine's clock since boot goes on while its monotonic one stands still."""


class Interrupted:
    """Whether a stretch of work was paused, or the machine slept through a part of it."""

    def __init__(self) -> None:
        self.paused = False
        self._asleep = _asleep()

    def __bool__(self) -> bool:
        return self.paused or abs(_asleep() - self._asleep) > JUMP_S


class Slot:
    """Keeps a worker and a scorer ready.

    Attributes:
        number: from 0.
        scratch: a folder of its own, for what is not kept.
    """

    def __init__(
        self,
        number: int,
        task: Task,
        scratch: Path,
        *,
        launcher: Launcher,
        backend: Backend,
        devices: bool,
    ) -> None:
        self.number = number
        self.scratch = scratch
        self._task = task
        self._launcher = launcher
        self._backend = backend
        self._devices = devices
        self._worker: WarmWorker | None = None
        self._guest: WarmWorker | None = None
        self._guest_domain = b""
        self._scorer: Scorer | None = None
        self._starting_worker = trio.Lock()
        self._starting_scorer = trio.Lock()
        self._stretches: list[Interrupted] = []

    async def worker(self, domain: bytes = b"") -> WarmWorker:
        """A living worker that has run nothing of another trust domain.

        There is one for own programs, and besides it at most one for a stranger's, which goes when
        anything else is to run.

        Args:
            domain: empty for own programs; for a stranger's, its content id.

        Raises:
            TrainerFault: it does not start.
        """
        async with self._starting_worker:
            if self._guest is not None and self._guest_domain not in (b"", domain):
                await self._guest.kill()
                self._guest = None
            known = self._guest if domain else self._worker
            if known is None or not known.alive:
                known = await WarmWorker.start(
                    self._launcher,
                    self._backend,
                    slot=self.number,
                    scratch=self._made_scratch("guest" if domain else "own"),
                    devices=self._devices,
                )
            if domain:
                self._guest, self._guest_domain = known, domain
            else:
                self._worker = known
            return known

    @asynccontextmanager
    async def bare_worker(self, mounts: Sequence[Mount]) -> AsyncIterator[WarmWorker]:
        """A worker for one foreign command, which goes when the block is left.

        Raises:
            TrainerFault: it does not start.
        """
        worker = self._worker = await WarmWorker.start(
            self._launcher,
            self._backend,
            slot=self.number,
            scratch=self._made_scratch("bare"),
            devices=self._devices,
            mounts=mounts,
            bare=True,
        )
        try:
            yield worker
        finally:
            await worker.kill()

    async def scorer(self) -> Scorer:
        """A living scorer.

        Raises:
            TrainerFault: it does not start.
        """
        async with self._starting_scorer:
            if self._scorer is None or not self._scorer.alive:
                prepare = self._task.folder / PREPARE_FILE
                self._scorer = await Scorer.start(self._launcher, prepare, self._task.data)
            return self._scorer

    @contextmanager
    def stretch(self) -> Iterator[Interrupted]:
        """Notice a pause, or sleep of the machine, within the block."""
        interrupted = Interrupted()
        self._stretches.append(interrupted)
        try:
            yield interrupted
        finally:
            self._stretches.remove(interrupted)

    def close(self) -> None:
        """Hang up on both; they end when their launcher does."""
        for process in self._alive():
            process.close()

    async def pause(self) -> None:
        """Stop every process of the slot."""
        for interrupted in self._stretches:
            interrupted.paused = True
        for process in self._alive():
            await process.pause()

    async def resume(self) -> None:
        """Let them go on."""
        for process in self._alive():
            await process.resume()

    def _alive(self) -> list[WarmWorker | Scorer]:
        three = (self._worker, self._guest, self._scorer)
        return [process for process in three if process is not None and process.alive]

    def _made_scratch(self, name: str) -> Path:
        """A new folder: what was left by a worker that died over it is nobody else's affair."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        for old in self.scratch.glob(f"{name}-*"):
            with suppress(OSError):  # it is not empty
                old.rmdir()
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.scratch))


def _asleep() -> float:
    """Seconds that this machine has slept since it was booted, where it can tell."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
