"""Putting the parts together: from a module and an opened store to a host that serves it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from reactor.budget import BudgetGuard
from reactor.engine import Engine, LogSink
from reactor.host import Host
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.module import Module, Program
from reactor.sql.messages import SqlTables
from reactor.storage import Opened
from reactor.storage.indexing import index_tables
from reactor.system import REQUEST_TABLE, system


def compose(module: Module) -> Program:
    """The program of a module: itself, what it includes, and the reactor's own tables. Raises ``Refusal``."""
    return Program(module, system)


def load_engine(
    program: Program,
    opened: Opened,
    *,
    limits: Limits = DEFAULT_LIMITS,
    guard: BudgetGuard | None = None,
    new_seed: int = 0,
    log: LogSink = lambda at, level, logger, message: None,
) -> Engine:
    """An engine with every stored row in memory and the timers in line, at the store's last seq.

    ``new_seed`` is what chance is drawn from if the database is new; otherwise the stored seed is.
    """
    engine = Engine(program, opened.numbers, limits=limits, seed=new_seed, guard=guard, log=log)
    rows: dict[str, Iterable[Sequence[Any]]] = {name: opened.rows(name) for name in program.tables}
    # Idempotency keys are dropped from the front, oldest first, so they have to stand in the order they were used.
    rows[REQUEST_TABLE] = sorted(rows[REQUEST_TABLE], key=itemgetter(-1))
    engine.store.load(rows)
    engine.seq = opened.last_seq
    engine.trusted = opened.trusted
    engine.timers.load(engine.store)
    return engine


def start_host(host: Host, opened: Opened) -> None:
    """Run the start-up calls of a host over the store it was opened from; see ``Host.start``."""
    host.publisher.load_recent(opened.recent, opened.last_seq)
    alive_us = max(opened.last_at_us, opened.alive.wall_us if opened.alive is not None else 0)
    host.start(alive_us, fresh=opened.last_seq == 0)


def sql_tables(program: Program) -> SqlTables:
    """What SQL for people may see of a program."""
    names: dict[bool, list[str]] = {True: [], False: []}
    for schema in program.tables.values():
        names[schema.public].append(schema.name)
    names[False] += index_tables(program.indexes.values())
    return SqlTables(tuple(names[True]), tuple(names[False]), tuple(program.views.items()))


def describe(program: Program) -> dict[str, Any]:
    """The tables, reducers and views of a program, for `reactor describe` and the schema route."""
    return {
        "module": program.name,
        "tables": [schema.to_json() for schema in program.tables.values()],
        "reducers": [reducer.to_json() for reducer in program.reducers.values()],
        "views": [{"name": name, "sql": sql} for name, sql in program.views.items()],
        "reports": [report.to_json() for report in program.reports.values()],
    }
