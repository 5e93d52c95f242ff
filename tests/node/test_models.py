"""Which model a node asks, and what `skep models` tells of it, with a server that is real HTTP."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.cli import main
from node.config import Settings
from node.models import OF_APPLE, OF_GPU, OF_HOST, model_of
from node.recommended import RECOMMENDED, Room, best_for
from skep.errors import ModelError
from tests.strategies.endpoint_server import PLAIN, serving_endpoint
from tests.strategies.ollama_server import (
    CODER,
    SMALL,
    VECTORS,
    Fails,
    Has,
    Raw,
    ollama_in_thread,
    serving_ollama,
)

GIB = 2**30
NOWHERE = "http://127.0.0.1:1"
Models = Callable[..., str]

HUGE = Has(name="deepseek-r1:671b", size=404 * 10**9, parameters=671 * 10**9, words="671B")


@pytest.fixture
def models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Models:
    """Run `skep models`: its output, or its complaint if it must fail."""
    monkeypatch.setenv("SKEP_HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)

    def run(*arguments: str, expect: int = 0) -> str:
        code = main(["models", *arguments])
        out, err = capsys.readouterr()
        assert code == expect, out + err
        assert bool(err) == (expect != 0)
        return err or out

    return run


def settings(**fields: Any) -> Settings:
    return Settings(home=Path("/nowhere"), **fields)


async def test_without_a_server_there_is_no_model_and_no_error() -> None:
    assert await model_of(settings(), {"OLLAMA_HOST": NOWHERE}) is None


async def test_a_server_without_a_fitting_model_is_as_none() -> None:
    async with serving_ollama(installed=[VECTORS, HUGE]) as server:
        assert await model_of(settings(), {"OLLAMA_HOST": server.url}) is None


async def test_the_server_is_found_by_settings_first_then_by_the_environment() -> None:
    async with serving_ollama() as one, serving_ollama(installed=[SMALL]) as other:
        environ = {"OLLAMA_HOST": one.url}
        found = await model_of(settings(), environ)
        named = await model_of(settings(ollama_url=other.url), environ)
    assert (found and found.name, named and named.name) == (
        "qwen2.5-coder:7b",
        "qwen2.5-coder:1.5b",
    )


@pytest.mark.parametrize(
    ("fields", "kind"),
    [({"model": "a:1b"}, "absent"), ({"ollama_url": "http://127.0.0.1:1"}, "absent")],
)
async def test_what_the_user_named_must_be_there(fields: dict[str, str], kind: str) -> None:
    with pytest.raises(ModelError) as caught:
        await model_of(settings(**fields), {"OLLAMA_HOST": NOWHERE})
    assert caught.value.kind == kind


async def test_an_endpoint_goes_before_ollama_and_gets_its_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("sk-1\n")
    async with serving_endpoint(models=[PLAIN]) as server:
        server.key = "sk-1"
        found = await model_of(settings(openai_url=server.url, openai_key_file=key), {})
    assert found is not None
    assert found.name == "gpt-x"


@pytest.mark.parametrize(
    ("memory", "fast", "name"),
    [
        (2, False, None),
        (3, False, "qwen2.5-coder:1.5b"),
        (8, False, "qwen2.5-coder:7b"),
        (16, False, "qwen2.5-coder:7b"),
        (16, True, "qwen2.5-coder:14b"),
        (22, False, "qwen3-coder:30b"),
        (80, True, "qwen3-coder:30b"),
    ],
)
def test_the_recommended_model_fits_and_is_not_too_slow(
    memory: int, fast: bool, name: str | None
) -> None:
    found = best_for(Room(memory * GIB, "here", fast))
    assert (found.model.name if found else None) == name


def test_what_models_take_is_counted_from_their_shapes() -> None:
    taken = {one.model.name: round(one.model.memory / GIB, 1) for one in RECOMMENDED}
    assert taken == {
        "qwen2.5-coder:1.5b": 2.7,
        "qwen2.5-coder:3b": 3.8,
        "qwen2.5-coder:7b": 7.1,
        "qwen2.5-coder:14b": 15.3,
        "qwen2.5-coder:32b": 27.5,
        "qwen3-coder:30b": 21.3,
    }


async def test_the_recommended_models_are_weighed_as_a_server_tells_their_shape() -> None:
    async with serving_ollama(installed=[CODER]) as server:
        found = await model_of(settings(ollama_url=server.url, model=CODER.name), {})
    (listed,) = (one.model for one in RECOMMENDED if one.model.name == CODER.name)
    assert found is not None
    assert (found.context, listed.cache) == (listed.window, 57_344)


def test_without_a_server_it_is_said_how_to_get_one(models: Models) -> None:
    lines = models().splitlines()
    assert lines[0] == f"server     none at {NOWHERE}"
    assert lines[2] == "would ask  no model; ideas come from the other strategies alone"
    assert "recommended" in lines
    install = (
        "to have a server       install it from https://ollama.com/download, then: ollama serve"
    )
    assert install in lines


def test_what_is_installed_is_listed_with_what_it_takes(models: Models) -> None:
    with ollama_in_thread(installed=[CODER, VECTORS, HUGE]) as (url, _):
        text = models("--ollama-url", url)
        document = json.loads(models("--ollama-url", url, "--json"))
    assert text.startswith(f"server     ollama 0.12.6 at {url}\n")
    assert "qwen2.5-coder:7b              7.6    7.0    32768  chat       " in text
    assert "nomic-embed-text:latest       0.1    1.3     2048  embedding  " in text
    assert (document["version"], document["url"], document["fault"]) == ("0.12.6", url, "")
    assert document["models"][2] == {
        "name": "deepseek-r1:671b",
        "size": 671_000_000_000,
        "memory_gib": 378.9,
        "context": 32_768,
        "use": "chat",
        "runs": False,
    }
    assert [one["name"] for one in document["recommended"]] == [
        one.model.name for one in RECOMMENDED
    ]


def test_a_model_that_is_not_there_hides_nothing(models: Models, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('model = "llama3"')
    with ollama_in_thread(installed=[CODER]) as (url, _):
        document = json.loads(models("--ollama-url", url, "--json"))
    assert document["chosen"] == "llama3"
    assert document["fault"].startswith(f"ollama at {url} has no model llama3. Run: ollama pull")
    assert [one["name"] for one in document["models"]] == ["qwen2.5-coder:7b"]


@pytest.mark.parametrize("text", ["nowhere", "ftp://box", "http://a b"])
def test_an_address_that_is_none_is_one_line(models: Models, text: str) -> None:
    line = models("--ollama-url", text, expect=1)
    assert line == (
        f"skep: --ollama-url {text}: expected an address like http://HOST:PORT."
        " See `skep join --help`.\n"
    )


def test_a_server_that_was_named_and_fails_is_one_line(models: Models) -> None:
    assert models("--ollama-url", NOWHERE, expect=1).startswith(
        f"skep: no ollama answers at {NOWHERE}. Start it with `ollama serve`"
    )
    with ollama_in_thread() as (url, server):
        server.faults["/api/version"] = Raw(b"<html>")
        assert models("--ollama-url", url, expect=1) == (
            f"skep: what answers at {url} does not talk like ollama. Check the address.\n"
        )
        server.faults["/api/version"] = Fails(500, "boom")
        assert models("--ollama-url", url, expect=1).startswith(f"skep: ollama at {url} failed: b")


def test_the_guide_names_the_best_model_for_each_memory() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "llm.md").read_text()
    rows = re.findall(r"^\| (\d+) GB \| (\S+) \| (\S+) \| (\S+) \|$", guide, re.M)
    kinds = ((OF_HOST, False), (OF_GPU, True), (OF_APPLE, True))
    for gigabytes, *named in rows:
        found = [
            best_for(Room(round(share * int(gigabytes) * GIB), "here", fast))
            for share, fast in kinds
        ]
        assert [f"`{one.model.name}`" if one else "-" for one in found] == named
    assert len(rows) == 6
