"""Starting workflows over the socket, beside transfers."""

from __future__ import annotations

from reactor import days
from tests.bench.bench_transfer import CONNECTIONS, run_load, uniform
from tests.bench.harness import Plan, median, reactor, settle, sql
from tests.bench.load import Result, call_frame
from tests.bench.modules.parked import EFFECT
from tests.bench.report import Report

_FRAMES = 5_000


def starts() -> list[list[bytes]]:
    """Requests that start a buff with one timer, each for another entity."""

    def frame(entity: int) -> bytes:
        payload = {"effect": EFFECT, "duration_us": days(30)}
        return call_frame("workflow_start", "buff", entity, None, payload)

    return [[frame(c * _FRAMES + n) for n in range(_FRAMES)] for c in range(CONNECTIONS)]


def start(plan: Plan, report: Report) -> None:
    """`workflow_start` of a built-in type that arms one timer, durable, with the load of the transfers."""
    report.heading("workflow_start with one timer, durable")
    work, transfers = starts(), uniform()
    found: list[Result] = []
    beside: list[Result] = []
    with reactor("parked", plan.fresh("starts")) as flows, reactor("bank", plan.fresh("bank")) as bank:
        run_load(flows, work, 0.2)
        before = sql(flows, "SELECT COUNT(*) FROM workflow")[0][0]
        for _ in range(plan.rounds):
            for server, frames, results in ((bank, transfers, beside), (flows, work, found)):
                settle(flows, bank)
                results.append(run_load(server, frames, plan.seconds))
        settle(flows)
        after = sql(flows, "SELECT COUNT(*) FROM workflow WHERE status = 'Suspended'")[0][0]
        timers = sql(flows, "SELECT COUNT(*) FROM workflow_timer")[0][0]
    middle = sorted(found, key=lambda result: result.rate)[len(found) // 2]
    report.ratio(
        "workflow_start, one timer, durable", middle.rate, "/s", median([r.rate for r in beside]), of="transfer",
        at_least=0.35, notes=(middle.shown,),
    )  # fmt: skip
    started = sum(result.done - result.errors for result in found)
    report.check("start: workflows, each with a timer", after - before == started and timers == after, f"{after:,}")
