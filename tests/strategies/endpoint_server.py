"""A server that speaks OpenAI's API as llama.cpp, vLLM and hosted models do, from a script.

The script's values are those of `ollama_server`. No model is run.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import trio

from tests.strategies.http_server import Exchange, HangUp, HttpServer, serving, serving_in_thread
from tests.strategies.ollama_server import (
    PIECE,
    PROMPT_PIECE,
    Answer,
    Breaks,
    Dies,
    Fails,
    Raw,
    Say,
    Script,
    Stalls,
)

LLAMA_CPP = {"id": "coder.gguf", "object": "model", "meta": {"n_params": 7_615_616_512}}
VLLM = {"id": "Qwen/Qwen2.5-Coder-7B", "object": "model", "max_model_len": 16_384}
PLAIN = {"id": "gpt-x", "object": "model", "owned_by": "openai"}


class EndpointServer:
    """State and script.

    Attributes:
        models: what GET /v1/models lists.
        key: what the Authorization header must carry; None takes anything.
        unknown: parameters that are refused by name, as OpenAI refuses `max_tokens`.
        faults: what any other path than the chat's answers in place of the right thing.
        asked: path, document and headers of every request.
        stalled: set when an answer has stalled.
    """

    def __init__(self, script: Script, models: Iterable[dict[str, Any]]) -> None:
        """Answers come from `script` one by one, or from a function of the request."""
        ended: Iterable[Answer] = itertools.repeat(Fails(500, "the script is at its end"))
        if callable(script):
            self._say: Callable[[dict[str, Any]], Answer] = script
        else:
            answers = itertools.chain(script, ended)
            self._say = lambda _: next(answers)
        self.models = list(models)
        self.key: str | None = None
        self.unknown: set[str] = set()
        self.faults: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.stalled = trio.Event()
        self.http: HttpServer | None = None

    @property
    def url(self) -> str:
        """Base address of the API."""
        assert self.http is not None
        return f"{self.http.url}/v1"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """Every request for an answer."""
        return [asked for path, asked, _ in self.asked if path == "/v1/chat/completions"]

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        path, asked = exchange.path, exchange.document
        self.asked.append((path, asked, exchange.headers))
        if self.key and exchange.headers.get("authorization") != f"Bearer {self.key}":
            words = f"Incorrect API key provided: {exchange.headers.get('authorization')}"
            await _refuse(exchange, 401, words, code="invalid_api_key")
        elif path in self.faults:
            await self._perform(exchange, asked, self.faults[path])
        elif (exchange.method, path) == ("GET", "/v1/models"):
            await exchange.reply_json(200, {"object": "list", "data": self.models})
        elif (exchange.method, path) == ("POST", "/v1/embeddings"):
            vectors = [[float(len(text)), 1.0] for text in asked["input"]]
            data = [
                {"object": "embedding", "index": index, "embedding": vector}
                for index, vector in enumerate(vectors)
            ]
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            document = {"object": "list", "model": asked["model"], "data": data, "usage": usage}
            await exchange.reply_json(200, document)
        elif (exchange.method, path) == ("POST", "/v1/chat/completions"):
            await self._chat(exchange, asked)
        else:
            await exchange.reply(404, b"Not Found", "text/plain")

    async def _chat(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        unknown = sorted(self.unknown & asked.keys())
        if unknown:
            words = f"Unsupported parameter: '{unknown[0]}' is not supported with this model."
            await _refuse(exchange, 400, words, code="unsupported_parameter", param=unknown[0])
        else:
            await self._perform(exchange, asked, self._say(asked))

    async def _perform(self, exchange: Exchange, asked: dict[str, Any], answer: Answer) -> None:
        match answer:
            case Fails(status, error):
                await _refuse(exchange, status, error)
            case Raw(content, status, kind):
                await exchange.reply(status, content, kind)
            case Say():
                await self._say_all(exchange, asked, answer)
            case _:
                await self._say_some(exchange, asked, answer)

    async def _say_all(self, exchange: Exchange, asked: dict[str, Any], said: Say) -> None:
        limit = asked.get("max_tokens") or asked.get("max_completion_tokens") or 10**9
        pieces = [("reasoning_content", piece) for piece in _pieces(said.thinking)]
        pieces += [("content", piece) for piece in _pieces(said.text)]
        spoken = pieces[:limit]
        await exchange.begin(200, "text/event-stream")
        for kind, piece in spoken:
            await exchange.write(_event(asked, [_choice({kind: piece}, None)]))
        reason = "length" if len(spoken) < len(pieces) else "stop"
        await exchange.write(_event(asked, [_choice({}, reason)]))
        if (asked.get("stream_options") or {}).get("include_usage"):
            prompt = sum(len(one["content"].encode()) for one in asked["messages"])
            usage = {
                "prompt_tokens": round(prompt / PROMPT_PIECE),
                "completion_tokens": len(spoken),
                "total_tokens": round(prompt / PROMPT_PIECE) + len(spoken),
            }
            await exchange.write(_event(asked, [], usage=usage))
        await exchange.write(b"data: [DONE]\n\n")
        await exchange.end()

    async def _say_some(self, exchange: Exchange, asked: dict[str, Any], answer: Any) -> None:
        if answer.text or isinstance(answer, Breaks):
            await exchange.begin(200, "text/event-stream")
        for piece in _pieces(answer.text):
            await exchange.write(_event(asked, [_choice({"content": piece}, None)]))
        match answer:
            case Breaks(_, error):
                await exchange.write(_data({"error": {"message": error, "code": 500}}))
                await exchange.end()
            case Dies():
                assert self.http is not None
                self.http.stop_soon()
                await trio.sleep_forever()
            case Stalls():
                self.stalled.set()
                await trio.sleep_forever()
            case _:
                raise HangUp


async def _refuse(exchange: Exchange, status: int, words: str, **more: str) -> None:
    error = {"message": words, "type": "invalid_request_error", "param": None, "code": None}
    await exchange.reply_json(status, {"error": error | more})


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + PIECE] for at in range(0, len(text), PIECE))


def _choice(delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _event(asked: dict[str, Any], choices: list[dict[str, Any]], **more: object) -> bytes:
    kind = "chat.completion.chunk"
    return _data(
        {"id": "1", "object": kind, "created": 1, "model": asked["model"], "choices": choices}
        | more
    )


def _data(document: object) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


@asynccontextmanager
async def serving_endpoint(
    script: Script = (), models: Iterable[dict[str, Any]] = (PLAIN,)
) -> AsyncIterator[EndpointServer]:
    """A server for the length of the block."""
    endpoint = EndpointServer(script, models)
    async with serving(endpoint.handle) as endpoint.http:
        yield endpoint


@contextmanager
def endpoint_in_thread(
    script: Script = (), models: Iterable[dict[str, Any]] = (PLAIN,)
) -> Iterator[tuple[str, EndpointServer]]:
    """The same beside code that is not async: base address of the API, and its state."""
    endpoint = EndpointServer(script, models)
    with serving_in_thread(endpoint.handle) as url:
        yield f"{url}/v1", endpoint
