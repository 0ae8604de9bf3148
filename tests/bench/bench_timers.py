"""Timers: a backlog after downtime with players online, and a steady stream."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import uvloop

from reactor.clock import SECOND
from tests.bench.harness import Child, Plan, percentile, reactor, settle, sql
from tests.bench.load import Result, call_frame, with_client
from tests.bench.modules.beats import TARGETS
from tests.bench.paced import Paced
from tests.bench.plain import synced_database
from tests.bench.report import Report
from tests.bench.wire import Client, connect

_BACKLOG = 200_000
_LIVE_CALLS = 500
_RATE = 10_000
_ARM = 10_000
_POLL_S = 0.05
_POLLED_BATCH = 256


def _now_us() -> int:
    return time.time_ns() // 1_000


async def _arm(client: Client, count: int, first_due_us: int, gap_us: int) -> None:
    for start in range(0, count, _ARM):
        await client.call("arm", min(_ARM, count - start), first_due_us + start * gap_us, gap_us)


# -- a backlog -----------------------------------------------------------------------------------


def drain(plan: Plan, report: Report) -> None:
    """Timers that came due while the server was down, each changing one row, with live calls meanwhile."""
    count = plan.pick(_BACKLOG, 20_000)
    report.heading(f"drain of {count:,} overdue timers, durable, with {_LIVE_CALLS} live calls/s")
    directory = plan.fresh("drain")
    due_us = _now_us() + plan.pick(15, 4) * SECOND
    with reactor("beats", directory) as server:
        with_client(server, lambda client: _arm(client, count, due_us, 1))
    time.sleep(max(0.0, (due_us - _now_us()) / SECOND))
    with reactor("beats", directory) as server:
        rate, left, live = with_client(server, lambda client: _watch_drain(client, server))
        settle(server)
        hits = sql(server, "SELECT SUM(hits) FROM target")[0][0]
    polled = _polled_rate(plan.fresh("polled"), min(count, 50_000))
    report.figure(
        "timers fired from a backlog",
        f"{rate:,.0f} /s",
        beside=f"{rate / polled:.2f} × polled SQLite table ({polled:,.0f} /s)",
        wanted="≥ 30,000 /s",
        met=rate >= 30_000,
        notes=(f"over the last {left:,}",),
    )
    p99_ms = live.percentile_ms(0.99)
    report.figure(
        f"p99 of {_LIVE_CALLS} live calls/s meanwhile",
        f"{p99_ms:.1f} ms",
        wanted="≤ 100 ms",
        met=p99_ms <= 100,
        notes=(f"p50 {live.percentile_ms(0.5):.1f} ms, max {live.percentile_ms(1):.0f} ms, {live.done:,} calls",),
    )
    report.check("drain: each timer once", hits == count + live.done, f"{hits - live.done:,}")


async def _watch_drain(client: Client, server: Child) -> tuple[float, int, Result]:
    """Timers fired a second, how many were left when that was first asked, and what the live calls met."""
    live = await connect(Paced(call_frame("hit"), _LIVE_CALLS), server.port, server.path)
    begin, first = time.perf_counter(), int(await client.call("remaining"))
    live.start()
    left = first
    while left:
        await asyncio.sleep(_POLL_S)
        left = int(await client.call("remaining"))
    elapsed = time.perf_counter() - begin
    return first / elapsed, first, await live.finish()


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
            await _arm(client, count, _now_us() + 3 * SECOND, SECOND // _RATE)
            await asyncio.sleep(3.0 + seconds - _POLL_S)
            while await client.call("remaining"):
                await asyncio.sleep(_POLL_S)
            told: dict[str, Any] = await client.call("lateness")
            return told

        found = with_client(server, run)
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
