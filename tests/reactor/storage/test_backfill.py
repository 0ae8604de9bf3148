"""Backfill, drop and verify of a derived index: broken off anywhere, they leave no index that is wrongly trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.storage import Opened
from reactor.storage.backfill import (
    MANIFEST_CHARS_MAX,
    Backfill,
    Walked,
    drop_index,
    lacks_conditional_commits,
    read_cursor,
    verify_index,
)
from reactor.storage.connection import Connection, OsDisk, Rows
from reactor.storage.indexing import CURSOR_TABLE, MARK_TABLE, is_trusted, read_mark
from tests.reactor.storage.support import opened
from tests.reactor.storage.test_indexing import INDEX, MONSTER, _delete, _put

ROWS = 20


class Stop(Exception):
    """The process is killed here."""


def _store(path: Path | None = None) -> Opened:
    return opened(path, [MONSTER], indexes=[INDEX])


def _run(store: Opened, **hooks: Any) -> Walked:
    return Backfill(
        store.projection.connection,
        INDEX,
        MONSTER,
        **{"history": "history-1", "new_run": "run", "now_us": 5, **hooks},
    ).run()


def _fill(store: Opened, count: int = ROWS) -> None:
    _put(store, *([key, key % 3, "calm" if key % 2 else None, key, "x" * key] for key in range(1, count + 1)))


def _image(store: Opened) -> list[Any]:
    """Index rows and manifests, byte for byte."""
    run = store.projection.connection.execute
    return [*run("SELECT * FROM monster_list ORDER BY id"), *run("SELECT * FROM monster_list_manifest ORDER BY id")]


def _trusts(store: Opened) -> bool:
    return is_trusted(store.projection.connection, INDEX)


def _is_right(store: Opened, deep: bool = True) -> bool:
    return not verify_index(store.projection.connection, INDEX, MONSTER, deep=deep).gaps


def _drop(store: Opened) -> int:
    return drop_index(store.projection.connection, INDEX)


def _after(count: int) -> Callable[[int], None]:
    """A hook that stops the run when it was called so often."""
    calls = [0]

    def hook(_: int) -> None:
        calls[0] += 1
        if calls[0] > count:
            raise Stop

    return hook


rows = st.lists(
    st.tuples(st.integers(-2, 3), st.none() | st.text("ab'\n=", max_size=4), st.integers(0, 9)), min_size=1, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(rows=rows, gone=st.sets(st.integers(1, 12)))
def test_b11_a_backfill_builds_what_live_writes_build(rows: list[Any], gone: set[int]) -> None:
    """B01, B11, B19, B20: byte for byte; and again, and what is dropped takes no row with it."""
    store = _store()
    _put(store, *([key, *row, ""] for key, row in enumerate(rows, 1)))
    for key in gone & set(range(1, len(rows) + 1)):
        _delete(store, key)
    live = _image(store)
    table = store.projection.connection.execute("SELECT * FROM monster")
    assert _drop(store) == len(table)
    assert _image(store) == []
    walked = _run(store)
    assert (walked.processed, walked.conflicts) == (len(table), 0)
    assert walked.mark == read_mark(store.projection.connection, INDEX.name) == (1, 5, len(table))
    assert _image(store) == live
    assert _run(store).processed == len(table)
    assert _image(store) == live
    assert store.projection.connection.execute("SELECT * FROM monster") == table
    store.release()


def test_b15_the_mark_comes_with_the_end_of_the_cursor() -> None:
    """B15: in the middle there is a cursor and no mark, at the end a mark and no cursor."""
    store = _store()
    _fill(store)
    _drop(store)
    with pytest.raises(Stop):
        _run(store, each=_after(3))
    cursor = read_cursor(store.projection.connection, INDEX.name)
    assert cursor is not None
    assert (cursor.last_id, cursor.processed) == (4, 4)
    assert not _trusts(store)
    _run(store)
    assert read_cursor(store.projection.connection, INDEX.name) is None
    assert _trusts(store)
    store.release()


@pytest.mark.parametrize("hook", ["each", "between"])
@pytest.mark.parametrize("at", [0, 7, 19])
def test_b14_a_run_that_was_killed_goes_on_after_its_cursor(tmp_path: Path, hook: str, at: int) -> None:
    """B14: the second run handles only the rest and says where it began; the store was closed and opened between."""
    store = _store(tmp_path)
    _fill(store)
    live = _image(store)
    _drop(store)
    with pytest.raises(Stop):
        _run(store, **{hook: _after(at)})
    store.release()
    again = _store(tmp_path)
    assert again.trusted == frozenset()
    done = at + (hook == "each")
    told: list[tuple[int, int]] = []
    walked = _run(again, new_run="another", resuming=lambda *where: told.append(where))
    assert (walked.here, walked.processed, walked.resumed_after) == (ROWS - done, ROWS, done)
    assert told == [(done, done)]
    assert _image(again) == live
    again.release()
    assert _store(tmp_path).trusted == {INDEX}


class _Logged:
    """A connection that notes its statements."""

    def __init__(self, inner: Connection) -> None:
        self._inner = inner
        self.log: list[Any] = []

    def execute(self, sql: str, parameters: Any = ()) -> Rows:
        """See ``Connection``."""
        self.log.append((sql, tuple(parameters)))
        return self._inner.execute(sql, parameters)


def test_b12_each_row_is_a_commit_of_its_own_with_the_cursor() -> None:
    """B12: as many commits as rows, and the cursor moves in each of them."""
    store = _store()
    _fill(store)
    _drop(store)
    logged: Any = _Logged(store.projection.connection)
    Backfill(logged, INDEX, MONSTER, history="history-1", new_run="run", now_us=5).run()
    begun = [at for at, (sql, _) in enumerate(logged.log) if sql == "BEGIN IMMEDIATE"]
    ends = [at for at, (sql, _) in enumerate(logged.log) if sql == "COMMIT"]
    assert len(begun) == ROWS + 2  # the cursor's first, and the mark's
    for first, last in list(zip(begun, ends, strict=True))[1:-1]:
        statements = [sql for sql, _ in logged.log[first:last]]
        assert sum(CURSOR_TABLE in sql for sql in statements) == 1
        assert sum(f"INTO {CURSOR_TABLE}" in sql or "monster_list" in sql for sql in statements) == 3
    store.release()


@pytest.mark.parametrize(
    "write",
    [
        "UPDATE monster SET note = 'changed' WHERE id = 5",
        "UPDATE monster SET zone = 77 WHERE id = 5",
        "DELETE FROM monster WHERE id = 5",
    ],
)
def test_b12_b16_b17_a_row_that_changed_meanwhile_is_a_conflict(write: str) -> None:
    """B12, B16, B17: the others are done, the mark is not; going on is refused until the index was dropped."""
    store = _store()
    _fill(store)
    _drop(store)
    run = store.projection.connection.execute
    walked = _run(store, between=lambda id: run(write) if id == 5 else None)
    assert (walked.conflicts, walked.samples, walked.mark, walked.processed) == (1, (5,), None, ROWS)
    covered = {id for (id,) in run("SELECT id FROM monster_list")}
    assert covered >= set(range(1, ROWS + 1)) - {5}
    again = _run(store)
    assert again.refused
    assert again.mark is None
    assert not _trusts(store)
    _drop(store)
    assert _run(store).mark is not None
    assert _is_right(store)
    if "UPDATE" in write:
        assert run("SELECT COUNT(*) FROM monster_list WHERE id = 5") == [(1,)]
    store.release()


@pytest.mark.parametrize(
    "planted",
    [
        ("run", "history-1", 1, 12, 12, 0),
        ("run", "history-1", 1, 10**9, ROWS, 0),
        ("run", "history-1", 1, -5, 0, 0),
        ("run", "another-history", 1, 12, 12, 0),
        ("run", "history-1", 0, 12, 12, 0),
    ],
)
def test_b7_a_planted_cursor_never_leads_to_a_mark(planted: tuple[Any, ...]) -> None:
    """B7, B09: rows that it would skip are found when the mark is to be written, and all are gone through again."""
    store = _store()
    _fill(store)
    _drop(store)
    run = store.projection.connection.execute
    run(f"INSERT INTO {CURSOR_TABLE} VALUES (?, ?, ?, ?, ?, ?, ?)", (INDEX.name, *planted))
    walked = _run(store)
    assert walked.mark is not None
    assert walked.processed == ROWS
    assert _is_right(store)
    store.release()


def test_b7_a_cursor_from_before_a_drop_of_rows_is_found_out() -> None:
    """B7: index rows that somebody deleted below the cursor are written in the second walk."""
    store = _store()
    _fill(store)
    _drop(store)
    with pytest.raises(Stop):
        _run(store, each=_after(10))
    store.projection.connection.execute("DELETE FROM monster_list WHERE id < 4")
    walked = _run(store)
    assert (walked.restarts, walked.resumed_after, walked.processed) == (1, 11, ROWS)
    assert _is_right(store)
    store.release()


def test_b18_drop_is_safe_between_any_two_steps(tmp_path: Path) -> None:
    """B18, B19: mark, rows, cursor; whoever opens it then does not trust it, and a backfill completes it."""
    for number, stop_at in enumerate(("mark", "rows", "cursor", None)):
        (tmp_path / str(number)).mkdir()
        store = _store(tmp_path / str(number))
        _fill(store)
        seen: list[str] = []

        def between(step: str, stop_at: str | None = stop_at, seen: list[str] = seen) -> None:
            if step == stop_at:
                raise Stop
            seen.append(step)

        if stop_at is None:
            assert drop_index(store.projection.connection, INDEX, between) == ROWS
            assert seen == ["mark", "rows", "cursor"]
        else:
            with pytest.raises(Stop):
                drop_index(store.projection.connection, INDEX, between)
        store.release()
        again = _store(tmp_path / str(number))
        assert (again.trusted == {INDEX}) == (stop_at == "mark")
        assert not verify_index(again.projection.connection, INDEX, MONSTER).overstates
        assert _run(again).mark is not None
        assert _is_right(again)
        again.release()


_DAMAGES = {
    "no_manifest": "DELETE FROM monster_list_manifest WHERE id = 3",
    "old_manifest_version": "UPDATE monster_list_manifest SET version = 0 WHERE id = 3",
    "key_drift": "UPDATE monster_list_manifest SET keys = keys || 'x' WHERE id = 3",
    "missing_row": "DELETE FROM monster_list WHERE id = 3",
    "oversized_manifest": f"UPDATE monster_list_manifest SET keys = hex(zeroblob({MANIFEST_CHARS_MAX})) WHERE id = 3",
    "orphan": "INSERT INTO monster_list (id, zone, seen) VALUES (999, 1, 1)",
    "wrong_row": "UPDATE monster_list SET zone = 55 WHERE id = 3",
}


@pytest.mark.parametrize("reason", _DAMAGES)
def test_b21_every_kind_of_gap_is_found(reason: str) -> None:
    """B09, B21: counted, sampled, and the mark called an overstatement; only a deep look finds a wrong row."""
    store = _store()
    _fill(store)
    assert _is_right(store)
    store.projection.connection.execute(_DAMAGES[reason])
    found = verify_index(store.projection.connection, INDEX, MONSTER, deep=reason == "wrong_row")
    assert found.gaps == {reason: 1}
    assert found.samples == ((999 if reason == "orphan" else 3, reason),)
    assert found.overstates
    assert found.rows == ROWS
    if reason == "wrong_row":
        assert _is_right(store, deep=False)
    walked = _run(store)
    if reason == "oversized_manifest":
        assert (walked.conflicts, walked.samples, walked.mark) == (1, (3,), None)
        _drop(store)
        walked = _run(store)
    assert walked.mark is not None
    assert _is_right(store)
    store.release()


def test_b21_the_first_twenty_gaps_are_named() -> None:
    """B21: in order, and all are counted."""
    store = _store()
    _fill(store, 30)
    _drop(store)
    found = verify_index(store.projection.connection, INDEX, MONSTER)
    assert found.gaps == {"no_manifest": 30}
    assert [id for id, _ in found.samples] == list(range(1, 21))
    assert not found.overstates
    store.release()


def test_b09_a_mark_that_overstates_is_taken_away() -> None:
    """B09: a second run that finds it cannot make the index whole leaves no mark behind."""
    store = _store()
    _fill(store)
    run = store.projection.connection.execute
    # A saboteur that breaks every index row as soon as it is written.
    run("CREATE TRIGGER saboteur AFTER UPDATE ON monster_list BEGIN UPDATE monster_list SET zone = 9 WHERE id = 7; END")
    walked = _run(store)
    assert (walked.mark, walked.restarts) == (None, 1)
    assert walked.conflicts
    assert run(f"SELECT * FROM {MARK_TABLE}") == []
    store.release()


def test_b16_what_a_store_must_be_able_to_do(tmp_path: Path) -> None:
    """B16: a file that cannot be written is told apart from one that can."""
    store = _store(tmp_path)
    assert lacks_conditional_commits(store.projection.connection) is None
    store.release()
    reading = OsDisk().connect(str(tmp_path / "projection.db"), read_only=True)
    reason = lacks_conditional_commits(reading)
    assert reason is not None
    assert "cannot be written" in reason
    reading.close()


def test_nobody_else_gets_at_the_file_meanwhile(tmp_path: Path) -> None:
    """B23: not even between two commits; afterwards everybody does."""
    store = _store(tmp_path)
    _fill(store)
    other = OsDisk().connect(str(tmp_path / "projection.db"))
    other.execute("PRAGMA busy_timeout=0")
    refused: list[str] = []

    def intrude(_: int) -> None:
        try:
            other.execute("UPDATE monster SET zone = 0")
        except Exception as error:
            refused.append(str(error))

    assert _run(store, between=intrude).mark is not None
    assert len(refused) == ROWS
    other.execute("UPDATE monster SET zone = 0 WHERE id = 1")
    assert _is_right(store)
    other.close()
    store.release()


class _MarkFirst(Backfill):
    """A defect planted on purpose: the mark is written before the rows it speaks of."""

    def _walk(self) -> None:
        connection = self._connection
        connection.execute(
            f"INSERT OR REPLACE INTO {MARK_TABLE} VALUES (?, ?, ?, ?)", (INDEX.name, INDEX.version, 5, 0)
        )
        super()._walk()


def test_b09_a_mark_before_its_rows_would_be_caught(tmp_path: Path) -> None:
    """B09: the checks of these tests are sharp enough to see the mistake that matters most."""
    store = _store(tmp_path)
    _fill(store)
    _drop(store)
    with pytest.raises(Stop):
        _MarkFirst(
            store.projection.connection, INDEX, MONSTER, history="history-1", new_run="r", now_us=5, each=_after(3)
        ).run()
    store.release()
    again = _store(tmp_path)
    assert again.trusted == {INDEX}, "the defect shows: whoever opens it now trusts 4 of 20 rows"
    assert verify_index(again.projection.connection, INDEX, MONSTER).overstates
    again.release()
