"""The models of a server, and which of them to use. Pure: what was found comes as an argument."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

CONTEXT_MAX = 32_768
"""Tokens of context to ask for. ollama's own default is 4,096 on most machines, and it cuts what is
longer without a word; the prompt has up to 12,000, and memory grows with the context."""

CONTEXT_UNKNOWN = 8192
BUFFERS = 10**9
"""Memory that a model takes beside its weights and its cache, roughly."""

CACHE_SHARE = 0.25
"""The cache of `CONTEXT_MAX` tokens against the file, where a model's shape is unknown."""

_SCALE = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class Installed(Struct, frozen=True, kw_only=True):
    """A model that a server has.

    Attributes:
        name: with its tag, e.g. `qwen2.5-coder:7b`.
        file_bytes: size of its file.
        size: parameters; None if unknown.
        context: tokens that it was made for; None if unknown.
        cache: bytes of memory for a token of context; None if unknown.
        family: kind of network, e.g. `qwen2`.
        use: whether it answers, makes vectors, or neither.
        thinks: whether it can think before it answers, and be told not to.
        hosted: whether it runs on somebody else's machine: ollama passes prompts on to it.
    """

    name: str
    file_bytes: int
    size: int | None = None
    context: int | None = None
    cache: int | None = None
    family: str = ""
    use: Literal["chat", "embedding", "other"] = "chat"
    thinks: bool = False
    hosted: bool = False

    @property
    def window(self) -> int:
        """The context to ask for, in tokens."""
        return min(CONTEXT_MAX, self.context or CONTEXT_UNKNOWN)

    @property
    def memory(self) -> int:
        """Bytes it takes when it is loaded with that context."""
        if self.cache is None:
            return round((1 + CACHE_SHARE) * self.file_bytes) + BUFFERS
        return self.file_bytes + self.cache * self.window + BUFFERS


def read(
    name: str,
    *,
    file_bytes: int,
    family: str,
    words: str,
    facts: Mapping[str, Any],
    capabilities: Sequence[str] | None,
) -> Installed:
    """A model as ollama describes it.

    Args:
        name: with its tag.
        file_bytes: size of its file.
        family: kind of network; may be empty.
        words: number of parameters as people read it; may be empty.
        facts: what its file says about itself, by GGUF key.
        capabilities: what the server can do with it; None from servers before 0.6.4.
    """
    kind = str(facts.get("general.architecture", ""))
    return Installed(
        name=name,
        file_bytes=file_bytes,
        size=_whole(facts.get("general.parameter_count")) or parameters(words),
        context=_whole(facts.get(f"{kind}.context_length")),
        cache=_cache(facts, kind),
        family=family or kind,
        use=_use(capabilities, family or kind),
        thinks="thinking" in (capabilities or ()),
        hosted=name.endswith(("-cloud", ":cloud")),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _cache(facts: Mapping[str, Any], kind: str) -> int | None:
    """Bytes of key and value at two bytes a number, for a token, over all layers."""
    layers, heads, pairs, width = (
        _whole(facts.get(f"{kind}.{key}"))
        for key in (
            "block_count",
            "attention.head_count",
            "attention.head_count_kv",
            "embedding_length",
        )
    )
    if not (layers and heads and pairs and width):
        return None
    size = _whole(facts.get(f"{kind}.attention.key_length")) or width // heads
    return layers * pairs * size * 4


def _use(capabilities: Sequence[str] | None, family: str) -> Literal["chat", "embedding", "other"]:
    """What a model is for. Servers before 0.6.4 do not say, and have BERTs for vectors only."""
    if capabilities is None:
        return "embedding" if "bert" in family else "chat"
    if "completion" in capabilities:
        return "chat"
    return "embedding" if "embedding" in capabilities else "other"


def named(models: Sequence[Installed], name: str) -> Installed | None:
    """The model of that name; the tag `latest` may be left out."""
    wanted = {name, f"{name}:latest"}
    return next((model for model in models if model.name in wanted), None)


def best(models: Sequence[Installed], memory: int | None) -> Installed | None:
    """The model to ask if the user names none: the largest that answers and fits.

    A hosted model is never taken by itself: prompts would leave the machine. Of models of about the
    same size, one that was made for code goes first.

    Args:
        models: what there is.
        memory: bytes that a model may take; None if unknown.
    """
    fitting = [
        model
        for model in models
        if model.use == "chat" and not model.hosted and (memory is None or model.memory <= memory)
    ]
    return max(fitting, key=_merit, default=None)


def embedder(models: Sequence[Installed]) -> Installed | None:
    """The model that makes vectors, the largest if there are several."""
    found = [model for model in models if model.use == "embedding" and not model.hosted]
    return max(found, key=lambda model: (model.file_bytes, model.name), default=None)


def _merit(model: Installed) -> tuple[int, bool, int, str]:
    billions = round((model.size or model.file_bytes) / 1e9)
    return billions, "code" in model.name, model.file_bytes, model.name


def parameters(words: str) -> int | None:
    """A number of parameters as ollama writes it: `7.6B`, `494.03M`. None if it is none."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMBT])", words)
    return round(float(match[1]) * _SCALE[match[2]]) if match else None
