"""The course of a run: versions, divergence, new runs, budgets, cancels, sagas."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reactor.context import Context
from tests.workflows.scripts.world import crash, journal, make_rig, make_world
from workflows import NoPayload, Payload, seconds
from workflows.policy import ErrorPolicy
from workflows.scripts import Cancelled, HistoryBudget, Pressure, Run, Script, script


def write(ctx: Context, text: str) -> None:
    """Add a line to the journal."""
    ctx.db.journal.insert(text=text)


def refuse(ctx: Context, text: str) -> None:
    """A step that never works."""
    raise ValueError(text)


# -- versions and divergence -----------------------------------------------------------------------


@script(clock="wall", name="guard")
async def guard_old(w: Run, payload: NoPayload) -> Any:
    """Two sleeps."""
    await w.sleep(seconds(1), name="walk")
    await w.sleep(seconds(1), name="rest")
    return "old"


@script(clock="wall", name="guard")
async def guard_changed(w: Run, payload: NoPayload) -> Any:
    """Another order."""
    await w.sleep(seconds(1), name="look")
    await w.sleep(seconds(1), name="rest")
    return "changed"


@script(clock="wall", name="guard")
async def guard_new(w: Run, payload: NoPayload) -> Any:
    """The new order for those who begin now, the old for the others."""
    version = w.version("look first", 1, 2)
    await w.sleep(seconds(1), name="walk" if version == 1 else "look")
    await w.sleep(seconds(1), name="rest")
    return version


def test_old_runs_take_the_old_branch_and_new_ones_the_new() -> None:
    """D103: a run that had passed the place follows version 1, one that began later version 2, also when replayed."""
    with make_rig(guard_old) as rig:
        old = rig.call("workflow_start", "guard")
        rig.crash()
        rig.reopen(make_world(guard_new))
        new = rig.call("workflow_start", "guard")
        rig.advance(seconds(1))
        crash(rig)
        rig.advance(seconds(1))
        assert [json.loads(rig.row("workflow", i).result) for i in (old, new)] == [1, 2]


def test_a_changed_script_is_parked_with_the_event_that_differs() -> None:
    """C28, D77: the first differing event is named, after a few tries; others go on, and the old code takes it up."""
    with make_rig(guard_old) as rig:
        old = rig.call("workflow_start", "guard")
        rig.crash()
        rig.reopen(make_world(guard_changed))
        new = rig.call("workflow_start", "guard")
        rig.advance(seconds(600))
        row = rig.row("workflow", old)
        assert (row.status, row.failure_category) == ("Faulted", "task_failure")
        assert "event 1" in row.error_message and "'walk'" in row.error_message and "'look'" in row.error_message
        assert rig.row("workflow", new).status == "Completed"
        assert len(rig.rows("execution_error")) > 1
        rig.crash()
        rig.reopen(make_world(guard_old))
        rig.call("workflow_retry", old)
        rig.advance(seconds(1))
        assert json.loads(rig.row("workflow", old).result) == "old"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("shorter", "has come to its end"),
        ("longer", "asks for sleep 'more'"),
        ("other", "asks for step 'write'"),
    ],
)
def test_every_kind_of_difference_is_named(body: str, message: str) -> None:
    """C28: a script that asks for more, for less, or for something else."""

    @script(clock="wall", name="guard")
    async def changed(w: Run, payload: NoPayload) -> Any:
        if body == "longer":
            await w.all(w.sleep(seconds(1), name="walk"), w.sleep(seconds(1), name="more"))
        elif body == "other":
            await w.step(write, "x")

    with make_rig(guard_old) as rig:
        old = rig.call("workflow_start", "guard")
        rig.crash()
        rig.reopen(make_world(changed))
        rig.advance(seconds(600))
        assert message in rig.row("workflow", old).error_message


def test_a_change_id_marks_one_place() -> None:
    """D103: using it twice is an error of the script."""

    @script(clock="wall")
    async def twice(w: Run, payload: NoPayload) -> None:
        w.version("a", 1, 1)
        w.version("a", 1, 1)

    with make_rig(twice) as rig:
        started = rig.call("workflow_start", "twice")
        assert "marked twice" in rig.row("workflow", started).error_message


# -- beginning anew --------------------------------------------------------------------------------


class Lap(Payload):
    """Where a patrol stands."""

    lap: int = 0


@script(clock="wall", signals={"note": Lap})
async def laps(w: Run, payload: Lap) -> Any:
    """Walk, take a note if there is one, and begin anew; four laps."""
    await w.sleep(seconds(1))
    if payload.lap == 3:
        note = await w.signal("note")
        return [w.number, note.lap, w.events]
    return w.continue_as_new(Lap(payload.lap + 1))


def test_a_new_run_keeps_what_the_workflow_is() -> None:
    """D97, D76: id, name, entity and unread signals stay, the record begins anew; runs leave a row each."""
    with make_rig(laps) as rig:
        watched = rig.subscribe("SELECT * FROM workflow WHERE entity_id = 7")
        started = rig.call("workflow_start", "laps", 7, "walkers")
        rig.call("workflow_signal", started, "note", {"lap": 42})
        before = rig.row("workflow", started)
        for _ in range(4):
            crash(rig)
            rig.advance(seconds(1))
        row = rig.row("workflow", started)
        assert (row.id, row.name, row.entity_id, row.correlation_id) == (started, before.name, 7, "walkers")
        assert (row.run, json.loads(row.result)) == (4, [4, 42, 3])
        assert [(r.run, r.events) for r in rig.rows("workflow_run")] == [(1, 2), (2, 2), (3, 2)]
        assert {p.run for p in rig.rows("execution_pointer")} == {4}
        assert len(watched.rows) == 1


def test_a_run_that_never_waits_ends() -> None:
    """D98: beginning anew without end is a defect, not a hang."""

    @script(clock="wall")
    async def spinner(w: Run, payload: NoPayload) -> None:
        w.continue_as_new()

    with make_rig(spinner) as rig:
        started = rig.call("workflow_start", "spinner")
        row = rig.row("workflow", started)
        assert row.status == "Failed" and "continued as new" in row.error_message


def test_the_budget_of_a_record() -> None:
    """D96, B74: pressure rises, the same in a replay; with N events it goes on, with N + 1 it ends."""
    budget = HistoryBudget(events_soft=8, events_max=10)

    @script(clock="wall", budget=budget)
    async def chatty(w: Run, payload: NoPayload) -> None:
        while True:
            w.show(str(w.pressure))
            await w.sleep(seconds(1))

    with make_rig(chatty) as rig:
        started = rig.call("workflow_start", "chatty")
        seen = []
        for _ in range(6):
            seen.append((rig.row("workflow", started).current_step, rig.row("workflow", started).status))
            crash(rig)
            rig.advance(seconds(1))
        row = rig.row("workflow", started)
        assert [step for step, _ in seen] == ["ok", "ok", "ok", "ok", "recommended", "recommended"][: len(seen)]
        assert (row.status, row.failure_category) == ("Failed", "structural_limit")
        assert HistoryBudget(events_soft=0, events_max=0).excess(10**9, 0, 0) is None
        assert budget.pressure(7, 0, 0) is Pressure.APPROACHING


# -- cancels and sagas -----------------------------------------------------------------------------


@script(clock="wall", signals={"go": NoPayload})
async def journey(w: Run, payload: NoPayload) -> Any:
    """A ship, an inn, and a guide who never comes."""
    async with w.saga() as saga:
        await saga.step(write, "ship", undo=lambda ctx, what: write(ctx, f"no {what}"), name="ship")
        await w.sleep(seconds(1))
        await saga.step(write, "inn", undo=lambda ctx, what: write(ctx, f"no {what}"), name="inn")
        await w.sleep(seconds(1))
        await w.step(refuse, "no guide", policy=ErrorPolicy(attempts=1))


def test_a_saga_undoes_in_reverse() -> None:
    """C26, E33: newest first, each once, with a crash in between; then the script fails with what went wrong."""
    with make_rig(journey) as rig:
        started = rig.call("workflow_start", "journey")
        for _ in range(2):
            crash(rig)
            rig.advance(seconds(1))
        assert journal(rig) == ["ship", "inn", "no inn", "no ship"]
        row = rig.row("workflow", started)
        assert row.status == "Failed" and "no guide" in row.error_message
        by_name = {p.step_name: p for p in rig.rows("execution_pointer")}
        assert by_name["ship"].status == by_name["inn"].status == "Compensated"
        assert by_name["undo ship"].predecessor_id == by_name["ship"].id


def test_a_crash_in_the_middle_of_an_undo() -> None:
    """C26, E33: an undo that fails is tried again, across a crash, and none is done twice."""

    def shaky(ctx: Context, what: str) -> None:
        if ctx.db.execution_error.count() < 2:
            raise ValueError("the inn is shut")
        write(ctx, f"no {what}")

    @script(clock="wall")
    async def trip(w: Run, payload: NoPayload) -> None:
        async with w.saga() as saga:
            await saga.step(write, "ship", undo=lambda ctx, what: write(ctx, f"no {what}"), name="ship")
            await saga.step(write, "inn", undo=shaky, name="inn")
            await saga.step(write, "cart", undo=lambda ctx, what: write(ctx, f"no {what}"), name="cart")
            await w.step(refuse, "no guide", policy=ErrorPolicy(attempts=1))

    with make_rig(trip) as rig:
        started = rig.call("workflow_start", "trip")
        assert journal(rig) == ["ship", "inn", "cart", "no cart"]
        crash(rig)
        assert rig.row("workflow", started).status == "Suspended"
        rig.advance(seconds(10))
        assert journal(rig) == ["ship", "inn", "cart", "no cart", "no inn", "no ship"]
        assert rig.row("workflow", started).status == "Failed"


def test_a_cancel_lets_the_script_clean_up() -> None:
    """B51, C26: sagas undo and ``finally`` runs steps, in branches too; waiting is refused; it ends as Cancelled."""

    @script(clock="wall")
    async def party(w: Run, payload: NoPayload) -> Any:
        async def branch(name: str) -> None:
            async with w.saga() as saga:
                await saga.step(write, name, undo=lambda ctx, what: write(ctx, f"no {what}"), name=name)
                await w.sleep(seconds(100))

        try:
            await w.all(branch("a"), branch("b"), w.sleep(seconds(50)))
        except Cancelled as cancelled:
            await w.step(write, cancelled.reason)
            return "tidy"

    with make_rig(party) as rig:
        started = rig.call("workflow_start", "party")
        crash(rig)
        rig.call("workflow_cancel", started, "rain")
        row = rig.row("workflow", started)
        assert (row.status, row.result, row.error_message) == ("Cancelled", '"tidy"', "rain")
        assert journal(rig) == ["a", "b", "no a", "no b", "rain"]
        assert rig.rows("workflow_timer") == []
        assert not any(p.status in ("Sleeping", "Waiting") for p in rig.rows("execution_pointer"))


# -- conditions, and what the instance keeps ---------------------------------------------------------


class Deal(Script):
    """Both sides must accept."""

    name = "deal"
    clock = "wall"
    signals = {"accept": Lap}

    def __init__(self) -> None:
        self.accepted: set[int] = set()

    async def run(self, w: Run, payload: NoPayload) -> Any:
        """Until both have accepted, or a minute has passed."""

        async def listen() -> None:
            while True:
                self.accepted.add((await w.signal("accept")).lap)

        chosen = await w.select(
            listen=listen(),
            done=w.until(lambda: self.accepted >= {1, 2}, key="both accepted"),
            late=w.sleep(seconds(60)),
        )
        return chosen.name


def test_a_condition_on_what_the_script_keeps() -> None:
    """D77, A61: it becomes true by the second signal, after a crash."""
    with make_rig(Deal) as rig:
        started = rig.call("workflow_start", "deal")
        for side in (1, 1, 2):
            rig.call("workflow_signal", started, "accept", {"lap": side})
            crash(rig)
        assert json.loads(rig.row("workflow", started).result) == "done"


def test_a_reload_takes_scripts_up_where_they_were() -> None:
    """REQ-12, C29: the next version replays their records; the one before keeps nothing of them in memory."""
    with make_rig(guard_old) as rig:
        old = rig.call("workflow_start", "guard")
        runner = rig.module.includes[0].registry.require("guard").handler  # type: ignore[attr-defined]
        rig.reload(make_world(guard_new))
        assert not runner._live
        rig.advance(seconds(2))
        assert json.loads(rig.row("workflow", old).result) == 1
