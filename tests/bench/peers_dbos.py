"""The same work on DBOS: start, sleep a durable second, finish. ``python -m tests.bench.peers_dbos DIRECTORY SECONDS
STARTERS FORM`` tells how many there were and how long it took as JSON. FORM is ``async`` or ``threads``.

The database is SQLite in WAL mode, SQLite's default ``synchronous=FULL``.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig  # type: ignore[import-not-found, unused-ignore]

from tests.bench.serve import tell

# Threads for workflows that sleep: more than can be asleep at once at any rate reached so far.
_THREADS = 512


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]
def wait(entity: int) -> int:
    """Wait a second."""
    DBOS.sleep(1.0)
    return entity


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]
async def wait_async(entity: int) -> int:
    """Wait a second."""
    await DBOS.sleep_async(1.0)
    return entity


def _threads(seconds: float, starters: int) -> tuple[int, float, float]:
    handles: list[list[Any]] = [[] for _ in range(starters)]
    begin = time.perf_counter()

    def run(kept: list[Any]) -> None:
        while time.perf_counter() - begin < seconds:
            kept.append(DBOS.start_workflow(wait, len(kept)))

    threads = [threading.Thread(target=run, args=(kept,)) for kept in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = time.perf_counter() - begin
    for kept in handles:
        for handle in kept:
            handle.get_result()
    return sum(map(len, handles)), started, time.perf_counter() - begin


async def _tasks(seconds: float, starters: int) -> tuple[int, float, float]:
    handles: list[list[Any]] = [[] for _ in range(starters)]
    begin = time.perf_counter()

    async def run(kept: list[Any]) -> None:
        while time.perf_counter() - begin < seconds:
            kept.append(await DBOS.start_workflow_async(wait_async, len(kept)))

    await asyncio.gather(*map(run, handles))
    started = time.perf_counter() - begin
    for kept in handles:
        for handle in kept:
            await handle.get_result()
    return sum(map(len, handles)), started, time.perf_counter() - begin


def main(directory: Path, seconds: float, starters: int, form: str) -> None:
    """Run once."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "dbos.db"
    # The journal mode is a property of the file, so DBOS finds it as it was made.
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA journal_mode = WAL")
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{path}",
        "log_level": "ERROR",
        "max_executor_threads": _THREADS,
    }
    DBOS(config=config)
    DBOS.launch()
    done, started_s, elapsed_s = (
        asyncio.run(_tasks(seconds, starters)) if form == "async" else _threads(seconds, starters)
    )
    tell(done=done, started_s=started_s, elapsed_s=elapsed_s)
    DBOS.destroy()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
