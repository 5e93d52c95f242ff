"""A helper process that was taken over can say nothing that costs the node more than the helper."""

import socket

import pytest
import trio

from trainer import frames
from trainer.channel import Channel

NONSENSE = {
    "more than a message may have": frames.HEADER.pack(frames.MAX_BYTES + 1) + b"x",
    "no JSON": frames.HEADER.pack(3) + b"{no",
    "no text": frames.HEADER.pack(2) + b"\xff\xff",
    "no object": frames.HEADER.pack(2) + b"[]",
    "deep nesting": frames.HEADER.pack(200_000) + b"[" * 200_000,
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_counts_as_the_end(what: str) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    async with trio.open_nursery() as nursery:  # more than the kernel may hold for a reader
        nursery.start_soon(trio.to_thread.run_sync, theirs.sendall, NONSENSE[what])
        assert await channel.receive() is None
    channel.close()
    theirs.close()


async def test_messages_in_pieces_come_whole() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    both = frames.pack({"a": 1}) + frames.pack({"b": "ü"})
    theirs.sendall(both[:7])
    theirs.sendall(both[7:])
    assert [await channel.receive(), await channel.receive()] == [{"a": 1}, {"b": "ü"}]
    theirs.close()
    assert await channel.receive() is None
    channel.close()
