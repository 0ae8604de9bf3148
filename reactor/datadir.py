"""The data directory: who may use it, what format it has, and the owner's token.

    format        JSON, the version of everything in the directory
    lock          held (flock) by the reactor that uses it, and by its writer while that still stores; it tells who
    owner.token   the secret of the database's owner, readable by its user only
    log.db …      see ``reactor.storage``

A killed reactor leaves no stale lock: the kernel lets go with the last process that held it.
"""

from __future__ import annotations

import datetime
import errno
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson

from reactor.errors import Refusal
from reactor.storage.api import FORMAT_VERSION, Durability

FLUSH_WAIT_S = 10.0
"""How long a start waits for the writer of a reactor that is gone."""

_POLL_S = 0.05
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"}
_MOUNTS = Path("/proc/self/mountinfo")


class Holder(msgspec.Struct, frozen=True):
    """Who uses a data directory."""

    pid: int
    host: str
    started_at_us: int
    listen: str

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have ended. Of another machine's processes nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def __str__(self) -> str:
        since = datetime.datetime.fromtimestamp(self.started_at_us // 1_000_000, datetime.UTC)
        return f"process {self.pid} on {self.host}, serving {self.listen or 'nothing'} since {since:%F %T} UTC"


@dataclass
class DataDirectory:
    """A directory that this process holds. ``lock_fd`` is to be inherited by the writer process."""

    path: Path
    lock_fd: int
    owner_token: str

    def release(self) -> None:
        """Let go. A writer process that still runs keeps the directory until it has ended."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1


def hold_directory(
    path: str | Path,
    *,
    now_us: int,
    listen: str = "",
    durability: Durability = "full",
    wait_s: float = FLUSH_WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
    new_token: Callable[[], str] = lambda: secrets.token_hex(32),
) -> DataDirectory:
    """Create the directory if needed, take it for this process, check its format, read or make the token.

    Raises ``Refusal``: ``storage_unsafe`` (in memory, on a network file system, not writable), ``data_in_use``
    with the holder named, ``data_version``.
    """
    if str(path) == ":memory:":
        raise _unsafe(
            "data in memory is gone with the process, so no answer would be durable. Name a directory with"
            " --data-dir, or ask for the in-memory mode where nothing has to last."
        )
    directory = Path(path).absolute()
    try:
        _create(directory)
        _check_file_system(directory, durability)
        fd = _lock(directory, wait_s, sleep)
    except OSError as error:
        raise _unsafe(f"the data directory {directory} cannot be used: {error.strerror}") from error
    try:
        _check_format(directory)
        _write_holder(fd, Holder(os.getpid(), socket.gethostname(), now_us, listen))
        return DataDirectory(directory, fd, _owner_token(directory, new_token))
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            raise _unsafe(f"the data directory {directory} cannot be used: {error.strerror}") from error
        raise


def _unsafe(message: str) -> Refusal:
    return Refusal("storage_unsafe", message)


def _create(directory: Path) -> None:
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True)
        sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- the file system -----------------------------------------------------------------------------


def _check_file_system(directory: Path, durability: Durability) -> None:
    kind = file_system(directory, _MOUNTS.read_text() if _MOUNTS.exists() else "")
    if durability == "full" and kind in _NETWORK:
        raise _unsafe(
            f"{directory} is on a network file system ({kind}), where locks and syncs cannot be relied on. Use a"
            ' local disk, or ask for durability "relaxed" if losing answered calls is acceptable.'
        )


def file_system(directory: Path, mounts: str) -> str:
    """The type of the file system that holds ``directory``, given the text of ``/proc/self/mountinfo``; empty if
    it does not tell."""
    found, kind = Path(), ""
    resolved = directory.resolve()
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = Path(fields[4].replace("\\040", " "))
        # Later lines lie over earlier ones.
        if resolved.is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, kind = point, right.split()[0]
    return kind


# -- the lock ------------------------------------------------------------------------------------


def _lock(directory: Path, wait_s: float, sleep: Callable[[float], None]) -> int:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        waited_s = 0.0
        while not _try_lock(fd):
            holder = _read_holder(fd)
            # Without a name someone is just taking it, or its process is gone and the writer still stores.
            if waited_s >= wait_s or (holder is not None and not holder.is_gone):
                raise _in_use(directory, holder)
            sleep(_POLL_S)
            waited_s += _POLL_S
    except BaseException:
        os.close(fd)
        raise
    return fd


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _in_use(directory: Path, holder: Holder | None) -> Refusal:
    if holder is None:
        who, then = "a process that did not leave its name", "Stop it"
    elif holder.is_gone:
        who = f"the writer that {holder} left behind; it still stores what it was sent"
        then = "Try again in a moment"
    else:
        who, then = str(holder), "Stop it"
    return Refusal(
        "data_in_use",
        f"the data directory {directory} is in use by {who}. {then}, or choose another --data-dir.",
        directory=str(directory),
        holder=msgspec.to_builtins(holder),
    )


def _read_holder(fd: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(fd, 4_096, 0), type=Holder)
    except msgspec.DecodeError:
        return None


def _write_holder(fd: int, holder: Holder) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, msgspec.json.encode(holder), 0)


def read_holder(path: Path) -> Holder | None:
    """Who uses the data directory now; None if nobody does."""
    try:
        fd = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try_lock(fd) else _read_holder(fd)
    finally:
        os.close(fd)


# -- format and token ----------------------------------------------------------------------------


def _check_format(directory: Path) -> None:
    file = directory / "format"
    if not file.exists():
        _write_durably(file, orjson.dumps({"format": FORMAT_VERSION}))
        return
    try:
        found = orjson.loads(file.read_bytes())["format"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        found = None
    if found != FORMAT_VERSION:
        raise Refusal(
            "data_version",
            f"the data directory {directory} has format {found!r}; this program reads format {FORMAT_VERSION}."
            " Start it with the version that wrote it, or export its tables there and begin a new directory.",
            found=found,
            expected=FORMAT_VERSION,
        )


def _owner_token(directory: Path, new_token: Callable[[], str]) -> str:
    file = directory / "owner.token"
    if not file.exists():
        _write_durably(file, new_token().encode())
    return file.read_text().strip()


def _write_durably(file: Path, content: bytes) -> None:
    """Write a small file for this user's eyes, whole or not at all."""
    draft = file.with_name(file.name + ".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(file)
    sync_directory(file.parent)
