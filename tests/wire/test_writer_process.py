"""The real writer process: ``ProcessStorage`` and ``python -m reactor.storage.writer`` on real files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from reactor.datadir import hold_directory
from reactor.errors import Refusal
from reactor.storage import OS_DISK, ProcessStorage
from tests.reactor.storage.support import Recorder, group, item_group, opened

PATIENCE_S = 60


class Host(Recorder):
    """A recorder that can be waited on."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("durable", "projected", "failed", "recovered", "lost"):
            return found

        def noted(*arguments: Any) -> None:
            found(*arguments)
            self._news.set()

        return noted

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until the storage has told what makes ``reached`` true."""
        async with asyncio.timeout(PATIENCE_S):
            while not reached():
                self._news.clear()
                await self._news.wait()

    async def heard(self, kind: str) -> tuple[Any, ...]:
        """The first telling of that kind."""
        await self.until(lambda: any(told[0] == kind for told in self.told))
        return next(told for told in self.told if told[0] == kind)


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on a loop of its own."""
    asyncio.run(test)


def start(directory: Path, **options: Any) -> tuple[ProcessStorage, Host]:
    """A started writer process and its host."""
    storage, host = ProcessStorage(opened(directory), **options), Host()
    storage.start(host)
    return storage, host


def test_durable_projected_closed(tmp_path: Path) -> None:
    """P1: what is acknowledged is in the files, readers see what was projected, and the stop is clean."""

    async def test() -> None:
        storage, host = start(tmp_path)
        for seq in range(1, 101):
            storage.append(item_group(seq, seq, seq))
        storage.mark_alive(5, 6)
        await host.until(lambda: host.durable_seq == 100)
        storage.project(100)
        await host.until(lambda: host.projected_seq == 100)
        reader = OS_DISK.connect(str(tmp_path / "projection.db"), read_only=True)
        assert reader.execute("SELECT count(*), sum(value) FROM item") == [(100, 5_050)]
        reader.close()
        storage.append(item_group(101, 1, 0))
        storage.close()
        storage.close()
        assert host.durable_seq == 101
        assert all(told[0] in ("durable", "projected") for told in host.told)

    run(test())
    store = opened(tmp_path)
    assert (store.clean, store.last_seq, store.alive) == (True, 101, (5, 6))
    assert len(list(store.rows("item"))) == 100
    store.release()


def test_more_than_the_socket_takes(tmp_path: Path) -> None:
    """The loop never waits for the writer: what does not fit is sent later, and nothing is lost."""

    async def test() -> None:
        storage, host = start(tmp_path)
        changes = [x for key in range(2_000) for x in (1, [key, 1, "x" * 100])]
        for seq in range(1, 51):
            storage.append(group(seq, [changes]))
        assert storage.unsent_bytes > 0
        await host.until(lambda: host.durable_seq == 50)
        assert storage.unsent_bytes == 0
        storage.close()

    run(test())
    store = opened(tmp_path)
    assert (store.last_seq, len(list(store.rows("item")))) == (50, 2_000)
    store.release()


def test_signals_to_the_group_do_not_end_it(tmp_path: Path) -> None:
    """The reactor decides when its writer ends."""

    async def test() -> None:
        storage, host = start(tmp_path)
        pid = storage.writer_pid
        assert pid is not None
        # At once, before it can have begun to ignore them, and later.
        for seq in (1, 2):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
            storage.append(item_group(seq, seq, seq))
            await host.until(lambda seq=seq: host.durable_seq == seq)  # type: ignore[misc]
        storage.close()
        assert all(told[0] != "lost" for told in host.told)

    run(test())


def test_a_killed_writer_is_told(tmp_path: Path) -> None:
    """P6: the host hears it and can stop; what was acknowledged is there."""

    async def test() -> None:
        storage, host = start(tmp_path)
        storage.append(item_group(1, 1, 1))
        await host.until(lambda: host.durable_seq == 1)
        os.kill(storage.writer_pid or 0, signal.SIGKILL)
        assert "signal 9" in (await host.heard("lost"))[1]
        storage.append(item_group(2, 2, 2))
        storage.close()

    run(test())
    store = opened(tmp_path)
    assert (store.clean, store.last_seq) == (False, 1)
    store.release()


def test_a_writer_that_cannot_start_is_told(tmp_path: Path) -> None:
    """P6: with the reason."""

    async def test() -> None:
        store = opened(tmp_path)
        storage, host = ProcessStorage(store), Host()
        store.log.set_meta(format=99)
        storage.start(host)
        assert "format 99" in (await host.heard("lost"))[1]
        storage.close()

    run(test())


def test_a_defect_of_the_host_is_told(tmp_path: Path) -> None:
    """A4: a gap in the numbers never reaches the file; the host hears why it has to stop."""

    async def test() -> None:
        storage, host = start(tmp_path)
        storage.append(item_group(1, 1, 1))
        storage.append(item_group(3, 3, 3))
        assert "group 3 follows 1" in (await host.heard("lost"))[1]
        storage.close()

    run(test())
    store = opened(tmp_path)
    assert store.last_seq in (0, 1)
    store.release()


REACTOR = """
    import asyncio, os, sys
    from pathlib import Path
    from reactor.datadir import hold_directory
    from reactor.storage import ProcessStorage
    from tests.reactor.storage.support import Recorder, item_group, opened

    class Host(Recorder):
        def durable(self, seq):
            print(seq, flush=True)

    async def main():
        held = hold_directory(sys.argv[1], now_us=1)
        store = opened(held.path)
        storage = ProcessStorage(store, inherited_fds=[held.lock_fd])
        storage.start(Host())
        seq = store.last_seq
        while True:
            for _ in range(20):
                seq += 1
                storage.append(item_group(seq, seq % 50, seq))
            await asyncio.sleep(0)

    asyncio.run(main())
"""


def test_a_killed_reactor_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """P1, B66: the writer stores what it got and ends; the next reactor waits for it and finds everything."""
    acknowledged = 0
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(REACTOR), str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) > acknowledged + 2_000:
                child.kill()
                break
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        acknowledged = int(rest[-1]) if rest else int(line)
        held = hold_directory(tmp_path, now_us=1)
        store = opened(tmp_path)
        assert store.last_seq >= acknowledged
        assert not store.clean
        assert {row[1] for row in store.rows("item")} == set(range(store.last_seq - 49, store.last_seq + 1))
        store.release()
        held.release()


def test_the_directory_is_held_until_the_writer_has_ended(tmp_path: Path) -> None:
    """B66: a lock that was passed on outlives the reactor's own."""

    async def test() -> None:
        held = hold_directory(tmp_path, now_us=1)
        storage, host = start(tmp_path, inherited_fds=[held.lock_fd])
        storage.append(item_group(1, 1, 1))
        held.release()
        with pytest.raises(Refusal) as error:
            hold_directory(tmp_path, now_us=1)
        assert error.value.code == "data_in_use"
        storage.close()
        hold_directory(tmp_path, now_us=1).release()
        assert host.durable_seq == 1

    run(test())


SMALL_DISK = """
    import sys
    from pathlib import Path
    from reactor.storage.connection import OsDisk
    from reactor.storage.writer import serve

    class SmallDisk(OsDisk):
        # While the file "small" is there, the log cannot grow beyond the pages it had at the last look.
        def connect(self, path, *, read_only=False):
            connection = super().connect(path, read_only=read_only)
            if not read_only and path.endswith("log.db"):
                plain, flag = connection.execute, Path(path).with_name("small")
                def execute(sql, parameters=()):
                    if sql == "BEGIN IMMEDIATE":
                        pages = 1 if flag.exists() else 1_000_000
                        plain(f"PRAGMA max_page_count={pages}")
                    return plain(sql, parameters)
                connection.execute = execute
            return connection

    sys.exit(serve(sys.argv[1:], SmallDisk()))
"""


def test_a_full_disk_and_the_way_back(tmp_path: Path) -> None:
    """P6: SQLite's own "disk is full" in the real process, and recovery without a restart."""

    async def test() -> None:
        command = (sys.executable, "-c", textwrap.dedent(SMALL_DISK))
        storage, host = start(tmp_path, command=command)
        storage.append(item_group(1, 1, 1))
        await host.until(lambda: host.durable_seq == 1)
        (tmp_path / "small").touch()
        big = group(2, [[x for key in range(200_000) for x in (1, [key, 1, "x" * 60])]])
        storage.append(big)
        assert (await host.heard("failed"))[1] == "full"
        storage.append(item_group(3, 3, 3))
        storage.reset()
        (tmp_path / "small").unlink()
        await host.heard("recovered")
        storage.append(item_group(2, 2, 22))
        await host.until(lambda: host.durable_seq == 2)
        storage.close()

    run(test())
    store = opened(tmp_path)
    assert (store.last_seq, list(store.rows("item"))) == (2, [(1, 1, "item 1"), (2, 22, "item 2")])
    store.release()


LIMITED = """
    import resource, signal, sys
    from reactor.storage.writer import serve

    # Writes beyond 12 MiB fail; without the signal that would end the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 20, 12 << 20))
    sys.exit(serve(sys.argv[1:]))
"""


def test_a_write_error_ends_writing_for_good(tmp_path: Path) -> None:
    """P6: an error of the device is not waited out; what was acknowledged is there at the next start."""

    async def test() -> None:
        storage, host = start(tmp_path, command=(sys.executable, "-c", textwrap.dedent(LIMITED)))
        storage.append(item_group(1, 1, 1))
        await host.until(lambda: host.durable_seq == 1)
        storage.append(group(2, [[x for key in range(200_000) for x in (1, [key, 1, "x" * 80])]]))
        assert (await host.heard("failed"))[1] == "io"
        storage.reset()
        storage.append(item_group(2, 2, 2))
        storage.close()
        assert host.durable_seq == 1

    run(test())
    store = opened(tmp_path)
    assert store.last_seq == 1
    assert not store.clean
    store.release()


def test_the_holder_file_is_json(tmp_path: Path) -> None:
    """An operator can read who holds the directory."""
    held = hold_directory(tmp_path, now_us=1, listen="127.0.0.1:3000")
    assert json.loads((tmp_path / "lock").read_text())["listen"] == "127.0.0.1:3000"
    held.release()
