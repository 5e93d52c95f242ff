"""The queue between a transport and whoever reads its events. Never blocks, counts what is lost.

Messages of the topic may be lost, since feeds are compared anyway; they leave room for the events
that say who is connected, of which there are few.
"""

import trio

from gossip.transport import Heard, TransportEvent

HEARD_MAX = 1024
"""Messages that wait at most: 48 MiB of the longest ones, and minutes of a busy swarm."""

OTHERS_MAX = 4096


class Inbox:
    """Events on their way to the one reader of `events`."""

    def __init__(self) -> None:
        self._send, self.events = trio.open_memory_channel[TransportEvent](HEARD_MAX + OTHERS_MAX)
        self.lost = 0
        """Events that found no room."""

    def put(self, event: TransportEvent) -> None:
        """Hand an event to the reader, or count it as lost."""
        full = self._send.statistics().current_buffer_used >= HEARD_MAX
        if full and isinstance(event, Heard):
            self.lost += 1
            return
        try:
            self._send.send_nowait(event)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.lost += 1

    def close(self) -> None:
        """No more events will come; the reader gets those that wait, and then the end."""
        self._send.close()
