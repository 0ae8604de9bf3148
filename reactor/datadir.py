"""The data directory: one owner at a time, and the owner's token.

The ``lock`` file is held with ``flock`` for as long as the reactor or its writer process lives: both hold the same open
file, so a new reactor cannot start while the writer of a killed one still stores what it was sent. The file names
the holder, for the message to whoever comes second.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from reactor.errors import Refusal

LOCK_FILE = "lock"
OWNER_TOKEN_FILE = "owner.token"

_UNSAFE_NAMES = (":memory:", "/dev/shm", "/dev/null")


class DataDirectory:
    """An opened and locked data directory. ``lock_fd`` is to be inherited by the writer process."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self.lock_fd = lock_fd

    @classmethod
    def open(cls, path: Path, *, listen: str = "", patience_s: float = 10.0) -> DataDirectory:
        """Create the directory if need be (mode 0700) and take its lock.

        A holder whose process is gone may have left a writer that is finishing: that is waited for, ``patience_s`` at
        most. Raises ``Refusal``: ``data_in_use`` names the holder, ``storage_unsafe`` says why the place will not do.
        """
        _check_place(path)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refusal("storage_unsafe", f"{path} cannot be used as a data directory: {error.strerror}") from None
        if not _lock(fd, patience_s):
            holder = _read_holder(fd)
            os.close(fd)
            raise Refusal(
                "data_in_use",
                f"{path} is in use by {_shown(holder)}; stop that process, or choose another --data-dir",
                holder=holder,
            )
        _write_holder(fd, listen)
        return cls(path, fd)

    def owner_token(self) -> str:
        """The token of the database's owner; made on first use, readable by this user alone."""
        path = self.path / OWNER_TOKEN_FILE
        if not path.exists():
            draft = path.with_suffix(".new")
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        return path.read_text().strip()

    def release(self) -> None:
        """Let go of the lock, unless a writer process still holds it."""
        os.close(self.lock_fd)


def _check_place(path: Path) -> None:
    if any(str(path) == name or str(path.absolute()).startswith(name + "/") for name in _UNSAFE_NAMES):
        raise Refusal(
            "storage_unsafe", f"{path} does not outlive the machine; choose a directory on a disk, or use --in-memory"
        )


def _lock(fd: int, patience_s: float) -> bool:
    """Whether the lock could be had; waits only while the holder named in the file is dead."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            holder = _read_holder(fd)
            if holder.get("host") != socket.gethostname() or _is_alive(int(holder.get("pid", 0))):
                # A holder that has only just come has not written its name yet: look once more.
                if holder or time.monotonic() > deadline:
                    return False
            elif time.monotonic() > deadline:
                return False
            time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _read_holder(fd: int) -> dict[str, Any]:
    try:
        held = json.loads(os.pread(fd, 4096, 0))
    except (ValueError, OSError):
        return {}
    return held if isinstance(held, dict) else {}


def _write_holder(fd: int, listen: str) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started_at_us": time.time_ns() // 1000,
        "listen": listen,
    }
    body = json.dumps(holder).encode()
    os.ftruncate(fd, 0)
    os.pwrite(fd, body, 0)


def _shown(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    where = f", listening on {holder['listen']}" if holder.get("listen") else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{where}"
