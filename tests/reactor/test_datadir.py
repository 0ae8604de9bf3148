"""``reactor.datadir``."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from reactor import datadir
from reactor.datadir import Holder, file_system, hold_directory, read_holder
from reactor.errors import Refusal

STARTED_US = 1_700_000_000_000_000


def refused(path: str | Path, code: str, **options: float) -> Refusal:
    """The refusal with ``code`` that taking ``path`` gives."""
    with pytest.raises(Refusal) as error:
        hold_directory(path, now_us=STARTED_US, sleep=lambda _: None, **options)  # type: ignore[arg-type]
    assert error.value.code == code
    return error.value


def test_a_new_directory_is_for_its_user_only(tmp_path: Path) -> None:
    """The directory and the token are readable by nobody else."""
    held = hold_directory(tmp_path / "a" / "data", now_us=STARTED_US)
    assert stat.S_IMODE(held.path.stat().st_mode) == 0o700
    token = held.path / "owner.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(bytes.fromhex(held.owner_token)) == 32
    held.release()
    held.release()


def test_the_token_is_made_once(tmp_path: Path) -> None:
    """It stays over restarts, and two directories differ."""
    first = hold_directory(tmp_path / "a", now_us=STARTED_US)
    first.release()
    again = hold_directory(tmp_path / "a", now_us=STARTED_US)
    other = hold_directory(tmp_path / "b", now_us=STARTED_US)
    assert first.owner_token == again.owner_token != other.owner_token


def test_a_second_process_is_refused_with_the_holder_named(tmp_path: Path) -> None:
    """B66: who has it, where, since when, and what to do."""
    held = hold_directory(tmp_path, now_us=STARTED_US, listen="127.0.0.1:3000")
    error = refused(tmp_path, "data_in_use")
    assert error.details["holder"] == {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started_at_us": STARTED_US,
        "listen": "127.0.0.1:3000",
    }
    for part in (str(os.getpid()), "127.0.0.1:3000", "2023-11-14 22:13:20 UTC", "--data-dir"):
        assert part in error.message
    assert read_holder(tmp_path) == Holder(os.getpid(), socket.gethostname(), STARTED_US, "127.0.0.1:3000")
    held.release()
    assert read_holder(tmp_path) is None
    hold_directory(tmp_path, now_us=STARTED_US).release()


def test_a_killed_holder_leaves_nothing_behind(tmp_path: Path) -> None:
    """B66: the kernel lets go, so no stale lock has to be removed by hand."""
    program = (
        "import sys; from reactor.datadir import hold_directory\n"
        "held = hold_directory(sys.argv[1], now_us=1); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert refused(tmp_path, "data_in_use").details["holder"]["pid"] == child.pid
    child.kill()
    child.wait()
    hold_directory(tmp_path, now_us=STARTED_US).release()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def test_the_writer_of_a_gone_reactor_is_waited_for(tmp_path: Path) -> None:
    """B66: an inherited lock outlives its process for as long as it takes to store the rest."""
    held = hold_directory(tmp_path, now_us=STARTED_US)
    inherited = os.dup(held.lock_fd)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    os.pwrite(held.lock_fd, msgspec.json.encode(Holder(gone.pid, socket.gethostname(), 0, "x")) + b" " * 99, 0)
    held.release()
    assert "left behind" in refused(tmp_path, "data_in_use", wait_s=0.2).message
    waits = []

    def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        if len(waits) == 3:
            os.close(inherited)

    hold_directory(tmp_path, now_us=STARTED_US, sleep=sleep).release()
    assert len(waits) == 3


def test_a_holder_on_another_machine_is_not_thought_gone(tmp_path: Path) -> None:
    """Nothing is known of its processes, so nobody waits for them to end."""
    assert not Holder(2**22 + 5, "elsewhere", 0, "x").is_gone
    assert not Holder(1, socket.gethostname(), 0, "x").is_gone
    held = hold_directory(tmp_path, now_us=STARTED_US)
    os.ftruncate(held.lock_fd, 0)
    assert "did not leave its name" in refused(tmp_path, "data_in_use", wait_s=0.1).message
    held.release()


@pytest.mark.parametrize("content", [b'{"format": 99}', b"garbage", b"[]"])
def test_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    """B69: nothing of the directory is touched, and it is let go."""
    hold_directory(tmp_path, now_us=STARTED_US).release()
    (tmp_path / "format").write_bytes(content)
    message = refused(tmp_path, "data_version").message
    assert ("99" in message) == (b"99" in content)
    assert "format 1" in message
    assert (tmp_path / "format").read_bytes() == content
    assert read_holder(tmp_path) is None


def test_unsafe_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B68: memory, a network file system, a file, a place that cannot be written."""
    assert "in-memory mode" in refused(":memory:", "storage_unsafe").message
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "storage_unsafe")
    refused(tmp_path / "file" / "below", "storage_unsafe")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"1 0 0:1 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(datadir, "_MOUNTS", mounts)
    assert "nfs4" in refused(tmp_path / "data", "storage_unsafe").message
    hold_directory(tmp_path / "data", now_us=STARTED_US, durability="relaxed").release()


def test_file_system_is_that_of_the_innermost_mount() -> None:
    """The longest mount point counts, the last one where two are alike."""
    mounts = """\
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 20 0:30 / /srv rw - nfs server:/srv rw
31 30 8:2 / /srv/local\\040disk rw - xfs /dev/sdb rw
40 20 0:40 / /mnt rw - cifs //server/mnt rw
41 20 8:3 / /mnt rw - ext4 /dev/sdc rw
odd line
"""
    assert file_system(Path("/home/x"), mounts) == "ext4"
    assert file_system(Path("/srv/data"), mounts) == "nfs"
    assert file_system(Path("/srv/local disk/data"), mounts) == "xfs"
    assert file_system(Path("/srvx"), mounts) == "ext4"
    assert file_system(Path("/mnt/data"), mounts) == "ext4"
    assert file_system(Path("/x"), "") == ""
