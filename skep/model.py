"""The port to a language model: what it is asked, what it answers, and what it costs.

Clients are `strategies.ollama` and `strategies.endpoint`; nothing here knows a network.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct


class Message(Struct, frozen=True):
    """One turn of a conversation with a language model."""

    role: Literal["system", "user", "assistant"]
    text: str


class Reply(Struct, frozen=True, kw_only=True):
    """What a language model answered.

    Attributes:
        text: the answer, without what the model thought aloud.
        thinking: that; mostly empty.
        prompt_tokens, reply_tokens: what was read and written, thinking included; estimated where
            the server does not count.
        seconds: from the request to the end of the answer, loading of the model included.
        complete: whether the model came to an end by itself. Otherwise a limit cut it off, and the
            end of the text is missing.
    """

    text: str
    thinking: str = ""
    prompt_tokens: int
    reply_tokens: int
    seconds: float
    complete: bool


REPLY_LIMIT = 4096
"""Tokens of an answer: four edits of 30 lines with their reasons are about 2,000."""


class Model(Protocol):
    """A language model. It has no tools and no memory: an answer follows from its messages alone.

    Attributes:
        name: as its server calls it.
        size: parameters; None if unknown.
        context: tokens that messages and answer may have together.
        vectors: name of the model beside it that makes vectors; None where there is none.
    """

    name: str
    size: int | None
    context: int
    vectors: str | None

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float,
        reply_limit: int = REPLY_LIMIT,
        report: Callable[[int], None] | None = None,
    ) -> Reply:
        """The next turn of a conversation. Cancelling it stops the model.

        Args:
            messages: the conversation, oldest first.
            schema: JSON schema that the answer shall keep to, where the server can enforce it.
            temperature: 0 takes the likeliest word each time, 1 draws as the model predicts.
            reply_limit: tokens after which the answer is cut off.
            report: is called with the number of characters so far, as they come.

        Raises:
            ModelError: there is no answer, or one to a prompt that was cut.
        """
        ...

    async def unload(self) -> None:
        """Free the memory that the model takes, where it can be told to, and wait until it is free.

        Raises:
            ModelError: it is not free in time, or nobody can tell.
        """
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        """A vector for each text, in order; None where there is no model that makes any.

        Raises:
            ModelError: there is such a model, but no answer.
        """
        ...
