"""``reactor.assembly``: a module over an opened store, and what a later version of the module may change."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest

from reactor import Context, Module, Refusal, Timestamp, index, primary_key
from reactor.assembly import compose, load_engine, sql_tables
from reactor.columns import U32
from reactor.storage import open_store
from reactor.testing import Rig


class Mood(enum.StrEnum):
    """Before."""

    CALM = "calm"


class MoodLater(enum.StrEnum):
    """After."""

    CALM = "calm"
    ANGRY = "angry"


def _version(annotations: dict[str, Any], options: dict[str, Any] | None = None, **defaults: Any) -> Module:
    module = Module("grows")
    columns = {"id": int, **annotations}
    module.table(**(options or {}))(
        type("Npc", (), {"__annotations__": columns, "id": primary_key(auto=True), **defaults})
    )
    return module


FIRST = _version({"zone": int, "mood": Mood}, mood=Mood.CALM)


@pytest.fixture
def rig() -> Any:
    """A database with three rows, crashed."""
    with Rig(FIRST) as made:

        def add(ctx: Context) -> None:
            for zone in (1, 2, 1):
                ctx.db.npc.insert(zone=zone)

        made.run(add)
        made.crash()
        yield made


def test_additive_changes_are_taken(rig: Rig) -> None:
    """New columns with their default, a new index, a new enum value, a new table, another visibility."""
    second = _version(
        {"zone": int, "mood": MoodLater, "level": U32, "note": str | None, "tags": list},
        {"indexes": ["zone", index("level", ordered=True)], "public": True},
        mood=MoodLater.CALM,
        level=7,
        tags=["new"],
    )

    @second.table(scheduled="fire")
    class Tick:
        scheduled_id: int = primary_key(auto=True)
        scheduled_at: Timestamp

    @second.reducer
    def fire(ctx: Context, tick: Tick) -> None:
        ctx.db.npc.insert(zone=9)

    rig.reopen(second)
    rows = rig.rows("npc")
    assert [(r.id, r.zone, r.mood, r.level, r.note, r.tags) for r in rows] == [
        (i, z, MoodLater.CALM, 7, None, ["new"]) for i, z in ((1, 1), (2, 2), (3, 1))
    ]
    table = rig.engine.store.tables["npc"]
    assert [r.id for r in table.where(zone=1)] == [1, 3]
    assert len(list(table.range("level", 7))) == 3
    rig.run(lambda ctx: ctx.db.npc.update(1, mood="angry", level=8) and None)
    rig.run(lambda ctx: ctx.db.tick.insert(scheduled_at=ctx.now + 5) and None)
    rig.advance(5)
    assert rig.connect("a" * 32).watch("SELECT * FROM npc WHERE level = 8").rows[1]["mood"] == "angry"
    assert rig.sql("SELECT id, level FROM npc WHERE zone = 9") == [[rig.rows("npc")[-1].id, 7]]
    rig.crash()
    rig.reopen()
    assert rig.row("npc", 1).level == 8
    assert len(rig.rows("npc")) == 4


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (_version({"mood": Mood}, mood=Mood.CALM), "npc.zone is gone"),
        (_version({"zone": str, "mood": Mood}, mood=Mood.CALM), "npc.zone was i64 and is now text"),
        (_version({"zone": int, "mood": Mood, "level": int}, mood=Mood.CALM), "npc.level is new and needs a default"),
        (Module("grows"), "table npc is gone"),
    ],
)
def test_other_changes_stop_the_start_and_leave_the_data(rig: Rig, module: Module, reason: str) -> None:
    """P6: with what to do; the old module still opens it."""
    with pytest.raises(Refusal) as caught:
        rig.reopen(module)
    assert caught.value.code == "schema_conflict"
    assert reason in caught.value.message
    rig.reopen(FIRST)
    assert len(rig.rows("npc")) == 3


def test_a_unique_index_over_rows_that_break_it(rig: Rig) -> None:
    """P6: refused with the value that stands twice; the old module still opens it."""
    with pytest.raises(Refusal) as caught:
        rig.reopen(_version({"zone": int, "mood": Mood}, {"unique": ["zone"]}, mood=Mood.CALM))
    assert caught.value.code == "schema_conflict"
    assert "zone = 1" in caught.value.message
    rig.reopen(FIRST)
    assert len(rig.rows("npc")) == 3


def test_columns_may_change_places(rig: Rig) -> None:
    """The stored order is the log's own business."""
    rig.reopen(_version({"mood": Mood, "zone": int}, mood=Mood.CALM))
    assert [(r.id, r.zone) for r in rig.rows("npc")] == [(1, 1), (2, 2), (3, 1)]
    rig.run(lambda ctx: ctx.db.npc.update(2, zone=5) and None)
    rig.crash()
    rig.reopen(FIRST)
    assert [(r.id, r.zone) for r in rig.rows("npc")] == [(1, 1), (2, 5), (3, 1)]


def test_an_engine_stands_where_its_store_stands(tmp_path: Path) -> None:
    """Rows, seq, ids and timers are those of the store."""
    module = _version({"zone": int})

    @module.table(scheduled="fire")
    class Tick:
        scheduled_id: int = primary_key(auto=True)
        scheduled_at: Timestamp

    @module.reducer
    def fire(ctx: Context, tick: Tick) -> None: ...

    with Rig(module, directory=tmp_path) as rig:
        rig.run(lambda ctx: ctx.db.npc.insert(zone=5) and None)
        rig.run(lambda ctx: ctx.db.tick.insert(scheduled_at=ctx.now + 500) and None)
        seq, pending = rig.engine.seq, rig.engine.timers.pending()
        rig.stop()
    program = compose(module)
    opened = open_store(tmp_path, list(program.tables.values()), now_us=0, new_history_id="x" * 32)
    try:
        engine = load_engine(program, opened)
        assert engine.seq == seq
        assert len(pending) == 1
        assert engine.timers.pending() == pending
        assert [r.zone for r in engine.store.tables["npc"]] == [5]
    finally:
        opened.release()


def test_what_sql_may_see() -> None:
    """Public and private tables, and views."""
    module = _version({}, {"public": True})
    module.view("npc_count", "SELECT COUNT(*) AS n FROM npc")
    tables = sql_tables(compose(module))
    assert "npc" in tables.public
    assert "reactor_request" in tables.private
    assert ("npc_count", "SELECT COUNT(*) AS n FROM npc") in tables.views
    with Rig(module) as rig:
        rig.run(lambda ctx: ctx.db.npc.insert() and None)
        assert rig.sql("SELECT n FROM npc_count", owner=False) == [[1]]
        with pytest.raises(Exception, match="reactor_request"):
            rig.sql("SELECT * FROM reactor_request", owner=False)
