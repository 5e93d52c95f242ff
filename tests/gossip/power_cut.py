"""A disk that forgets, for tests: which bytes survive when the power goes before a sync.

`Disk` follows the writes, truncations and syncs of some files. At the cut, what was synced is
there, and of what was not, nothing, a prefix, or any set of sectors. `PowerCutVFS` puts SQLite on
such a disk, through apsw; that is another build of SQLite than the one Python links, so what the
tests drive are the shipped pragmas, schema, statements and transactions, not the shipped library.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import apsw

Cut = Literal["nothing", "prefix", "any"]
_SECTOR = 512


class Disk:
    """Contents of files as the medium has them, and what has been written since their last sync."""

    def __init__(self) -> None:
        self._durable: dict[str, bytes] = {}
        self._pending: dict[str, list[tuple[int, bytes | None]]] = {}
        self.syncs = 0

    def write(self, name: str, content: bytes, offset: int) -> None:
        pending = self._pending.setdefault(name, [])
        end = offset + len(content)
        while offset < end:
            stop = min(end, (offset // _SECTOR + 1) * _SECTOR)
            pending.append((offset, content[: stop - offset]))
            content, offset = content[stop - offset :], stop

    def truncate(self, name: str, size: int) -> None:
        self._pending.setdefault(name, []).append((size, None))

    def sync(self, name: str) -> None:
        self.syncs += 1
        self._durable[name] = self._after(name, self._pending.pop(name, []))

    def remove(self, name: str) -> None:
        self._durable.pop(name, None)
        self._pending.pop(name, None)

    def cut(self, cut: Cut, rng: random.Random, folder: Path) -> None:
        """Write what is left of every file into `folder`."""
        for name in {*self._durable, *self._pending}:
            pending = self._pending.get(name, [])
            match cut:
                case "nothing":
                    kept = []
                case "prefix":
                    kept = pending[: rng.randint(0, len(pending))]
                case "any":
                    kept = [one for one in pending if one[1] is None or rng.random() < 0.5]
            (folder / name).write_bytes(self._after(name, kept))

    def _after(self, name: str, changes: list[tuple[int, bytes | None]]) -> bytes:
        content = bytearray(self._durable.get(name, b""))
        for offset, written in changes:
            if written is None:
                del content[offset:]
            else:
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(written)] = written
        return bytes(content)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: Any) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name).name

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.write(self._name, bytes(data), offset)

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._disk.truncate(self._name, size)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._disk.sync(self._name)


class PowerCutVFS(apsw.VFS):
    """SQLite's own file system, with a disk that follows."""

    def __init__(self, disk: Disk) -> None:
        super().__init__("power-cut", "")
        self._disk = disk

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:
        return _File(self._disk, name, flags)

    def xDelete(self, name: str, sync_folder: bool) -> None:
        super().xDelete(name, sync_folder)
        self._disk.remove(Path(name).name)


class ApswConnection:
    """As much of `sqlite3.Connection` as `gossip.store` uses, over apsw."""

    def __init__(self, path: Path, vfs: str) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        self._connection = apsw.Connection(str(path), vfs=vfs, flags=flags)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> "_Rows":
        return _Rows(self._connection.execute(sql, values).fetchall())

    def close(self) -> None:
        self._connection.close()


class _Rows:
    description = None

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def fetchall(self) -> list[Any]:
        return self._rows


@contextmanager
def sqlite_on(disk: Disk, path: Path) -> Iterator[Any]:
    """A connection whose files live on a forgetful disk; typed loosely, as it stands in."""
    vfs = PowerCutVFS(disk)
    connection = ApswConnection(path, "power-cut")
    try:
        yield connection
    finally:
        connection.close()
        vfs.unregister()
