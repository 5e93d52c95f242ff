"""The model port over an OpenAI-compatible endpoint: llama.cpp, vLLM, LM Studio, or a hosted model.

The only place that knows the package `openai`, an extra of ours, which is imported with the first
request. Such a server cannot be told to free its memory, and does not enforce a context of our
choice. The key is read from a private file, goes into the requests' headers, and nowhere else.
"""

import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import trio

from skep.errors import ConfigError, ModelError
from skep.model import REPLY_LIMIT, Message, Reply
from strategies.model_text import check_fits, clause, is_length, is_memory, settle
from strategies.servers import Patience, stands_here

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionChunk

CONTEXT = 32_768
"""Tokens of context where the endpoint does not tell."""

KEY_BYTES_MAX = 4096
CHARS_PER_TOKEN_MAX = 64
NO_KEY = "none"
"""What the header says without a key: the package insists on one."""

OTHER_WORDS: dict[str, str | None] = {
    "max_tokens": "max_completion_tokens",
    "temperature": None,
    "stream_options": None,
}
"""Parameters that some endpoints refuse, and what to send instead; None leaves it out."""

UNSENT = ("OpenAI-Organization", "OpenAI-Project")
"""Headers that the package fills in from the environment."""

INSTALL = "Run: pip install 'openai>=3.46,<4' (in a checkout: .venv/bin/pip)"


class Key:
    """A secret that no log, traceback or repr shows."""

    def __init__(self, secret: str) -> None:
        """Wrap it."""
        self._secret = secret

    def __repr__(self) -> str:
        return "Key(…)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be pickled")

    def reveal(self) -> str:
        """The secret itself, for the header of a request alone."""
        return self._secret

    def hide(self, words: str) -> str:
        """Words of a server without the secret in them."""
        return words.replace(self._secret, "…")


def read_key(path: Path) -> Key:
    """The key in a file, which must be for nobody else to read.

    Raises:
        ConfigError: it is no private regular file with one line in it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(KEY_BYTES_MAX + 1) if stat.S_ISREG(found.st_mode) else b""
    except OSError as error:
        raise ConfigError(
            f"the key file {path} cannot be read ({error.strerror})", "Check --openai-key-file."
        ) from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"others can read the key file {path}", f"Run: chmod 600 {path}")
    secret = content.decode("ascii", errors="replace").strip()
    if (
        not secret
        or len(content) > KEY_BYTES_MAX
        or not (secret.isascii() and secret.isprintable())
    ):
        raise ConfigError(f"{path} is no key file", "The key is its only line.")
    return Key(secret)


async def find_endpoint(
    url: str, name: str | None, key: Key | None, patience: Patience | None = None
) -> "Endpoint":
    """The model to ask.

    Args:
        url: base address of the API; it mostly ends in `/v1`.
        name: of the model; None takes the only one there is.
        key: if the endpoint wants one.
        patience: time limits.

    Raises:
        ModelError: it does not answer, refuses, or has several models and none was named.
    """
    patience = patience or Patience()
    with _faults(url, key, name or ""), trio.fail_after(patience.answer):
        async with _client(url, key, patience, patience.answer) as client:
            listed = {one.id: one for one in (await client.models.list()).data}
    chats = [one for one in listed if "embed" not in one.lower()]
    if name is None and len(chats) != 1:
        some = ", ".join(map(clause, sorted(chats)[:5])) or "none"
        raise ModelError(
            "missing", f"{url} has {len(chats)} models", f"Name one by --model: {some}"
        )
    facts = listed.get(name or chats[0])
    vectors = next((one for one in sorted(listed) if "embed" in one.lower()), None)
    return Endpoint(url, name or chats[0], key, facts, vectors, patience)


class Endpoint:
    """A model of an OpenAI-compatible endpoint; see `skep.ports.Model`."""

    def __init__(
        self,
        url: str,
        name: str,
        key: Key | None,
        facts: object,
        vectors: str | None,
        patience: Patience,
    ) -> None:
        """Nothing is asked yet.

        Args:
            url: base address of the API.
            name: of the model.
            key: if the endpoint wants one.
            facts: what its list of models says of it, as far as it does: vLLM and llama.cpp tell
                the context, llama.cpp the parameters, too.
            vectors: name of the model that makes vectors, if there is one.
            patience: time limits.
        """
        self.url, self.name = url, name
        meta = _field(facts, "meta")
        self.size = _whole(_field(meta, "n_params"))
        told = (_field(facts, "max_model_len"), _field(facts, "context_length"))
        lengths = (*told, _field(meta, "n_ctx_train"))
        self.context = next((n for n in map(_whole, lengths) if n is not None), CONTEXT)
        self._key, self.vectors, self._patience = key, vectors, patience
        self._refused: frozenset[str] = frozenset()

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
        request: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": one.role, "content": one.text} for one in messages],
            "max_tokens": reply_limit,
            "temperature": temperature,
            "stream_options": {"include_usage": True},
        }
        if schema is not None:
            form = {"name": "reply", "strict": True, "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        heard = _Heard(CHARS_PER_TOKEN_MAX * reply_limit, report)
        started = trio.current_time()
        with _faults(self.url, self._key, self.name):
            await self._listen(request, heard)
        if heard.reason is None:
            raise _silent(self.url, heard)
        return settle(
            messages,
            self.context,
            text="".join(heard.text),
            thinking="".join(heard.thinking),
            prompt_tokens=heard.prompt_tokens,
            reply_tokens=heard.reply_tokens,
            seconds=trio.current_time() - started,
            complete=heard.reason == "stop",
        )

    async def _listen(self, request: dict[str, Any], heard: "_Heard") -> None:
        patience = self._patience
        with trio.fail_after(patience.first) as limit:
            end = trio.current_time() + patience.whole
            async with _client(self.url, self._key, patience, patience.first) as client:
                stream = await self._open(client, request)
                parts = cast("AsyncGenerator[ChatCompletionChunk]", stream.__aiter__())
                async with stream, aclosing(parts):
                    async for part in parts:
                        limit.deadline = min(end, trio.current_time() + patience.silence)
                        heard.add(part)

    async def _open(self, client: "openai.AsyncOpenAI", request: dict[str, Any]) -> Any:
        """Ask, and learn which parameters this endpoint has other words for."""
        import openai

        while True:
            try:
                return await client.chat.completions.create(**self._worded(request), stream=True)
            except openai.BadRequestError as error:
                if error.param not in OTHER_WORDS.keys() - self._refused:
                    raise
                self._refused |= {error.param}

    def _worded(self, request: dict[str, Any]) -> dict[str, Any]:
        worded = dict(request)
        for name in self._refused:
            value, other = worded.pop(name), OTHER_WORDS[name]
            if other is not None:
                worded[other] = value
        return worded

    async def unload(self) -> None:
        """Nothing: there is no such request. What such a server takes of a GPU, it keeps."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        """See `Model.embed`."""
        if self.vectors is None:
            return None
        if not texts:
            return []
        patience = self._patience
        with _faults(self.url, self._key, self.vectors), trio.fail_after(patience.first):
            async with _client(self.url, self._key, patience, patience.first) as client:
                answer = await client.embeddings.create(
                    model=self.vectors, input=list(texts), encoding_format="float"
                )
                vectors = [[float(x) for x in one.embedding] for one in answer.data]
        if len(vectors) != len(texts):
            found = f"{len(vectors)} vectors for {len(texts)} texts"
            raise ModelError("rubbish", f"{self.vectors} made {found}")
        return vectors


class _Heard:
    """The parts of an answer as they come."""

    def __init__(self, most: int, report: Callable[[int], None] | None) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.reason: str | None = None
        self.prompt_tokens: int | None = None
        self.reply_tokens: int | None = None
        self.count = 0
        self._report, self._most = report, most

    def add(self, part: "ChatCompletionChunk") -> None:
        if part.usage is not None:
            self.prompt_tokens = _whole(part.usage.prompt_tokens)
            self.reply_tokens = _whole(part.usage.completion_tokens)
        for choice in part.choices[:1]:
            delta = choice.delta
            # vLLM and llama.cpp have a field of their own for thoughts, of one name or the other.
            thought = _field(delta, "reasoning_content") or _field(delta, "reasoning")
            self.thinking.append(thought if isinstance(thought, str) else "")
            self.text.append(delta.content or "")
            self.count += len(self.text[-1]) + len(self.thinking[-1])
            self.reason = choice.finish_reason or self.reason
        if self.count > self._most:
            raise ModelError("rubbish", "the model's answer does not end")
        if self._report is not None:
            self._report(self.count)


def _field(thing: object, name: str) -> object:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _client(url: str, key: Key | None, patience: Patience, read: float) -> "openai.AsyncOpenAI":
    """A client that sends what we give it, and nothing of the user's environment."""
    import openai

    limits = openai.Timeout(read, connect=patience.connect)
    here = stands_here(url)
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=key.reveal() if key else NO_KEY,
        timeout=limits,
        max_retries=0,
        default_headers=cast("Mapping[str, str]", dict.fromkeys(UNSENT, openai.Omit())),
        # A proxy of the user's cannot reach this machine.
        http_client=openai.DefaultAsyncHttpxClient(timeout=limits, trust_env=not here),
    )


@contextmanager
def _faults(url: str, key: Key | None, name: str) -> Iterator[None]:
    """Whatever goes wrong in a request becomes a `ModelError`, without the key in it."""
    try:
        import openai
    except ImportError:
        raise ConfigError("--openai-url needs the package openai", f"{INSTALL}.") from None
    try:
        yield
    except openai.APIStatusError as error:
        raise _refusal(url, key, name, error) from None
    except (openai.APITimeoutError, trio.TooSlowError):
        raise ModelError("slow", f"{url} takes too long", "Try a smaller model.") from None
    except openai.APIConnectionError as error:
        raise _absent(url, error) from None
    except openai.APIError as error:
        raise _meaning(url, key, name, 500, error.message) from None
    except (openai.OpenAIError, ValueError, TypeError, LookupError, AttributeError):
        raise _rubbish(url) from None


def _refusal(url: str, key: Key | None, name: str, error: "openai.APIStatusError") -> ModelError:
    if error.status_code in (401, 403):
        # Servers repeat parts of the key here.
        what = "does not take this key" if key else "wants a key"
        return ModelError("refused", f"{url} {what}", "Give it by --openai-key-file FILE.")
    words = _field(error.body, "message")
    said = words if isinstance(words, str) else error.response.text
    return _meaning(url, key, name, error.status_code, said)


def _meaning(url: str, key: Key | None, name: str, code: int, words: str) -> ModelError:
    """What a server's complaint means."""
    said = clause(key.hide(words) if key else words)
    if is_memory(words):
        return ModelError("memory", f"{name} does not fit into memory: {said}")
    if code in (400, 413, 422) and is_length(words):
        return ModelError("cut", f"{name} cannot read so long a prompt: {said}")
    if code == 404:
        advice = "Check --model and --openai-url, which mostly ends in /v1."
        return ModelError("missing", f"{url} does not know {name or 'models'}: {said}", advice)
    if code in (429, 503):
        return ModelError("slow", f"{url} is busy: {said}", "It serves others first.")
    if code >= 500:
        return ModelError("broken", f"{url} failed: {said}", "Its log says more.")
    return ModelError("refused", f"{url} refuses: {said}")


def _absent(url: str, error: Exception) -> ModelError:
    cause = clause(str(error.__cause__ or ""))
    return ModelError(
        "absent", f"{url} does not answer" + (f" ({cause})" if cause else ""), "Is it running?"
    )


def _silent(url: str, heard: _Heard) -> ModelError:
    """The stream came to an end and the answer did not."""
    if not heard.count:
        return _rubbish(url)
    return ModelError("absent", f"{url} went away in the middle of an answer", "Is it running?")


def _rubbish(url: str) -> ModelError:
    return ModelError(
        "rubbish", f"what answers at {url} does not talk like OpenAI's API", "Check the address."
    )
