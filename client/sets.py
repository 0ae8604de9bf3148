"""Subscription sets as the core keeps them, and the work of bringing them (back) to life.

The first rows of a query and the deltas for it are taken in either order: the content of a query is first *staged*,
apart from the mirror, with the deltas that came since those rows were read, and then applied at once. After a reconnect
the same is done for all sets together: callbacks see one step from what the mirror was to what the server has now.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from client.errors import ClientError, ProtocolViolation
from client.messages import RawDelta, RawQuery
from client.mirror import Edit, Mirror, Query, View
from client.rows import Key, Row, RowShape


@dataclass(eq=False, slots=True)
class LiveSet:
    """One subscription set. ``id`` is that of its first request; ``number`` the server's, new on each connection."""

    id: int
    queries: tuple[str, ...]
    view: View
    number: int | None = None
    active: bool = False
    bound: list[Query] = field(default_factory=list)
    """The query behind each text of ``queries``; two texts may mean the same query."""


class Staged:
    """The coming content of one query: what it gains and loses against what the mirror holds for it now."""

    __slots__ = ("drops", "puts", "query")

    def __init__(self, query: Query) -> None:
        self.query = query
        self.puts: dict[Key, Row] = {}
        self.drops: set[Key] = set()

    def put(self, rows: dict[Key, Row]) -> None:
        """These rows are in the query, with these values."""
        self.puts.update(rows)
        self.drops.difference_update(rows)

    def drop(self, keys: Sequence[Key]) -> None:
        """These rows are not in the query; keys never seen are fine."""
        for key in keys:
            self.puts.pop(key, None)
            self.drops.add(key)

    def fold(self, delta: RawDelta) -> None:
        """One commit's delta on top."""
        self.drop(delta.delete)
        self.drop([old_key for old_key, _ in delta.update])
        self.put(self.query.shape.keyed(delta.insert))
        self.put(self.query.shape.keyed(row for _, row in delta.update))

    def edit(self) -> Edit:
        """The whole as one edit."""
        return Edit(self.query, self.puts, self.drops)


class EarlyDeltas:
    """Deltas that came while a subscription was on its way: its first rows may be older."""

    def __init__(self) -> None:
        self._deltas: dict[int, list[tuple[int, RawDelta]]] = {}

    def keep(self, seq: int, delta: RawDelta) -> None:
        """Remember a delta of commit ``seq``."""
        self._deltas.setdefault(delta.query, []).append((seq, delta))

    def take(self, query: int, after_seq: int) -> list[RawDelta]:
        """The deltas for ``query`` which its snapshot at ``after_seq`` does not contain."""
        return [delta for seq, delta in self._deltas.get(query, ()) if seq > after_seq]

    def forget(self) -> None:
        """No subscription is on its way any more: none of these can be wanted."""
        self._deltas.clear()


def shape_of(raw: RawQuery, mirror: Mirror) -> RowShape:
    """The shape of the answer's rows: the one the mirror has if it is the same. Raises ``ProtocolViolation``."""
    known = mirror.table(raw.table).shape
    if known and known.columns == tuple(raw.columns) and known.key == raw.key:
        return known
    if raw.key not in raw.columns:
        raise ProtocolViolation(f"table {raw.table} has no column {raw.key!r} that could be its key")
    return RowShape(raw.table, raw.columns, raw.key)


def edit_of(query: Query, delta: RawDelta) -> Edit:
    """The edit that one commit's delta means for a query in the mirror."""
    if not delta.update:
        return Edit(query, query.shape.keyed(delta.insert), delta.delete)
    staged = Staged(query)
    staged.fold(delta)
    return staged.edit()


class StaleShape(Exception):
    """The server resumed a query whose columns are no longer those of the mirror: it must be sent whole."""


class Restoration:
    """From the greeting of a new connection until every set's reply is there."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self.pending: dict[int, LiveSet] = {}
        """By request id: the sets whose reply is still to come."""
        self.resumed = True
        self.lost: list[tuple[LiveSet, ClientError]] = []
        self.staged: dict[int, Staged] = {}
        self.bindings: dict[LiveSet | None, list[Query]] = {}
        """The new queries of each set that was answered."""
        self._claimed: set[Query] = set()
        self._shapes: dict[str, RowShape] = {}

    def answer(self, live_set: LiveSet, queries: list[RawQuery], seq: int, early: EarlyDeltas) -> None:
        """Take in the reply for one set. Raises ``StaleShape``, having changed nothing."""
        shapes = [self._shape(raw) for raw in queries]
        bound = []
        for raw, shape, base in zip(queries, shapes, live_set.bound, strict=True):
            staged = self.staged.get(raw.query)
            if staged is None:
                staged = self.staged[raw.query] = self._stage(raw, shape, base)
                for delta in early.take(raw.query, seq):
                    staged.fold(delta)
            bound.append(staged.query)
        self.bindings[live_set] = bound

    def fold(self, delta: RawDelta) -> None:
        """One commit's delta, if its query has been answered."""
        staged = self.staged.get(delta.query)
        if staged is not None:
            staged.fold(delta)

    def _shape(self, raw: RawQuery) -> RowShape:
        shape = shape_of(raw, self._mirror)
        if raw.resumed and shape is not self._mirror.table(raw.table).shape:
            raise StaleShape
        known = self._shapes.setdefault(raw.table, shape)
        if not known.same_as(shape):
            raise ProtocolViolation(f"two queries on table {raw.table} came with different columns")
        return known

    def _stage(self, raw: RawQuery, shape: RowShape, base: Query) -> Staged:
        if not raw.resumed:
            self.resumed = False
            staged = Staged(Query(raw.query, shape))
        elif base in self._claimed:
            staged = Staged(Query(raw.query, shape))
            rows = self._mirror.table(raw.table).by_key
            staged.put({key: rows[key] for key in base.keys})
        else:
            self._claimed.add(base)
            staged = Staged(base)
        staged.put(shape.keyed(raw.rows))
        staged.drop(raw.delete)
        return staged

    def edits(self, stale: Sequence[Query]) -> list[Edit]:
        """All that changes: the staged content comes, every stale query that was not resumed goes."""
        gone = [Edit(query, {}, set(query.keys)) for query in stale if query not in self._claimed]
        return [*gone, *(staged.edit() for staged in self.staged.values())]

    def live(self) -> dict[int, Query]:
        """The queries by their numbers on the new connection."""
        for number, staged in self.staged.items():
            staged.query.number = number
        return {number: staged.query for number, staged in self.staged.items()}

    def bind(self, sets: Sequence[LiveSet], ending: Container[LiveSet]) -> dict[View, list[Query]]:
        """Give every set its new queries; one that has none (lost, or unsubscribed meanwhile) ends."""
        rebind = {}
        for live_set in sets:
            live_set.bound = self.bindings.get(live_set, [])
            live_set.active = live_set in self.bindings and live_set not in ending
            rebind[live_set.view] = list(dict.fromkeys(live_set.bound))
        return rebind
