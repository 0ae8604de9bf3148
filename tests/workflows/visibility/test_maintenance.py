"""The index of workflows beside the engine: kept by every step, filled afterwards, through crashes."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import seconds
from reactor.datadir import hold_directory
from reactor.errors import Refusal, SenderError
from reactor.storage.backfill import verify_index
from reactor.storage.connection import OsDisk
from reactor.storage.indexing import keys_expression
from reactor.testing import Rig
from tests.workflows.samples import Counter, Nap
from workflows import WorkflowEngine
from workflows.tables import WORKFLOW_SCHEMA
from workflows.visibility import maintenance
from workflows.visibility.index import INDEX
from workflows.visibility.maintenance import Incapable, Now

_ids = (f"{n:032x}" for n in itertools.count(1))


def _now() -> Now:
    return Now(1_800_000_000_000_000, next(_ids))


def _engine() -> WorkflowEngine:
    return WorkflowEngine([Nap, Counter], attributes={"zone": int})


def _is_exact(rig: Rig) -> bool:
    """Manifest keys and index rows are what the rows say, for every workflow and for nothing else."""
    run = rig.storage.projection_connection().execute
    keys = run(f"SELECT id, {INDEX.version}, {keys_expression(INDEX, '')} FROM workflow ORDER BY id")
    if run("SELECT id, version, keys FROM workflow_visibility_manifest ORDER BY id") != keys:
        return False
    assert len(keys) == len(rig.rows("workflow"))
    return not verify_index(rig.storage.projection_connection(), INDEX, WORKFLOW_SCHEMA, deep=True).gaps


def _do(rig: Rig, move: int, which: int) -> None:
    live = [row.id for row in rig.rows("workflow") if row.workflow_type == "counter"]
    target = live[which % len(live)] if live else 0
    try:
        if move == 0:
            rig.start("nap", payload={"delay_us": seconds(1 + which)})
        elif move == 1:
            rig.start("counter", entity_id=which)
        elif move == 2:
            name = ("add", "finish", "crash")[which % 3]
            rig.call("workflow_signal", target, name, {"amount": 1} if name == "add" else None)
        elif move == 3:
            rig.call("workflow_cancel", target, "a test")
        elif move == 4:
            rig.advance(seconds(which))
        elif move == 5:
            rig.call("cleanup_old_workflows", 0)
        elif move == 6:
            rig.crash()
            rig.reopen()
        else:
            rig.call("workflow_set_attributes", target, {"zone": which})
    except SenderError:
        pass  # what it was meant for has ended


@settings(max_examples=15, deadline=None)
@given(moves=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=15))
def test_b01_after_any_command_the_manifest_is_what_the_rows_say(moves: list[tuple[int, int]]) -> None:
    """B01, F4: starts, steps, ends, failures, removals and crashes; the mark of the first start stays true."""
    with Rig(_engine()) as rig:
        for move, which in moves:
            _do(rig, move, which)
            assert _is_exact(rig)
            assert rig.engine.trusted == {INDEX}


def test_b02_a_transition_reads_nothing_more() -> None:
    """B02: a step costs the projection one statement a table, as without the index; its triggers do the rest."""
    counts = []
    for index in (True, False):
        with Rig(_engine()) as rig:
            id = rig.start("counter")
            connection = rig.storage.projection_connection()
            if not index:
                for kind in ("insert", "update", "touch", "delete"):
                    connection.execute(f"DROP TRIGGER workflow_visibility_{kind}")
            seen: list[str] = []
            connection.raw.set_trace_callback(seen.append)
            rig.call("workflow_signal", id, "add", {"amount": 1})
            connection.raw.set_trace_callback(None)
            # What a trigger does is told once more, under the statement that fires it.
            counts.append({sql.split("(")[0] for sql in seen if not sql.startswith("--")})
    assert not any("SELECT" in sql for sql in counts[0])
    assert counts[0] == counts[1]


def _data(path: Path, count: int = 12) -> Path:
    """Data that predate the index: its triggers, rows and mark are not there."""
    directory = path / "data"
    directory.mkdir()
    with Rig(_engine(), directory=directory) as rig:
        for n in range(count):
            rig.start("counter", entity_id=n)
        rig.call("workflow_signal", 3, "finish")
        rig.stop()
    raw = OsDisk().connect(str(directory / "projection.db"))
    for kind in ("insert", "update", "touch", "delete"):
        raw.execute(f"DROP TRIGGER {INDEX.name}_{kind}")
    raw.execute(f"DROP TABLE {INDEX.name}")
    raw.execute(f"DROP TABLE {INDEX.manifest}")
    raw.execute("DROP TABLE reactor_index_mark")
    raw.execute("DROP TABLE reactor_index_cursor")
    raw.close()
    return directory


def test_b11_data_older_than_the_index(tmp_path: Path) -> None:
    """B05, B08, B11, B15, B25: lists scan, with the same answer; after the backfill they do not."""
    directory = _data(tmp_path)
    with Rig(_engine(), directory=directory) as rig:
        before = rig.call("workflow_list", {"status": "Suspended"})
        assert before["used_index"] is False
        assert before["total"] == 11
        workflows = rig.rows("workflow")
        rig.stop()
    walked = maintenance.backfill(directory, _now())
    assert walked.processed == 12
    assert not maintenance.verify(directory, _now(), deep=True).gaps
    with Rig(_engine(), directory=directory) as rig:
        assert rig.call("workflow_list", {"status": "Suspended"}) == {**before, "used_index": True}
        assert rig.rows("workflow") == workflows
        assert _is_exact(rig)
        rig.stop()
    assert maintenance.drop(directory, _now()) == 12
    assert maintenance.verify(directory, _now()).gaps == {"no_manifest": 12}
    with Rig(_engine(), directory=directory) as rig:
        assert rig.call("workflow_list", {"status": "Suspended"}) == before
        assert rig.rows("workflow") == workflows


@pytest.mark.parametrize("stop_at", range(0, 13, 3))
def test_b14_killed_anywhere_and_served_in_between(tmp_path: Path, stop_at: int) -> None:
    """B09, B14: a server that runs between two attempts trusts nothing, and what it writes is covered at the end."""
    chance = random.Random(stop_at)
    directory = _data(tmp_path)
    calls = itertools.count()

    def kill(_: int) -> None:
        if next(calls) == stop_at:
            raise KeyboardInterrupt

    if stop_at < 12:
        with pytest.raises(KeyboardInterrupt):
            maintenance.backfill(directory, _now(), between=kill)
    else:
        maintenance.backfill(directory, _now(), between=kill)
    with Rig(_engine(), directory=directory) as rig:
        assert rig.call("workflow_list")["used_index"] is (stop_at >= 12)
        rig.start("counter")
        rig.call("workflow_signal", chance.choice([1, 2, 4, 9, 12]), "finish")
        rig.call("cleanup_old_workflows", 0)
        rig.crash()
    assert maintenance.backfill(directory, _now()).mark is not None
    with Rig(_engine(), directory=directory) as rig:
        assert rig.engine.trusted == {INDEX}
        assert _is_exact(rig)


def test_what_the_log_has_and_the_tables_have_not_is_covered(tmp_path: Path) -> None:
    """A backfill begins where the log ends, not where the projection happened to be."""
    directory = _data(tmp_path, 4)
    for name in ("projection.db", "projection.db-wal", "projection.db-shm"):
        (directory / name).unlink(missing_ok=True)
    assert maintenance.backfill(directory, _now()).processed == 4
    assert not maintenance.verify(directory, _now(), deep=True).gaps


def test_b23_a_running_server_keeps_the_directory(tmp_path: Path) -> None:
    """B23: whoever holds the directory is named; nothing is made where there is nothing."""
    directory = _data(tmp_path, 3)
    held = hold_directory(directory, now_us=1, listen="127.0.0.1:3000")
    with pytest.raises(Refusal) as caught:
        maintenance.backfill(directory, _now())
    assert caught.value.code == "data_in_use"
    assert "127.0.0.1:3000" in caught.value.message
    held.release()
    with pytest.raises(Refusal):
        maintenance.verify(tmp_path / "nothing", _now())
    assert not (tmp_path / "nothing").exists()


def test_b16_a_store_that_cannot_commit_conditionally(tmp_path: Path) -> None:
    """B16: said by name, and nothing is done."""
    directory = _data(tmp_path, 3)
    with pytest.raises(Incapable, match="too old"):
        maintenance.backfill(directory, _now(), capability=lambda connection: "this SQLite is too old")
    assert maintenance.verify(directory, _now()).entries == 0
