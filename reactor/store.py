"""All tables of a reactor, and the call that is changing them.

``begin`` opens the journal, ``commit`` turns it into the net changes (one per row), ``rollback`` undoes it.
A reducer therefore either did everything or nothing, and a row touched three times is one change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from reactor.columns import INT64_MAX
from reactor.errors import ConstraintError, Refusal, invariant
from reactor.limits import Limits
from reactor.schema import TableSchema, declare_table, primary_key
from reactor.table import Change, IdSource, Journal, Table, refuse_while_undoing

SEQUENCE_TABLE = "reactor_sequence"


class _Sequence:
    """How far the automatic ids of each table are reserved."""

    table_name: str = primary_key()
    reserved: int = 0


SEQUENCE_SCHEMA = declare_table(_Sequence, name=SEQUENCE_TABLE)


class Store(IdSource):
    """The tables by name; one call at a time changes them."""

    def __init__(self, schemas: Iterable[TableSchema], numbers: Mapping[str, int], limits: Limits) -> None:
        self._journal = Journal()
        self.begin: Callable[[], None] = self._journal.open
        """Open the journal for one call."""
        self._id_block = limits.id_block
        self.tables: dict[str, Table[Any]] = {}
        for schema in schemas:
            self.tables[schema.name] = Table(schema, numbers[schema.name], self._journal, self)
        invariant(SEQUENCE_TABLE in self.tables, "the store needs its sequence table")
        self._sequence = self.tables[SEQUENCE_TABLE]
        self._next: dict[str, int] = {}
        self._reserved: dict[str, int] = {}
        self._all = list(self.tables.values())

    # -- loading -----------------------------------------------------------------------------

    def load(self, rows: Mapping[str, Iterable[Sequence[Any]]]) -> None:
        """Fill the tables with stored rows in memory form; ids go on after the reserved blocks."""
        numbers: dict[int, int] = {}
        for name, table in self.tables.items():
            try:
                table.load(rows.get(name, ()), numbers)
            except ConstraintError as error:
                raise Refusal(
                    "schema_conflict",
                    f"a unique index does not fit the stored rows: {error.message}; mend them before you declare it",
                    **error.details,
                ) from None
        for row in self._sequence:
            self._reserved[row.table_name] = row.reserved
            self._next[row.table_name] = row.reserved + 1

    # -- one call ----------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether a call is open."""
        return self._journal.is_open

    def commit(self) -> list[Change]:
        """Close the journal and return what the call did: at most one change per row."""
        journal = self._journal
        if journal.has_callbacks:
            journal.drop_callbacks()
        changes = journal.close()
        if len(changes) < 2:
            return changes
        if len(changes) == 2:
            first, second = changes
            if first[1] != second[1] or first[0] is not second[0]:
                return changes
        return _net(changes)

    @property
    def is_torn(self) -> bool:
        """Whether the running call broke off a change half-way (out of stack or memory), so that it cannot stand."""
        return self._journal.torn

    def rollback(self) -> None:
        """Close the journal and put every row back."""
        self.undo(self._journal.close())
        self._journal.has_callbacks = False
        # A callback that raised may have said so; what it was about is gone with the rest.
        self._journal.torn = False

    def on_undo(self, callback: Callable[[], object]) -> None:
        """Run ``callback`` if what the running call does from here on is undone, by a savepoint or as a whole.

        It runs among the undone rows in its turn, newest first: it finds the tables as they are now. It must neither
        raise nor change a table.
        """
        self._journal.on_undo(callback)

    def tear(self) -> None:
        """Say that the running call cannot stand, because undoing a part of it went wrong."""
        self._journal.torn = True

    def savepoint(self) -> Savepoint:
        """A part of the running call that is undone alone if it raises: ``with store.savepoint(): ...``."""
        return Savepoint(self, self._journal)

    def rehearsal(self) -> Rehearsal:
        """A part of the running call that is undone in any case: ``with store.rehearsal() as tried: ...``."""
        return Rehearsal(self, self._journal)

    def undo(self, changes: Sequence[Change]) -> None:
        """Put the rows of these changes back, newest first; also for commits that were never stored."""
        for table, key, old, new in reversed(changes):
            table.set_row(key, new, old)
            if table is self._sequence:
                # The block is not reserved after all. Ids already handed out from it were seen by nobody.
                self._reserved[key] = 0 if old is None else old.reserved

    # -- automatic ids -----------------------------------------------------------------------

    def next_id(self, table: Table[Any]) -> int:
        """The next id of ``table``; reserves a block in the same commit when the last one is used up."""
        name = table.name
        next_id = self._next.get(name, 1)
        while next_id in table.rows:
            next_id += 1
        if next_id > self._reserved.get(name, 0):
            self._reserve(name, next_id)
        self._next[name] = next_id + 1
        return next_id

    def skip(self, table: Table[Any], used: int) -> None:
        """Note an id the caller chose; later automatic ids are larger."""
        name = table.name
        # Reserved even where ids in memory are further on: a reservation may have been undone since they were.
        if used > self._reserved.get(name, 0):
            self._reserve(name, used)
        if used >= self._next.get(name, 1):
            self._next[name] = used + 1

    def _reserve(self, name: str, wanted: int) -> None:
        reserved = self._reserved.get(name, 0)
        reserved = min(reserved + -(-(wanted - reserved) // self._id_block) * self._id_block, INT64_MAX)
        if name in self._sequence:
            self._sequence.update(name, reserved=reserved)
        else:
            self._sequence.insert(table_name=name, reserved=reserved)
        self._reserved[name] = reserved

    def __iter__(self) -> Iterator[Table[Any]]:
        return iter(self._all)


class Savepoint:
    """Remembers how far the journal had come; see ``Store.savepoint``."""

    __slots__ = ("_journal", "_mark", "_store")

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._mark = 0

    def __enter__(self) -> None:
        self._mark = len(self._journal.entries)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            journal = self._journal
            entries, append = journal.entries, journal.append
            journal.append = refuse_while_undoing
            try:
                self._store.undo(entries[self._mark :])
            except BaseException:
                # Out of stack or memory: the entries stay, so that undoing the call still finds them.
                journal.torn = True
                raise
            finally:
                journal.append = append
            del entries[self._mark :]


class Rehearsal:
    """A part of a call that leaves nothing behind.

    ``changed`` names the tables it would have changed; ids it took do not count.
    """

    __slots__ = ("_journal", "_mark", "_savepoint", "changed")

    def __init__(self, store: Store, journal: Journal) -> None:
        self._savepoint = Savepoint(store, journal)
        self._journal = journal
        self._mark = 0
        self.changed: list[str] = []

    def __enter__(self) -> Rehearsal:
        self._savepoint.__enter__()
        self._mark = len(self._journal.entries)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        entries = self._journal.entries[self._mark :]
        self.changed = sorted({entry[0].name for entry in entries if isinstance(entry[0], Table)} - {SEQUENCE_TABLE})
        self._savepoint.__exit__(kind, error or self, trace)


def _net(changes: list[Change]) -> list[Change]:
    """One change per row: from before the call to after it; rows that ended as they began are left out."""
    seen: dict[tuple[int, Any], int] = {}
    net: list[Change] = []
    for change in changes:
        table, key, _, new = change
        at = seen.setdefault((table.number, key), len(net))
        if at == len(net):
            net.append(change)
        else:
            net[at] = (table, key, net[at][2], new)
    if len(net) == len(changes):
        return net
    return [c for c in net if c[2] is not c[3] and (None in c[2:] or not c[0].same(c[2], c[3]))]


def schema_of(tables: Iterable[Table[Any]]) -> dict[str, TableSchema]:
    """The declarations by table name."""
    return {table.name: table.schema for table in tables}
