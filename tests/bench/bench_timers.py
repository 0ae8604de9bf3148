"""Timers: a backlog after downtime with players online, and a steady stream."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from tests.bench.harness import Child, Plan, percentile, reactor
from tests.bench.load import on_loop
from tests.bench.modules.beats import TARGETS
from tests.bench.plain import synced_database
from tests.bench.report import Report
from tests.bench.wire import Client, connect

_BACKLOG = 200_000
_LIVE_CALLS = 500
_RATE = 10_000
_ARM = 10_000
_POLL_S = 0.05
_POLLED_BATCH = 256

Found = TypeVar("Found")


def _now_us() -> int:
    return time.time_ns() // 1_000


def _client(server: Child, work: Callable[[Client], Any]) -> Any:
    """Run ``work`` with a client of ``server``."""

    async def run() -> Any:
        client = await connect(Client(), server.port, server.path)
        try:
            return await work(client)
        finally:
            client.transport.close()

    return on_loop(run)


async def _arm(client: Client, count: int, first_due_us: int, gap_us: int) -> None:
    for start in range(0, count, _ARM):
        await client.call("arm", min(_ARM, count - start), first_due_us + start * gap_us, gap_us)


# -- a backlog -----------------------------------------------------------------------------------


def drain(plan: Plan, report: Report) -> None:
    """Timers that came due while the server was down, each changing one row, with live calls meanwhile."""
    count = plan.pick(_BACKLOG, 20_000)
    report.heading(f"drain of {count:,} overdue timers, durable, with {_LIVE_CALLS} live calls/s")
    directory = plan.fresh("drain")
    due_us = _now_us() + 3_600_000_000
    with reactor("beats", directory) as server:
        _client(server, lambda client: _arm(client, count, due_us, 1))
    _make_overdue(directory, due_us)
    with reactor("beats", directory) as server:
        live = Child("tests.bench.paced", str(server.port), server.path, "hit", str(_LIVE_CALLS))
        try:
            live.ask("start")
            rate, left = _client(server, _watch_drain)
            told = live.ask("finish")
        finally:
            live.stop()
        fired = _client(server, lambda client: client.call("lateness"))["fired"]
        hits = _client(server, lambda client: client.call("hits"))
    polled = _polled_rate(plan.fresh("polled"), min(count, 50_000))
    report.ratio("timers fired from a backlog", rate, "/s", polled, of="polled SQLite timer table", notes=(
        f"{left:,} of {count:,} while measured",
    ))  # fmt: skip
    report.figure("drain, timers a second", f"{rate:,.0f} /s", wanted="≥ 30,000 /s", met=rate >= 30_000)
    report.figure(
        f"drain, p99 of {_LIVE_CALLS} live calls/s",
        f"{told['p99_ms']:.1f} ms",
        wanted="≤ 100 ms",
        met=told["p99_ms"] <= 100,
        notes=(f"p50 {told['p50_ms']:.1f} ms, max {told['max_ms']:.0f} ms, {told['calls']:,} calls",),
    )
    report.check("drain: each timer once", fired == count and hits == count + told["calls"], f"{fired:,}")


def _watch_drain(client: Client) -> Any:
    async def watch() -> tuple[float, int]:
        begin, first = time.perf_counter(), int(await client.call("remaining"))
        left = first
        while left:
            await asyncio.sleep(_POLL_S)
            left = int(await client.call("remaining"))
        return first / (time.perf_counter() - begin), first

    return watch()


def _polled_rate(directory: Path, count: int) -> float:
    """The same work as a game writes it by hand: a table of timers, polled in batches, each batch a synced commit."""
    directory.mkdir()
    database = synced_database(directory / "polled.db")
    database.execute("CREATE TABLE target (id INTEGER PRIMARY KEY, hits INTEGER)")
    database.execute("CREATE TABLE beat (id INTEGER PRIMARY KEY, due INTEGER, target INTEGER)")
    database.execute("CREATE INDEX beat_due ON beat (due)")
    database.execute("BEGIN")
    database.executemany("INSERT INTO target VALUES (?, 0)", ((n,) for n in range(TARGETS)))
    database.executemany("INSERT INTO beat VALUES (?, ?, ?)", ((n, n, n % TARGETS) for n in range(count)))
    database.execute("COMMIT")
    begin = time.perf_counter()
    while due := database.execute(
        "SELECT id, target FROM beat WHERE due <= ? ORDER BY due, id LIMIT ?", (count, _POLLED_BATCH)
    ).fetchall():
        database.execute("BEGIN")
        for beat, target in due:
            database.execute("UPDATE target SET hits = hits + 1 WHERE id = ?", (target,))
            database.execute("DELETE FROM beat WHERE id = ?", (beat,))
        database.execute("COMMIT")
    elapsed = time.perf_counter() - begin
    database.close()
    return count / elapsed


# -- a steady stream -----------------------------------------------------------------------------


def lateness(plan: Plan, report: Report) -> None:
    """Timers due evenly, each changing one row: how late they are."""
    seconds = plan.pick(10, 2)
    count = _RATE * seconds
    report.heading(f"{count:,} timers due evenly at {_RATE:,}/s, each changing one row, durable")
    alone = _loop_lateness_ms(plan.pick(3, 1))
    with reactor("beats", plan.fresh("even")) as server:

        async def run(client: Client) -> dict[str, Any]:
            await _arm(client, count, _now_us() + 3_000_000, 1_000_000 // _RATE)
            await asyncio.sleep(3.0 + seconds - _POLL_S)
            while await client.call("remaining"):
                await asyncio.sleep(_POLL_S)
            told: dict[str, Any] = await client.call("lateness")
            return told

        found = _client(server, run)
    told, real = found["told"], found["real"]
    report.figure(
        "timer lateness at 10,000/s, p99",
        f"{told['p99'] / 1e3:.2f} ms",
        beside=f"event loop alone p50 {alone[0]:.2f} p99 {alone[1]:.2f} ms",
        wanted="≤ 25 ms",
        met=told["p99"] <= 25_000,
        notes=(
            f"p50 {told['p50'] / 1e3:.2f} ms, max {told['max'] / 1e3:.1f} ms;",
            f"by the clock when it ran: p50 {real['p50'] / 1e3:.2f} p99 {real['p99'] / 1e3:.2f} ms",
        ),
    )
    report.check("lateness: each timer once", found["fired"] == count, f"{found['fired']:,}")


def _loop_lateness_ms(seconds: float) -> tuple[float, float]:
    """How late an event loop that does nothing else calls back at the same rate: p50 and p99 in ms."""
    late: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        count = int(_RATE * seconds)
        start = loop.time() + 0.1
        done = loop.create_future()

        def ring(due: float, last: bool) -> None:
            late.append((loop.time() - due) * 1e3)
            if last:
                done.set_result(None)

        for number in range(count):
            due = start + number / _RATE
            loop.call_at(due, ring, due, number == count - 1)
        await done

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    late.sort()
    return percentile(late, 0.5), percentile(late, 0.99)
