"""Who watches what: sets of live queries per session, snapshots, resumption, and commit frames.

A query is evaluated and its delta encoded once per commit, however many sessions hold it; a frame is built once per
combination of queries. A session sees one frame per commit, whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from reactor.errors import SenderError, refuse
from reactor.limits import Limits
from reactor.live import Delta, LiveQuery, Subscriptions, parse_live_query
from reactor.live.view import has_hash_index
from reactor.messages import Deltas
from reactor.session import Session
from reactor.table import Change, Table
from reactor.wire import native

# Parsing costs a hundred times what opening does, and clients come back with the queries they had.
_PARSED_MAX = 20_000

_PARSED_CHARS_MAX = 512
# How often all remembered changes may be gone through for one `subscribe`.
_RESUME_PASSES = 4
# How many rows the scans of one `subscribe` may look at, in multiples of what a snapshot may carry: some 0.2 s.
_SCAN_PASSES = 20

ChangedKeys = Sequence[tuple[str, Any]]
Changed = Mapping[str, Collection[tuple[str, Any]]]


class Publisher:
    """The subscriptions of all sessions, and the recent changes that let a returning client catch up."""

    def __init__(self, subscriptions: Subscriptions, tables: Mapping[str, Table[Any]], limits: Limits) -> None:
        self._subscriptions = subscriptions
        self._tables = tables
        self._schemas = {name: table.schema for name, table in tables.items()}
        self._public = {name: schema for name, schema in self._schemas.items() if schema.public}
        self._parsed: dict[str, LiveQuery] = {}
        self._limits = limits
        self._watchers: dict[int, dict[Session, int]] = {}
        self._recent: deque[tuple[int, Sequence[Change]]] = deque()
        self._recent_changes = 0
        self._complete_after = 0

    def redeclared(self) -> None:
        """The tables have other row classes now, with the same columns: parse with them from here on."""
        self._schemas.update({name: table.schema for name, table in self._tables.items()})
        self._public = {name: schema for name, schema in self._schemas.items() if schema.public}
        self._parsed.clear()

    # -- sets of queries -----------------------------------------------------------------------

    def open_set(self, session: Session, number: int, texts: list[str], since: int | None, seq: int) -> bytes:
        """Open live queries for a session; returns the answer's body. All of them, or none and the error.

        ``since`` asks for the difference since that seq where it can still be told; ``seq`` is the state seen now.
        """
        opened: list[Any] = []
        session.sets[number] = opened
        changed = None if since is None else self._changed_since(since, seq)
        budget = _Budget(self._limits)
        try:
            if session.queries + len(texts) > self._limits.subscriptions_per_connection_max:
                refuse(
                    "limit_exceeded",
                    f"a connection holds at most {self._limits.subscriptions_per_connection_max} queries",
                )
            parts = [self._open(session, opened, text, changed, seq, budget) for text in texts]
        except BaseException:
            self.close_set(session, number)
            raise
        return native.encode({"set": number, "queries": parts})

    def _open(
        self, session: Session, opened: list[Any], text: str, changed: Changed | None, seq: int, budget: _Budget
    ) -> Any:
        query = self._parse_for(session, text)
        for table in _tables_of(query):
            if not self._schemas[table].public and not session.caller.is_owner:
                refuse(
                    "forbidden", f"table {table} is private; only the owner of the database may read it", table=table
                )
        keys = None if changed is None or query.semijoin is not None else changed.get(query.table, ())
        resumes = keys is not None and budget.resumes(len(keys))
        if not resumes:
            budget.take_scan(self._rows_scanned(query))
        if query.route is None and session.unrouted >= self._limits.unrouted_per_connection_max:
            refuse(
                "limit_exceeded",
                f"a connection holds at most {self._limits.unrouted_per_connection_max} queries without an"
                " equality; compare a column with a value, such as zone = 3",
            )
        active = self._subscriptions.open(query)
        opened.append(active)
        session.queries += 1
        session.unrouted += query.route is None
        session.held[active.number] = session.held.get(active.number, 0) + 1
        self._watchers.setdefault(active.number, {}).setdefault(session, seq)
        difference = self._subscriptions.resume(active, keys) if resumes and keys is not None else None
        table_of = self._tables[query.table]
        if difference is not None:
            content = {
                "resumed": True,
                "upsert": native.rows_for_wire(table_of, difference.inserts),
                "delete": [table_of.log_key(key) for key in difference.deletes],
            }
        else:
            rows = self._subscriptions.snapshot(active)
            budget.take_rows(len(rows))
            content = {"resumed": False, "rows": native.rows_for_wire(table_of, rows)}
        return native.query_part(active.number, query.canonical, table_of.schema, content)

    def _rows_scanned(self, query: LiveQuery) -> int:
        """How many rows a snapshot of the query has to look at besides those that match."""
        table, route = self._tables[query.table], query.route
        rows = 0 if route is not None and has_hash_index(table.schema, route.column) else len(table)
        return rows if query.semijoin is None else rows + len(self._tables[query.semijoin.inner_table])

    def _parse_for(self, session: Session, text: str) -> LiveQuery:
        """The query, with refusals that name no table the asker may not read."""
        try:
            return self._parse(text)
        except SenderError as error:
            if error.code == "unknown_table" and not session.caller.is_owner:
                parse_live_query(text, self._public, self._limits)
            raise

    def _parse(self, text: str) -> LiveQuery:
        query = self._parsed.get(text)
        if query is None:
            query = parse_live_query(text, self._schemas, self._limits)
            if len(text) <= _PARSED_CHARS_MAX:
                if len(self._parsed) >= _PARSED_MAX:
                    self._parsed.clear()
                self._parsed[text] = query
        return query

    def close_set(self, session: Session, number: int, *, missing_ok: bool = False) -> None:
        """Close a session's set; ``SenderError`` ``unknown_subscription`` if there is none of that number."""
        queries = session.sets.pop(number, None)
        if queries is None:
            if missing_ok:
                return
            raise SenderError("unknown_subscription", f"this connection holds no subscription set {number}")
        for active in queries:
            session.queries -= 1
            session.unrouted -= active.query.route is None
            left = session.held[active.number] - 1
            if left:
                session.held[active.number] = left
            else:
                del session.held[active.number]
                watchers = self._watchers[active.number]
                watchers.pop(session, None)
                if not watchers:
                    del self._watchers[active.number]
            self._subscriptions.close(active)

    # -- commits -------------------------------------------------------------------------------

    def publish(self, effect: Deltas) -> None:
        """Queue the frames of a durable commit."""
        seq, at, deltas = effect.seq, effect.at, effect.deltas
        if len(deltas) == 1:
            watchers = self._watchers.get(deltas[0].query.number)
            if watchers:
                message = native.commit_frame(seq, at, (self._part(deltas[0]),))
                framed = next(iter(watchers)).frame(message)
                for session, since in watchers.items():
                    # A query opened later than this commit had it in its snapshot.
                    if seq > since:
                        session.push_commit(framed)
            return
        self._publish_many(seq, at, deltas)

    def _publish_many(self, seq: int, at: int, deltas: Sequence[Any]) -> None:
        seen: dict[Session, list[int]] = {}
        for i, delta in enumerate(deltas):
            for session, since in self._watchers.get(delta.query.number, {}).items():
                if seq > since:
                    seen.setdefault(session, []).append(i)
        parts: dict[int, bytes] = {}
        frames: dict[tuple[int, ...], bytes] = {}
        for session, numbers in seen.items():
            combination = tuple(numbers)
            framed = frames.get(combination)
            if framed is None:
                for i in combination:
                    if i not in parts:
                        parts[i] = self._part(deltas[i])
                framed = session.frame(native.commit_frame(seq, at, [parts[i] for i in combination]))
                frames[combination] = framed
            session.push_commit(framed)

    def _part(self, delta: Delta) -> bytes:
        active = delta.query
        return native.delta_part(active.number, self._tables[active.query.table], delta)

    # -- what returning clients have missed ------------------------------------------------------

    def load_recent(self, recent: Iterable[tuple[int, ChangedKeys]], seq: int) -> None:
        """Take over the newest changes from the log, so that clients can also resume across a restart."""
        tables = self._tables
        self._recent.extend((at, [(tables[name], key, None, None) for name, key in keys]) for at, keys in recent)
        self._recent_changes = sum(len(keys) for _, keys in self._recent)
        self._complete_after = self._recent[0][0] - 1 if self._recent else seq
        self._trim()

    def remember(self, commits: Sequence[tuple[int, list[Change]]]) -> None:
        """Note which rows each commit touched."""
        self._recent.extend(commits)
        self._recent_changes += sum([len(changes) for _, changes in commits])
        self._trim()

    def _trim(self) -> None:
        while self._recent_changes > self._limits.resume_changes_max:
            seq, keys = self._recent.popleft()
            self._recent_changes -= len(keys)
            self._complete_after = seq

    def forget_after(self, seq: int) -> None:
        """Commits after ``seq`` were taken back."""
        while self._recent and self._recent[-1][0] > seq:
            self._recent_changes -= len(self._recent.pop()[1])

    def _changed_since(self, since: int, seq: int) -> Changed | None:
        if not self._complete_after <= since <= seq:
            return None
        found: dict[str, dict[tuple[str, Any], None]] = {}
        for at, changed in reversed(self._recent):
            if at <= since:
                break
            for table, key, _, _ in changed:
                found.setdefault(table.name, {})[table.name, key] = None
        return found


class _Budget:
    """What the queries of one `subscribe` may cost together, so that no client holds up the others."""

    def __init__(self, limits: Limits) -> None:
        self._rows_max = limits.snapshot_rows_max
        self._rows = 0
        self._scanned = 0
        self._keys_left = _RESUME_PASSES * limits.resume_changes_max

    def take_rows(self, count: int) -> None:
        """Add the rows of a snapshot; ``SenderError`` ``snapshot_too_large`` when there are too many."""
        self._rows += count
        if self._rows > self._rows_max:
            refuse(
                "snapshot_too_large",
                f"the queries match {self._rows} rows or more; narrow them to {self._rows_max}, or ask in several sets",
            )

    def take_scan(self, rows: int) -> None:
        """Add the rows that a query without an index goes through; one query may go through any table."""
        if self._scanned and self._scanned + rows > _SCAN_PASSES * self._rows_max:
            refuse(
                "snapshot_too_large",
                f"the queries go through {self._scanned + rows} rows; index what they compare, or ask in several sets",
            )
        self._scanned += rows

    def resumes(self, keys: int) -> bool:
        """Whether a query may be resumed over this many changed keys; otherwise a snapshot is cheaper."""
        self._keys_left -= keys
        return self._keys_left >= 0


def _tables_of(query: LiveQuery) -> tuple[str, ...]:
    return (query.table,) if query.semijoin is None else (query.table, query.semijoin.inner_table)
