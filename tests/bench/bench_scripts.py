"""Scripts over the socket, durable: beside handlers, by shape, with signals, and brought up from their records."""

from __future__ import annotations

import time
from typing import Any

from tests.bench.bench_transfer import CONNECTIONS, Work, run_load
from tests.bench.harness import Child, Plan, median, reactor, settle, sql
from tests.bench.load import Result, call_frame, with_client
from tests.bench.report import Report
from tests.bench.wire import Client

_FRAMES = 2_000
_TEXT = "x" * 10_240
_SHAPES = (
    *((f"sequential {n}", "sequential", n, "") for n in (1, 10, 25, 50)),
    *((f"parallel {n}", "parallel", n, "") for n in (10, 25, 50)),
    ("sequential 10, 10 KB each", "sequential", 10, _TEXT),
)


def _starts(kind: str, payload: dict[str, Any] | None = None) -> Work:
    frame = call_frame("workflow_start", kind, None, None, payload)
    return [[frame] * _FRAMES for _ in range(CONNECTIONS)]


def scripts(plan: Plan, report: Report) -> None:
    """A script of one sleep beside a handler of one timer; shapes; signals; cold wake-ups."""
    report.heading("scripts, durable")
    with reactor("scripts", plan.fresh("scripts")) as server:
        _beside_handlers(plan, report, server)
    with reactor("scripts", plan.fresh("shapes")) as server:
        _by_shape(plan, report, server)
    with reactor("scripts", plan.fresh("listeners")) as server:
        _signals(plan, report, server)
        _cold(plan, report, server)


def _beside_handlers(plan: Plan, report: Report, server: Child) -> None:
    found: dict[str, list[Result]] = {"nap": [], "nap_handler": []}
    for kind in found:
        run_load(server, _starts(kind), 0.2)
    for _ in range(plan.rounds):
        for kind, results in found.items():
            settle(server)
            results.append(run_load(server, _starts(kind), plan.seconds))
    rates = {kind: median([result.rate for result in results]) for kind, results in found.items()}
    report.ratio(
        "start a script of one sleep", rates["nap"], "/s", rates["nap_handler"], of="handler with one timer",
        at_least=0.5, notes=(found["nap"][0].shown,),
    )  # fmt: skip
    refused = sum(result.errors for results in found.values() for result in results)
    report.check("scripts: starts refused", refused == 0, f"{refused:,}")


def _by_shape(plan: Plan, report: Report, server: Child) -> None:
    for label, kind, count, text in _SHAPES:
        settle(server)
        began = time.perf_counter()
        before = _completed(server)
        result = run_load(server, _starts(kind, {"count": count, "text": text}), plan.seconds)
        # Sleeps of no time end in later turns: all are waited for, and count with the time they took.
        while (done := _completed(server) - before) < result.done - result.errors:
            if time.perf_counter() - began > 60 + plan.seconds:
                break
            time.sleep(0.02)
        rate = done / (time.perf_counter() - began)
        report.figure(f"scripts: {label}", f"{rate:,.0f} /s", notes=(f"{rate * count:,.0f} steps/s, {result.shown}",))
        report.check(f"scripts: {label}, completed", done == result.done - result.errors > 0, f"{done:,}")


def _completed(server: Child) -> int:
    return int(sql(server, "SELECT COUNT(*) FROM workflow WHERE status = 'Completed'")[0][0])


def _listeners(server: Child, count: int) -> list[int]:
    async def ask(client: Client) -> list[int]:
        ids: list[int] = []
        while len(ids) < count:
            ids += await client.call("listen", min(2_000, count - len(ids)))
        return ids

    return with_client(server, ask)


def _signals(plan: Plan, report: Report, server: Child) -> None:
    many = plan.pick(10_000, 500)
    ids = _listeners(server, many)
    work = [[call_frame("workflow_signal", i, "ping", {"number": i}) for i in ids[c::CONNECTIONS]] for c in range(4)]
    results = []
    for _ in range(plan.rounds):
        settle(server)
        results.append(run_load(server, work, plan.seconds))
    rate = median([result.rate for result in results])
    report.figure(f"signals to {many:,} waiting scripts", f"{rate:,.0f} /s", notes=(results[0].shown,))
    taken = sql(server, "SELECT COUNT(*) FROM execution_pointer WHERE status = 'Complete'")[0][0]
    sent = sum(result.done - result.errors for result in results)
    report.check("scripts: signals taken", taken == sent, f"{taken:,} of {sent:,}")


def _cold(plan: Plan, report: Report, server: Child) -> None:
    """One call to a script that is in memory, and to one that is not, with records of several lengths."""
    for events in (10, 100, 1_000):
        (workflow_id,) = _listeners(server, 1)

        async def measure(client: Client, workflow_id: int = workflow_id, events: int = events) -> tuple[float, float]:
            for _ in range(events // 2):
                await client.call("workflow_signal", workflow_id, "ping")
            warm, cold = [], []
            for _ in range(20):
                warm.append(await _timed(client, workflow_id))
                await client.call("forget", [workflow_id])
                cold.append(await _timed(client, workflow_id))
            return median(warm), median(cold)

        warm, cold = with_client(server, measure)
        report.figure(
            f"wake-up of a script with {events:,} events, not in memory", f"{cold * 1e3:.2f} ms",
            notes=(f"in memory {warm * 1e3:.2f} ms", f"{(cold - warm) / events * 1e6:.1f} µs an event"),
        )  # fmt: skip


async def _timed(client: Client, workflow_id: int) -> float:
    began = time.perf_counter()
    await client.call("workflow_signal", workflow_id, "ping")
    return time.perf_counter() - began
