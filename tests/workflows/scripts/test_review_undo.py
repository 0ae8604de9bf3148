"""Scripts that clean up: when they lose, when they are cancelled, when nobody can go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reactor import SenderError
from reactor.context import Context
from reactor.testing import Rig
from tests.workflows.scripts.world import Item, crash, journal, make_rig, make_world, refuse, unwrite, write
from workflows import NoPayload, seconds
from workflows.policy import ErrorPolicy, Then
from workflows.scripts import Run, Script, script
from workflows.scripts.record import replay_record, take_record

PARK = ErrorPolicy(attempts=1, then=Then.PARK)


def late(ctx: Context, text: str) -> None:
    """An undo that works the third time."""
    if ctx.db.execution_error.count() < 2:
        raise ValueError("not yet")
    unwrite(ctx, text)


def pointers(rig: Rig) -> dict[str, str]:
    """What has been awaited, and what became of it."""
    return {p.step_name: str(p.status) for p in rig.rows("execution_pointer")}


# -- branches that lose ----------------------------------------------------------------------------


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("renew", [False, True])
def test_a_branch_that_loses_undoes_what_it_did(kill: bool, renew: bool) -> None:
    """A62, C26, E33: its saga compensates, tried again as long as it needs; the run does not end before that."""

    @script(clock="wall")
    async def hasty(w: Run, payload: Item) -> Any:
        async def journey() -> None:
            async with w.saga() as saga:
                await saga.step(write, "ship", undo=late, name="ship")
                await saga.step(write, "inn", undo=unwrite, name="inn")
                await w.sleep(seconds(100))

        if payload.name == "y":
            return "anew"
        chosen = await w.select(far=journey(), late=w.sleep(seconds(1), name="late"))
        if renew:
            w.continue_as_new(Item("y"))
        return chosen.name

    with make_rig(hasty) as rig:
        started = rig.call("workflow_start", "hasty")
        rig.advance(seconds(1))
        assert journal(rig) == ["ship", "inn", "no inn"]
        assert rig.row("workflow", started).status == "Suspended"
        if kill:
            crash(rig)
        rig.advance(seconds(1))
        if kill:
            crash(rig)
        rig.advance(seconds(2))
        assert journal(rig) == ["ship", "inn", "no inn", "no ship"]
        assert json.loads(rig.row("workflow", started).result) == ("anew" if renew else "late")
        assert rig.rows("workflow_timer") == []


def test_a_branch_that_will_not_leave_is_left() -> None:
    """A62: one that catches everything and goes on waiting is told a while, and then closed."""

    @script(clock="wall")
    async def stubborn(w: Run, payload: NoPayload) -> str:
        async def clingy() -> None:
            while True:
                try:
                    await w.sleep(seconds(100), name="far")
                except BaseException as error:
                    if isinstance(error, GeneratorExit):
                        raise

        return str((await w.select(clingy=clingy(), late=w.sleep(seconds(1)))).name)

    with make_rig(stubborn) as rig:
        started = rig.call("workflow_start", "stubborn")
        rig.advance(seconds(1))
        assert json.loads(rig.row("workflow", started).result) == "late"


# -- cancels ---------------------------------------------------------------------------------------


class Careful(Script):
    """Cleans up, and remembers that it did."""

    name = "careful"
    clock = "wall"
    queries = {"state": NoPayload}

    def __init__(self) -> None:
        self.state = "travels"

    async def run(self, w: Run, payload: NoPayload) -> None:
        """Travel."""
        try:
            await w.sleep(seconds(5))
        finally:
            self.state = await w.step(write, "home")

    def query_state(self, w: Run, payload: NoPayload) -> str:
        """Where it is."""
        return self.state


def test_a_cancel_is_part_of_the_record() -> None:
    """C16, C28, B49: a cancelled script can be asked, and its record replays with what it did to clean up."""
    with make_rig(Careful) as rig:
        started = rig.call("workflow_start", "careful")
        rig.call("workflow_cancel", started, "rain")
        for _ in range(2):
            assert rig.call("workflow_query", started, "state") == "home"
            crash(rig)
        kind = rig.module.includes[0].registry.get("careful")  # type: ignore[attr-defined]
        row = rig.row("workflow", started)
        verdicts = []
        rig.run(lambda ctx: verdicts.append(replay_record(kind.handler, take_record(ctx, row, kind.handler))))
        assert [verdict.is_ok for verdict in verdicts] == [True]
        assert pointers(rig)["cancel"] == "Complete"


def test_an_undo_that_fails_in_a_cancel_does_not_hold_up_the_others() -> None:
    """C26, E33: nothing waits, so it is tried once; those before and after it are done and stay done."""

    @script(clock="wall")
    async def journey(w: Run, payload: NoPayload) -> None:
        async with w.saga() as saga:
            await saga.step(write, "a", undo=unwrite, name="a")
            await saga.step(write, "b", undo=refuse, name="b")
            await saga.step(write, "c", undo=unwrite, name="c")
            await w.sleep(seconds(5))

    with make_rig(journey) as rig:
        started = rig.call("workflow_start", "journey")
        rig.call("workflow_cancel", started, "rain")
        assert rig.row("workflow", started).status == "Cancelled"
        assert journal(rig) == ["a", "b", "c", "no c", "no a"]
        assert pointers(rig)["undo b"] == "Failed" and pointers(rig)["b"] == "Complete"
        assert any(e.cause == "on_cancel" for e in rig.rows("execution_error"))


def test_what_was_cleaned_up_stays_though_the_rest_fails() -> None:
    """B51: a script that waits for something while it is cancelled is told so; its steps are not undone."""

    @script(clock="wall")
    async def journey(w: Run, payload: NoPayload) -> None:
        try:
            await w.sleep(seconds(5))
        finally:
            await w.step(write, "home")
            await w.sleep(1)

    with make_rig(journey) as rig:
        started = rig.call("workflow_start", "journey")
        rig.call("workflow_cancel", started, "rain")
        assert rig.row("workflow", started).status == "Cancelled" and journal(rig) == ["home"]
        assert "waits for nothing" in rig.rows("execution_error")[0].message


def test_an_undo_that_is_passed_over_is_not_done() -> None:
    """E13, E33: the step it was for is not shown as compensated; the older ones are undone."""

    @script(clock="wall")
    async def journey(w: Run, payload: NoPayload) -> None:
        async with w.saga(PARK) as saga:
            await saga.step(write, "a", undo=unwrite, name="a")
            await saga.step(write, "b", undo=refuse, name="b")
            raise ValueError("lost")

    with make_rig(journey) as rig:
        started = rig.call("workflow_start", "journey")
        crash(rig)
        rig.call("workflow_skip", started)
        found = pointers(rig)
        assert (found["a"], found["b"], found["undo b"]) == ("Compensated", "Complete", "Skipped")
        assert rig.row("workflow", started).status == "Failed"


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_cancel_while_an_undo_is_stuck(attempts: int) -> None:
    """C26, E33: it is tried once more, parked or not, and the older ones are undone."""

    @script(clock="wall")
    async def journey(w: Run, payload: NoPayload) -> None:
        async with w.saga(ErrorPolicy(attempts=attempts, then=Then.PARK)) as saga:
            await saga.step(write, "a", undo=unwrite, name="a")
            await saga.step(write, "b", undo=refuse, name="b")
            raise ValueError("lost")

    with make_rig(journey) as rig:
        started = rig.call("workflow_start", "journey")
        assert rig.row("workflow", started).status == ("Faulted" if attempts == 1 else "Suspended")
        crash(rig)
        rig.call("workflow_cancel", started, "rain")
        assert rig.row("workflow", started).status == "Cancelled"
        assert journal(rig) == ["a", "b", "no a"]


# -- parked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", [False, True])
def test_two_parked_steps_both_need_a_decision(kill: bool) -> None:
    """E32, REQ-11: a skip passes over the one that is named, and the workflow stays parked for the other."""

    def locked(ctx: Context, key: int) -> int:
        if ctx.db.counter.get(key) is None:
            raise ValueError(f"no key {key}")
        return key

    @script(clock="wall", step_policy=PARK)
    async def doors(w: Run, payload: NoPayload) -> Any:
        return await w.all(w.step(locked, 1, name="one"), w.step(locked, 2, name="two"))

    with make_rig(doors) as rig:
        started = rig.call("workflow_start", "doors")
        assert "one" in rig.row("workflow", started).error_message
        if kill:
            crash(rig)
        rig.call("workflow_skip", started)
        row = rig.row("workflow", started)
        assert row.status == "Faulted" and "two" in row.error_message
        if kill:
            crash(rig)
        rig.run(lambda ctx: ctx.db.counter.insert(id=2, value=1))
        rig.call("workflow_retry", started)
        assert json.loads(rig.row("workflow", started).result) == [None, 2]
        assert all(p.error is None for p in rig.rows("execution_pointer"))


@pytest.mark.parametrize("kill", [False, True])
def test_a_script_that_failed_outside_of_a_step_is_not_skipped(kill: bool) -> None:
    """E32, F1: its timer is what would go on with it, so it stays; a retry does go on."""
    luck: list[str] = []

    @script(clock="wall", on_error=PARK)
    async def sleeper(w: Run, payload: NoPayload) -> str:
        await w.sleep(seconds(1))
        return luck[0]

    with make_rig(sleeper) as rig:
        started = rig.call("workflow_start", "sleeper")
        rig.advance(seconds(1))
        before = [rig.row("workflow", started), rig.rows("workflow_timer"), rig.rows("workflow_parked")]
        assert before[0].status == "Faulted"
        if kill:
            crash(rig)
        with pytest.raises(SenderError, match="retry it") as caught:
            rig.call("workflow_skip", started)
        assert caught.value.code == "stranded"
        assert [rig.row("workflow", started), rig.rows("workflow_timer"), rig.rows("workflow_parked")] == before
        luck.append("good")
        rig.call("workflow_retry", started)
        assert rig.row("workflow", started).result == '"good"'


def test_a_parked_step_that_loses_parks_nobody() -> None:
    """E32, A62: the script goes on without it, so there is nothing to decide."""

    @script(clock="wall", step_policy=PARK)
    async def chooser(w: Run, payload: NoPayload) -> str:
        async def at_once() -> int:
            return 1

        chosen = await w.select(stuck=w.step(refuse), now=at_once())
        await w.sleep(seconds(1))
        return str(chosen.name)

    with make_rig(chooser) as rig:
        started = rig.call("workflow_start", "chooser")
        rig.advance(seconds(1))
        assert json.loads(rig.row("workflow", started).result) == "now"


# -- records and starts ------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["wall", "world"])
def test_a_timer_that_is_lost_is_armed_again_on_its_own_clock(clock: str) -> None:
    """E35, C12: beside a signal that waits, in a type of another clock, and for a step that is to be tried again."""

    @script(clock="world", signals={"go": Item})
    async def sleeper(w: Run, payload: NoPayload) -> Any:
        chosen = await w.select(
            signal=w.signal("go"),
            sleep=w.sleep(seconds(50), name="sleep", clock=clock),
            step=w.step(refuse, policy=ErrorPolicy(attempts=2, first_delay_us=seconds(60))),
        )
        return chosen.name

    with make_rig(sleeper) as rig:
        started = rig.call("workflow_start", "sleeper")
        due = {(t.name, t.clock, t.scheduled_at) for t in rig.rows("workflow_timer")}

        def lose(ctx: Context) -> None:
            for timer in list(ctx.db.workflow_timer):
                ctx.db.workflow_timer.delete(timer.scheduled_id)
            ctx.db.workflow.update(started, waits=None)

        rig.run(lose)
        crash(rig)
        assert {(t.name, t.clock, t.scheduled_at) for t in rig.rows("workflow_timer")} == due
        rig.advance(seconds(50))
        assert json.loads(rig.row("workflow", started).result) == "sleep"


def test_a_record_knows_the_parent_and_the_owner() -> None:
    """C20, C28: a script that goes by them replays from a record that was kept."""

    @script(clock="wall")
    async def child(w: Run, payload: NoPayload) -> None:
        await w.sleep(1, name="child" if w.parent_id else "orphan")

    @script(clock="wall")
    async def parent(w: Run, payload: NoPayload) -> None:
        await w.child("child")

    with make_rig(parent, child) as rig:
        rig.call("workflow_start", "parent")
        kind = rig.module.includes[0].registry.get("child")  # type: ignore[attr-defined]
        (row,) = (row for row in rig.rows("workflow") if row.workflow_type == "child")
        verdicts = []
        rig.run(lambda ctx: verdicts.append(replay_record(kind.handler, take_record(ctx, row, kind.handler))))
        assert [verdict.is_ok for verdict in verdicts] == [True]


@pytest.mark.parametrize(("before", "message"), [("all", "has let go of it"), ("select", "goes on waiting for it")])
def test_a_change_of_what_is_waited_for_is_a_difference(before: str, message: str) -> None:
    """C28: the same timers, armed as before; but now one of them is enough, or is not any more."""

    def made(kind: str) -> type[Script]:
        @script(clock="wall", name="waiter")
        async def waiter(w: Run, payload: NoPayload) -> None:
            first, second = w.sleep(seconds(1), name="a"), w.sleep(seconds(5), name="b")
            group = w.all(first, second) if kind == "all" else w.select(a=first, b=second)
            await w.all(group, w.sleep(seconds(9), name="c"))

        return waiter

    with make_rig(made(before)) as rig:
        started = rig.call("workflow_start", "waiter")
        rig.advance(seconds(1))
        rig.crash()
        rig.reopen(make_world(made("select" if before == "all" else "all")))
        rig.advance(seconds(60))
        row = rig.row("workflow", started)
        assert row.status == "Faulted" and message in row.error_message


def test_one_that_was_terminated_by_its_step_can_be_asked() -> None:
    """B49, E32: no code of it ran after the step, so its record ends there."""

    class Doomed(Careful):
        name = "doomed"

        async def run(self, w: Run, payload: NoPayload) -> None:
            await w.step(write, "x")
            self.state = "doomed"
            await w.step(refuse, policy=ErrorPolicy(attempts=1, then=Then.TERMINATE))

    with make_rig(Doomed) as rig:
        started = rig.call("workflow_start", "doomed")
        assert rig.row("workflow", started).status == "Terminated"
        assert rig.call("workflow_query", started, "state") == "doomed"
