"""Scripts in corners: what a replay could take for something else, what could end more than it should."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
from typing import Any

import pytest

from reactor.errors import Refusal
from reactor.testing import Rig
from tests.workflows.scripts.world import Item, crash, make_rig, make_world, refuse, unwrite, write
from workflows import NoPayload, Payload, seconds
from workflows.policy import ErrorPolicy
from workflows.scripts import Cancelled, Run, Script, runner, script
from workflows.start.options import StartOptions

ONCE = ErrorPolicy(attempts=1)


class Number(Payload):
    """The same signal in another version of the program."""

    name: int = 0


def result(rig: Rig, workflow_id: int) -> Any:
    """What a completed workflow has returned."""
    row = rig.row("workflow", workflow_id)
    assert row.status == "Completed", (row.status, row.error_message)
    return json.loads(row.result)


# -- replays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", [False, True])
def test_what_loses_before_anything_else_happens_has_not_won_in_a_replay(kill: bool) -> None:
    """A62, C20: a timer let go of in the commit that armed it; a crash does not make it the first."""

    @script(clock="wall")
    async def chooser(w: Run, payload: NoPayload) -> str:
        async def at_once() -> int:
            return 1

        chosen = await w.select(late=w.sleep(seconds(100)), now=at_once())
        await w.sleep(seconds(1))
        return str(chosen.name)

    with make_rig(chooser) as rig:
        started = rig.call("workflow_start", "chooser")
        if kill:
            crash(rig)
        rig.advance(seconds(1))
        assert result(rig, started) == "now"


def test_coroutines_that_are_over_in_one_step() -> None:
    """A62, A60: two branches whose steps are both done at once; the first wins and the script goes on."""

    @script(clock="wall")
    async def chooser(w: Run, payload: NoPayload) -> str:
        async def branch(text: str) -> Any:
            return await w.step(write, text)

        return str((await w.select(a=branch("a"), b=branch("b"))).name)

    with make_rig(chooser) as rig:
        assert result(rig, rig.call("workflow_start", "chooser")) == "a"


@pytest.mark.parametrize("kill", [False, True])
def test_a_signal_and_a_timer_of_one_name(kill: bool) -> None:
    """A62, C13: the timer wakes the sleep, not the signal that is called the same, also after a crash."""

    @script(clock="wall", signals={"go": Item})
    async def chooser(w: Run, payload: NoPayload) -> str:
        return str((await w.select(signal=w.signal("go"), sleep=w.sleep(seconds(5), name="go"))).name)

    with make_rig(chooser) as rig:
        started = rig.call("workflow_start", "chooser")
        if kill:
            crash(rig)
        rig.advance(seconds(5))
        assert result(rig, started) == "sleep"


def test_timers_that_are_called_alike_do_not_become_one() -> None:
    """A62: a sleep whose name is what another would be called to tell it apart."""

    @script(clock="wall")
    async def sleeper(w: Run, payload: NoPayload) -> list[Any]:
        return list(await w.all(w.sleep(1, name="a 3"), w.sleep(2, name="a"), w.sleep(3, name="a")))

    with make_rig(sleeper) as rig:
        started = rig.call("workflow_start", "sleeper")
        assert len({t.name for t in rig.rows("workflow_timer")}) == 3
        rig.advance(3)
        assert result(rig, started) == [None] * 3


def test_a_start_that_was_put_off_begins_at_the_same_instant_in_a_replay() -> None:
    """B42, C20: ``w.now`` at the beginning is when the run began, not when it was asked for."""

    @script(clock="wall")
    async def clocked(w: Run, payload: NoPayload) -> int:
        began = w.now
        await w.sleep(seconds(5))
        return began

    with make_rig(clocked) as rig:
        asked = rig.clock.now()
        options = StartOptions(start_after_us=seconds(10))
        rig.run(lambda ctx: ctx.workflows.start("clocked", options=options))
        (row,) = rig.rows("workflow")
        rig.advance(seconds(10))
        crash(rig)
        rig.advance(seconds(5))
        assert result(rig, row.id) == asked + seconds(10)


class Changing(Script):
    """Waits for a signal, and takes updates."""

    name = "changing"
    clock = "wall"
    signals = {"go": Item}
    updates = {"note": NoPayload}

    async def run(self, w: Run, payload: Item) -> int:
        """Wait."""
        await w.signal("go")
        await w.sleep(seconds(5))
        return 1

    def update_note(self, w: Run, payload: NoPayload) -> int:
        """Reply."""
        return 1


class OtherPayload(Changing):
    """Its payload is another now."""

    async def run(self, w: Run, payload: Number) -> int:  # type: ignore[override]
        """Wait."""
        return await Changing.run(self, w, Item())


class OtherSignal(Changing):
    """Its signal carries something else now."""

    signals = {"go": Number}


class OtherUpdate(Changing):
    """Its update does not work any more."""

    def update_note(self, w: Run, payload: NoPayload) -> int:
        """Refuse."""
        raise ValueError("not now")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (OtherPayload, "its payload, but the script cannot read it"),
        (OtherSignal, "event 2: recorded is the end of signal 'go', but the script cannot read what it gave"),
        (OtherUpdate, "event 4: recorded is update 'update_note', but the script cannot do it again: not now"),
    ],
)
def test_code_that_cannot_read_its_record_parks_the_workflow(changed: type[Script], message: str) -> None:
    """C28, D77: it is the code that is wrong, not the workflow: nothing fails, and the old code takes it up."""
    with make_rig(Changing) as rig:
        started = rig.call("workflow_start", "changing", None, None, {"name": "x"})
        rig.call("workflow_signal", started, "go", {"name": "y"})
        rig.call("workflow_update", started, "note")
        rig.crash()
        rig.reopen(make_world(changed))
        rig.advance(seconds(60))
        row = rig.row("workflow", started)
        assert row.status == "Faulted" and message in row.error_message
        rig.crash()
        rig.reopen(make_world(Changing))
        rig.call("workflow_retry", started)
        rig.advance(seconds(5))
        assert result(rig, started) == 1


# -- who may be harmed -------------------------------------------------------------------------------


def test_a_run_that_is_let_go_of_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """REQ-8, A47: what its ``finally`` does when it is pushed out of memory has no effect, on others least of all."""
    monkeypatch.setattr(runner, "LIVE_MAX", 1)

    @script(clock="wall", signals={"go": Item})
    async def careless(w: Run, payload: NoPayload) -> str:
        try:
            return str((await w.signal("go")).name)
        finally:
            w.log("bye")
            w.time("wall")
            await w.sleep(1)

    with make_rig(careless) as rig:
        first, second = (rig.call("workflow_start", "careless") for _ in range(2))
        assert [rig.row("workflow", i).status for i in (first, second)] == ["Suspended"] * 2
        assert len(rig.rows("execution_pointer")) == 2
        rig.call("workflow_signal", first, "go")
        rig.advance(1)
        assert result(rig, first) == "x"


@pytest.mark.parametrize("where", ["script", "branch", "step", "condition", "update"])
@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), Cancelled("me"), GeneratorExit()])
def test_what_would_end_the_server_ends_the_workflow_at_most(where: str, error: BaseException) -> None:
    """P4, A47: errors that no ``except Exception`` catches are failures like any others."""

    def bad(*args: Any) -> Any:
        raise error

    class Rude(Script):
        name = "rude"
        clock = "wall"
        updates = {"note": NoPayload}

        async def run(self, w: Run, payload: NoPayload) -> None:
            async def branch() -> None:
                bad()

            if where == "script":
                bad()
            elif where == "branch":
                await w.all(branch(), w.sleep(1))
            elif where == "step":
                await w.step(bad)
            elif where == "condition":
                await w.until(bad, key="bad")
            await w.sleep(seconds(1))

        def update_note(self, w: Run, payload: NoPayload) -> None:
            bad()

    with make_rig(Rude) as rig:
        started = rig.call("workflow_start", "rude")
        if where == "update":
            with pytest.raises(Exception, match="nothing was changed"):
                rig.call("workflow_update", started, "note")
            rig.advance(seconds(1))
        status = rig.row("workflow", started).status
        assert status == ("Completed" if where == "update" else "Failed")


@pytest.mark.parametrize("made", [lambda: object(), lambda: asyncio.sleep(0)])
def test_a_result_that_is_not_json_is_not_tried_again(made: Any) -> None:
    """C25, D104: it would be the same again; so would a step that is async."""

    @script(clock="wall")
    async def odd(w: Run, payload: NoPayload) -> None:
        await w.step(lambda ctx: made(), name="odd")

    with make_rig(odd) as rig:
        row = rig.row("workflow", rig.call("workflow_start", "odd"))
        assert row.status == "Failed" and "a step" in row.error_message


def test_a_script_that_fails_says_where() -> None:
    """D99, E32: a failure leaves a row with the traceback."""

    @script(clock="wall")
    async def clumsy(w: Run, payload: NoPayload) -> None:
        raise ValueError("oops")

    with make_rig(clumsy) as rig:
        rig.call("workflow_start", "clumsy")
        (error,) = rig.rows("execution_error")
        assert error.message == "ValueError: oops" and "in clumsy" in error.traceback


def test_a_coroutine_is_awaited_once() -> None:
    """A60: one coroutine in two places is an error, not a wait that is over too early."""

    @script(clock="wall")
    async def twice(w: Run, payload: NoPayload) -> None:
        async def nap() -> None:
            await w.sleep(seconds(5))

        once = nap()
        await w.all(once, once)

    with make_rig(twice) as rig:
        row = rig.row("workflow", rig.call("workflow_start", "twice"))
        assert row.status == "Failed" and "awaited once" in row.error_message


class NeedsArgument(Changing):
    """Nobody gives it one."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted


class NotAsync(Script):
    """It could not wait."""

    def run(self, w: Run, payload: NoPayload) -> Any:
        """Nothing."""


class NoMethod(Changing):
    """It declares what it has not."""

    updates = {"other": NoPayload}


class AsyncUpdate(Changing):
    """Its update would wait."""

    async def update_note(self, w: Run, payload: NoPayload) -> int:  # type: ignore[override]
        """Never."""
        return 1


@pytest.mark.parametrize("bad", [NeedsArgument, NotAsync, NoMethod, AsyncUpdate])
def test_a_script_that_cannot_run_is_refused_when_it_is_registered(bad: type[Script]) -> None:
    """C24: not when the first workflow needs it."""
    bad.name = "bad"
    with pytest.raises(Refusal, match="workflow type"):
        make_world(bad)


def test_no_circles_are_left_behind() -> None:
    """P5: the collector comes by seldom, so what is over must go by itself: failures, selects, cancels, new runs."""

    class Busy(Script):
        name = "busy"
        clock = "wall"

        async def run(self, w: Run, payload: Item) -> None:
            self.w = w
            try:
                await w.step(refuse, policy=ONCE)
            except Exception:
                w.show("refused")
            await w.select(a=w.sleep(1), b=w.all(w.sleep(2), w.sleep(3)))
            if payload.name == "x":
                w.continue_as_new(Item("y"))
            async with w.saga() as saga:
                await saga.step(write, "a", undo=unwrite)
                await w.sleep(1)
                raise ValueError("oops")

    with make_rig(Busy) as rig:
        rig.call("workflow_start", "busy")
        rig.advance(seconds(1))
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            rig.call("workflow_start", "busy")
            rig.advance(seconds(1))
            rig.call("workflow_cancel", rig.call("workflow_start", "busy"), "enough")
            gc.collect()
            ours = [each for each in gc.garbage if type(each).__module__.startswith("workflows")]
            assert [*ours, *filter(inspect.iscoroutine, gc.garbage)] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
