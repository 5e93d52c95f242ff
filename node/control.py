"""How a command talks to the node that runs on the same home: one question, one JSON answer.

The socket lies in the home, whose permissions are its only guard; it carries no secrets and its
verbs can do nothing that the owner of the home could not do with a signal.
"""

import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import trio

from skep.errors import ConfigError, HomeError

SOCKET_NAME = "control.sock"
QUESTION_MAX_BYTES = 4096
ANSWER_MAX_BYTES = 4 * 1024 * 1024
TIMEOUT_S = 5.0

Answers = Mapping[str, Callable[[], Awaitable[dict[str, Any]]]]


async def serve(home: Path, answers: Answers, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """Answer questions until cancelled; at most one node serves a home (it holds the lock).

    Args:
        home: the home folder.
        answers: what to call for each verb; a ConfigError is passed on to whoever asked.
    """
    path = home / SOCKET_NAME
    path.unlink(missing_ok=True)
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        folder = os.open(home, os.O_RDONLY)
        try:
            await listening.bind(_address(home, folder))
        except OSError as error:
            raise HomeError(
                f"cannot open {path}: {error.strerror}", "Set SKEP_HOME to a local folder."
            ) from error
        finally:
            os.close(folder)
        path.chmod(0o600)
        listening.listen(16)
        task_status.started()
        try:
            await trio.serve_listeners(
                lambda stream: _answer(stream, answers), [trio.SocketListener(listening)]
            )
        finally:
            path.unlink(missing_ok=True)


async def ask(home: Path, verb: str) -> dict[str, Any]:
    """Ask the node running on `home`.

    Raises:
        ConfigError: no node is running there, it does not answer, or it cannot do that.
    """
    nobody = ConfigError(f"no node is running on {home}", "Start one with `skep join`.")
    try:
        folder = os.open(home, os.O_RDONLY)
    except OSError:
        raise nobody from None
    try:
        with trio.fail_after(TIMEOUT_S), trio.socket.socket(socket.AF_UNIX) as connection:
            await connection.connect(_address(home, folder))
            await connection.send(json.dumps({"verb": verb}).encode() + b"\n")
            answer = b""
            while chunk := await connection.recv(65536):
                answer += chunk
                if len(answer) > ANSWER_MAX_BYTES:
                    break
    except OSError:
        raise nobody from None
    except trio.TooSlowError:
        raise ConfigError(
            f"the node on {home} does not answer", "If it hangs, end it with kill -9."
        ) from None
    finally:
        os.close(folder)
    try:
        result = json.loads(answer)
    except ValueError:
        raise nobody from None  # It ended while we asked.
    if isinstance(result, dict) and "advice" in result:
        raise ConfigError(str(result.get("error")), str(result["advice"]))
    if not isinstance(result, dict) or "error" in result:
        raise ConfigError(f"the node refused {verb!r}", "Is it an older version of skep?")
    return result


def _address(home: Path, folder: int) -> str:
    """Address of the socket; through the open folder on Linux, where a path may be too long."""
    through = Path(f"/proc/self/fd/{folder}")
    return str((through if through.exists() else home) / SOCKET_NAME)


async def _answer(stream: trio.SocketStream, answers: Answers) -> None:
    try:
        with trio.move_on_after(TIMEOUT_S):
            question = b""
            while not question.endswith(b"\n") and len(question) < QUESTION_MAX_BYTES:
                chunk = await stream.receive_some(QUESTION_MAX_BYTES)
                if not chunk:
                    return
                question += chunk
            await stream.send_all(json.dumps(await _reply(question, answers)).encode())
    except trio.BrokenResourceError:
        pass  # The asker went away; there is nobody left to tell.
    finally:
        await trio.aclose_forcefully(stream)


async def _reply(question: bytes, answers: Answers) -> dict[str, Any]:
    try:
        answer = answers[json.loads(question)["verb"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"error": "unknown verb"}
    try:
        return await answer()
    except ConfigError as error:
        return {"error": error.what, "advice": error.advice}
