"""How a request ends, whatever carries it: with an answer, or one of two errors, and in time."""

from collections.abc import Awaitable, Callable

import trio

from gossip.identity import peer_id
from gossip.transport import REQUEST_MAX_BYTES, REQUEST_TIMEOUT_S
from skep.errors import Refused, TransportError


async def asked(
    peer: bytes,
    data: bytes,
    going_on: set[trio.CancelScope],
    ask: Callable[[], Awaitable[bytes]],
) -> bytes:
    """The answer to a request.

    Args:
        peer: public key of who is asked.
        data: the request.
        going_on: holds the request's scope meanwhile, so that it can be cut off.
        ask: sends it and brings the answer, an empty one for a refusal.

    Raises:
        Refused: the peer does not want to answer.
        TransportError: the request is too long, or there was no answer in time.
    """
    if len(data) > REQUEST_MAX_BYTES:
        raise TransportError(f"a request of {len(data)} bytes is too long")
    answer = b""
    scope = trio.CancelScope(deadline=trio.current_time() + REQUEST_TIMEOUT_S)
    going_on.add(scope)
    try:
        with scope:
            answer = await ask()
    finally:
        going_on.discard(scope)
    if scope.cancelled_caught:
        raise TransportError(f"{peer_id(peer)} did not answer in time")
    if not answer:
        raise Refused(f"{peer_id(peer)} refused to answer")
    return answer


def not_connected(peer: bytes) -> TransportError:
    """The error for a request to somebody who is not there."""
    return TransportError(f"{peer_id(peer)} is not connected")
