"""What clients of a language model do with text: sizes, cuts, thinking, a server's complaints.

Nothing here knows how a server is spoken to; `ollama` and `endpoint` do.
"""

import re
from collections.abc import Sequence

from skep.errors import ModelError
from skep.model import Message, Reply

BYTES_PER_TOKEN = 4
"""Measured with Qwen's vocabulary: 3.6 in train.py, 4.4 in program.md, 2.4 in tables of numbers."""

MESSAGE_TOKENS = 4
"""What a chat template puts around a message, at least."""

READ_MIN = 0.7
"""A server that counts less of the prompt than this share of the estimate has cut it."""

SHORT = 512
"""A prompt of so few tokens fits everywhere, and its estimate is too rough to judge by."""

CLAUSE_MAX = 200

_THOUGHT = re.compile(r"\A\s*<think(?:ing)?>(.*?)(?:</think(?:ing)?>|\Z)", re.DOTALL)
_THOUGHT_END = re.compile(r"</think(?:ing)?>")
_MEMORY = re.compile(
    r"out of memory|more (?:system |gpu )?memory|cudamalloc|insufficient memory|signal: killed"
    r"|memory layout cannot be allocated|unable to allocate|failed to allocate",
    re.IGNORECASE,
)
_LONG = re.compile(r"context (?:length|size|window)|exceed_context|context_length", re.IGNORECASE)


def estimated_tokens(messages: Sequence[Message]) -> int:
    """How many tokens a prompt has, rather too few than too many."""
    size = sum(len(message.text.encode(errors="replace")) for message in messages)
    return size // BYTES_PER_TOKEN + MESSAGE_TOKENS * len(messages)


def check_fits(messages: Sequence[Message], context: int, reply_limit: int) -> None:
    """Refuse a conversation that certainly has no room for its answer.

    Raises:
        ModelError: it is `cut`: a server would drop the oldest part of it, and answer all the same.
    """
    tokens = estimated_tokens(messages)
    if tokens + reply_limit > context:
        raise ModelError(
            "cut",
            f"a prompt of about {tokens} tokens and an answer of {reply_limit} do not fit"
            f" into a context of {context}",
            "Use a model with a longer context, or a shorter program.md.",
        )


def settle(
    messages: Sequence[Message],
    context: int,
    *,
    text: str,
    thinking: str,
    prompt_tokens: int | None,
    reply_tokens: int | None,
    seconds: float,
    complete: bool,
) -> Reply:
    """A reply from what a server sent.

    Args:
        messages: what was asked.
        context: tokens that prompt and answer may have together.
        text, thinking: as the server told them apart; it may have left thoughts in the text.
        prompt_tokens, reply_tokens: None if it did not count.
        seconds: how long it took.
        complete: whether the server says that the model came to an end.

    Raises:
        ModelError: the prompt was cut.
    """
    estimate = estimated_tokens(messages)
    read = estimate if prompt_tokens is None else prompt_tokens
    if estimate > SHORT and read < READ_MIN * estimate:
        raise ModelError(
            "cut",
            f"the model read {read} tokens of a prompt of about {estimate}",
            "The server cut it silently: give it a longer context.",
        )
    answer, aloud = parted(text)
    spoken = len((text + thinking).encode(errors="replace")) // BYTES_PER_TOKEN
    written = spoken if reply_tokens is None else reply_tokens
    return Reply(
        text=answer,
        thinking="\n".join(filter(None, (thinking.strip(), aloud))),
        prompt_tokens=read,
        reply_tokens=written,
        seconds=seconds,
        # Beyond its context a server forgets the beginning and lets the model go on.
        complete=complete and read + written <= context,
    )


def parted(text: str) -> tuple[str, str]:
    """An answer and what its model thought aloud before it.

    Some templates open the thought themselves, so that only its end is in the text.
    """
    opened = _THOUGHT.match(text)
    if opened:
        return text[opened.end() :].strip(), opened[1].strip()
    closed = _THOUGHT_END.search(text)
    if closed and "<think" not in text[: closed.start()]:
        return text[closed.end() :].strip(), text[: closed.start()].strip()
    return text.strip(), ""


def clause(words: str) -> str:
    """What a server said, as one printable clause of at most 200 characters."""
    line = " ".join(words.split())
    plain = "".join(c for c in line if c.isprintable()).rstrip(".")
    return plain if len(plain) <= CLAUSE_MAX else f"{plain[: CLAUSE_MAX - 1]}…"


def is_memory(words: str) -> bool:
    """Whether a complaint is about memory."""
    return _MEMORY.search(words) is not None


def is_length(words: str) -> bool:
    """Whether a complaint is about a prompt that does not fit."""
    return _LONG.search(words) is not None
