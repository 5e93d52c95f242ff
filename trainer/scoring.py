"""The node's side of a scorer: start it, and connect it with a process that serves a model."""

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio
from msgspec import Struct

from skep.errors import TrainerFault
from skep.ports import Draw, Scored
from trainer.channel import Channel
from trainer.launcher import CONTROL, Child, Launcher
from trainer.sealed import shared_memory

SCORER = Path(__file__).with_name("scorer.py")
START_S, STOP_S, OVERTIME_S = 120.0, 5.0, 15.0
EXCHANGE_BYTES = 8 << 20
"""Logits that are exchanged at a time: more fall out of the cache between the two processes."""


class Meta(Struct, frozen=True):
    """What a model must know of the data: see `build_model` in docs/tasks.md."""

    values: Mapping[str, int]

    @property
    def windows(self) -> int:
        """How many windows are exchanged at a time."""
        return max(1, EXCHANGE_BYTES // (4 * self.values["context"] * self.values["vocab"]))


class Exchange(NamedTuple):
    """What the two sides share: descriptors of memory, and an end of a connection each.

    Close an end here once its side has ended, or the other side will not notice.
    """

    inputs: int
    logits: int
    model: socket.socket
    scorer: socket.socket


class Scorer:
    """A scorer process.

    Attributes:
        meta: what its task says of the data.
        alive: False once it died or was given up; it is of no use then.
    """

    def __init__(self, child: Child, channel: Channel) -> None:
        self._child = child
        self._channel = channel
        self.meta = Meta({})
        self.alive = True

    @classmethod
    async def start(cls, launcher: Launcher, prepare: Path, data: Path) -> "Scorer":
        """Start a scorer and wait for what it says of the data.

        Raises:
            TrainerFault: it does not start.
        """
        argv = [sys.executable, "-s", "-P", "-B", str(SCORER), str(prepare), str(data)]
        ours, theirs = socket.socketpair()
        with theirs:
            env = {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
            child = await launcher.spawn(argv, env, {CONTROL: theirs.fileno()})
        scorer = cls(child, Channel(ours))
        first = None
        try:
            with trio.move_on_after(START_S) as waiting:
                first = await scorer._channel.receive()
        finally:
            if first is None:
                await scorer.kill()
        if first is None:
            late = f"it took more than {START_S:.0f} s" if waiting.cancelled_caught else ""
            raise TrainerFault(f"a scorer did not start: {late or child.log.tail}")
        scorer.meta = msgspec.convert({"values": first["meta"]}, Meta)
        return scorer

    async def score(self, draws: Sequence[Draw], exchange: Exchange, seconds: float) -> Scored:
        """Score what answers at the other end.

        Raises:
            TrainerFault: the scorer died or hangs; start another.
        """
        order = {"op": "score", "draws": [[draw.seed, draw.split] for draw in draws]}
        return await self._ask(order, exchange, seconds)

    async def probe(self, exchange: Exchange, seconds: float) -> Scored:
        """Compare what answers at the other end with what was scored last; there is no number.

        Raises:
            TrainerFault: the scorer died or hangs; start another.
        """
        return await self._ask({"op": "probe"}, exchange, seconds)

    async def _ask(self, order: dict[str, Any], exchange: Exchange, seconds: float) -> Scored:
        request = {**order, "windows": self.meta.windows, "seconds": seconds}
        answer = None
        end = exchange.scorer
        try:
            await self._channel.send(request, [exchange.inputs, exchange.logits, end.fileno()])
            with trio.move_on_after(seconds + OVERTIME_S):
                answer = await self._channel.receive()
        except trio.Cancelled:
            # The other side is being stopped, and then the scorer has nothing more to wait for.
            with trio.CancelScope(shield=True), trio.move_on_after(STOP_S):
                answer = await self._channel.receive()
            raise
        finally:
            end.close()
            if answer is None:
                await self.kill()
        if answer is None:
            raise TrainerFault(f"a scorer died or hangs: {self._child.log.tail}")
        return Scored(tuple(answer.get("micro", ())), answer.get("fault", ""))

    async def pause(self) -> None:
        """Stop the scorer; the time that scoring may take runs on."""
        await self._child.signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Let it go on."""
        await self._child.signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Kill the scorer."""
        self.alive = False
        with trio.CancelScope(shield=True):
            await self._child.signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Hang up, at which the scorer leaves."""
        self.alive = False
        self._channel.close()


@contextmanager
def open_exchange(meta: Meta) -> Iterator[Exchange]:
    """Shared memory and a connection for one model; everything is closed on leaving."""
    cells = meta.windows * meta.values["context"]
    model, scorer = socket.socketpair()
    with model, scorer:
        inputs = shared_memory(cells * 8)
        logits = shared_memory(cells * meta.values["vocab"] * 4)
        try:
            yield Exchange(inputs, logits, model, scorer)
        finally:
            os.close(inputs)
            os.close(logits)
