"""A server that speaks ollama's API as its docs/api.md has it, with answers from a script.

It keeps what a real one keeps: which models are installed and loaded, how much of a prompt fits
into `num_ctx`, when `num_predict` cuts an answer off, who can think or make vectors. Only what the
model says, and how the server fails, comes from the script. No model is run.

    async with serving_ollama([Say("hello"), Fails(500, "boom")]) as ollama:
        ...  # ollama.url; ollama.asked has every request
"""

import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import trio
from msgspec import Struct

from tests.strategies.http_server import (
    Exchange,
    HangUp,
    HttpServer,
    serving,
    serving_in_thread,
)

PIECE = 4
"""Characters of a token of an answer."""

PROMPT_PIECE = 3.6
"""Bytes of a token of a prompt, as measured with Qwen's vocabulary on a train.py."""

DEFAULT_CONTEXT = 4096
TIME = "2025-11-03T10:00:00.123456Z"


class Has(Struct, frozen=True, kw_only=True):
    """A model that the server has; by default the shape of `qwen2.5-coder:7b`."""

    name: str = "qwen2.5-coder:7b"
    size: int = 4_683_087_332
    parameters: int = 7_615_616_512
    words: str = "7.6B"
    family: str = "qwen2"
    context: int = 32_768
    layers: int = 28
    heads: int = 28
    pairs: int = 4
    width: int = 3584
    capabilities: tuple[str, ...] | None = ("completion", "tools", "insert")


CODER = Has()
SMALL = Has(
    name="qwen2.5-coder:1.5b",
    size=986_062_089,
    parameters=1_543_714_304,
    words="1.5B",
    heads=12,
    pairs=2,
    width=1536,
)
VECTORS = Has(
    name="nomic-embed-text:latest",
    size=274_302_450,
    parameters=136_727_040,
    words="137M",
    family="nomic-bert",
    context=2048,
    layers=12,
    heads=12,
    pairs=12,
    width=768,
    capabilities=("embedding",),
)
THINKER = Has(
    name="qwen3:8b",
    size=5_225_388_164,
    parameters=8_190_735_360,
    words="8.2B",
    family="qwen3",
    context=40_960,
    capabilities=("completion", "tools", "thinking"),
)


class Say(Struct, frozen=True):
    """The model answers this. Text within the limits of the request; the rest is cut off."""

    text: str
    thinking: str = ""
    seconds: float = 0.0
    """So long it takes before its last words; other requests are answered meanwhile."""


class Fails(Struct, frozen=True):
    """The server refuses, with ollama's kind of error document."""

    status: int
    error: str


class Breaks(Struct, frozen=True):
    """An error in the middle of an answer, as a line of its own, after this text."""

    text: str
    error: str


class HangsUp(Struct, frozen=True):
    """The connection ends after this text, without the end of the answer."""

    text: str = ""


class Dies(Struct, frozen=True):
    """The same, and nobody listens any more until `start`."""

    text: str = ""


class Stalls(Struct, frozen=True):
    """Nothing more comes after this text. `stalled` is set then."""

    text: str = ""


class Raw(Struct, frozen=True):
    """Exactly these bytes, under status and content type."""

    content: bytes
    status: int = 200
    kind: str = "application/json; charset=utf-8"


Answer = Say | Fails | Breaks | HangsUp | Dies | Stalls | Raw
Script = Iterable[Answer] | Callable[[dict[str, Any]], Answer]


class OllamaServer:
    """State and script.

    Attributes:
        installed: models by name.
        loaded: names of models in memory.
        faults: what any other path than /api/chat answers in place of the right thing.
        asked: path and document of every request.
        lingers: for so many lists of loaded models an unloaded one is still in them.
        stalled: set when an answer has stalled.
        on_ps: is called at every list of loaded models.
    """

    def __init__(self, script: Script, installed: Iterable[Has]) -> None:
        """Answers come from `script` one by one, or from a function of the request."""
        self._say = script if callable(script) else _one_by_one(script)
        self.installed = {model.name: model for model in installed}
        self.loaded: dict[str, int] = {}
        self.faults: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.lingers = 0
        self.stalled = trio.Event()
        self.on_ps: Callable[[], None] = lambda: None
        self._leaving: dict[str, int] = {}
        self.vector: Callable[[str], list[float]] = _shape_of
        self.embedded: list[str] = []
        self.http: HttpServer | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        assert self.http is not None
        return self.http.url

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for path, _ in self.asked]

    @property
    def chats(self) -> list[dict[str, Any]]:
        """Every request for an answer."""
        return [document for path, document in self.asked if path == "/api/chat"]

    async def start(self) -> None:
        """Listen again after it died; a new process has nothing loaded."""
        assert self.http is not None
        self.loaded.clear()
        await self.http.start()

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        path, asked = exchange.path, exchange.document
        self.asked.append((path, asked))
        if path in self.faults:
            await self._perform(exchange, asked, self.faults[path])
            return
        routes = {
            ("GET", "/"): self._root,
            ("GET", "/api/version"): self._version,
            ("GET", "/api/tags"): self._tags,
            ("GET", "/api/ps"): self._ps,
            ("POST", "/api/show"): self._show,
            ("POST", "/api/chat"): self._chat,
            ("POST", "/api/generate"): self._generate,
            ("POST", "/api/embed"): self._embed,
        }
        route = routes.get((exchange.method, path))
        if route is None:
            await exchange.reply(404, b"404 page not found", "text/plain")
        else:
            await route(exchange, asked)

    async def _root(self, exchange: Exchange, _: dict[str, Any]) -> None:
        await exchange.reply(200, b"Ollama is running", "text/plain; charset=utf-8")

    async def _version(self, exchange: Exchange, _: dict[str, Any]) -> None:
        await exchange.reply_json(200, {"version": "0.12.6"})

    async def _tags(self, exchange: Exchange, _: dict[str, Any]) -> None:
        models = [_listed(model) | {"modified_at": TIME} for model in self.installed.values()]
        await exchange.reply_json(200, {"models": models})

    async def _ps(self, exchange: Exchange, _: dict[str, Any]) -> None:
        self.on_ps()
        names = list(self.loaded)
        for name in list(self._leaving):
            names.append(name)
            self._leaving[name] -= 1
            if self._leaving[name] <= 0:
                del self._leaving[name]
        models = [
            _listed(self.installed[name])
            | {"expires_at": TIME, "size_vram": self.installed[name].size}
            | {"context_length": self.loaded.get(name, DEFAULT_CONTEXT)}
            for name in names
        ]
        await exchange.reply_json(200, {"models": models})

    async def _show(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        model = await self._known(exchange, asked)
        if model is None:
            return
        family = model.family
        facts = {
            "general.architecture": family,
            "general.parameter_count": model.parameters,
            f"{family}.context_length": model.context,
            f"{family}.block_count": model.layers,
            f"{family}.attention.head_count": model.heads,
            f"{family}.attention.head_count_kv": model.pairs,
            f"{family}.embedding_length": model.width,
            "tokenizer.ggml.tokens": None,
        }
        document: dict[str, Any] = {
            "license": "Apache License",
            "modelfile": "# Modelfile",
            "template": "{{ .Prompt }}",
            "details": _listed(model)["details"],
            "model_info": facts,
            "modified_at": TIME,
        }
        if model.capabilities is not None:
            document["capabilities"] = list(model.capabilities)
        await exchange.reply_json(200, document)

    async def _chat(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        model = await self._known(exchange, asked)
        if model is None:
            return
        able = model.capabilities or ("completion",)
        if "completion" not in able:
            await _refuse(exchange, 400, f'"{model.name}" does not support chat')
        elif asked.get("think") and "thinking" not in able:
            await _refuse(exchange, 400, f'"{model.name}" does not support thinking')
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
        options = asked.get("options") or {}
        context = options.get("num_ctx", DEFAULT_CONTEXT)
        self.loaded[asked["model"]] = context
        limit = options.get("num_predict", -1)
        thoughts = list(_pieces(said.thinking)) if asked.get("think") is not False else []
        pieces = [("thinking", piece) for piece in thoughts]
        pieces += [("content", piece) for piece in _pieces(said.text)]
        cut = 0 <= limit < len(pieces)
        spoken = pieces[:limit] if cut else pieces
        counts = {
            "total_duration": 2_000_000_000,
            "load_duration": 500_000_000,
            "prompt_eval_count": min(_prompt_tokens(asked), context),
            "prompt_eval_duration": 500_000_000,
            "eval_count": len(spoken),
            "eval_duration": 1_000_000_000,
        }
        end = {"done": True, "done_reason": "length" if cut else "stop"} | counts
        if asked.get("stream") is False:
            await trio.sleep(said.seconds)
            whole = {
                "role": "assistant",
                "content": "".join(p for k, p in spoken if k == "content"),
            }
            await exchange.reply_json(200, _part(asked, whole) | end)
            return
        await exchange.begin(200, "application/x-ndjson")
        for kind, piece in spoken:
            message = {"role": "assistant", "content": ""} | {kind: piece}
            await exchange.write(_line(_part(asked, message) | {"done": False}))
            await trio.sleep(said.seconds / len(spoken))
        await exchange.write(_line(_part(asked, {"role": "assistant", "content": ""}) | end))
        await exchange.end()

    async def _say_some(
        self, exchange: Exchange, asked: dict[str, Any], answer: Breaks | HangsUp | Dies | Stalls
    ) -> None:
        self.loaded[asked["model"]] = DEFAULT_CONTEXT
        if answer.text or isinstance(answer, Breaks):
            await exchange.begin(200, "application/x-ndjson")
        for piece in _pieces(answer.text):
            message = {"role": "assistant", "content": piece}
            await exchange.write(_line(_part(asked, message) | {"done": False}))
        match answer:
            case Breaks(_, error):
                await exchange.write(_line({"error": error}))
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

    async def _generate(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        model = await self._known(exchange, asked)
        if model is None:
            return
        if asked.get("keep_alive") != 0 or asked.get("prompt"):
            await _refuse(exchange, 400, "this server only unloads through /api/generate")
            return
        if self.loaded.pop(model.name, None) is not None and self.lingers:
            self._leaving[model.name] = self.lingers
        done = {"response": "", "done": True, "done_reason": "unload"}
        await exchange.reply_json(200, {"model": model.name, "created_at": TIME} | done)

    async def _embed(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        model = await self._known(exchange, asked)
        if model is None:
            return
        if "embedding" not in (model.capabilities or ()):
            await _refuse(exchange, 501, "this model does not support embeddings")
            return
        self.loaded[model.name] = model.context
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        vectors = [self.vector(text) for text in texts]
        self.embedded += texts
        counts = {"total_duration": 1, "load_duration": 1, "prompt_eval_count": len(texts)}
        await exchange.reply_json(200, {"model": model.name, "embeddings": vectors} | counts)

    async def _known(self, exchange: Exchange, asked: dict[str, Any]) -> Has | None:
        name = asked.get("model", "")
        if not name:
            await _refuse(exchange, 400, "model is required")
            return None
        model = self.installed.get(name) or self.installed.get(f"{name}:latest")
        if model is None:
            await _refuse(exchange, 404, f"model '{name}' not found")
        return model


def _shape_of(text: str) -> list[float]:
    return [float(len(text)), float(text.count(" ")), 1.0]


async def _refuse(exchange: Exchange, status: int, error: str) -> None:
    await exchange.reply_json(status, {"error": error})


def _one_by_one(script: Iterable[Answer]) -> Callable[[dict[str, Any]], Answer]:
    end = itertools.repeat(Fails(500, "the script is at its end"))
    answers = itertools.chain(script, end)
    return lambda _: next(answers)


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + PIECE] for at in range(0, len(text), PIECE))


def _prompt_tokens(asked: dict[str, Any]) -> int:
    size = sum(len(one["content"].encode()) for one in asked["messages"])
    return round(size / PROMPT_PIECE) + 5 * len(asked["messages"])


def _part(asked: dict[str, Any], message: dict[str, str]) -> dict[str, Any]:
    return {"model": asked["model"], "created_at": TIME, "message": message}


def _line(document: object) -> bytes:
    return msgspec.json.encode(document) + b"\n"


def _listed(model: Has) -> dict[str, Any]:
    return {
        "name": model.name,
        "model": model.name,
        "size": model.size,
        "digest": "9f438cb9cd581fc025612d27f7c1a6669ff83a8bb0ed86c94fcf4c5440555697",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": model.family,
            "families": [model.family],
            "parameter_size": model.words,
            "quantization_level": "Q4_K_M",
        },
    }


@asynccontextmanager
async def serving_ollama(
    script: Script = (), installed: Iterable[Has] = (CODER,)
) -> AsyncIterator[OllamaServer]:
    """A server for the length of the block."""
    ollama = OllamaServer(script, installed)
    async with serving(ollama.handle) as ollama.http:
        yield ollama


@contextmanager
def ollama_in_thread(
    script: Script = (), installed: Iterable[Has] = (CODER,)
) -> Iterator[tuple[str, OllamaServer]]:
    """The same beside code that is not async: its address, and its state to look at."""
    ollama = OllamaServer(script, installed)
    with serving_in_thread(ollama.handle) as url:
        yield url, ollama
