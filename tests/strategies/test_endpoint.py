"""The client of OpenAI-compatible endpoints: what it asks, how it fails, and where the key goes."""

import os
import pickle
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from skep.errors import ConfigError, ModelError
from skep.model import Message
from strategies.endpoint import Endpoint, Key, find_endpoint, read_key
from tests.strategies.endpoint_server import LLAMA_CPP, PLAIN, VLLM, serving_endpoint
from tests.strategies.ollama_server import Answer, Breaks, Dies, Fails, HangsUp, Raw, Say, Stalls

QUESTION = [Message("system", "You edit programs."), Message("user", "Which edit?")]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
SECRET = "sk-canary-0123456789"  # noqa: S105 - of nobody


async def ask(model: Endpoint) -> str:
    return (await model.chat(QUESTION, temperature=0.7, reply_limit=100)).text


async def test_an_answer_comes_with_its_tokens_and_the_request_with_its_limits() -> None:
    async with serving_endpoint([Say("LR = 0.02\n", "hm")]) as server:
        model = await find_endpoint(server.url, None, None)
        heard: list[int] = []
        reply = await model.chat(
            QUESTION, schema=SCHEMA, temperature=0.7, reply_limit=100, report=heard.append
        )
    assert (model.name, model.size, model.context) == ("gpt-x", None, 32_768)
    assert (reply.text, reply.thinking, reply.complete) == ("LR = 0.02", "hm", True)
    assert (reply.prompt_tokens, reply.reply_tokens) == (8, 4)
    assert heard == [2, 6, 10, 12, 12, 12]
    form = {"name": "reply", "strict": True, "schema": SCHEMA}
    assert server.chats == [
        {
            "model": "gpt-x",
            "stream": True,
            "messages": [
                {"role": "system", "content": "You edit programs."},
                {"role": "user", "content": "Which edit?"},
            ],
            "max_tokens": 100,
            "temperature": 0.7,
            "stream_options": {"include_usage": True},
            "response_format": {"type": "json_schema", "json_schema": form},
        }
    ]


async def test_an_answer_at_its_limit_is_not_complete_and_thoughts_are_told_apart() -> None:
    async with serving_endpoint([Say("<think>hm</think>LR = 1"), Say("x" * 500)]) as server:
        model = await find_endpoint(server.url, None, None)
        first = await model.chat(QUESTION, temperature=0, reply_limit=100)
        second = await model.chat(QUESTION, temperature=0, reply_limit=100)
    assert (first.text, first.thinking, first.complete) == ("LR = 1", "hm", True)
    assert (len(second.text), second.reply_tokens, second.complete) == (400, 100, False)


async def test_a_list_of_models_tells_what_a_server_knows() -> None:
    vectors = {"id": "text-embedding-x", "object": "model"}
    async with serving_endpoint(models=[LLAMA_CPP, vectors]) as server:
        found = await find_endpoint(server.url, None, None)
        assert (found.name, found.size, found.context) == ("coder.gguf", 7_615_616_512, 32_768)
        assert await found.embed(["a", "bc"]) == [[1.0, 1.0], [2.0, 1.0]]
        await found.unload()
    async with serving_endpoint(models=[VLLM]) as server:
        found = await find_endpoint(server.url, None, None)
        assert (found.name, found.context) == ("Qwen/Qwen2.5-Coder-7B", 16_384)
        assert await found.embed(["a"]) is None
    async with serving_endpoint(models=[VLLM, PLAIN]) as server:
        with pytest.raises(ModelError, match=r"has 2 models\. Name one by --model: Qwen/Q.*, gpt"):
            await find_endpoint(server.url, None, None)
        assert (await find_endpoint(server.url, "gpt-x", None)).name == "gpt-x"


async def test_parameters_with_another_name_are_learned_once() -> None:
    async with serving_endpoint([Say("a"), Say("b")]) as server:
        server.unknown = {"max_tokens", "temperature"}
        model = await find_endpoint(server.url, None, None)
        assert [await ask(model), await ask(model)] == ["a", "b"]
    assert len(server.chats) == 4
    assert server.chats[-1]["max_completion_tokens"] == 100
    assert not {"max_tokens", "temperature"} & server.chats[-1].keys()


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (Fails(500, "CUDA error: out of memory"), "memory: gpt-x does not fit into memory: CUDA"),
        (Fails(500, "boom\x1b[31m"), "broken: URL failed: boom[31m. Its log says more."),
        (Breaks("LR", "boom"), "broken: URL failed: boom."),
        (Fails(429, "Rate limit reached"), "slow: URL is busy: Rate limit reached."),
        (
            Fails(400, "This model's maximum context length is 8192 tokens."),
            "cut: gpt-x cannot read so long a prompt: This model's maximum context length is 8192",
        ),
        (Fails(404, "The model does not exist"), "missing: URL does not know gpt-x: The model"),
        (Fails(400, "no"), "refused: URL refuses: no"),
        (Raw(b"<html>", 502, "text/html"), "broken: URL failed: <html>."),
        (
            Raw(b"<html>hello</html>", kind="text/html"),
            "rubbish: what answers at URL does not talk",
        ),
        (Raw(b"data: {oops\n\n", kind="text/event-stream"), "rubbish: what answers at URL"),
        (Raw(b"data: [1]\n\n", kind="text/event-stream"), "rubbish: what answers at URL"),
        (Raw(b'data: {"choices": 7}\n\n', kind="text/event-stream"), "rubbish: what answers"),
        (Raw(b""), "rubbish: what answers at URL"),
        (HangsUp(""), "absent: URL does not answer"),
        (HangsUp("LR = "), "absent: URL does not answer"),
        (Dies("LR = "), "absent: URL does not answer"),
    ],
)
async def test_what_goes_wrong_is_told_apart(answer: Answer, line: str) -> None:
    async with serving_endpoint([answer]) as server:
        model = await find_endpoint(server.url, None, None)
        with pytest.raises(ModelError) as caught:
            await ask(model)
    told = f"{caught.value.kind}: {caught.value}".replace(server.url, "URL")
    assert told.startswith(line)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Raw(b"<html>hello</html>"), "rubbish"),
        (Raw(b'{"data": 5}'), "rubbish"),
        (Fails(500, "boom"), "broken"),
        (Raw(b"Not Found", 404), "missing"),
        (HangsUp(), "absent"),
    ],
)
async def test_finding_a_model_survives_any_server(answer: Answer, kind: str) -> None:
    async with serving_endpoint() as server:
        server.faults["/v1/models"] = answer
        with pytest.raises(ModelError) as caught:
            await find_endpoint(server.url, None, None)
    assert caught.value.kind == kind


async def test_an_endpoint_that_says_nothing_is_given_up_in_time(mock_clock: MockClock) -> None:
    async with serving_endpoint([Stalls("LR = "), Say("LR = 1")]) as server:
        model = await find_endpoint(server.url, None, None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(jump_after, server.stalled, mock_clock)
            with pytest.raises(ModelError, match="takes too long") as caught:
                await ask(model)
        assert caught.value.kind == "slow"
        assert await ask(model) == "LR = 1"


async def jump_after(stalled: trio.Event, clock: MockClock) -> None:
    await stalled.wait()
    await trio.testing.wait_all_tasks_blocked(0.01)
    clock.jump(61)


async def test_the_key_is_in_the_header_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "environment")
    caplog.set_level("DEBUG")
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(f"{SECRET}\n")
    key = read_key(path)
    async with serving_endpoint([Say("a"), Fails(500, f"no {SECRET}")]) as server:
        server.key = SECRET
        model = await find_endpoint(server.url, None, key)
        await ask(model)
        with pytest.raises(ModelError) as failed:
            await ask(model)
        server.key = "sk-another"
        with pytest.raises(ModelError, match="does not take this key") as refused:
            await ask(model)
        with pytest.raises(ModelError, match=r"wants a key\. Give it by --openai-key-file"):
            await find_endpoint(server.url, None, None)
    headers = [sent["authorization"] for _, _, sent in server.asked]
    assert headers == [f"Bearer {SECRET}"] * 4 + ["Bearer none"]
    assert "environment" not in str(server.asked)
    shown = [repr(key), str(key), repr(model), str(vars(model)), caplog.text]
    shown += [repr(error.value) + repr(error.value.__cause__) for error in (failed, refused)]
    assert SECRET not in "".join(shown)
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_could_read_is_not_used(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_text(SECRET)
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        read_key(path)
    assert str(caught.value) == f"others can read the key file {path}. Run: chmod 600 {path}"


def test_what_is_no_key_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content in (b"", b"\n", b"two\nlines", b"\xff\xfe", b"x" * 5000):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="is no key file"):
            read_key(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is no key file"):
        read_key(tmp_path / "pipe")


def test_a_key_says_nothing() -> None:
    assert f"{Key(SECRET)!r}" == "Key(…)"
    assert Key(SECRET).hide(f"a {SECRET} b") == "a … b"
