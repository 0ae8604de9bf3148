"""Steps of scripts: run once, recorded, tried again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reactor.context import Context
from tests.workflows.scripts.scripts import tally
from tests.workflows.scripts.world import crash, journal, make_rig
from workflows import NoPayload, seconds
from workflows.policy import ErrorPolicy, Fatal, RetryAfter, Then
from workflows.scripts import Run, StepFailedError, script


def write(ctx: Context, text: str) -> int:
    """Add a line to the journal."""
    return int(ctx.db.journal.insert(text=text).id)


def fail_until(ctx: Context, attempts: int) -> int:
    """Write a line, and raise in the first ``attempts`` - 1 runs; the lines of those are undone."""
    ctx.db.journal.insert(text="tried")
    tried = ctx.db.execution_error.count() + 1
    if tried < attempts:
        raise ValueError(f"not yet, {tried}")
    return tried


def test_a_step_runs_once_however_often_the_server_dies() -> None:
    """A61, A68, C27, D104: three steps with a crash after each commit count to three, and give what they gave."""
    with make_rig(tally) as rig:
        started = rig.call("workflow_start", "tally", None, None, {"steps": 3})
        for _ in range(3):
            crash(rig)
            rig.advance(seconds(1))
        assert rig.row("counter", 1).value == 3
        assert json.loads(rig.row("workflow", started).result) == [1, 2, 3]
        kinds = [(p.kind, p.created_no, p.done_no) for p in rig.rows("execution_pointer")]
        assert kinds == [
            ("step", 1, 1),
            ("sleep", 2, 3),
            ("step", 4, 4),
            ("sleep", 5, 6),
            ("step", 7, 7),
            ("sleep", 8, 9),
        ]


def test_steps_and_the_row_are_one_commit() -> None:
    """A68, C16: what a step did, its record, and the workflow's row are one commit."""
    with make_rig(tally) as rig:
        before = rig.engine.seq
        rig.call("workflow_start", "tally")
        assert rig.engine.seq == before + 1
        assert rig.row("counter", 1).value == 1 and len(rig.rows("execution_pointer")) == 2


def test_a_failing_step_is_tried_again_after_its_delay() -> None:
    """C25, D100: two failures, a second and two seconds apart; what they did is undone; then the step succeeds."""

    @script(clock="wall")
    async def stubborn(w: Run, payload: NoPayload) -> Any:
        return await w.step(fail_until, 3)

    with make_rig(stubborn) as rig:
        started = rig.call("workflow_start", "stubborn")
        (pointer,) = rig.rows("execution_pointer")
        assert (pointer.status, pointer.attempt) == ("Retrying", 1)
        assert journal(rig) == []
        crash(rig)
        rig.advance(seconds(1))
        (pointer,) = rig.rows("execution_pointer")
        assert (pointer.status, pointer.attempt) == ("Retrying", 2)
        rig.advance(seconds(2) - 1)
        assert rig.row("workflow", started).status == "Suspended"
        rig.advance(1)
        assert json.loads(rig.row("workflow", started).result) == 3
        assert journal(rig) == ["tried"]
        errors = rig.rows("execution_error")
        assert [(e.attempt, e.delay_us, e.pointer_id) for e in errors] == [
            (1, seconds(1), pointer.id),
            (2, seconds(2), pointer.id),
        ]
        assert "not yet, 1" in errors[0].message and "fail_until" in (errors[0].traceback or "")


@pytest.mark.parametrize("verdict", ["fatal", "later", "used up"])
def test_the_last_failure_reaches_the_script(verdict: str) -> None:
    """C25, E32: a fatal error stops retries, one with a delay sets it; the script may catch the end of it."""

    def step(ctx: Context) -> None:
        if verdict == "fatal":
            raise Fatal("no use")
        if verdict == "later":
            raise RetryAfter(seconds(60))
        raise ValueError("always")

    @script(clock="wall", step_policy=ErrorPolicy(attempts=2))
    async def caught(w: Run, payload: NoPayload) -> Any:
        try:
            await w.step(step)
        except StepFailedError as error:
            return [error.attempt, w.now]

    with make_rig(caught) as rig:
        begun = rig.clock.now()
        started = rig.call("workflow_start", "caught")
        rig.advance(seconds(100))
        attempt, at = json.loads(rig.row("workflow", started).result)
        assert (attempt, at - begun) == {"fatal": (1, 0), "later": (2, seconds(60)), "used up": (2, seconds(1))}[
            verdict
        ]


def test_an_uncaught_failure_ends_the_script_and_keeps_what_it_did() -> None:
    """A44, D99: the workflow is Failed with the step's message; what earlier steps wrote stays."""

    def broken(ctx: Context) -> None:
        raise ValueError("no bread")

    @script(clock="wall", step_policy=ErrorPolicy(attempts=1))
    async def baker(w: Run, payload: NoPayload) -> None:
        await w.step(write, "flour")
        await w.step(broken)

    with make_rig(baker) as rig:
        started = rig.call("workflow_start", "baker")
        row = rig.row("workflow", started)
        assert (row.status, row.failure_category) == ("Failed", "activity")
        assert "no bread" in row.error_message
        assert journal(rig) == ["flour"]


def test_a_policy_may_terminate() -> None:
    """E32: when the attempts are used up the workflow ends as Terminated, and no code of it runs."""

    def broken(ctx: Context) -> None:
        raise ValueError("no bread")

    @script(clock="wall", step_policy=ErrorPolicy(attempts=1, then=Then.TERMINATE))
    async def baker(w: Run, payload: NoPayload) -> None:
        try:
            await w.step(broken)
        finally:
            await w.step(write, "must not be")

    with make_rig(baker) as rig:
        started = rig.call("workflow_start", "baker")
        assert rig.row("workflow", started).status == "Terminated"
        assert journal(rig) == []


def test_a_result_is_the_same_the_first_time_and_in_a_replay() -> None:
    """D104: what JSON makes of a result is what the script gets, from the first time on."""

    def pair(ctx: Context) -> Any:
        return (1, {"a": (2,)})

    @script(clock="wall")
    async def typed(w: Run, payload: NoPayload) -> Any:
        found = await w.step(pair)
        await w.sleep(1)
        return [type(found).__name__, found]

    with make_rig(typed) as rig:
        first = rig.call("workflow_start", "typed")
        second = rig.call("workflow_start", "typed")
        crash(rig)
        rig.advance(1)
        assert rig.row("workflow", first).result == rig.row("workflow", second).result == '["list",[1,{"a":[2]}]]'


@pytest.mark.parametrize("verb", ["workflow_retry", "workflow_skip", "workflow_cancel"])
def test_a_parked_step_waits_for_a_decision(verb: str) -> None:
    """E32, REQ-11: used up, the workflow is Faulted; retry runs the step again, skip passes it over, cancel ends it."""

    def needs_key(ctx: Context) -> str:
        if ctx.db.counter.get(1) is None:
            raise ValueError("no key")
        return "open"

    @script(clock="wall", step_policy=ErrorPolicy(attempts=2, then=Then.PARK))
    async def door(w: Run, payload: NoPayload) -> Any:
        await w.step(write, "before")
        found = await w.step(needs_key)
        await w.sleep(seconds(1))
        return [found]

    with make_rig(door) as rig:
        started = rig.call("workflow_start", "door")
        rig.advance(seconds(1))
        row = rig.row("workflow", started)
        assert (row.status, row.failure_category) == ("Faulted", "activity") and "no key" in row.error_message
        assert journal(rig) == ["before"]
        crash(rig)
        rig.advance(seconds(100))
        assert rig.row("workflow", started).status == "Faulted"
        if verb == "workflow_retry":
            assert rig.call(verb, started) is True
            assert rig.row("workflow", started).status == "Faulted"
            rig.run(lambda ctx: ctx.db.counter.insert(id=1, value=1))
        rig.call(verb, started, *(["enough"] if verb == "workflow_cancel" else []))
        crash(rig)
        rig.advance(seconds(1))
        row = rig.row("workflow", started)
        if verb == "workflow_cancel":
            assert row.status == "Cancelled"
        else:
            wanted = "open" if verb == "workflow_retry" else None
            assert (row.status, row.failure_category, json.loads(row.result)) == ("Completed", None, [wanted])
        assert journal(rig) == ["before"]
