"""A reload of a module with live workflows: timers and workflows live on, versions change under them. REQ-12."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import Module, Refusal, SenderError, seconds
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants, picture
from tests.workflows.samples import Counter, Nap
from tests.workflows.scripts.scripts import Burn, nap
from tests.workflows.versions.deploys import BEAT_US, Mended, One, Stuck, Three, Two, deploy
from workflows import ChildEnd, Handler, NoPayload, Status, Workflow, WorkflowEngine


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Two workflows of version 1, the second with a state that version 3 can make nothing of."""
    with Rig(deploy(One)) as rig:
        rig.start("npc", payload={"hp": 80})
        rig.start("npc", payload={"hp": -5})
        yield rig
        if rig.is_open:
            assert_invariants(rig)


def beats(rig: Rig, workflow_id: int) -> list[int]:
    """When a workflow heard its beats."""
    heard: list[int] = json.loads(rig.row("workflow", workflow_id).state)["beats"]
    return heard


def test_nothing_is_armed_again(rig: Rig) -> None:
    """REQ-12: rows of workflows and timers are untouched by the swap itself."""
    before = picture(rig)
    rig.reload(deploy(Two))
    assert picture(rig) == before


def test_no_occurrence_is_lost_or_doubled(rig: Rig) -> None:
    """REQ-12: whatever the instant of a reload, up or down, each beat is heard once and at its own time."""
    began, rolls = rig.clock.now(), random.Random(7)
    for _ in range(60):
        rig.reload(deploy(rolls.choice((One, Two, Mended))))
        rig.advance(rolls.choice((1, BEAT_US // 3, BEAT_US - 1, BEAT_US, 3 * BEAT_US)))
        if rolls.random() < 0.2:
            rig.crash()
            rig.reopen(deploy(Mended))
    count = (rig.clock.now() - began) // BEAT_US
    assert count > 30
    assert beats(rig, 1) == beats(rig, 2) == [began + n * BEAT_US for n in range(1, count + 1)]


def test_a_step_back_needs_nothing_but_the_old_file(rig: Rig) -> None:
    """REQ-12 rollback: the code that is replaced knows the way down; it is gone by at once, and survives a crash."""
    rig.reload(deploy(Mended))
    rig.advance(BEAT_US)
    assert {row.state_version for row in rig.rows("workflow")} == {3}
    rig.reload(deploy(One))
    assert [(row.state_version, json.loads(row.state)["hp"]) for row in rig.rows("workflow")] == [(1, 80), (1, 0)]
    assert any(text == "npc: 2 states taken back to version 1" for _, _, text in rig.logs)
    rig.crash()
    rig.reopen()
    rig.advance(BEAT_US)
    assert len(beats(rig, 1)) == len(beats(rig, 2)) == 2


def test_a_failed_migration_parks_one_and_a_reload_mends_it(rig: Rig) -> None:
    """REQ-12: the others go on; `blocked_workflows` names it; after the mended reload a retry takes it up."""
    began = rig.clock.now()
    rig.reload(deploy(Three))
    assert rig.sql("SELECT id FROM blocked_workflows") == [[2]]
    rig.advance(2 * BEAT_US)
    assert rig.row("workflow", 2).status is Status.FAULTED
    assert len(beats(rig, 1)) == 2
    rig.reload(deploy(Mended))
    rig.call("workflow_retry", 2, "mended")
    rig.advance(BEAT_US)
    assert beats(rig, 1) == beats(rig, 2) == [began + n * BEAT_US for n in (1, 2, 3)]
    assert rig.sql("SELECT id FROM blocked_workflows") == []


def test_a_failed_migration_and_a_step_back(rig: Rig) -> None:
    """REQ-12: those that were parked go on under the old version after a retry, and those that were not, without."""
    rig.reload(deploy(Three))
    rig.advance(BEAT_US)
    rig.reload(deploy(One))
    assert [row.state_version for row in rig.rows("workflow")] == [1, 1]
    rig.advance(BEAT_US)
    assert rig.row("workflow", 2).status is Status.FAULTED
    rig.call("workflow_retry", 2, "the old version is back")
    rig.settle()
    assert len(beats(rig, 1)) == len(beats(rig, 2)) == 2


def test_a_reload_tells_which_cannot_go_on(rig: Rig) -> None:
    """B64: a version without a way is taken, as a start would take it, and names those it blocks."""
    rig.reload(deploy(Stuck))
    assert rig.sql("SELECT id FROM blocked_workflows ORDER BY id") == [[1], [2]]
    assert [row.workflow_id for row in rig.rows("recovery_error")] == [1, 2]
    rig.reload(deploy(One))
    assert rig.rows("recovery_error") == []


def test_scripts_live_on() -> None:
    """REQ-12: what a script keeps on its stack is made again from its record, whatever was loaded meanwhile."""

    def scripts() -> Module:
        return Module("game", includes=[WorkflowEngine([nap, Burn])])

    with Rig(scripts()) as rig:
        asleep = rig.start("nap")
        burning = rig.start("burn", payload={"duration_us": seconds(10)})
        for _ in range(5):
            rig.reload(scripts())
            rig.advance(seconds(1))
            rig.call("workflow_signal", burning, "stack", {"count": 3})
        assert rig.row("workflow", asleep).result == '"awake"'
        rig.advance(seconds(60))
        assert json.loads(rig.row("workflow", burning).result) == {"outcome": "expire", "stacks": 16}


# -- what is refused ---------------------------------------------------------------------------------


class Broken(Two):
    """A version whose migrations lead nowhere."""

    migrations = {2: lambda state: state}


class Family(Handler[None]):
    """Ends with its child, an npc."""

    name = "family"

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        w.start_child("npc")

    def on_child_end(self, w: Workflow[None], child: ChildEnd) -> None:
        w.complete()


class Waiting(Handler[None]):
    """A type without a method for its signal."""

    name = "waiting"
    signals = {"go": NoPayload}


@pytest.mark.parametrize("kind", [Broken, Waiting])
def test_a_wrong_declaration_leaves_the_old_version(rig: Rig, kind: type[Handler[Any]]) -> None:
    """A09: refused while it is loaded; nothing has happened."""
    with pytest.raises(Refusal) as refusal:
        rig.reload(deploy(kind))
    assert refusal.value.code == "bad_declaration"
    rig.advance(BEAT_US)
    assert len(beats(rig, 1)) == 1


def test_live_types_that_are_missing_leave_the_old_version(rig: Rig) -> None:
    """A09, B61: as at a start, with types and count."""
    before = picture(rig)
    with pytest.raises(Refusal) as refusal:
        rig.reload(deploy(Nap))
    assert refusal.value.code == "unregistered_types"
    assert refusal.value.details["missing_types"] == ["npc"] and refusal.value.details["count"] == 2
    assert picture(rig) == before
    rig.call("workflow_signal", 1, "hurt", {"hp": 10})
    rig.advance(BEAT_US)
    assert len(beats(rig, 1)) == 1


def test_types_that_go_and_come_back(rig: Rig) -> None:
    """B62: skipped types are parked by a reload as by a start, and go on where they were when they are back."""
    began = rig.clock.now()
    rig.reload(deploy(Nap, skip_types=["npc"]))
    assert {t.held for t in rig.rows("workflow_timer")} == {True}
    rig.advance(3 * BEAT_US)
    rig.reload(deploy(One, Counter))
    rig.settle()
    assert beats(rig, 1) == [began + n * BEAT_US for n in (1, 2, 3)]
    rig.call("workflow_signal", rig.start("counter"), "finish")


def test_what_came_while_a_type_was_away_is_delivered(rig: Rig) -> None:
    """B62: starts that were due meanwhile, and what children had to tell, are made up for when it is back."""
    options = {"start_after_us": BEAT_US}
    later = rig.call("workflow_start_with", "npc", None, None, {"hp": 50}, options)["id"]
    rig.reload(deploy(One, Family))
    family = rig.start("family")
    rig.reload(deploy(One, skip_types=["family"]))
    rig.call("workflow_signal", rig.row("workflow", family + 1).id, "leave")
    assert rig.row("workflow", family).status is Status.SUSPENDED
    rig.reload(deploy(Family, skip_types=["npc"]))
    rig.advance(2 * BEAT_US)
    assert rig.row("workflow", later).status is Status.PENDING
    assert rig.row("workflow", family).status is Status.COMPLETED
    rig.reload(deploy(One, Family))
    rig.advance(1)
    assert rig.row("workflow", later).status is Status.SUSPENDED


def test_a_failing_hook_of_the_game_takes_everything_back(rig: Rig) -> None:
    """A09: what the engine wrote about the types goes with it, and the old code runs on."""
    module = deploy(Three)

    @module.on_reload
    def fails(ctx: Any) -> None:
        raise SenderError("sender_error", "not today")

    before = rig.rows("workflow_definition")
    with pytest.raises(Refusal, match="not today"):
        rig.reload(module)
    assert rig.rows("workflow_definition") == before
    rig.advance(BEAT_US)
    assert {row.state_version for row in rig.rows("workflow")} == {1}


# -- parts -------------------------------------------------------------------------------------------


def test_parts_drop_what_they_keep_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of the version that goes are told, those of one that is refused are not."""
    engines = [WorkflowEngine([One]), WorkflowEngine([Two]), WorkflowEngine([Nap])]
    told: list[int] = []
    for number, engine in enumerate(engines):
        monkeypatch.setattr(engine.parts[0], "reloaded", lambda number=number: told.append(number))
    with Rig(Module("game", includes=[engines[0]])) as rig:
        rig.start("npc")
        with pytest.raises(Refusal):
            rig.reload(Module("game", includes=[engines[2]]))
        rig.reload(Module("game", includes=[engines[1]]))
        assert told == [0]


def test_the_same_engine_may_be_loaded_again() -> None:
    """A game may include an engine that does not lie beside it, so that a reload meets it again."""
    engine = WorkflowEngine([One])
    with Rig(Module("game", includes=[engine])) as rig:
        rig.start("npc")
        rig.reload(Module("game", includes=[engine]))
        rig.advance(BEAT_US)
        assert len(beats(rig, 1)) == 1
