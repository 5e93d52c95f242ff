"""The node's side of the examiner: what strangers' edits make of a program, or why they do not fit.

Believes nothing that it can check: the program must hash to its id, and the numbers of its knobs
are found here. Runs no program and decides about none.
"""

import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio
from msgspec import Struct

from skep.constants import Value
from skep.errors import TrainerFault
from skep.knobs import numbers_of
from skep.ports import Knob
from skep.records import PROGRAM_MAX_BYTES, Edit, program_id
from trainer import frames
from trainer.channel import Channel
from trainer.launcher import CONTROL, Child, Launcher
from trainer.log import printable

EXAMINER = Path(__file__).with_name("examiner.py")
START_S, ANSWER_S, STOP_S = 60.0, 10.0, 5.0
REQUESTS_MAX = 256
"""After so many a child is replaced, whatever has piled up in it."""
EDITS_MAX = 128
"""As many as a record can carry."""
WHY_MAX = 300
FINGERPRINT_BYTES = 32


class Examined(Struct, frozen=True):
    """A program that the edits do make.

    Attributes:
        source: its text; keeps the byte rules and is Python.
        fingerprint: see `skep.fingerprint` (32 bytes); the child's word.
        numbers: what makes it a rendering of the task's own program, as `skep.knobs.numbers_of`.
    """

    source: str
    fingerprint: bytes
    numbers: Mapping[str, Value] | None


class Refusal(Struct, frozen=True):
    """The edits make no program that could be run; `why` is one line that a terminal can show."""

    why: str


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """What the child may say."""

    source: str = ""
    fingerprint: str = ""
    refused: str = ""


class Running(NamedTuple):
    """A child, how to talk to it, and how many requests it has had."""

    child: Child
    channel: Channel
    requests: int = 0


class Examiner:
    """Examines one request at a time in a child that is started when needed."""

    def __init__(self, launcher: Launcher, knob_program: str, knobs: Mapping[str, Knob]) -> None:
        self._launcher = launcher
        self._knob_program = knob_program
        self._knobs = knobs
        self._lock = trio.Lock()
        self._running: Running | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, launcher: Launcher, knob_program: str, knobs: Mapping[str, Knob]
    ) -> AsyncIterator["Examiner"]:
        """An examiner; leaving the block ends its child.

        Args:
            launcher: starts the child; must outlive the block.
            knob_program: the task's own program, and
            knobs: its table of knobs; both as in `TaskFacts`.
        """
        examiner = cls(launcher, knob_program, knobs)
        try:
            yield examiner
        finally:
            await examiner._kill()

    async def examine(
        self, parent: str, edits: Sequence[Edit], program: bytes
    ) -> Examined | Refusal:
        """Apply edits to a parent, and see what comes out. Cancelling kills the child.

        Args:
            parent: the text that the edits speak of.
            edits: what to change.
            program: id that the result must have (32 bytes).

        Raises:
            TrainerFault: no child could be started or kept; says nothing of the program.
        """
        request = _request(parent, edits, program)
        if isinstance(request, Refusal):
            return request
        async with self._lock:
            answer = await self._ask(request)
        if answer is None:
            return Refusal("the edits are more than the examiner can bear")
        if answer.refused:
            return Refusal(_one_line(answer.refused))
        numbers = numbers_of(self._knob_program, self._knobs, answer.source)
        return Examined(answer.source, bytes.fromhex(answer.fingerprint), numbers)

    async def _ask(self, request: frames.Message) -> Answer | None:
        """A child's answer; None where a new child died of it, hung or lied."""
        running = self._running or await self._start()
        self._running = running._replace(requests=running.requests + 1)
        answer = None
        try:
            with trio.move_on_after(ANSWER_S):
                await running.channel.send(request)
                answer = _believed(await running.channel.receive(), request["program"])
        except (TrainerFault, ValueError, RecursionError):
            answer = None
        finally:
            if answer is None or running.requests + 1 >= REQUESTS_MAX:
                await self._kill()
        if answer is None and running.requests:  # what it had seen before must not decide
            return await self._ask(request)
        if answer is None and running.child.status is None:
            raise TrainerFault("an examiner was lost")
        return answer

    async def _start(self) -> Running:
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-I", "-B", str(EXAMINER)]
            try:
                child = await self._launcher.spawn(argv, {}, {CONTROL: theirs.fileno()})
            except BaseException:
                ours.close()
                raise
        running = self._running = Running(child, Channel(ours))
        ready = None
        try:
            with trio.move_on_after(START_S):
                ready = await running.channel.receive()
        finally:
            if ready is None:
                await self._kill()
        if ready is None:
            raise TrainerFault(f"an examiner did not start: {child.log.tail}")
        return running

    async def _kill(self) -> None:
        """Kill the child; the next request starts another."""
        running, self._running = self._running, None
        if running is not None:
            running.channel.close()
            with trio.move_on_after(STOP_S) as scope:
                scope.shield = True
                await running.child.kill()


def _request(parent: str, edits: Sequence[Edit], program: bytes) -> frames.Message | Refusal:
    """What is sent to the child, if it can be sent at all."""
    if len(parent) > PROGRAM_MAX_BYTES or len(edits) > EDITS_MAX:
        return Refusal("the edits, or the program that they start from, are too large")
    try:
        plain = msgspec.to_builtins(list(edits))
        request = {"parent": parent, "edits": plain, "program": program.hex()}
        frames.pack(request)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return Refusal("the edits cannot be put into a message")
    return request


def _believed(message: object, program: str) -> Answer | None:
    """An answer as far as it can be believed; None for anything else.

    Raises:
        ValueError: it is no answer at all.
    """
    answer = msgspec.convert(message, Answer)
    if answer.refused:
        return answer
    made = program_id(answer.source).hex() == program
    return answer if made and len(bytes.fromhex(answer.fingerprint)) == FINGERPRINT_BYTES else None


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())[:WHY_MAX]
