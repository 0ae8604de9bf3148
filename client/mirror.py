"""The local copy of the rows a connection subscribes to.

A table of the mirror holds the union of the rows of all live queries on it; a row leaves when no query holds it any
more. Everything changes by ``apply``: a handful of edits to queries goes in, the net differences come out, so a row
that moves from one query to another is one update, and a row that did not change is no difference at all. The same
road is taken by a commit, a first snapshot, an unsubscribe and the repair after a lost connection.

No socket, no clock, no thread: whoever owns the mirror feeds it and runs the callbacks afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from client.listeners import Change, ErrorHook, Listeners
from client.rows import Key, Row, RowShape


class Query:
    """A live query this connection holds: which rows of a table it keeps in the mirror."""

    __slots__ = ("keys", "number", "shape", "views")

    def __init__(self, number: int, shape: RowShape) -> None:
        self.number = number
        self.shape = shape
        self.keys: set[Key] = set()
        self.views: list[View] = []


class Edit(NamedTuple):
    """What one query gains (or sees changed) and loses."""

    query: Query
    puts: Mapping[Key, Row]
    drops: Collection[Key]


class View:
    """The rows of one subscription set: the union of its queries."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self.queries: list[Query] = []
        self.listeners = Listeners()

    def holds(self, table: str, key: Key) -> bool:
        """Whether one of the set's queries holds that row."""
        return any(key in query.keys for query in self.queries if query.shape.table == table)

    def rows(self, table: str | None = None) -> list[Row]:
        """The set's rows, each once, in the order of its queries and keys; of one table if named."""
        found: dict[tuple[str, Key], Row] = {}
        for query in self.queries:
            name = query.shape.table
            if table in (None, name):
                rows = self._mirror.table(name).by_key
                found.update(((name, key), rows[key]) for key in sorted(query.keys))
        return list(found.values())


class TableMirror:
    """One table of the mirror. It exists, empty, before the first subscription, so callbacks can be set early."""

    __slots__ = ("by_key", "holds", "listeners", "name", "shape")

    def __init__(self, name: str) -> None:
        self.name = name
        self.shape: RowShape | None = None
        self.by_key: dict[Key, Row] = {}
        self.holds: dict[Key, int] = {}
        self.listeners = Listeners()
        """Callbacks for this table: ``on_insert``, ``on_update``, ``on_delete``."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in the order of the rows; empty before the first subscription."""
        return self.shape.columns if self.shape else ()

    def get(self, key: Key) -> Row | None:
        """The row with that primary key, or None."""
        return self.by_key.get(key)

    def where(self, **values: Any) -> list[Row]:
        """The rows whose columns have these values (a scan). Raises ``KeyError`` for a column the table lacks."""
        if self.shape is None:
            return []
        missing = [name for name in values if name not in self.shape.columns]
        if missing:
            raise KeyError(f"table {self.name} has no column {', '.join(missing)}")
        wanted = [(self.shape.columns.index(name), value) for name, value in values.items()]
        return [row for row in self.by_key.values() if all(row[place] == value for place, value in wanted)]

    def __iter__(self) -> Iterator[Row]:
        """All rows, over a copy of the list: a loop may call and wait meanwhile."""
        return iter(list(self.by_key.values()))

    def __len__(self) -> int:
        return len(self.by_key)

    def __contains__(self, key: Key) -> bool:
        return key in self.by_key

    def on_insert(self, callback: Any) -> Any:
        """Call ``callback(row)`` for each row that appears in the mirror."""
        return self.listeners.on_insert(callback)

    def on_update(self, callback: Any) -> Any:
        """Call ``callback(old, new)`` for each row of the mirror that changes."""
        return self.listeners.on_update(callback)

    def on_delete(self, callback: Any) -> Any:
        """Call ``callback(old)`` for each row that leaves the mirror."""
        return self.listeners.on_delete(callback)


class Applied(NamedTuple):
    """What one ``apply`` did: the net changes of the tables, and of each view that has listeners."""

    changes: list[Change]
    of_views: list[tuple[View, list[Change]]]


class Mirror:
    """All tables of one connection's subscriptions."""

    def __init__(self) -> None:
        self._tables: dict[str, TableMirror] = {}

    def table(self, name: str) -> TableMirror:
        """The table of that name; empty until a subscription brings rows."""
        found = self._tables.get(name)
        if found is None:
            found = self._tables[name] = TableMirror(name)
        return found

    def tables(self) -> list[TableMirror]:
        """Every table asked for or subscribed so far."""
        return list(self._tables.values())

    def apply(
        self,
        edits: Iterable[Edit],
        rebind: Mapping[View, list[Query]] | None = None,
        bystanders: Iterable[View] = (),
    ) -> Applied:
        """Carry out the edits together, give views their new queries, and tell the net differences.

        ``bystanders``: views whose own queries get no edits any more, but whose rows others may change.
        """
        edits = list(edits)
        before = self._rows_touched(edits)
        touched = _touched_by_view(edits, rebind or {})
        for view in bystanders:
            if view.listeners:
                touched.setdefault(view, {}).update(dict.fromkeys(before))
        before_views = {view: self._rows_of_view(view, keys) for view, keys in touched.items()}
        for edit in edits:
            self._carry_out(edit)
        for view, queries in (rebind or {}).items():
            self._bind(view, queries)
        after = {(table, key): self._tables[table].by_key.get(key) for table, key in before}
        of_views = [(view, _differences(rows, self._rows_of_view(view, rows))) for view, rows in before_views.items()]
        return Applied(_differences(before, after), of_views)

    def tell(self, applied: Applied, hook: ErrorHook) -> None:
        """Run the row callbacks: those of the tables first, then those of the subscription sets."""
        by_table: dict[str, list[Change]] = {}
        for change in applied.changes:
            by_table.setdefault(change.table, []).append(change)
        for name, changes in by_table.items():
            self._tables[name].listeners.tell(changes, hook)
        for view, changes in applied.of_views:
            view.listeners.tell(changes, hook)

    def _rows_touched(self, edits: list[Edit]) -> dict[tuple[str, Key], Row | None]:
        """The rows named by the edits as they are now."""
        rows: dict[tuple[str, Key], Row | None] = {}
        for edit in edits:
            name = edit.query.shape.table
            by_key = self.table(name).by_key
            for keys in (edit.drops, edit.puts):
                for key in keys:
                    rows[name, key] = by_key.get(key)
        return rows

    def _rows_of_view(self, view: View, touched: Iterable[tuple[str, Key]]) -> dict[tuple[str, Key], Row | None]:
        return {
            (table, key): self._tables[table].by_key.get(key) if view.holds(table, key) else None
            for table, key in touched
        }

    def _bind(self, view: View, queries: list[Query]) -> None:
        for query in view.queries:
            query.views.remove(view)
        view.queries = queries
        for query in queries:
            query.views.append(view)
            self.table(query.shape.table).shape = query.shape

    def _carry_out(self, edit: Edit) -> None:
        query = edit.query
        table = self.table(query.shape.table)
        keys, holds, by_key = query.keys, table.holds, table.by_key
        for key in edit.drops:
            if key in keys:
                keys.discard(key)
                left = holds[key] - 1
                if left:
                    holds[key] = left
                else:
                    del holds[key], by_key[key]
        for key, row in edit.puts.items():
            if key not in keys:
                keys.add(key)
                holds[key] = holds.get(key, 0) + 1
            by_key[key] = row


def _touched_by_view(edits: list[Edit], rebind: Mapping[View, list[Query]]) -> dict[View, dict[tuple[str, Key], None]]:
    """For each view with listeners, the rows that may differ afterwards."""
    coming: dict[Query, list[View]] = {}
    touched: dict[View, dict[tuple[str, Key], None]] = {}
    for view, queries in rebind.items():
        for query in queries:
            coming.setdefault(query, []).append(view)
        if view.listeners:
            # A query that another view keeps may come or go here without any edit.
            rows = touched.setdefault(view, {})
            for query in {*view.queries} ^ {*queries}:
                rows.update(dict.fromkeys((query.shape.table, key) for key in query.keys))
    for edit in edits:
        name = edit.query.shape.table
        for view in (*edit.query.views, *coming.get(edit.query, ())):
            if view.listeners:
                rows = touched.setdefault(view, {})
                rows.update(dict.fromkeys((name, key) for keys in (edit.drops, edit.puts) for key in keys))
    return touched


def _differences(
    before: Mapping[tuple[str, Key], Row | None], after: Mapping[tuple[str, Key], Row | None]
) -> list[Change]:
    return [Change(table, old, after[table, key]) for (table, key), old in before.items() if old != after[table, key]]
