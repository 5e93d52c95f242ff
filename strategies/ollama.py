"""The model port over an ollama server, the only place that knows the package `ollama`.

The package is imported when a server was found: that takes 0.4 s of CPU, which a node without a
model never pays. Every request has a time limit (the package's own default is none) and ends in a
`ModelError`, whatever the server does. Answers are streamed, so that cancelling one stops the
model. Starts no server and downloads no model.
"""

import os
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import trio
from msgspec import Struct

from skep.errors import ModelError
from skep.model import REPLY_LIMIT, Message, Reply
from strategies.installed import Installed, best, embedder, named, read
from strategies.model_text import check_fits, clause, is_length, is_memory, settle
from strategies.servers import DEFAULT_PORT, Patience, stands_here

if TYPE_CHECKING:
    import ollama

CHARS_PER_TOKEN_MAX = 64
"""A server that sends more than this for a token of the limit pays no heed to it."""

WEAK_THINKERS = ("gptoss", "gpt-oss")
"""Families that cannot be told not to think, only to think little."""

PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
START_IT = "Start it with `ollama serve`, or install it: https://ollama.com/download"
SEE_MODELS = "`skep models` says what is there and what this machine can run"


class Survey(Struct, frozen=True):
    """A server that answered: where it is, its version, and all its models."""

    url: str
    version: str
    models: tuple[Installed, ...]


async def survey(url: str, patience: Patience | None = None) -> Survey:
    """Ask a server what it is and which models it has.

    Raises:
        ModelError: it does not answer, or is no ollama.
    """
    patience = patience or Patience()
    await _knock(url, patience)
    with _faults(url):
        with trio.fail_after(patience.answer):
            async with _client(url, patience) as client:
                version = await _version(url, patience)
                listed = (await client.list()).models
                models = [await _describe(client, one) for one in listed if one.model]
        return Survey(url, version, tuple(models))


async def find_model(
    url: str, name: str | None, memory: int | None, patience: Patience | None = None
) -> "OllamaModel":
    """The model to ask.

    Args:
        url: address of the server.
        name: of the model; None takes the best of those that fit.
        memory: bytes that it may take; None if unknown.
        patience: time limits.

    Raises:
        ModelError: there is no server, or no such model.
    """
    found = await survey(url, patience)
    chosen = named(found.models, name) if name else best(found.models, memory)
    if chosen is None:
        raise _no_model(found, name)
    if chosen.use != "chat":
        raise ModelError("missing", f"{chosen.name} does not answer questions", f"{SEE_MODELS}.")
    return OllamaModel(url, chosen, embedder(found.models), patience)


class OllamaModel:
    """A model of an ollama server; see `skep.ports.Model`."""

    def __init__(
        self,
        url: str,
        model: Installed,
        vectors: Installed | None,
        patience: Patience | None = None,
    ) -> None:
        """Nothing is asked or loaded yet.

        Args:
            url: address of the server.
            model: who answers.
            vectors: who makes vectors, if anybody.
            patience: time limits.
        """
        self.url = url
        self.name = model.name
        self.size = model.size
        self.context = model.window
        self.vectors = vectors.name if vectors else None
        self._patience = patience or Patience()
        self._think = _thinking(model)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float,
        reply_limit: int = REPLY_LIMIT,
        report: Callable[[int], None] | None = None,
    ) -> Reply:
        """See `Model.chat`."""
        check_fits(messages, self.context, reply_limit)
        await _knock(self.url, self._patience)
        request = {
            "model": self.name,
            "messages": [{"role": one.role, "content": one.text} for one in messages],
            "format": schema,
            "think": self._think,
            "options": {
                "num_ctx": self.context,
                "num_predict": reply_limit,
                "temperature": temperature,
            },
        }
        heard = _Heard(CHARS_PER_TOKEN_MAX * reply_limit, report)
        started = trio.current_time()
        with _faults(self.url, self.name):
            await self._listen(request, heard)
        last = heard.last(self.url)
        return settle(
            messages,
            self.context,
            text="".join(heard.text),
            thinking="".join(heard.thinking),
            prompt_tokens=last.prompt_eval_count,
            reply_tokens=last.eval_count,
            seconds=trio.current_time() - started,
            complete=last.done_reason in ("stop", None),
        )

    async def _listen(self, request: dict[str, Any], heard: "_Heard") -> None:
        patience = self._patience
        with trio.fail_after(patience.first) as limit:
            end = trio.current_time() + patience.whole
            async with _client(self.url, patience, patience.first) as client:
                parts = await client.chat(**request, stream=True)
                async with aclosing(cast("AsyncGenerator[ollama.ChatResponse]", parts)) as stream:
                    async for part in stream:
                        limit.deadline = min(end, trio.current_time() + patience.silence)
                        heard.add(part)

    async def unload(self) -> None:
        """See `Model.unload`. Models that others have loaded stay: they are not ours to stop."""
        try:
            await _knock(self.url, self._patience)
        except ModelError:
            return  # A server that is not there holds no memory.
        with _faults(self.url, self.name), trio.fail_after(self._patience.unload):
            async with _client(self.url, self._patience) as client:
                for name in await self._loaded(client):
                    await client.generate(model=name, keep_alive=0)
                while await self._loaded(client):  # noqa: ASYNC110 - another program's memory
                    await trio.sleep(self._patience.poll)

    async def _loaded(self, client: "ollama.AsyncClient") -> list[str]:
        """Which of the models that this one has asked for are in memory."""
        names = {one.model or one.name for one in (await client.ps()).models}
        return [name for name in (self.name, self.vectors) if name and name in names]

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        """See `Model.embed`. A text that is too long for the model counts by its beginning."""
        if self.vectors is None:
            return None
        if not texts:
            return []
        await _knock(self.url, self._patience)
        with _faults(self.url, self.vectors), trio.fail_after(self._patience.first):
            async with _client(self.url, self._patience, self._patience.first) as client:
                answer = await client.embed(model=self.vectors, input=list(texts), truncate=True)
        if len(answer.embeddings) != len(texts):
            found = f"{len(answer.embeddings)} vectors for {len(texts)} texts"
            raise ModelError("rubbish", f"{self.vectors} made {found}", _UPDATE)
        return [[float(x) for x in vector] for vector in answer.embeddings]


_UPDATE = "Update ollama."
_MISSHAPEN = (ValueError, TypeError, LookupError, AttributeError)


class _Heard:
    """The parts of an answer as they come."""

    def __init__(self, most: int, report: Callable[[int], None] | None) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []
        self._report = report
        self._count, self._most = 0, most
        self._last: ollama.ChatResponse | None = None

    def add(self, part: "ollama.ChatResponse") -> None:
        content, thought = part.message.content or "", part.message.thinking or ""
        self.text.append(content)
        self.thinking.append(thought)
        self._count += len(content) + len(thought)
        if self._count > self._most:
            raise ModelError("rubbish", "the model's answer does not end", _UPDATE)
        if self._report is not None:
            self._report(self._count)
        if part.done:
            self._last = part

    def last(self, url: str) -> "ollama.ChatResponse":
        """The part that ends the answer and counts it."""
        if self._last is None:
            raise _went_away(url)
        return self._last


def _client(url: str, patience: Patience, read: float | None = None) -> "ollama.AsyncClient":
    import ollama

    return ollama.AsyncClient(host=url, **_manners(url, patience, read))


def _manners(url: str, patience: Patience, read: float | None = None) -> dict[str, Any]:
    """How to connect: time limits, and no proxy on the way to this machine."""
    import httpx

    return {
        "timeout": httpx.Timeout(read or patience.answer, connect=patience.connect),
        "trust_env": not stands_here(url),
        "verify": _certificates(),
    }


@cache
def _certificates() -> ssl.SSLContext:
    """Made once: reading them takes longer than most requests, and every client would."""
    import httpx

    return httpx.create_ssl_context()


async def _knock(url: str, patience: Patience) -> None:
    """Find out cheaply that nobody listens. A server behind a proxy answers to its client only.

    Raises:
        ModelError: it is absent.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not stands_here(url) and {name.upper() for name in os.environ} & PROXIES:
        return
    try:
        with trio.fail_after(patience.connect):
            stream = await trio.open_tcp_stream(host, parts.port or DEFAULT_PORT)
    except (OSError, trio.TooSlowError):
        raise _absent(url) from None
    await stream.aclose()


async def _version(url: str, patience: Patience) -> str:
    """Its version. The package has no call for it, and the answer tells an ollama from others."""
    import httpx
    import ollama

    async with httpx.AsyncClient(**_manners(url, patience)) as client:
        answer = await client.get(f"{url}/api/version")
    if answer.is_error:
        raise ollama.ResponseError(answer.text, answer.status_code)
    return clause(str(answer.json()["version"]))


async def _describe(client: "ollama.AsyncClient", listed: Any) -> Installed:
    """A model of a list, as far as the server tells."""
    shown = await client.show(listed.model)
    details = listed.details
    return read(
        listed.model,
        file_bytes=int(listed.size or 0),
        family=(details.family if details else None) or "",
        words=(details.parameter_size if details else None) or "",
        facts=shown.modelinfo or {},
        capabilities=shown.capabilities,
    )


def _thinking(model: Installed) -> Any:
    """What to tell a model about thinking: not to, where it can be told at all."""
    if not model.thinks:
        return None
    return "low" if model.family in WEAK_THINKERS else False


@contextmanager
def _faults(url: str, name: str = "") -> Iterator[None]:
    """Whatever goes wrong in a request becomes a `ModelError`."""
    import httpx
    import ollama

    try:
        yield
    except ollama.ResponseError as error:
        raise _refusal(url, name, error.status_code, error.error) from None
    except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout):
        raise _absent(url) from None
    except (httpx.TimeoutException, trio.TooSlowError):
        raise ModelError(
            "slow", f"{name or 'ollama'} at {url} takes too long", "A smaller model is faster."
        ) from None
    except httpx.TransportError:
        raise _went_away(url) from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, *_MISSHAPEN):
        # No JSON, or JSON of another shape, which the package stumbles over in its own ways.
        raise ModelError(
            "rubbish", f"what answers at {url} does not talk like ollama", "Check the address."
        ) from None


def _refusal(url: str, name: str, code: int, words: str) -> ModelError:
    """What a server's complaint means. Code -1: it came in the middle of an answer."""
    said = clause(words)
    if is_memory(words):
        return ModelError("memory", f"{name} does not fit into memory: {said}", f"{SEE_MODELS}.")
    if code in (400, 413, -1) and is_length(words):
        return ModelError("cut", f"{name} cannot read so long a prompt: {said}")
    if code == 404 and "model" in words:
        return ModelError("missing", f"{name} is gone from {url}", f"Run: ollama pull {name}")
    if code == 503 or code == 429:
        return ModelError("slow", f"ollama at {url} is busy: {said}", "It serves others first.")
    if code >= 500 or code == -1:
        return ModelError("broken", f"ollama at {url} failed: {said}", "Its log says more.")
    if code in (400, 401, 403):
        return ModelError("refused", f"ollama at {url} refuses: {said}", _UPDATE)
    return ModelError("rubbish", f"{url} answers with {code}: {said}", "Check the address.")


def _absent(url: str) -> ModelError:
    return ModelError("absent", f"no ollama answers at {url}", f"{START_IT}.")


def _went_away(url: str) -> ModelError:
    return ModelError("absent", f"ollama at {url} went away in the middle of an answer", START_IT)


def _no_model(found: Survey, name: str | None) -> ModelError:
    if name:
        have = ", ".join(model.name for model in found.models[:8]) or "none"
        return ModelError(
            "missing",
            f"ollama at {found.url} has no model {name}",
            f"Run: ollama pull {name} (it has: {have})",
        )
    return ModelError("missing", f"ollama at {found.url} has no model that fits", f"{SEE_MODELS}.")
