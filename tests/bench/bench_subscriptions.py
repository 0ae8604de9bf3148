"""What subscriptions cost the transfers: many that are not concerned, and a thousand that are."""

from __future__ import annotations

from tests.bench.bench_transfer import Work, run_load, uniform
from tests.bench.harness import Child, Plan, median, reactor, settle
from tests.bench.load import Result
from tests.bench.modules.bank import ACCOUNTS
from tests.bench.readers import Readers
from tests.bench.report import Report

_OTHERS = 10_000
_LIVE = 1_000
_CONNECTIONS = 10


def subscriptions(plan: Plan, report: Report) -> None:
    """Transfers with 10,000 other subscriptions, and with 1,000 on the very rows that change."""
    report.heading("transfer with subscriptions, durable")
    with reactor("bank", plan.fresh("quiet")) as quiet, reactor("bank", plan.fresh("watched")) as watched:
        with Readers(watched, _CONNECTIONS, _others()) as readers:
            with_them, without, told = _turns(plan, quiet, watched, readers, uniform())
            report.ratio(
                f"with {_OTHERS:,} other subscriptions", with_them, "/s", without, of="without", at_least=0.9,
                notes=(f"{told['deltas']:,} deltas delivered",),
            )  # fmt: skip
            report.check("others: deltas delivered", told["deltas"] == 0, f"{told['deltas']:,}")
        with Readers(watched, _CONNECTIONS, _live()) as readers:
            _live_figure(plan, report, quiet, watched, readers, uniform(), "among 100,000 rows", None)
            _live_figure(plan, report, quiet, watched, readers, uniform(_LIVE), "on all changing rows", 0.6)


def _live_figure(
    plan: Plan,
    report: Report,
    quiet: Child,
    watched: Child,
    readers: Readers,
    work: Work,
    where: str,
    at_least: float | None,
) -> None:
    with_them, without, told = _turns(plan, quiet, watched, readers, work)
    delivered = f"{told['deltas']:,} deltas in {told['frames']:,} frames, {told['deltas'] / told['calls']:.2f} a call"
    report.ratio(
        f"with {_LIVE:,} live, {where}", with_them, "/s", without, of="without", at_least=at_least, notes=(delivered,)
    )
    if at_least is not None:
        wanted = 2 * told["calls"]
        report.check("live: deltas delivered", told["deltas"] == wanted, f"{told['deltas']:,}")
        report.check("live: connections lost", told["lost"] == 0, f"{told['lost']}")


def _others() -> list[list[str]]:
    """Half on another table, half on rows of the same table that do not exist."""
    half = _OTHERS // 2
    queries = [f"SELECT * FROM branch WHERE id = {n}" for n in range(half)]
    queries += [f"SELECT * FROM account WHERE id = {ACCOUNTS + n}" for n in range(half)]
    return [queries[n::_CONNECTIONS] for n in range(_CONNECTIONS)]


def _live() -> list[list[str]]:
    queries = [f"SELECT * FROM account WHERE id = {n}" for n in range(_LIVE)]
    return [queries[n::_CONNECTIONS] for n in range(_CONNECTIONS)]


def _turns(
    plan: Plan, quiet: Child, watched: Child, readers: Readers, work: Work
) -> tuple[float, float, dict[str, int]]:
    """Rates with and without the readers, and what these were sent during the calls counted as ``calls``."""
    rates: dict[Child, list[float]] = {watched: [], quiet: []}
    calls = 0
    settle(watched)
    readers.mark()
    for _ in range(plan.rounds):
        for server in (quiet, watched):
            settle(quiet, watched)
            result: Result = run_load(server, work, plan.seconds)
            rates[server].append(result.rate)
            calls += result.done - result.errors if server is watched else 0
    settle(watched)
    return median(rates[watched]), median(rates[quiet]), {**readers.mark(), "calls": calls}
