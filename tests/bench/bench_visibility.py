"""Lists and aggregates over a million workflows, with the index and without; filling it; what it costs to keep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from reactor.context import Caller
from reactor.limits import DEFAULT_LIMITS
from reactor.reports import Query, ReportContext
from reactor.sql.inline import InlineSql
from reactor.sql.messages import ReportRequest, SqlTables
from reactor.storage import Opened, open_store
from reactor.storage.backfill import Backfill, drop_index, verify_index
from reactor.storage.connection import transaction
from reactor.storage.ddl import quoted
from tests.bench.harness import Plan, median
from tests.bench.report import Report
from workflows.attributes.tables import SCHEMAS
from workflows.life import Status
from workflows.tables import WORKFLOW_SCHEMA
from workflows.visibility.counting import aggregate_query
from workflows.visibility.filters import ListFilter, Range
from workflows.visibility.index import INDEX
from workflows.visibility.listing import list_query

_MANY = 1_000_000
_FILLED = 100_000
_BATCH = 5_000
_T0 = 1_700_000_000_000_000
_TYPES = ("buff", "npc_patrol", "combat", "respawn")
_STATUSES = (*["Suspended"] * 6, "Completed", "Failed", "Cancelled", "TimedOut")


def visibility(plan: Plan, report: Report) -> None:
    """Every figure from one projection, made without an engine."""
    many = plan.pick(_MANY, 20_000)
    report.heading(f"lists and aggregates over {many:,} workflows")
    store = _opened(plan.fresh("visibility"))
    began = time.perf_counter()
    _fill(store, 1, many)
    report.note(f"written in {time.perf_counter() - began:.1f} s")
    store.projection.checkpoint()
    _questions(plan, report, store, many)
    began = time.perf_counter()
    found = verify_index(store.projection.connection, INDEX, WORKFLOW_SCHEMA, deep=True)
    report.check("the index after all that", not found.gaps and found.entries == many, f"{found.entries:,} rows")
    report.note(f"verified, deeply, in {time.perf_counter() - began:.1f} s")
    store.release()
    _filling(plan, report)
    _keeping(plan, report)


def _opened(directory: Path, *, indexed: bool = True) -> Opened:
    directory.mkdir(parents=True)
    schemas = [WORKFLOW_SCHEMA, *SCHEMAS]
    return open_store(directory, schemas, now_us=1, new_history_id="0" * 32, indexes=[INDEX] if indexed else [])


def _row(id: int, changed: int = 0) -> list[Any]:
    values: dict[str, Any] = {
        "id": id, "name": f"{_TYPES[id % 4]}-{id}", "workflow_type": _TYPES[id % 4], "status": _STATUSES[id % 10],
        "entity_id": id % 10_007, "correlation_id": f"wave-{id % 100}", "current_step": "waiting",
        "state": f'{{"x":{changed},"pad":"{"x" * 60}"}}', "state_version": 1, "owner": "f" * 32, "waits": "dispel",
        "sequence": 1 + changed, "run": 1, "created_at": _T0 + id, "updated_at": _T0 + id + changed,
        "failure_category": "application" if _STATUSES[id % 10] == "Failed" else None,
    }  # fmt: skip
    return [values.get(name) for name in WORKFLOW_SCHEMA.column_names]


def _write(store: Opened, rows: Iterator[list[Any]]) -> None:
    """As the projection writes them."""
    names = [quoted(name) for name in WORKFLOW_SCHEMA.column_names]
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name != '"id"')
    sql = (
        f"INSERT INTO workflow ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        f" ON CONFLICT (id) DO UPDATE SET {changes}"
    )
    with transaction(store.projection.connection):
        store.projection.connection.executemany(sql, rows)


def _fill(store: Opened, first: int, count: int) -> None:
    for start in range(first, first + count, _BATCH):
        ids = range(start, min(start + _BATCH, first + count))
        _write(store, map(_row, ids))
        with transaction(store.projection.connection):
            store.projection.connection.executemany(
                "INSERT INTO workflow_attribute (workflow_id, name, kind, value) VALUES (?, 'zone', 'int', ?)",
                ((id, str(id % 1_000)) for id in ids),
            )


# -- questions -------------------------------------------------------------------------------------


def _questions(plan: Plan, report: Report, store: Opened, many: int) -> None:
    sql = InlineSql(lambda: store.projection.connection.raw, SqlTables())
    last = ListFilter(updated=Range(gte=_T0 + many - 100))
    for name, wanted, expected in (
        ("list, newest of all", ListFilter(), many),
        ("list, by status", ListFilter(status=Status.FAILED), many // 10),
        ("list, by type and status", ListFilter(type="buff", status=Status.SUSPENDED), None),
        ("list, by attribute", ListFilter(attributes={"zone": 7}), many // 1_000),
        ("list, by entity", ListFilter(entity_id=42), None),
        ("list, by last change", last, None),
    ):
        query = {trust: list_query(_ctx(trust), {}, wanted, 50, 0, None, True) for trust in (True, False)}
        fast, slow = (_timed(plan, sql, query[trust]) for trust in (True, False))
        same = {**fast[1], "used_index": False} == slow[1]
        report.figure(name, f"{fast[0] * 1e3:.1f} ms", beside=f"{slow[0] * 1e3:.1f} ms by scan")
        if not same or expected not in (None, fast[1]["total"]):
            report.check(name, False, f"{fast[1]['total']:,}")
    for by in ("status", "type", "attribute:zone"):
        query = {trust: aggregate_query(_ctx(trust), {}, by, ListFilter(), 100) for trust in (True, False)}
        fast, slow = (_timed(plan, sql, query[trust]) for trust in (True, False))
        report.figure(f"aggregate, by {by}", f"{fast[0] * 1e3:.1f} ms", beside=f"{slow[0] * 1e3:.1f} ms by scan")
        if fast[1]["total"] != many or {**fast[1], "used_index": False} != slow[1]:
            report.check(f"aggregate, by {by}", False, f"{fast[1]['total']:,}")


def _ctx(trust: bool) -> ReportContext:
    return ReportContext(Caller(None), 0, DEFAULT_LIMITS, frozenset({INDEX}) if trust else frozenset())


def _timed(plan: Plan, sql: InlineSql, query: Query) -> tuple[float, Any]:
    request = ReportRequest(tuple(query.statements))
    times, answer = [], None
    for _ in range(plan.rounds):
        began = time.perf_counter()
        answer = query.shape(msgspec.msgpack.decode(sql.run(request).content))
        times.append(time.perf_counter() - began)
    return median(times), answer


# -- filling and keeping ---------------------------------------------------------------------------


def _filling(plan: Plan, report: Report) -> None:
    count = plan.pick(_FILLED, 5_000)
    store = _opened(plan.fresh("filling"))
    _fill(store, 1, count)
    connection = store.projection.connection
    drop_index(connection, INDEX)
    began = time.perf_counter()
    walked = Backfill(connection, INDEX, WORKFLOW_SCHEMA, history="h", new_run="r", now_us=1).run()
    took_s = time.perf_counter() - began
    report.check(f"backfill of {count:,}", walked.mark is not None, f"{walked.processed:,} rows")
    report.figure("backfill, one commit a row", f"{count / took_s:,.0f} rows/s")
    store.release()


def _keeping(plan: Plan, report: Report) -> None:
    """The projection's own work on the same rows, with the index's triggers and without."""
    count = plan.pick(_FILLED, 5_000)
    spent: dict[bool, list[float]] = {}
    for indexed in (False, True):
        store = _opened(plan.fresh(f"keeping-{indexed}"), indexed=indexed)
        spent[indexed] = [_cpu(store, count, changed) for changed in (0, 1)]
        store.release()
    for name, bare, kept in zip(("new", "changed"), spent[False], spent[True], strict=True):
        each, before = kept / count * 1e6, bare / count * 1e6
        report.figure(f"projecting a {name} workflow", f"{each:.1f} µs", beside=f"{before:.1f} µs without the index")


def _cpu(store: Opened, count: int, changed: int) -> float:
    spent = 0.0
    for start in range(1, count, _BATCH):
        rows = [_row(id, changed) for id in range(start, start + _BATCH)]
        began = time.process_time()
        _write(store, iter(rows))
        spent += time.process_time() - began
    return spent
