"""Reaching the language model: who it is, what it may read, what it costs, and where it is absent.

Every answer is charged, and every second that brought none. On a GPU that experiments use, too, the
model has its turn and is out of the memory again before it ends. What is asked is not decided here.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import trio

from node.gate import Gate
from node.spending import Account, Tally
from skep.errors import ModelError
from skep.events import Event, Said
from skep.model import REPLY_LIMIT, Message, Model, Reply
from strategies.coder import Ask
from strategies.prompt import TOKENS_MAX, choose_format
from strategies.reply import Format

MARGIN = 512
"""Tokens of the context that neither prompt nor answer gets: turns of a conversation take some."""

SHRINK, LIMIT_MIN = 0.8, 2000
"""How much shorter prompts get when one was cut, and the tokens at which that ends."""

Find = Callable[[], Awaitable[Model | None]]
"""The model of the settings; None where nobody answers and nobody was named."""


class Asker:
    """Asks whichever model there is.

    Args:
        find: finds it; called anew after every failure, because a server may come back with others.
        account: is charged.
        keep: stores it.
        gate: where model and experiments share a GPU.
        emit: called with every event.
    """

    def __init__(
        self,
        find: Find,
        account: Account,
        keep: Callable[[Account], None],
        gate: Gate | None,
        emit: Callable[[Event], None],
    ) -> None:
        self._find = find
        self.account = account
        self._keep = keep
        self.gate = gate
        self._emit = emit
        self._model: Model | None = None
        self._absent = False
        self._told: set[str] = set()
        self._name = ""
        self._shrunk = 1.0

    @property
    def name(self) -> str:
        """Of the model that was found last; empty before the first."""
        return self._name

    @property
    def hopeful(self) -> bool:
        """Whether somebody may still answer: not where one was looked for and nobody ever found."""
        return bool(self._name) or not self._absent

    @property
    def model(self) -> Model | None:
        """Who is asked; None before it is found, and after it failed."""
        return self._model

    @property
    def limit(self) -> int:
        """Tokens of a prompt."""
        room = self._model.context - REPLY_LIMIT - MARGIN if self._model else TOKENS_MAX
        return max(int(min(room, TOKENS_MAX) * self._shrunk), LIMIT_MIN)

    @property
    def form(self) -> Format:
        """The format in which this model's edits apply best."""
        if self._model is None:
            return choose_format(None, {}, {})
        account = self.tally
        return choose_format(self._model.size, account.applied, account.tried)

    @property
    def tally(self) -> Tally:
        """The account of the model that was found last."""
        return self.account.of(self._name)

    async def look(self) -> bool:
        """Whether there is a model; finds it where none is known.

        Raises:
            ConfigError: the settings make no sense.
            ModelError: what the user named is not there.
        """
        if self._model is None:
            self._model = await self._find()
            self._absent = self._model is None
            if self._model is not None and self._model.name != self._name:
                self._name = self._model.name
                self._emit(Said(f"model    {self._name} thinks up experiments"))
        return self._model is not None

    @asynccontextmanager
    async def conversation(self) -> AsyncIterator[Callable[[float], Ask]]:
        """Asks at a temperature, within the block; `look` has found somebody.

        Raises:
            ModelError: the model cannot be taken out of a memory that experiments need.
        """
        model = self._model
        assert model is not None  # noqa: S101 - the caller has looked

        def at(temperature: float) -> Ask:
            return lambda messages, schema: self._ask(model, messages, schema, temperature)

        async with self.gate.asking() if self.gate else nullcontext():
            try:
                yield at
            finally:
                self._keep(self.account)
                if self.gate:
                    await model.unload()

    async def _ask(
        self,
        model: Model,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        temperature: float,
    ) -> Reply:
        started = trio.current_time()
        try:
            reply = await model.chat(messages, schema=schema, temperature=temperature)
        except ModelError as error:
            self.tally.seconds += trio.current_time() - started
            self.tally.failures += 1
            if error.kind == "cut":
                self._shrunk *= SHRINK
            raise
        self.tally.charge(reply)
        return reply

    def failed(self, why: str) -> None:
        """Something went wrong: say so, once, and look for the model anew."""
        self._model = None
        if why not in self._told:
            self._told.add(why)
            self._emit(Said(f"model    {why} The search goes on without it"))

    def answered(self) -> None:
        """It works: what went wrong before may be said again."""
        if self._told:
            self._told.clear()
            self._emit(Said("model    it answers again"))
