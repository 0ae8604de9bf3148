"""Start, wait a durable second, finish: beside DBOS doing the same work. Needs the extra ``.[peers]``."""

from __future__ import annotations

import asyncio
import importlib.util
import time

from reactor import seconds
from tests.bench.harness import Child, Plan, reactor, sql
from tests.bench.load import call_frame, driven, with_client
from tests.bench.modules.parked import EFFECT
from tests.bench.report import Report
from tests.bench.wire import Client

_STARTERS = 8
_FORMS = ("async", "threads")
_MORE = (4, 40)
_POLL_S = 0.05


def peers(plan: Plan, report: Report) -> None:
    """Both with 8 starters, each waiting for one start to be durable before the next; ours over the socket."""
    report.heading(f"start + 1 s durable timer + finish, {_STARTERS} starters")
    if importlib.util.find_spec("dbos") is None:
        report.note("DBOS is not installed: make bench-peers")
        return
    length = plan.pick(10.0, 3.0)
    rates = {form: _dbos_rate(plan, form, length) for form in _FORMS}
    best = max(rates, key=lambda form: rates[form])
    rate = _our_rate(plan, report, length, _STARTERS, 1)
    more = _our_rate(plan, report, length, *_MORE)
    report.ratio(
        "start + timer + finish", rate, "/s", rates[best], of="DBOS on SQLite WAL", at_least=50,
        notes=(f"DBOS {', '.join(f'{form} {found:,.0f} /s' for form, found in rates.items())}",),
    )  # fmt: skip
    report.ratio(
        f"the same, {_MORE[0]} starters with {_MORE[1]} in flight", more, "/s", rates[best],
        of=f"DBOS with {_STARTERS} starters",
    )  # fmt: skip


def _rate(done: int, elapsed_s: float) -> float:
    """Workflows a second over the whole run, without the second that the last one has to wait."""
    return done / (elapsed_s - 1.0)


def _dbos_rate(plan: Plan, form: str, length_s: float) -> float:
    with Child("tests.bench.peers_dbos", str(plan.fresh(form)), str(length_s), str(_STARTERS), form) as child:
        return _rate(int(child.hello["done"]), float(child.hello["elapsed_s"]))


def _our_rate(plan: Plan, report: Report, length_s: float, starters: int, in_flight: int) -> float:
    frame = call_frame("workflow_start", "buff", 7, None, {"effect": EFFECT, "duration_us": seconds(1)})
    with reactor("parked", plan.fresh("peers")) as server:

        async def run(client: Client) -> tuple[int, float]:
            begin = time.perf_counter()
            result = await driven(server.port, server.path, [[frame]] * starters, in_flight=in_flight, seconds=length_s)
            while await client.call("live"):
                await asyncio.sleep(_POLL_S)
            return result.done, time.perf_counter() - begin

        done, elapsed_s = with_client(server, run)
        completed = sql(server, "SELECT COUNT(*) FROM workflow WHERE status = 'Completed'")[0][0]
    report.check("peers: workflows completed", completed == done, f"{completed:,}")
    return _rate(done, elapsed_s)
