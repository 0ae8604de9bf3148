"""The engine as a module: what it declares, what it says at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reactor import Module, Refusal
from reactor.module import Reducer
from reactor.reports import Report
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Counter, Nap
from workflows import Buff, WorkflowEngine, engine


def test_the_start_names_each_type_and_then_the_registry(make_rig: MakeRig) -> None:
    """A02: one line per type in order of registration, then that the registry is ready, before any call."""
    rig = make_rig()
    lines = [text for _, _, text in rig.logs]
    assert lines[:6] == [
        "registered workflow type npc_patrol",
        "registered workflow type combat",
        "registered workflow type buff",
        "registered workflow type respawn",
        "registered workflow type production",
        "registry ready: 5 workflow types",
    ]


def test_the_default_engine_has_the_five_types() -> None:
    """Whoever includes it has them all."""
    assert engine.registry.names == ["npc_patrol", "combat", "buff", "respawn", "production"]


def test_the_columns_the_reference_queries_use_are_there(make_rig: MakeRig) -> None:
    """A40, A80: names as the monitoring queries write them."""
    rig = make_rig()
    tables = rig.engine.program.tables
    assert {
        "id", "workflow_type", "entity_id", "correlation_id", "status", "current_step", "state", "result",
        "error_message", "created_at", "updated_at",
    } <= set(tables["workflow"].column_names)  # fmt: skip
    assert {"scheduled_id", "workflow_id", "scheduled_at", "cancelled", "name"} <= set(
        tables["workflow_timer"].column_names
    )
    assert {"workflow_id", "timestamp"} <= set(tables["workflow_event"].column_names)
    assert {name for name, schema in tables.items() if schema.public} >= {
        "workflow",
        "workflow_timer",
        "workflow_event",
    }


def test_every_reducer_is_described(make_rig: MakeRig) -> None:
    """`reactor describe` shows what each does and who may call it, and the reference has it."""
    program = make_rig().engine.program
    declared: dict[str, Reducer | Report] = {**program.reducers, **program.reports}
    assert sorted(name for name, it in declared.items() if not it.docs.strip().endswith((".", "…"))) == []
    reference = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    assert sorted(name for name in declared if f"| `{name}(" not in reference) == []
    # What the reactor runs for a due row is for nobody else.
    fired = {table.scheduled for table in program.tables.values() if table.scheduled is not None}
    assert fired == {name for name, reducer in program.reducers.items() if reducer.access == "internal"}


class GameBuff(Buff):
    """A game's own buff: hurts a monster at each tick."""

    def on_tick(self, w: Any, timer: Any) -> None:
        monster = w.db.monster.require(w.entity_id)
        w.db.monster.update(monster, hp=monster.hp - w.state.data["damage"])


def test_a_game_includes_the_engine_and_fills_in_hooks() -> None:
    """A68: the game's rows and the workflow's change in one commit."""
    game = Module("game", includes=[WorkflowEngine(types=[GameBuff])])

    @game.table(public=True)
    class Monster:
        id: int = game.primary_key(auto=True)
        hp: int

    @game.reducer
    def poison(ctx: Any, monster_id: int) -> int:
        started: int = ctx.workflows.start(
            "buff", entity_id=monster_id, duration_us=300_000, tick_us=100_000, data={"damage": 2}
        )
        return started

    with Rig(game) as rig:
        monster = rig.run(lambda ctx: ctx.db.monster.insert(hp=10).id)
        rig.call("poison", monster)
        rig.advance(100_000)
        rig.crash()
        rig.reopen()
        rig.advance(1_000_000)
        assert rig.row("monster", monster).hp == 4


def test_two_programs_in_one_process_are_apart() -> None:
    """Engines share the declarations of tables and nothing else."""
    with Rig(WorkflowEngine([Nap])) as one, Rig(WorkflowEngine([Counter])) as other:
        one.start("nap", payload={"delay_us": 1})
        other.start("counter")
        with pytest.raises(Exception, match="there is no workflow type 'counter'"):
            one.start("counter")
        assert [len(rig.rows("workflow")) for rig in (one, other)] == [1, 1]


def test_a_module_cannot_include_two_engines() -> None:
    """Their tables would be the same."""
    with pytest.raises(Refusal, match="table workflow of module"):
        Rig(Module("game", includes=[WorkflowEngine(name="one"), WorkflowEngine(name="two")]))
