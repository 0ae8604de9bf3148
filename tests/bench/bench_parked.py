"""A million workflows that wait: what they cost to keep, to load again, to leave alone, and to work beside."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

from reactor import days
from tests.bench.harness import Child, Plan, cpu_s, median, pss_bytes, reactor, rss_bytes, settle, sql, tree
from tests.bench.load import call_frame, with_client
from tests.bench.modules.parked import EFFECT
from tests.bench.pairs import pair_rate
from tests.bench.report import Report
from tests.bench.wire import Client

_MANY = 1_000_000
_FEW = 1_000
# A call may take two seconds; this many take a fraction of one.
_BATCH = 5_000
_CONNECTIONS = 4
_IN_FLIGHT = 40
_PROBES = 200


def parked(plan: Plan, report: Report) -> None:
    """Memory, reopening, idling, and start + cancel, with the same million workflows."""
    many = plan.pick(_MANY, 20_000)
    report.heading(f"{many:,} parked workflows, each with its timer")
    few_directory, many_directory = plan.fresh("few"), plan.fresh("many")
    _prepare(report, few_directory, _FEW)
    _prepare(report, many_directory, many)
    with reactor("parked", few_directory, "--watch") as few:
        settle(few)
        empty = rss_bytes(few.pid)
        opening = time.perf_counter()
        with reactor("parked", many_directory, "--watch") as crowded:
            ready_s = crowded.start_s
            with_client(crowded, lambda client: client.call("look"))
            _reopened(report, many, ready_s, time.perf_counter() - opening, few.start_s)
            # The question also starts the SQL reader, so that the processes below are all there are.
            waiting = sql(crowded, "SELECT COUNT(*) FROM workflow WHERE status = 'Suspended'")[0][0]
            report.check("reopened: workflows that wait", waiting == many, f"{waiting:,}")
            settle(crowded)
            _memory(report, crowded, empty, many - _FEW)
            _churn(plan, report, few, crowded, many)
    with reactor("parked", many_directory) as idle:
        _idle(plan, report, idle, many)


def _prepare(report: Report, directory: Path, count: int) -> None:
    """A data directory with so many workflows, made through the engine itself."""
    began = time.perf_counter()

    async def park(client: Client) -> int:
        held = 0
        waiting = []
        for first in range(0, count, _BATCH):
            waiting.append(client.send(call="park", args=[first, min(_BATCH, count - first)]))
            if len(waiting) > 2:
                held = _result(await waiting.pop(0))
        for answer in waiting:
            held = _result(await answer)
        return held

    with reactor("parked", directory) as server:
        held = with_client(server, park)
        started_s = time.perf_counter() - began
    report.check(f"{count:,} prepared", held == count, f"{held:,}")
    stopped_s = time.perf_counter() - began - started_s
    report.note(
        f"started in {started_s:.1f} s ({count / started_s:,.0f} /s), projected and stopped in {stopped_s:.1f} s more"
    )


def _result(answer: dict[str, int]) -> int:
    if "error" in answer:
        raise RuntimeError(f"park: {answer['error']}")
    return answer["ok"]


def _reopened(report: Report, many: int, ready_s: float, served_s: float, few_s: float) -> None:
    report.figure(
        f"reopening {many:,}, to ready",
        f"{ready_s:.1f} s",
        beside=f"{few_s:.1f} s with {_FEW:,}",
        wanted="≤ 15 s",
        met=ready_s <= 15,
    )
    report.figure(
        "reopening, first unrelated call served",
        f"{served_s:.1f} s",
        wanted="≤ 3 s",
        met=served_s <= 3,
        notes=("from the start of the process; nothing is served before all tables are loaded",),
    )


def _memory(report: Report, crowded: Child, empty: int, more: int) -> None:
    resident = rss_bytes(crowded.pid)
    each = (resident - empty) / more
    whole, processes = pss_bytes(crowded.pid), len(tree(crowded.pid))
    report.figure(
        "memory of a parked workflow, all in",
        f"{each:,.0f} bytes",
        beside=f"reactor {resident / 1e6:,.0f} MB, with {_FEW:,}: {empty / 1e6:,.0f} MB",
        wanted="≤ 1,200 bytes",
        met=each <= 1_200,
        notes=(f"{processes} processes together {whole / 1e6:,.0f} MB",),
    )


# -- work beside them ----------------------------------------------------------------------------


@dataclass
class _Pauses:
    call_ms: float = 0.0
    stall_ms: float = 0.0
    collection_ms: float = 0.0

    def take(self, probe: dict[str, float], loop: dict[str, float]) -> None:
        self.call_ms = max(self.call_ms, probe["max_ms"])
        self.stall_ms = max(self.stall_ms, loop["stall_ms"])
        self.collection_ms = max(self.collection_ms, loop["collection_ms"])


def _churn(plan: Plan, report: Report, few: Child, crowded: Child, many: int) -> None:
    rates: dict[Child, list[float]] = {few: [], crowded: []}
    pauses = {few: _Pauses(), crowded: _Pauses()}
    refused = 0
    for _ in range(plan.pick(3, 1)):
        for server in (few, crowded):
            settle(few, crowded)
            rate, errors = _churn_round(server, plan.pick(4.0, 1.0), pauses[server])
            rates[server].append(rate)
            refused += errors
    report.ratio(
        f"start + cancel, {many:,} parked", median(rates[crowded]), "/s", median(rates[few]), of=f"{_FEW:,} parked",
        at_least=0.7, notes=("pairs of durable calls",),
    )  # fmt: skip
    found, beside = pauses[crowded], pauses[few]
    worst = max(found.call_ms, found.stall_ms)
    report.figure(
        "longest pause meanwhile",
        f"{worst:.0f} ms",
        beside=f"{max(beside.call_ms, beside.stall_ms):.0f} ms with {_FEW:,} parked",
        wanted="≤ 50 ms",
        met=worst <= 50,
        notes=(
            f"slowest of {_PROBES} small calls/s {found.call_ms:.0f} ms, loop stall {found.stall_ms:.0f} ms,",
            f"garbage collection {found.collection_ms:.0f} ms",
        ),
    )
    report.check("start + cancel: calls refused", refused == 0, f"{refused}")


def _churn_round(server: Child, seconds: float, pauses: _Pauses) -> tuple[float, int]:
    """One round of pairs, while another process makes small calls at a steady rate."""
    start_frame = call_frame("workflow_start", "buff", 7, None, {"effect": EFFECT, "duration_us": days(30)})
    probe = Child("tests.bench.paced", str(server.port), server.path, "look", str(_PROBES))
    try:
        server.signal_and_hear(signal.SIGUSR1)
        probe.ask("start")
        rate, errors = pair_rate(server, start_frame, connections=_CONNECTIONS, in_flight=_IN_FLIGHT, seconds=seconds)
        told = probe.ask("finish")
        pauses.take(told, server.signal_and_hear(signal.SIGUSR1))
    finally:
        probe.stop()
    return rate, errors + int(told["errors"])


def _idle(plan: Plan, report: Report, idle: Child, many: int) -> None:
    """CPU of all processes while nothing happens. Half a minute, so that all housekeeping is in it once."""
    sql(idle, "SELECT COUNT(*) FROM workflow")
    settle(idle)
    seconds = plan.pick(32.0, 4.0)
    before, began = cpu_s(idle.pid), time.perf_counter()
    time.sleep(seconds)
    share = (cpu_s(idle.pid) - before) / (time.perf_counter() - began)
    report.figure(
        f"idle with {many:,} parked",
        f"{share * 100:.2f} % of a core",
        beside=f"{len(tree(idle.pid))} processes, over {seconds:.0f} s",
        wanted="< 1 %",
        met=share < 0.01,
    )
