"""What a program printed: how much of it is kept, and in which form it can be shown. Pure."""

import unicodedata

HEAD_BYTES = TAIL_BYTES = 64 * 1024
TAIL_LINES, TAIL_CHARACTERS = 20, 4000


class Log:
    """The first and the last 64 KiB of what was printed."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Take up more output."""
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        beyond = len(self._tail) - TAIL_BYTES
        if beyond > 0:
            del self._tail[:beyond]
            self._left_out += beyond

    @property
    def text(self) -> str:
        """All that was kept, as text that cannot steer a terminal."""
        gap = f"\n[... {self._left_out} bytes left out ...]\n".encode() if self._left_out else b""
        return printable((self._head + gap + self._tail).decode(errors="replace"))

    @property
    def tail(self) -> str:
        """The last lines."""
        lines = printable((self._head + self._tail).decode(errors="replace")).splitlines()
        return "\n".join(lines[-TAIL_LINES:])[-TAIL_CHARACTERS:]


def printable(text: str) -> str:
    """Text of strangers without control, formatting and surrogate characters."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
