"""Talking to a running node over its socket."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from node.control import SOCKET_NAME, ask, serve
from skep.errors import ConfigError


async def hello() -> dict[str, Any]:
    return {"hello": 1}


ANSWERS = {"status": hello}


async def test_a_question_gets_its_answer(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve, tmp_path, ANSWERS)
    assert await ask(tmp_path, "status") == {"hello": 1}


async def test_an_unknown_verb_is_refused(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve, tmp_path, ANSWERS)
    with pytest.raises(ConfigError, match="refused 'reboot'"):
        await ask(tmp_path, "reboot")


async def test_what_a_node_cannot_do_is_told_in_its_own_words(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    async def pause() -> dict[str, Any]:
        raise ConfigError("there is nothing to pause", "Let it be.")

    await nursery.start(serve, tmp_path, {"pause": pause})
    with pytest.raises(ConfigError, match=r"nothing to pause\. Let it be\."):
        await ask(tmp_path, "pause")


async def test_without_a_node_the_asker_is_told_so(tmp_path: Path) -> None:
    for home in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="no node is running"):
            await ask(home, "status")


async def test_a_socket_left_by_a_killed_node_is_no_node_and_no_obstacle(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(ConfigError, match="no node is running"):
        await ask(tmp_path, "status")
    await nursery.start(serve, tmp_path, ANSWERS)
    assert await ask(tmp_path, "status") == {"hello": 1}


async def test_the_socket_is_for_the_owner_alone(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve, tmp_path, ANSWERS)
    assert (tmp_path / SOCKET_NAME).stat().st_mode & 0o777 == 0o600


async def test_a_home_whose_path_is_too_long_for_a_socket_works(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    home = tmp_path.joinpath(*["long-folder-name"] * 8)
    home.mkdir(parents=True)
    await nursery.start(serve, home, ANSWERS)
    assert await ask(home, "status") == {"hello": 1}


@pytest.mark.parametrize(
    "junk", [b"\n", b"[]\n", b'{"verb": []}\n', b"\xff\n", b"{" * 4096, b"[" * 4095 + b"\n"]
)
async def test_junk_gets_an_error_and_hurts_nobody(
    tmp_path: Path, nursery: trio.Nursery, junk: bytes
) -> None:
    await nursery.start(serve, tmp_path, ANSWERS)
    stream = await trio.open_unix_socket(str(tmp_path / SOCKET_NAME))
    async with stream:
        await stream.send_all(junk)
        answer = await stream.receive_some()
    assert json.loads(answer) == {"error": "unknown verb"}
    assert await ask(tmp_path, "status") == {"hello": 1}
