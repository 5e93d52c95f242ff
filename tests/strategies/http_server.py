"""A small HTTP/1.1 server under trio that can misbehave on purpose: h11 over real sockets.

A handler answers one request at a time through an `Exchange`. Raising `HangUp` closes the
connection as it stands.
"""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import h11
import msgspec
import trio

READ_BYTES = 65536


class HangUp(Exception):
    """Close the connection here and now."""


class Exchange:
    """One request and the answer to it."""

    def __init__(self, request: h11.Request, body: bytes, send: Any) -> None:
        self.method = request.method.decode()
        self.path = request.target.decode()
        self.headers = {name.decode(): value.decode() for name, value in request.headers}
        self.body = body
        self._send = send

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON; empty if it is none."""
        try:
            found = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    async def begin(self, status: int, kind: str) -> None:
        """Status and headers of a streamed answer."""
        await self._send(h11.Response(status_code=status, headers=[("Content-Type", kind)]))

    async def write(self, content: bytes) -> None:
        """A piece of it."""
        await self._send(h11.Data(data=content))

    async def end(self) -> None:
        """The end of it."""
        await self._send(h11.EndOfMessage())

    async def reply(
        self, status: int, content: bytes, kind: str = "application/json; charset=utf-8"
    ) -> None:
        """A whole answer."""
        headers = [("Content-Type", kind), ("Content-Length", str(len(content)))]
        await self._send(h11.Response(status_code=status, headers=headers))
        await self.write(content)
        await self.end()

    async def reply_json(self, status: int, document: object) -> None:
        """A whole answer of JSON."""
        await self.reply(status, msgspec.json.encode(document))


Handler = Callable[[Exchange], Awaitable[None]]


class HttpServer:
    """Listens on a free port of this machine, and on the same one again after `stop`."""

    def __init__(self, handler: Handler, nursery: trio.Nursery) -> None:
        self._handler = handler
        self._nursery = nursery
        self._port = 0
        self._scope = trio.CancelScope()
        self.ended = trio.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen."""
        listeners = await trio.open_tcp_listeners(self._port, host="127.0.0.1")
        self._port = listeners[0].socket.getsockname()[1]
        self._scope, self.ended = trio.CancelScope(), trio.Event()
        self._nursery.start_soon(self._run, listeners, self._scope, self.ended)

    async def stop(self) -> None:
        """Hang up on everybody and stop listening."""
        self.stop_soon()
        await self.ended.wait()

    def stop_soon(self) -> None:
        """The same without waiting, for handlers; `ended` is set when it is done."""
        self._scope.cancel()

    async def _run(
        self, listeners: list[trio.SocketListener], scope: trio.CancelScope, ended: trio.Event
    ) -> None:
        try:
            with scope:
                await trio.serve_listeners(self._serve, listeners)
        finally:
            for listener in listeners:
                listener.socket.close()
            ended.set()

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._answer(stream, connection):
                connection.start_next_cycle()
        except (HangUp, h11.ProtocolError, trio.BrokenResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        """Serve one request; whether the connection is good for another."""
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(READ_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False

        async def send(event: h11.Event) -> None:
            await stream.send_all(connection.send(event) or b"")

        assert request is not None
        await self._handler(Exchange(request, body, send))
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[HttpServer]:
    """A server for the length of the block."""
    async with trio.open_nursery() as nursery:
        server = HttpServer(handler, nursery)
        await server.start()
        yield server
        nursery.cancel_scope.cancel()


@contextmanager
def serving_in_thread(handler: Handler) -> Iterator[str]:
    """The same beside code that is not async, such as a whole command; yields its address."""
    ready = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with serving(handler) as server:
            found.update(url=server.url, token=trio.lowlevel.current_trio_token())
            found["stop"] = trio.Event()
            ready.set()
            await found["stop"].wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    ready.wait()
    try:
        yield found["url"]
    finally:
        found["token"].run_sync_soon(found["stop"].set)
        thread.join()
