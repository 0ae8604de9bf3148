"""A reload: another version of the module under the data that are being served, swapped between two turns.

The tables stay what they are, with their rows, indexes and subscriptions, and so do the timers: nothing is armed
again, so nothing is lost and nothing comes twice. What is swapped is what the module says: reducers, views, extensions,
hooks, and the classes of its rows. Everything that could refuse is asked before, as a start would ask it; if anything
says no, the version before goes on as if nothing had been tried.

A reload takes no other tables. New columns and tables are additions to what is stored; a start makes them, and a reload
says so (``restart_needed``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from msgspec.structs import astuple

from reactor.errors import Fault, ReactorError, Refusal
from reactor.host import Host
from reactor.messages import Task
from reactor.module import Program
from reactor.schema import TableSchema, additions
from reactor.table import Change, Table


class Reloaded(NamedTuple):
    """What a reload has changed: names of reducers, and whether SQL for people has other views now."""

    module: str
    reducers_added: tuple[str, ...]
    reducers_removed: tuple[str, ...]
    views_changed: bool

    def to_json(self) -> dict[str, Any]:
        """For the answer of the reload route."""
        return {
            "module": self.module,
            "reducers_added": list(self.reducers_added),
            "reducers_removed": list(self.reducers_removed),
            "views_changed": self.views_changed,
        }


def reload(host: Host, program: Program) -> Reloaded:
    """Put ``program`` in place of what ``host`` serves; to be called between two turns.

    Raises ``Refusal`` (``bad_declaration``, ``schema_conflict``, ``restart_needed``, ``unregistered_types``,
    ``module_failed``) or ``Fault`` (``read_only``, ``stopping``); the version before goes on then.
    """
    engine, before = host.engine, host.engine.program
    if host.is_stopping:
        raise Fault("stopping", "the reactor is stopping")
    if engine.halted is not None:
        raise Fault("read_only", f"nothing can be changed now: {engine.halted}")
    _check_tables(before, program)
    _ask(program, engine)
    _put(host, program)
    again: list[Callable[[Any], Any]] = []

    def first(ctx: Any) -> None:
        again.extend(f for f in program.functions("reload_functions") if f(ctx) is True)

    try:
        host.run_own(Task("reload", first, budget_s=engine.limits.init_budget_s))
    except ReactorError as error:
        _put(host, before)
        raise Refusal("module_failed", f"the module refused the reload, so nothing was changed: {error.message}") from (
            error
        )
    for function in before.functions("unload_functions"):
        function()
    for function in again:
        _go_on(host, function)
    return Reloaded(
        program.name,
        tuple(sorted(program.reducers.keys() - before.reducers.keys())),
        tuple(sorted(before.reducers.keys() - program.reducers.keys())),
        program.views != before.views,
    )


def _go_on(host: Host, function: Callable[[Any], Any]) -> None:
    """Run a reload function again and again, as calls among the others, until it asks for no further round."""
    program = host.engine.program
    more: list[bool] = [False]

    def run(ctx: Any) -> None:
        # Once another version is in its place, what this one wanted is no longer wanted.
        more[0] = host.engine.program is program and function(ctx) is True

    def done(seq: int, body: object) -> None:
        if more[0] and not isinstance(body, ReactorError):
            _go_on(host, function)

    host.submit_own(Task("reload", run, token=done, budget_s=host.limits.init_budget_s))


# -- before anything is changed ---------------------------------------------------------------------


def _check_tables(before: Program, after: Program) -> None:
    if after.name != before.name:
        raise Refusal(
            "restart_needed",
            f"this server serves {before.name}, and the module is called {after.name} now: another name is another "
            "database, which a server of its own serves",
        )
    added = additions(before.tables, after.tables)
    changes = [f"table {name} is new" for name in added.tables]
    changes += [f"column {table}.{column} is new" for table, column in added.columns]
    changed = {name for name, old in before.tables.items() if _shape(old) != _shape(after.tables[name])}
    changes += [f"table {name} is declared in another way" for name in sorted(changed - {t for t, _ in added.columns})]
    names = {*before.indexes, *after.indexes}
    derived = {name for name in names if before.indexes.get(name) != after.indexes.get(name)}
    changes += [f"derived index {name} is declared in another way" for name in sorted(derived)]
    if changes:
        raise Refusal(
            "restart_needed",
            f"this version changes the tables, which needs a restart: {'; '.join(changes)}. Stop the server and start "
            "it with the new version; `reactor check` tells beforehand whether that will go well",
            changes=changes,
        )


def _shape(schema: TableSchema) -> dict[str, Any]:
    """What is stored of a declaration, but for the defaults of columns, which only matter to new rows."""
    stored = schema.to_json()
    for column in stored["columns"]:
        column.pop("default", None)
    return stored


def _ask(program: Program, engine: Any) -> None:
    """The checks of a start, over the tables as they are."""
    for check in program.functions("checks"):
        try:
            check(engine)
        except ReactorError:
            raise
        except Exception as error:
            raise Refusal("module_failed", f"a check of the module failed: {type(error).__name__}: {error}") from error


# -- the swap -----------------------------------------------------------------------------------------


def _put(host: Host, program: Program) -> None:
    tables = host.engine.store.tables
    for name, schema in program.tables.items():
        if tables[name].row_type is not schema.row_type:
            _remake(tables[name], schema, host.pending_changes)
    host.engine.adopt(program)
    host.lifecycle.adopt(program)
    host.publisher.redeclared()


def _remake(table: Table[Any], schema: TableSchema, pending: Iterable[list[Change]]) -> None:
    """Make the rows of a table objects of their new class, also those that an undo would bring back."""
    table.redeclare(schema)
    make, rows = _maker(schema), table.rows
    for key, row in rows.items():
        rows[key] = make(row)
    for changes in pending:
        for at, (of, key, old, new) in enumerate(changes):
            if of is table:
                changes[at] = (of, key, old and make(old), new and make(new))


def _maker(schema: TableSchema) -> Callable[[Any], Any]:
    row_type = schema.row_type
    # A module that is loaded anew has enums of its own, too.
    enums = [(at, c.type.check) for at, c in enumerate(schema.columns) if c.type.enum is not None]
    if not enums:
        return lambda row: row_type(*astuple(row))

    def make(row: Any) -> Any:
        values: Sequence[Any] = astuple(row)
        values = list(values)
        for at, check in enums:
            if values[at] is not None:
                values[at] = check(values[at])
        return row_type(*values)

    return make
