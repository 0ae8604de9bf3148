"""Rows, tables of the mirror, and callbacks."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from client.listeners import Listeners, log_callback_error
from client.mirror import Edit, Mirror, Query, View
from client.rows import RowShape, row_class

SHAPE = RowShape("monster", ["id", "zone", "hp"], "id")


def mirror_with(*rows: tuple[int, int, int]) -> tuple[Mirror, Query, View]:
    """A mirror with one query on monsters, and a view of it."""
    mirror, query = Mirror(), Query(1, SHAPE)
    view = View(mirror)
    mirror.apply([Edit(query, SHAPE.keyed(rows), ())], {view: [query]})
    return mirror, query, view


def test_rows_are_named_tuples_that_nobody_can_change() -> None:
    """A row reads by name, compares as a tuple, and is read-only."""
    row = SHAPE.row_class((7, 3, 30))
    assert (row.id, row.zone, row.hp) == (7, 3, 30)
    assert tuple(row) == row
    assert row._asdict() == {"id": 7, "zone": 3, "hp": 30}
    assert repr(row) == "monster(id=7, zone=3, hp=30)"
    with pytest.raises(AttributeError):
        setattr(row, "hp", 1)  # noqa: B010
    with pytest.raises(AttributeError):
        _ = row.nothing


def test_awkward_column_names() -> None:
    """Columns named like methods of a tuple, like keywords or with an underscore harm nothing."""
    row = row_class("odd", ["count", "index", "class", "_asdict"])((1, 2, 3, 4))
    assert [getattr(row, name) for name in ("count", "index", "class")] == [1, 2, 3]
    assert row._asdict() == {"count": 1, "index": 2, "class": 3, "_asdict": 4}


def test_table_access() -> None:
    """Rows are found by key, by iteration and by the values of columns; an unknown column is named."""
    mirror, _, view = mirror_with((2, 1, 30), (1, 1, 20), (3, 2, 20))
    table = mirror.table("monster")
    assert len(table) == 3
    assert 2 in table
    assert table.get(2) == (2, 1, 30)
    assert table.get(9) is None
    assert sorted(row.id for row in table) == [1, 2, 3]
    assert table.where(zone=1, hp=20) == [(1, 1, 20)]
    assert [row.id for row in view.rows("monster")] == [1, 2, 3]
    assert view.rows("player") == []
    with pytest.raises(KeyError, match="colour"):
        table.where(colour=1)
    assert mirror.table("later").where(colour=1) == []
    assert [table.name for table in mirror.tables()] == ["monster", "later"]


def test_apply_tells_net_differences() -> None:
    """A33: all edits are carried out before any difference is told, and equal rows are none."""
    mirror, query, _ = mirror_with((1, 0, 5), (2, 0, 5))
    other = Query(2, SHAPE)
    edits = [Edit(query, {}, [1]), Edit(other, SHAPE.keyed([(1, 1, 5), (2, 0, 5)]), [77])]
    applied = mirror.apply(edits)
    assert [(change.old, change.new) for change in applied.changes] == [((1, 0, 5), (1, 1, 5))]


def test_changing_key_is_a_delete_and_an_insert() -> None:
    """A row's identity in the mirror is its key."""
    mirror, query, _ = mirror_with((1, 0, 5))
    applied = mirror.apply([Edit(query, SHAPE.keyed([(2, 0, 5)]), [1])])
    assert [(change.old, change.new) for change in applied.changes] == [((1, 0, 5), None), (None, (2, 0, 5))]


def test_callbacks_run_after_the_whole_commit(caplog: pytest.LogCaptureFixture) -> None:
    """A33: a callback sees the other rows of the commit; one that raises goes to the hook and stops nobody."""
    mirror, query, view = mirror_with()
    table = mirror.table("monster")
    seen: list[int] = []
    hooked: list[tuple[str, object]] = []

    @table.on_insert
    def broken(row: object) -> None:
        raise ValueError("mine")

    @table.on_insert
    def counting(row: object) -> None:
        seen.append(len(table))

    view.listeners.on_insert(counting)

    def hook(error: Exception, callback: Callable[..., object]) -> None:
        hooked.append((str(error), callback))
        raise RuntimeError("the hook's own")

    mirror.tell(mirror.apply([Edit(query, SHAPE.keyed([(1, 0, 5), (2, 0, 5)]), ())]), hook)
    assert seen == [2, 2, 2, 2]
    assert hooked == [("mine", broken)] * 2
    assert "the hook's own" in caplog.text


def test_default_hook_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Without a hook of one's own the traceback is in the log."""
    with caplog.at_level(logging.ERROR, "client"):
        log_callback_error(ValueError("mine"), print)
    assert "ValueError: mine" in caplog.text


def test_callbacks_can_be_removed_also_by_themselves() -> None:
    """A callback that removes itself is not called again, and the others are still called."""
    listeners = Listeners()
    calls: list[str] = []

    def once(row: object) -> None:
        calls.append("once")
        listeners.remove(once)

    listeners.on_insert(once)
    listeners.on_insert(lambda row: calls.append("always"))
    mirror, query, _ = mirror_with()
    for number in range(2):
        applied = mirror.apply([Edit(query, SHAPE.keyed([(number, 0, 0)]), ())])
        listeners.tell(applied.changes, log_callback_error)
    assert calls == ["once", "always", "always"]
    listeners.remove(once)
    assert listeners
