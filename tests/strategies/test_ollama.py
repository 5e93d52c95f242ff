"""The ollama client against a server that speaks the real API: what it asks, and how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from skep.errors import ConfigError, ModelError
from skep.model import Message
from strategies.installed import best
from strategies.ollama import OllamaModel, find_model, survey
from strategies.servers import Patience, server_url
from tests.strategies.ollama_server import (
    CODER,
    SMALL,
    THINKER,
    VECTORS,
    Answer,
    Breaks,
    Dies,
    Fails,
    HangsUp,
    Has,
    Raw,
    Say,
    Stalls,
    serving_ollama,
)

QUESTION = [Message("system", "You edit programs."), Message("user", "Which edit?")]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
GIB = 2**30


async def ask(model: OllamaModel, messages: list[Message] = QUESTION, limit: int = 100) -> str:
    reply = await model.chat(messages, temperature=0.7, reply_limit=limit)
    return reply.text


async def fault_of(answer: Answer) -> str:
    """The kind of error that one answer of the server leads to, and the line that a user reads."""
    async with serving_ollama([answer]) as server:
        model = await find_model(server.url, None, None)
        with pytest.raises(ModelError) as caught:
            await ask(model)
        return f"{caught.value.kind}: {str(caught.value).replace(server.url, 'URL')}"


async def test_an_answer_comes_with_its_tokens_and_the_request_with_its_limits() -> None:
    async with serving_ollama([Say("LR = 0.02\n")]) as server:
        model = await find_model(server.url, None, None)
        heard: list[int] = []
        reply = await model.chat(
            QUESTION, schema=SCHEMA, temperature=0.7, reply_limit=100, report=heard.append
        )
    assert (model.name, model.size, model.context) == ("qwen2.5-coder:7b", 7_615_616_512, 32_768)
    assert (reply.text, reply.thinking, reply.complete) == ("LR = 0.02", "", True)
    assert (reply.prompt_tokens, reply.reply_tokens) == (18, 3)
    assert heard == [4, 8, 10, 10]
    assert server.chats == [
        {
            "model": "qwen2.5-coder:7b",
            "stream": True,
            "messages": [
                {"role": "system", "content": "You edit programs."},
                {"role": "user", "content": "Which edit?"},
            ],
            "tools": [],
            "format": SCHEMA,
            "options": {"num_ctx": 32_768, "num_predict": 100, "temperature": 0.7},
        }
    ]


async def test_the_context_is_bounded_by_what_the_model_was_made_for() -> None:
    short, long = Has(name="a:1b", context=8192), Has(name="b:1b", context=262_144)
    async with serving_ollama(installed=[short, long]) as server:
        assert (await find_model(server.url, "a:1b", None)).context == 8192
        assert (await find_model(server.url, "b:1b", None)).context == 32_768


async def test_an_answer_at_its_limit_is_not_complete() -> None:
    async with serving_ollama([Say("x" * 400), Say("x" * 399)]) as server:
        model = await find_model(server.url, None, None)
        cut = await model.chat(QUESTION, temperature=0, reply_limit=50)
        whole = await model.chat(QUESTION, temperature=0, reply_limit=100)
    assert (len(cut.text), cut.reply_tokens, cut.complete) == (200, 50, False)
    assert (len(whole.text), whole.reply_tokens, whole.complete) == (399, 100, True)


async def test_a_prompt_that_the_server_cut_is_no_answer() -> None:
    # The server was started with less context than it was asked for.
    async with serving_ollama(lambda asked: Raw(cut_reply(asked["model"]))) as server:
        model = await find_model(server.url, None, None)
        with pytest.raises(
            ModelError, match="read 4096 tokens of a prompt of about 10004"
        ) as caught:
            await ask(model, [Message("user", "word " * 8000)])
    assert caught.value.kind == "cut"


def cut_reply(name: str) -> bytes:
    document = {
        "model": name,
        "created_at": "2025-11-03T10:00:00Z",
        "message": {"role": "assistant", "content": "sure"},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 4096,
        "eval_count": 1,
    }
    return json.dumps(document).encode() + b"\n"


async def test_a_prompt_without_room_for_its_answer_is_not_sent() -> None:
    async with serving_ollama([Say("ok")], [Has(context=2048)]) as server:
        model = await find_model(server.url, None, None)
        with pytest.raises(ModelError, match="do not fit into a context of 2048") as caught:
            await ask(model, [Message("user", "word " * 1000)], limit=1000)
        assert caught.value.kind == "cut"
        assert server.chats == []


async def test_an_answer_that_outgrew_the_context_is_not_complete() -> None:
    async with serving_ollama([Say("x" * 4400)], [Has(context=2048)]) as server:
        model = await find_model(server.url, None, None)
        reply = await model.chat([Message("user", "1 " * 1800)], temperature=0, reply_limit=1100)
    assert (reply.prompt_tokens, reply.reply_tokens, reply.complete) == (1005, 1100, False)


@pytest.mark.parametrize(
    ("said", "text", "thinking"),
    [
        ("<think>\nhm\n</think>\n\nLR = 1", "LR = 1", "hm"),
        ("hm\n</think>\nLR = 1", "LR = 1", "hm"),
        ("<think>never ends", "", "never ends"),
        ("<thinking>hm</thinking>LR = 1", "LR = 1", "hm"),
        ("X = '<think>a</think>'", "X = '<think>a</think>'", ""),
    ],
)
async def test_thoughts_are_told_from_the_answer(said: str, text: str, thinking: str) -> None:
    async with serving_ollama([Say(said)]) as server:
        model = await find_model(server.url, None, None)
        reply = await model.chat(QUESTION, temperature=0)
    assert (reply.text, reply.thinking) == (text, thinking)


async def test_models_that_think_are_told_not_to_or_little() -> None:
    stubborn = Has(name="gpt-oss:20b", family="gptoss", capabilities=("completion", "thinking"))
    script = [Say("one", "hm"), Say("two", "hm hm"), Say("three")]
    async with serving_ollama(script, [THINKER, stubborn, CODER]) as server:
        replies = [
            await (await find_model(server.url, name, None)).chat(QUESTION, temperature=0)
            for name in ("qwen3:8b", "gpt-oss:20b", "qwen2.5-coder:7b")
        ]
        assert [chat.get("think", "unsaid") for chat in server.chats] == [False, "low", "unsaid"]
    assert [(reply.text, reply.thinking) for reply in replies] == [
        ("one", ""),
        ("two", "hm hm"),
        ("three", ""),
    ]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            Fails(500, "model requires more system memory (18.3 GiB) than is available (7.9 GiB)"),
            "memory: qwen2.5-coder:7b does not fit into memory: model requires more system memory"
            " (18.3 GiB) than is available (7.9 GiB). `skep models` says what is there and what"
            " this machine can run.",
        ),
        (
            Fails(500, "llama runner process has terminated: cudaMalloc failed: out of memory"),
            "memory: qwen2.5-coder:7b does not fit into memory: llama runner process has"
            " terminated: cudaMalloc failed: out of memory. `skep models` says",
        ),
        (Breaks("LR", "llama runner: CUDA error: out of memory"), "memory: "),
        (
            Fails(500, "boom\x1b[31m\nagain"),
            "broken: ollama at URL failed: boom[31m again. Its log says more.",
        ),
        (
            Breaks("LR = ", "an error was encountered while running the model"),
            "broken: ollama at URL failed: an error was encountered while running the model.",
        ),
        (Breaks("", "boom"), "broken: ollama at URL failed: boom. "),
        (
            Fails(503, "server busy, please try again.  maximum pending requests exceeded"),
            "slow: ollama at URL is busy: server busy, please try again. maximum pending",
        ),
        (
            Fails(400, "the input length exceeds the context length"),
            "cut: qwen2.5-coder:7b cannot read so long a prompt: the input length exceeds",
        ),
        (
            Fails(404, "model 'qwen2.5-coder:7b' not found"),
            "missing: qwen2.5-coder:7b is gone from URL. Run: ollama pull qwen2.5-coder:7b",
        ),
        (Fails(401, "unauthorized"), "refused: ollama at URL refuses: unauthorized. "),
        (Fails(418, "no"), "rubbish: URL answers with 418: no. Check the address."),
        (Raw(b"404 page not found", 404, "text/plain"), "rubbish: URL answers with 404: 404 page"),
        (Raw(b"<html>hello</html>", kind="text/html"), "rubbish: what answers at URL does not"),
        (Raw(b"[]"), "rubbish: what answers at URL does not talk like ollama. Check the address."),
        (Raw(b'"text"'), "rubbish: "),
        (Raw(b"{}"), "rubbish: "),
        (Raw(b'{"message": 7}'), "rubbish: "),
        (Raw(b'{"message": {"role": "assistant", "content": "a"}, "done": '), "rubbish: "),
        (Raw(b"\xff\xfe\n"), "rubbish: "),
        (Raw(b""), "absent: ollama at URL went away in the middle of an answer. Start it with"),
        (HangsUp(""), "absent: ollama at URL went away in the middle of an answer."),
        (HangsUp("LR = "), "absent: ollama at URL went away in the middle of an answer."),
        (Dies("LR = "), "absent: ollama at URL went away in the middle of an answer."),
        (
            Raw(7 * (b'{"message": {"role": "assistant", "content": "%s"}}\n' % (b"x" * 1000))),
            "rubbish: the model's answer does not end.",
        ),
    ],
)
async def test_what_goes_wrong_is_told_apart(answer: Answer, line: str) -> None:
    assert (await fault_of(answer)).startswith(line)


async def test_a_server_that_restarts_answers_again() -> None:
    async with serving_ollama([Dies("LR"), Say("LR = 1")]) as server:
        model = await find_model(server.url, None, None)
        for _ in range(2):
            with pytest.raises(ModelError) as caught:
                await ask(model)
            assert caught.value.kind == "absent"
        assert server.http is not None
        await server.http.ended.wait()
        await server.start()
        assert await ask(model) == "LR = 1"


async def test_a_model_that_says_nothing_is_given_up_in_time(mock_clock: MockClock) -> None:
    async with serving_ollama([Stalls(), Stalls("LR = ")]) as server:
        model = await find_model(server.url, None, None)
        for patience in (600, 60):
            server.stalled = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(jump_after, server.stalled, mock_clock, patience - 1)
                with pytest.raises(ModelError, match="takes too long") as caught:
                    await ask(model)
                assert caught.value.kind == "slow"
            assert trio.current_time() >= patience


async def jump_after(stalled: trio.Event, clock: MockClock, seconds: float) -> None:
    """First almost to the limit, where nothing may happen, then beyond it."""
    await stalled.wait()
    await trio.testing.wait_all_tasks_blocked(0.01)
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked(0.01)
    clock.jump(2)


async def test_cancelling_hangs_up_on_the_server() -> None:
    async with serving_ollama([Stalls("LR = "), Say("LR = 1")]) as server:
        model = await find_model(server.url, None, None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, model)
            await server.stalled.wait()
            nursery.cancel_scope.cancel()
        assert await ask(model) == "LR = 1"


async def test_unloading_waits_until_the_memory_is_free() -> None:
    script = [Say("ok")]
    async with serving_ollama(script, [CODER, VECTORS, SMALL]) as server:
        model = await find_model(server.url, None, None, Patience(poll=0))
        await ask(model)
        await model.embed(["a"])
        server.loaded["qwen2.5-coder:1.5b"] = 4096
        server.lingers = 3
        server.asked.clear()
        await model.unload()
        # What somebody else has loaded is not ours to stop.
        assert list(server.loaded) == ["qwen2.5-coder:1.5b"]
        assert server.asked[1:3] == [
            ("/api/generate", {"model": name, "stream": False, "keep_alive": 0.0})
            for name in ("qwen2.5-coder:7b", "nomic-embed-text:latest")
        ]
        assert server.paths[3:] == ["/api/ps"] * 4


async def test_unloading_what_is_not_loaded_or_not_there_is_nothing() -> None:
    async with serving_ollama() as server:
        model = await find_model(server.url, None, None)
        server.asked.clear()
        await model.unload()
        assert server.paths == ["/api/ps", "/api/ps"]
        assert server.http is not None
        await server.http.stop()
        await model.unload()


async def test_memory_that_never_gets_free_is_said(mock_clock: MockClock) -> None:
    async with serving_ollama([Say("ok")]) as server:
        model = await find_model(server.url, None, None, Patience(poll=0))
        await ask(model)
        server.lingers = 10**9
        server.on_ps = lambda: mock_clock.jump(20)
        with pytest.raises(ModelError) as caught:
            await model.unload()
        assert caught.value.kind == "slow"


async def test_texts_become_vectors_where_a_model_makes_them() -> None:
    async with serving_ollama(installed=[CODER, VECTORS]) as server:
        model = await find_model(server.url, None, None)
        assert await model.embed(["a", "b c"]) == [[1.0, 0.0, 1.0], [3.0, 1.0, 1.0]]
        assert await model.embed([]) == []
        server.faults["/api/embed"] = Raw(b'{"embeddings": [[1.0]]}')
        with pytest.raises(ModelError, match="made 1 vectors for 2 texts") as caught:
            await model.embed(["a", "b"])
        assert caught.value.kind == "rubbish"
    async with serving_ollama() as server:
        model = await find_model(server.url, None, None)
        assert await model.embed(["a"]) is None


async def test_the_best_model_is_the_largest_that_answers_and_fits() -> None:
    hosted = Has(name="qwen3-coder:480b-cloud", size=380)
    other = Has(name="llama3.1:8b", size=4_920_753_328, parameters=8_030_261_248, words="8.0B")
    async with serving_ollama(installed=[SMALL, hosted, CODER, other, VECTORS]) as server:
        found = (await survey(server.url)).models
    chosen = [best(found, memory) for memory in (None, 16 * GIB, 4 * GIB, 1 * GIB)]
    names = [model.name if model else None for model in chosen]
    assert names == ["qwen2.5-coder:7b", "qwen2.5-coder:7b", "qwen2.5-coder:1.5b", None]


async def test_what_a_model_takes_follows_from_its_shape() -> None:
    async with serving_ollama(installed=[CODER, VECTORS]) as server:
        coder, vectors = (await survey(server.url)).models
    assert (coder.cache, coder.window) == (57_344, 32_768)
    assert coder.memory == 4_683_087_332 + 57_344 * 32_768 + 10**9
    assert (vectors.use, vectors.context, vectors.size) == ("embedding", 2048, 136_727_040)


async def test_servers_that_do_not_tell_capabilities_are_understood() -> None:
    old = [replace(model, capabilities=None) for model in (CODER, VECTORS)]
    async with serving_ollama(installed=old) as server:
        assert [model.use for model in (await survey(server.url)).models] == ["chat", "embedding"]


@pytest.mark.parametrize(
    ("installed", "name", "line"),
    [
        (
            [CODER],
            "llama3",
            "ollama at URL has no model llama3. Run: ollama pull llama3 (it has: qwen2.5-coder:7b)",
        ),
        ([], None, "ollama at URL has no model that fits. `skep models` says"),
        ([VECTORS], None, "ollama at URL has no model that fits."),
        ([VECTORS], "nomic-embed-text", "nomic-embed-text:latest does not answer questions."),
    ],
)
async def test_a_model_that_is_not_there_is_named(
    installed: list[Has], name: str | None, line: str
) -> None:
    async with serving_ollama(installed=installed) as server:
        with pytest.raises(ModelError) as caught:
            await find_model(server.url, name, None)
        assert caught.value.kind == "missing"
        assert str(caught.value).replace(server.url, "URL").startswith(line)


@pytest.mark.parametrize("path", ["/api/version", "/api/tags", "/api/show"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Raw(b"<html>hello</html>"), "rubbish"),
        (Raw(b"[1]"), "rubbish"),
        (Raw(b'{"models": 5}'), "rubbish"),
        (Fails(500, "boom"), "broken"),
        (HangsUp(), "absent"),
    ],
)
async def test_finding_a_model_survives_any_server(path: str, answer: Answer, kind: str) -> None:
    async with serving_ollama() as server:
        server.faults[path] = answer
        with pytest.raises(ModelError) as caught:
            await find_model(server.url, None, None)
    assert caught.value.kind == kind


async def test_nobody_there_is_one_line_with_what_to_do() -> None:
    async with serving_ollama() as server:
        url = server.url
    with pytest.raises(ModelError) as caught:
        await find_model(url, None, None)
    assert caught.value.kind == "absent"
    assert str(caught.value) == (
        f"no ollama answers at {url}. Start it with `ollama serve`, or install it:"
        " https://ollama.com/download."
    )


@pytest.mark.parametrize(
    ("given", "host", "url"),
    [
        (None, "", "http://127.0.0.1:11434"),
        (None, "0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 - what servers are told
        (None, "0.0.0.0:8080", "http://127.0.0.1:8080"),
        (None, ":8080", "http://127.0.0.1:8080"),
        (None, "box", "http://box:11434"),
        ("http://box:11434/", "other", "http://box:11434"),
        ("http://box", "", "http://box:80"),
        ("https://box/ollama", "", "https://box:443/ollama"),
        ("[fe80::1]:8080", "", "http://[fe80::1]:8080"),
    ],
)
def test_addresses_are_read_as_ollama_reads_them(given: str | None, host: str, url: str) -> None:
    assert server_url(given, {"OLLAMA_HOST": host}) == url


@pytest.mark.parametrize(
    "text",
    ["ftp://box", "http://box:port", "http://box:99999", "http://a b", "http://me:word@box", "[x"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--ollama-url .* is no address\. It looks like http://"
    ):
        server_url(text, {})
    with pytest.raises(ConfigError, match=r"^OLLAMA_HOST=.* is no address"):
        server_url(None, {"OLLAMA_HOST": text})


def test_without_a_server_the_package_is_not_even_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, trio\n"
        "from skep.errors import ModelError\n"
        "from strategies.ollama import find_model\n"
        "try:\n"
        "    trio.run(find_model, 'http://127.0.0.1:1', None, None)\n"
        "except ModelError as error:\n"
        "    print(error.kind, [m for m in ('ollama', 'httpx') if m in sys.modules])\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "absent []\n"
