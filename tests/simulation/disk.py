"""A disk in memory under real SQLite that forgets what was not synced.

``SimulatedDisk`` is a ``reactor.storage.Disk``: its connections are apsw connections over a VFS of our own. A
write is seen at once by whoever reads, and is certain only after a sync. ``crash(rng)`` cuts the power: of
the writes, truncations, creations and deletions not yet synced each is kept, dropped, or (a write) torn at sector
bounds. ``kill()`` ends the process only: the files stay as they are, their unsynced parts still unsynced.

Errors can be injected: see ``fail`` and ``full``. After a failed sync the writes it should have made certain
are never certain again, whatever later syncs say, as Linux does it.

One connection per database at a time, in SQLite's exclusive locking mode: then the WAL index needs no shared
memory. Everything is decided by the ``rng`` that is handed in, so a seed repeats a run.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import apsw

from reactor.storage.connection import ASIDE, FETCH_ROWS, DiskError, Rows

_names = itertools.count()
_POWERSAFE_OVERWRITE = 0x1000
_SIDES = ("", "-wal", "-shm", "-journal")

Operation = Literal["write", "sync"]
Kind = Literal["io", "full"]
_CODES: dict[tuple[Operation, Kind], int] = {
    ("write", "io"): apsw.SQLITE_IOERR_WRITE,
    ("write", "full"): apsw.SQLITE_FULL,
    ("sync", "io"): apsw.SQLITE_IOERR_FSYNC,
    ("sync", "full"): apsw.SQLITE_IOERR_FSYNC,  # a sync that finds no space is an I/O error to SQLite, too
}


@dataclass(slots=True)
class _Change:
    """A write (``data``) at ``offset``, or a truncation to ``offset`` bytes. ``certain``: a sync covered it;
    ``doomed``: the sync that should have failed."""

    offset: int
    data: bytes | None
    certain: bool = False
    doomed: bool = False

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
            return
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data

    def torn(self, rng: Random, sector: int) -> Iterator[_Change]:
        """The parts of a write that reach the disk: each sector does or does not."""
        data, start = self.data or b"", self.offset
        while start < self.offset + len(data):
            end = min((start // sector + 1) * sector, self.offset + len(data))
            if rng.random() < 0.5:
                yield _Change(start, data[start - self.offset : end - self.offset])
            start = end


@dataclass(slots=True)
class _File:
    """What readers see, what is certain, and the changes between the two, in order."""

    content: bytearray = field(default_factory=bytearray)
    certain: bytearray = field(default_factory=bytearray)
    changes: list[_Change] = field(default_factory=list)
    entry_certain: bool = False
    doomed: bool = False
    owner: object = None

    def change(self, change: _Change) -> None:
        change.apply(self.content)
        self.changes.append(change)

    def sync(self) -> None:
        self.entry_certain = True
        if self.doomed:
            for change in self.changes:
                change.certain = not change.doomed
            return
        for change in self.changes:
            change.apply(self.certain)
        self.changes.clear()

    def sync_failed(self) -> None:
        self.doomed = self.doomed or bool(self.changes)
        for change in self.changes:
            change.doomed = not change.certain

    def after_crash(self, rng: Random, sector: int, keep: float) -> _File:
        """The file as the power cut leaves it."""
        content = self.certain
        for change in self.changes:
            if change.certain or rng.random() < keep:
                change.apply(content)
            elif change.data is not None and rng.random() < 0.5:
                for part in change.torn(rng, sector):
                    part.apply(content)
        return _File(content, bytearray(content), entry_certain=True)


class SimulatedDisk:
    """A ``Disk`` with the given sector size in bytes.

    ``powersafe``: whether a torn write harms no byte outside of it; SQLite then saves the padding of commits.
    """

    def __init__(self, sector: int = 4096, *, powersafe: bool = True) -> None:
        self.sector, self.powersafe = sector, powersafe
        self.files: dict[str, _File] = {}
        self.full = False
        self.syncs = self.writes = 0
        self._gone: dict[str, _File] = {}
        self._faults: list[list[Any]] = []
        self._frozen = False
        self._connections: list[SimulatedConnection] = []
        self._vfs = _Vfs(self)

    # -- as a Disk ---------------------------------------------------------------------------

    def connect(self, path: str, *, read_only: bool = False) -> SimulatedConnection:
        """See ``reactor.storage.Disk``."""
        mode = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        try:
            raw = apsw.Connection(path, flags=mode, vfs=self._vfs.label)
            raw.execute("PRAGMA locking_mode=EXCLUSIVE")
        except apsw.Error as error:
            raise _disk_error(error) from error
        connection = SimulatedConnection(raw, self)
        self._connections.append(connection)
        return connection

    def exists(self, path: str) -> bool:
        """See ``reactor.storage.Disk``."""
        return path in self.files and len(self.files[path].content) > 0

    def set_aside(self, path: str) -> None:
        """See ``reactor.storage.Disk``."""
        for suffix in _SIDES:
            if path + suffix in self.files:
                self.files[path + ASIDE + suffix] = self.files.pop(path + suffix)

    def write_anew(self, path: str) -> None:
        """See ``reactor.storage.Disk``."""
        file = self.files.get(path + "-wal")
        if file is not None:
            try:
                self.check("write")
                file.change(_Change(0, bytes(file.content)))
                self.sync(file)
            except apsw.Error as error:
                raise _disk_error(error) from error

    # -- what goes wrong ---------------------------------------------------------------------

    def fail(self, operation: Operation, kind: Kind, after: int, count: int = 1) -> None:
        """Let ``count`` operations fail, once ``after`` more of the kind have passed."""
        self._faults.append([operation, kind, after, count])

    def heal(self) -> None:
        """Forget every injected fault and a full disk."""
        self._faults.clear()
        self.full = False

    def crash(self, rng: Random) -> None:
        """Cut the power; open connections are dead afterwards."""
        self._end_process()
        keep = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        gone, self._gone = self._gone, {}
        for path, file in gone.items():
            # A deletion that was not synced may not have happened.
            if path not in self.files and file.entry_certain and rng.random() < 0.5:
                self.files[path] = file
        kept = {p: f for p, f in self.files.items() if f.entry_certain or rng.random() < keep}
        self.files = {path: file.after_crash(rng, self.sector, keep) for path, file in kept.items()}
        self.heal()

    def kill(self) -> None:
        """End the process that holds the connections; the disk goes on."""
        self._end_process()
        for file in self.files.values():
            file.owner = None

    def _end_process(self) -> None:
        connections, self._connections = self._connections, []
        self._frozen = True
        for connection in connections:
            with contextlib.suppress(apsw.Error):
                connection.raw.close(True)
        self._frozen = False
        self._vfs = _Vfs(self)

    def forget(self, connection: SimulatedConnection) -> None:
        """A connection closes by itself."""
        if connection in self._connections:
            self._connections.remove(connection)

    def flip(self, path: str, offset: int) -> None:
        """Damage one byte on the platter."""
        file = self.files[path]
        for content in (file.content, file.certain):
            if offset < len(content):
                content[offset] ^= 0xFF

    # -- for the VFS -------------------------------------------------------------------------

    def check(self, operation: Operation) -> None:
        """Count an operation and raise its injected fault, if it has one."""
        if self._frozen:
            raise _error(apsw.SQLITE_IOERR)
        if operation == "sync":
            self.syncs += 1
        else:
            self.writes += 1
        for fault in self._faults:
            if fault[0] == operation:
                fault[2] -= 1
                if -fault[3] <= fault[2] < 0:
                    raise _error(_CODES[operation, fault[1]])

    def sync(self, file: _File) -> None:
        """Make the changes of a file certain, or never, if the sync is one to fail."""
        try:
            self.check("sync")
        except apsw.Error:
            file.sync_failed()
            raise
        file.sync()

    def check_live(self) -> None:
        """Refuse whatever a dead process still tries."""
        if self._frozen:
            raise _error(apsw.SQLITE_IOERR)

    def delete(self, path: str, *, synced: bool) -> None:
        """Delete a file; certain only if ``synced``."""
        self.check_live()
        file = self.files.pop(path, None)
        if file is None:
            raise _error(apsw.SQLITE_IOERR_DELETE_NOENT)
        self._gone.pop(path, None)
        if not synced:
            self._gone[path] = file


def _error(code: int) -> apsw.Error:
    error = apsw.exception_for(code)
    if not isinstance(error, apsw.Error):
        raise TypeError(f"{code} is no SQLite error")
    error.extendedresult = code  # type: ignore[attr-defined]
    return error


class _Vfs(apsw.VFS):
    """Real SQLite's way to the simulated files."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.label = f"simulated-{next(_names)}"
        self.disk = disk
        super().__init__(self.label, base="")

    def xAccess(self, pathname: str, flags: int) -> bool:
        return pathname in self.disk.files

    def xFullPathname(self, name: str) -> str:
        return name

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.disk.delete(filename, synced=syncdir)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or f"temporary-{next(_names)}"
        flags[1] = flags[0]
        if path not in self.disk.files:
            if not flags[0] & apsw.SQLITE_OPEN_CREATE:
                raise _error(apsw.SQLITE_CANTOPEN)
            self.disk.files[path] = _File()
        return _Handle(self.disk, path, bool(flags[0] & apsw.SQLITE_OPEN_DELETEONCLOSE))

    def xRandomness(self, numbytes: int) -> bytes:
        return bytes(numbytes)

    def excepthook(self, *_: object) -> bool:
        return True


class _Handle:
    """An open file. Not a ``VFSFile``: nothing is inherited from the real disk."""

    def __init__(self, disk: SimulatedDisk, path: str, delete_on_close: bool) -> None:
        self._disk, self._path, self._delete_on_close = disk, path, delete_on_close
        self._file = disk.files[path]

    def excepthook(self, *_: object) -> bool:
        return True

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.check_live()
        return bytes(self._file.content[offset : offset + amount])

    def xWrite(self, data: Any, offset: int) -> None:
        self._disk.check("write")
        if self._disk.full and offset + len(data) > len(self._file.content):
            raise _error(apsw.SQLITE_FULL)
        self._file.change(_Change(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._disk.check("write")
        self._file.change(_Change(newsize, None))

    def xSync(self, flags: int) -> None:
        # A dead process does not sync; that is no failed sync, the writes are as uncertain as they were.
        self._disk.check_live()
        self._disk.sync(self._file)

    def xFileSize(self) -> int:
        return len(self._file.content)

    def xLock(self, level: int) -> None:
        if self._file.owner not in (None, self):
            raise _error(apsw.SQLITE_BUSY)
        self._file.owner = self

    def xUnlock(self, level: int) -> None:
        if level == apsw.SQLITE_LOCK_NONE and self._file.owner is self:
            self._file.owner = None

    def xCheckReservedLock(self) -> bool:
        return self._file.owner not in (None, self)

    def xFileControl(self, op: int, ptr: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return self._disk.sector

    def xDeviceCharacteristics(self) -> int:
        return _POWERSAFE_OVERWRITE if self._disk.powersafe else 0

    def xClose(self) -> None:
        if self._file.owner is self:
            self._file.owner = None
        if self._delete_on_close:
            self._disk.files.pop(self._path, None)


class SimulatedConnection:
    """A ``reactor.storage.Connection`` on apsw."""

    def __init__(self, raw: apsw.Connection, disk: SimulatedDisk) -> None:
        self._raw, self._disk = raw, disk

    @property
    def raw(self) -> apsw.Connection:
        """The apsw connection."""
        return self._raw

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """See ``reactor.storage.Connection``."""
        try:
            return list(self._raw.execute(sql, tuple(parameters)))
        except apsw.Error as error:
            raise _disk_error(error) from error

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See ``reactor.storage.Connection``."""
        try:
            self._raw.executemany(sql, (tuple(row) for row in rows))
        except apsw.Error as error:
            raise _disk_error(error) from error

    def stream(self, sql: str) -> Iterator[Rows]:
        """See ``reactor.storage.Connection``."""
        rows = self.execute(sql)
        for start in range(0, len(rows), FETCH_ROWS):
            yield rows[start : start + FETCH_ROWS]

    def close(self) -> None:
        """See ``reactor.storage.Connection``."""
        self._disk.forget(self)
        try:
            self._raw.close()
        except apsw.Error as error:
            raise _disk_error(error) from error


def _disk_error(error: apsw.Error) -> DiskError:
    extended: int = getattr(error, "extendedresult", 0) or getattr(error, "result", 0)
    return DiskError(str(error), extended)
