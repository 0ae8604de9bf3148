"""Live queries kept up to date: a commit's changes in, one delta per affected query out.

Why this is right
=================

Write R for a table before a commit and R' for it after, with the commit's net changes as pairs (old, new), at most
one per primary key, either side possibly absent. A query asks for S(R) = {r in R : p(r)}.

*Routing.* Whether a row is in S depends on that row alone. So S(R') differs from S(R) only in rows that changed,
and a changed row (old, new) contributes exactly: nothing if neither p(old) nor p(new); an insert if only p(new); a
delete if only p(old); an update if both hold and old != new. Nothing else of the tables is ever looked at, and because
net changes have different keys, no two contributions meet: the delta is minimal and each key is in it once.
Now let p be ``c IN V AND q``. Then p(r) implies r.c in V. Keep a dict that maps each v to the queries with v in V.
The queries for which p(old) or p(new) may hold are all in the buckets of old.c and new.c, and in a bucket only q is
left to test. All others, however many, see two absent rows, contribute nothing, and are not visited. Equality of
dict keys is equality of the language here: 1, 1.0 and true are one key, None is in no V.

*Semi-joins.* The query is {o in O : p(o) and n(o.x) > 0}, where n(v) counts the rows i of I with q(i) and i.y = v.
The count n is additive: n' is n, minus one for each (old, ·) with q(old) at old.y, plus one for each (·, new) with
q(new) at new.y. So it is kept by routing the inner side's changes, without looking at I again. With C the changed
outer keys, the outer rows fall into two classes:

1. keys in C: the row was in the result iff p(old) and n(old.x) > 0, and is iff p(new) and n'(new.x) > 0. Both counts
   are known at the end of the commit: n' is stored, and n is kept for the touched values until then;
2. all others stand unchanged, o = o'. Membership changes only if n(o.x) > 0 and n'(o.x) > 0 differ, so only for values
   that went from none to some or back; those rows are found by a lookup in O'.

The classes are disjoint, so a commit that changes both sides counts every key once, in whatever order its changes
come, also when both sides are one table. The counting must be complete before the classes are looked at: hence two
phases, collecting and settling.
Where p itself gives no route, o.x IN {v : n(v) > 0} is one, whose set V moves. Its buckets are changed only while
settling, so during collecting they stand for n: they tell rightly whether old was in the result, but not whether new
is, so new is judged again while settling. A row that changed and is missed by them altogether has n(old.x) = n(new.x)
= 0; it was not in the result, and if it comes in, then because n'(new.x) > 0: the lookup of class 2 finds it as an
insert, which is what it is.

NULL equals nothing, so it is never counted and never in a bucket; how three-valued logic becomes two-valued is told
in ``reactor.live.condition``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reactor.errors import invariant
from reactor.live.delta import ActiveQuery, Delta
from reactor.live.query import LiveQuery
from reactor.live.routing import Watch
from reactor.live.scan import matching_rows
from reactor.live.semijoin import JoinState
from reactor.live.view import Change, TableView


class Subscriptions:
    """All active live queries over ``tables``.

    ``deltas`` must be called after every commit, while the tables stand at that commit; a commit that is undone
    later is taken back with ``undo``. The cost of a change grows with the queries it concerns and with those
    on its table that have no route, not with the others.
    """

    def __init__(self, tables: Mapping[str, TableView]) -> None:
        self._tables = tables
        self._watches: dict[TableView, Watch] = {}
        self._active: dict[str, ActiveQuery] = {}
        self._joins: dict[ActiveQuery, JoinState] = {}
        self._opened = 0
        self._touched: list[ActiveQuery] = []
        self._touched_joins: list[JoinState] = []

    def __len__(self) -> int:
        return len(self._active)

    # -- opening and closing -----------------------------------------------------------------

    def open(self, query: LiveQuery) -> ActiveQuery:
        """Hold the query, as the tables stand now; the same query is shared. Each ``open`` needs a ``close``."""
        active = self._active.get(query.canonical)
        if active is None:
            self._opened += 1
            active = ActiveQuery(self._opened, query, self._touched.append)
            self._start(active)
            self._active[query.canonical] = active
        active.holders += 1
        return active

    def close(self, active: ActiveQuery) -> None:
        """Give back one hold; the last one ends the query."""
        invariant(self._active.get(active.query.canonical) is active, f"{active} is not open")
        active.holders -= 1
        if active.holders:
            return
        del self._active[active.query.canonical]
        query, state = active.query, self._joins.pop(active, None)
        outer = self._tables[query.table]
        if state is None:
            self._watches[outer].remove(active, query.where)
        else:
            inner = self._tables[state.join.inner_table]
            state.stop(self._watches[outer], self._watches[inner])
            self._leave(inner)
        self._leave(outer)

    def _start(self, active: ActiveQuery) -> None:
        query = active.query
        outer = self._tables[query.table]
        if query.semijoin is None:
            self._enter(outer).add(active, query.where)
            return
        inner = self._tables[query.semijoin.inner_table]
        state = JoinState(active, query.semijoin, outer, inner, self._touched_joins.append)
        state.start(self._enter(outer), self._enter(inner))
        self._joins[active] = state

    def _enter(self, table: TableView) -> Watch:
        watch = self._watches.setdefault(table, Watch())
        watch.users += 1
        return watch

    def _leave(self, table: TableView) -> None:
        # A table that nobody listens to costs its changes one failed lookup, so no empty watch stays.
        watch = self._watches[table]
        watch.users -= 1
        if not watch.users:
            del self._watches[table]

    # -- results -----------------------------------------------------------------------------

    def snapshot(self, active: ActiveQuery) -> list[Any]:
        """The rows of the result as the tables stand now, in primary-key order."""
        table = self._tables[active.query.table]
        state = self._joins.get(active)
        rows = matching_rows(table, active.query.where) if state is None else state.result()
        rows.sort(key=table.key_of)
        return rows

    def deltas(self, changes: Sequence[Change]) -> list[Delta]:
        """What the commit made of ``changes`` (one per row) means to each query it concerns; at most one each."""
        watches = self._watches
        for table, key, old, new in changes:
            watch = watches.get(table)
            if watch is not None:
                watch.feed(key, old, new)
        if not self._touched and not self._touched_joins:
            return []
        found = []
        for active in self._touched:
            invariant(active.delta, "a touched query has a delta")
            if active.delta is not None:
                found.append(active.delta)
                active.delta = None
        self._touched.clear()
        for state in self._touched_joins:
            delta = state.settle(self._watches[state.outer])
            if delta is not None:
                found.append(delta)
        self._touched_joins.clear()
        return found

    def undo(self, changes: Sequence[Change]) -> None:
        """Take back commits whose changes were given to ``deltas`` and which the store has undone since.

        The order does not matter, since counts add up; deltas of undone commits are the caller's to drop.
        """
        self.deltas([(table, key, new, old) for table, key, old, new in changes])

    def resume(self, active: ActiveQuery, changed: Iterable[tuple[str, Any]]) -> Delta | None:
        """What a subscriber must do who knows the result of an earlier moment, when ``changed`` are the
        ``(table name, key)`` of all rows changed since, in any order and number.

        ``inserts`` are to be put in or replaced, ``deletes`` taken out if they are there. None for semi-joins, in which
        rows come and go that did not change: the subscriber needs a new snapshot.
        """
        query = active.query
        if query.semijoin is not None:
            return None
        rows, matches = self._tables[query.table].rows, query.matches
        delta = Delta(active)
        for key in dict.fromkeys(key for name, key in changed if name == query.table):
            row = rows.get(key)
            if row is not None and matches(row):
                delta.inserts.append(row)
            else:
                delta.deletes.append(key)
        return delta
