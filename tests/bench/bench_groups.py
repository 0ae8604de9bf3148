"""Groups: ten thousand workflows started in one call, and cancelled by their correlation id beside live calls."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from reactor import days
from tests.bench.harness import Child, Plan, median, reactor, settle, sql
from tests.bench.load import with_client
from tests.bench.report import Report
from tests.bench.wire import Client

_MANY = 10_000
_PROBES = 200
_LOOK_EVERY_S = 0.005


@dataclass
class _Round:
    started_s: float
    preview_s: float
    cancelled_s: float
    live_p99_ms: float
    live_max_ms: float


def groups(plan: Plan, report: Report) -> None:
    """Batch start and cancel of a group, durable; another process makes small calls at a steady rate meanwhile."""
    many = plan.pick(_MANY, 600)
    report.heading(f"groups of {many:,} workflows, each with its timer, durable")
    rounds: list[_Round] = []
    with reactor("parked", plan.fresh("groups")) as server:
        for number in range(plan.rounds):
            settle(server)
            rounds.append(_round(server, f"group {number}", many))
        settle(server)
        left = sql(server, "SELECT status, COUNT(*) FROM workflow GROUP BY status")
        timers = sql(server, "SELECT COUNT(*) FROM workflow_timer")[0][0]
    _figure(report, "start batch in one call", median([each.started_s for each in rounds]), many)
    _figure(report, "cancel by correlation", median([each.cancelled_s for each in rounds]), many)
    worst = max(each.live_p99_ms for each in rounds)
    report.figure(
        "live calls while it is cancelled, p99",
        f"{worst:.1f} ms",
        beside=f"slowest {max(each.live_max_ms for each in rounds):.1f} ms, {_PROBES} small calls/s",
        wanted="≤ 100 ms",
        met=worst <= 100,
        notes=(f"preview {median([each.preview_s for each in rounds]) * 1e3:.0f} ms",),
    )
    report.check("cancelled, all of them, with their timers", left == [["Cancelled", many * plan.rounds]], f"{left}")
    report.check("timers left", timers == 0, f"{timers}")


def _figure(report: Report, name: str, seconds: float, many: int) -> None:
    report.figure(
        f"{name}, {many:,}", f"{seconds * 1e3:,.0f} ms", beside=f"{many / seconds:,.0f} /s", wanted="≤ 1 s",
        met=seconds <= 1.0,
    )  # fmt: skip


def _round(server: Child, name: str, many: int) -> _Round:
    payload = {"duration_us": days(30)}
    items = [{"type": "buff", "entity_id": n, "correlation_id": name, "payload": payload} for n in range(many)]
    chosen = {"correlation_id": name}
    probe = Child("tests.bench.paced", str(server.port), server.path, "look", str(_PROBES))

    async def work(client: Client) -> tuple[float, float, float]:
        begin = time.perf_counter()
        await client.call("workflow_start_batch", items)
        started = time.perf_counter()
        probe.ask("start")
        # So that the probe's first calls are not among those that are measured for being first.
        await asyncio.sleep(0.2)
        previewing = time.perf_counter()
        token = (await client.call("workflow_group_preview", "cancel", chosen))["token"]
        cancelling = time.perf_counter()
        answer = await client.call("workflow_group", "cancel", chosen, token, name, "the end of the round")
        while answer["status"] == "Running":
            await asyncio.sleep(_LOOK_EVERY_S)
            answer = await client.call("workflow_group_operation", answer["operation"])
        ended = time.perf_counter()
        if answer["applied"] != many:
            raise RuntimeError(f"cancelled {answer['applied']} of {many}")
        return started - begin, cancelling - previewing, ended - cancelling

    try:
        times = with_client(server, work)
        told = probe.ask("finish")
    finally:
        probe.stop()
    return _Round(*times, told["p99_ms"], told["max_ms"])
