"""What a step can do with its workflow: time, timers, chance, ends."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
import pytest

from reactor import CatchUp, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Dice
from workflows import Handler, NoPayload, Status, Timer, Workflow

Act = Callable[[Workflow[Any]], Any]


class Script:
    """What the scripted handler does in its next steps; set by each test."""

    steps: list[Act] = []


class ScriptedState(msgspec.Struct):
    seen: list[str] = []


class Scripted(Handler[ScriptedState]):
    name = "scripted"
    clock = "world"
    signals = {"go": NoPayload}
    timers = ("a", "b", "c")

    def on_start(self, w: Workflow[ScriptedState], payload: NoPayload) -> None:
        Script.steps.pop(0)(w)

    def on_go(self, w: Workflow[ScriptedState], payload: NoPayload) -> None:
        Script.steps.pop(0)(w)

    def on_timer(self, w: Workflow[ScriptedState], timer: Timer) -> None:
        w.state.seen.append(timer.name)
        if Script.steps:
            Script.steps.pop(0)(w)


def run(rig: Rig, *steps: Act) -> int:
    """Start a workflow whose next steps are ``steps``; the first is its start."""
    Script.steps = list(steps)
    return rig.start("scripted")


def seen(rig: Rig, workflow_id: int) -> list[str]:
    names: list[str] = msgspec.json.decode(rig.row("workflow", workflow_id).state)["seen"]
    return names


def test_ticks_come_before_ends_at_the_same_instant(make_rig: MakeRig) -> None:
    """REQ-2: the periodic tick first, then the expiry, whichever was armed first."""
    rig = make_rig(Scripted)

    def start(w: Workflow[Any]) -> None:
        w.timer("b", after_us=seconds(6))
        w.timer("a", interval_us=seconds(3))

    workflow_id = run(rig, start)
    rig.advance(seconds(6))
    assert seen(rig, workflow_id) == ["a", "a", "b"]


class Name(StrEnum):
    TICK = "a"
    WALKING = "walking about"


def test_names_may_be_members_of_an_enum(make_rig: MakeRig) -> None:
    """A64: timers and steps are typed enums if the author wishes; the rows have their text."""
    rig = make_rig(Scripted)

    def start(w: Workflow[Any]) -> None:
        w.step = Name.WALKING
        w.timer(Name.TICK, after_us=10)
        w.timer(Name.TICK, after_us=20)

    workflow_id = run(rig, start, lambda w: w.cancel_timer(Name.TICK))
    (timer,) = rig.rows("workflow_timer")
    assert (type(timer.name), timer.name, timer.generation) == (str, "a", 2)
    assert (type(rig.row("workflow", workflow_id).current_step), timer.cancelled) == (str, False)
    rig.call("workflow_signal", workflow_id, "go")
    assert rig.rows("workflow_timer")[0].cancelled


def test_a_priority_decides_between_timers_of_one_instant(make_rig: MakeRig) -> None:
    """Lower first; equal ones by age."""
    rig = make_rig(Scripted)

    def start(w: Workflow[Any]) -> None:
        w.timer("a", after_us=1_000, priority=9)
        w.timer("b", after_us=1_000, priority=3)
        w.timer("c", after_us=1_000, priority=3)

    workflow_id = run(rig, start)
    rig.advance(1_000)
    assert seen(rig, workflow_id) == ["b", "c", "a"]


def test_a_chain_continues_from_the_logical_time(make_rig: MakeRig) -> None:
    """A85: each step is measured from when the one before was due, however late it ran; on any clock."""
    rig = make_rig(Scripted)
    times: list[tuple[int, int]] = []

    def again(w: Workflow[Any]) -> None:
        times.append((w.now, w.time()))
        w.timer("a", after_us=seconds(10), clock="wall")
        w.timer("b", after_us=seconds(7))

    begin = rig.clock.now()
    run(rig, again, again, again)
    rig.advance(seconds(7))
    assert times == [(begin, 0), (begin + seconds(7), seconds(7))]
    assert {(t.name, t.scheduled_at) for t in rig.rows("workflow_timer")} == {
        ("a", begin + seconds(17)),
        ("b", seconds(14)),
    }


@pytest.mark.parametrize("rate_ppm", [333_333, 2_700_001])
def test_a_chain_on_another_clock_is_not_rounded(make_rig: MakeRig, rate_ppm: int) -> None:
    """A85: no due time falls on a whole microsecond of the wall, but those on the clock itself are exact."""
    rig = make_rig(Scripted)
    rig.run(lambda ctx: ctx.db.clock.update("world", rate_ppm=rate_ppm) and None)
    again: Act = lambda w: w.timer("a", after_us=1_000_001)  # noqa: E731
    workflow_id = run(rig, *[again] * 10)
    while len(seen(rig, workflow_id)) < 9:
        rig.advance(100_000)
    (timer,) = rig.rows("workflow_timer")
    assert timer.scheduled_at == 10 * 1_000_001


def test_a_world_timer_armed_for_a_moment_of_downtime_does_not_fire_early(make_rig: MakeRig) -> None:
    """A wall timer was due while the process was down; the world stood still then, so its timers begin at the halt."""
    rig = make_rig(Scripted)
    shown: list[int] = []

    def start(w: Workflow[Any]) -> None:
        w.timer("a", after_us=minutes(1), clock="wall")

    def on_a(w: Workflow[Any]) -> None:
        shown.append(w.time("world"))
        w.timer("b", after_us=seconds(5), clock="world")

    workflow_id = run(rig, start, on_a)
    rig.advance(seconds(20))
    rig.crash()
    rig.advance(minutes(10))
    rig.reopen()
    assert shown == [seconds(20)]
    rig.advance(seconds(5) - 1)
    assert seen(rig, workflow_id) == ["a"]
    rig.advance(1)
    assert seen(rig, workflow_id) == ["a", "b"]


def test_arming_a_name_again_moves_its_one_timer(make_rig: MakeRig) -> None:
    """A71, B2: fifty times refreshed, one timer, fired once, at the last due time."""
    rig = make_rig(Scripted)
    refresh: Act = lambda w: w.timer("a", after_us=seconds(10))  # noqa: E731
    workflow_id = run(rig, *[refresh] * 51)
    for _ in range(50):
        rig.advance(seconds(1))
        rig.call("workflow_signal", workflow_id, "go")
    (timer,) = rig.rows("workflow_timer")
    assert timer.generation == 51
    rig.advance(seconds(10) - 1)
    assert seen(rig, workflow_id) == []
    rig.advance(minutes(1))
    assert seen(rig, workflow_id) == ["a"]


def test_a_timer_armed_for_now_inside_its_own_step_fires_again(make_rig: MakeRig) -> None:
    """Rescheduled to the very same instant: another occurrence, with the next generation."""
    rig = make_rig(Scripted)
    again: Act = lambda w: w.timer("a", after_us=0)  # noqa: E731
    workflow_id = run(rig, lambda w: w.timer("a", after_us=10), again, again)
    rig.advance(10)
    assert seen(rig, workflow_id) == ["a"] * 3
    assert rig.rows("workflow_timer") == []


def test_remaining_time_is_exact(make_rig: MakeRig) -> None:
    """Due and remaining, on the timer's own clock; None once it is cancelled; cancelling twice says so."""
    rig = make_rig(Scripted)
    told: list[Any] = []

    def look(w: Workflow[Any]) -> None:
        told.append((w.timer_due("a"), w.remaining_us("a"), w.remaining_us("b")))
        told.append((w.cancel_timer("a"), w.cancel_timer("a"), w.cancel_timer("b")))
        told.append((w.timer_due("a"), w.remaining_us("a")))

    workflow_id = run(rig, lambda w: w.timer("a", after_us=seconds(10)), look)
    rig.advance(3_000_001)
    rig.call("workflow_signal", workflow_id, "go")
    assert told == [(seconds(10), 6_999_999, None), (True, False, False), (None, None)]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda w: w.timer("z", after_us=1), "declares the timers a, b, c, not 'z'"),
        (lambda w: w.timer("a"), "give after_us, at or interval_us"),
        (lambda w: w.timer("a", after_us=1, at=1), "give after_us or at, not both"),
        (lambda w: w.timer("a", interval_us=999), "an interval of 999 µs is below 1000"),
        (lambda w: w.timer("a", after_us=1, catch_up=CatchUp.DROP_IF_LATE), "drop_if_late needs drop_after_us"),
        (lambda w: (w.complete(), w.timer("a", after_us=1)), "has ended in this step (Completed); it cannot arm"),
        (lambda w: (w.complete(), w.complete()), "it cannot be completed"),
        (lambda w: (w.fail("x"), w.complete()), "it cannot be completed"),
        (lambda w: w.complete(object()), "TypeError: Encoding objects of type object"),
    ],
)
def test_what_cannot_be_meant_fails_the_workflow_with_the_reason(make_rig: MakeRig, act: Act, reason: str) -> None:
    """REQ-19: zero periods, typos in names, work after the end."""
    rig = make_rig(Scripted)
    workflow_id = run(rig, lambda w: None, act)
    assert rig.call("workflow_signal", workflow_id, "go") == "Failed"
    assert reason in rig.row("workflow", workflow_id).error_message


def test_failing_on_purpose_keeps_what_the_step_did(make_rig: MakeRig) -> None:
    """``fail`` is an outcome, raising is a defect."""
    rig = make_rig(Scripted)

    def give_up(w: Workflow[Any]) -> None:
        w.state.seen.append("gave up")
        w.fail("the bridge is out")

    workflow_id = run(rig, lambda w: None, give_up)
    assert rig.call("workflow_signal", workflow_id, "go") == "Failed"
    assert seen(rig, workflow_id) == ["gave up"]
    assert rig.row("workflow", workflow_id).error_message == "the bridge is out"


def test_a_step_that_changes_nothing_writes_nothing(make_rig: MakeRig) -> None:
    """A tick is an event, not a row change."""
    rig = make_rig(Scripted)
    workflow_id = run(rig, lambda w: None, lambda w: None)
    before, seq = rig.row("workflow", workflow_id), rig.engine.seq
    rig.call("workflow_signal", workflow_id, "go")
    assert rig.row("workflow", workflow_id) is before
    assert rig.engine.seq == seq


def test_a_state_may_be_replaced(make_rig: MakeRig) -> None:
    """Assigned as a whole, or changed in place."""
    rig = make_rig(Scripted)

    def replace(w: Workflow[Any]) -> None:
        w.state = ScriptedState(["new"])

    workflow_id = run(rig, lambda w: None, replace)
    rig.call("workflow_signal", workflow_id, "go")
    assert seen(rig, workflow_id) == ["new"]


def test_what_a_step_knows_of_its_workflow(make_rig: MakeRig) -> None:
    """The columns of the row, before the row exists as well."""
    rig = make_rig(Scripted)
    told: list[Any] = []

    def look(w: Workflow[Any]) -> None:
        told.append((w.id, w.type, w.status, w.step, w.owner, w.parent_id, w.now, w.db is w.ctx.db))

    workflow_id = run(rig, look, look)
    rig.call("workflow_signal", workflow_id, "go")
    expected = (workflow_id, "scripted", Status.RUNNING, "started", "0" * 32, None, rig.clock.now(), True)
    assert told == [expected, expected]


def throws(rig: Rig) -> list[str]:
    return [text for _, _, text in rig.logs if "threw" in text]


def test_chance_depends_on_the_workflow_and_its_step_alone(make_rig: MakeRig) -> None:
    """REQ-17: the same draws in another run, whatever else happened and wherever it crashed; no two steps alike."""
    runs = []
    for crash in (False, True):
        rig = make_rig(Dice)
        one = rig.start("dice")
        for i in range(3):
            rig.call("workflow_signal", one, "throw")
            if crash:
                rig.start("dice")
                rig.crash()
                rig.reopen()
            assert rig.row("workflow", one).sequence == i + 2
        runs.append(throws(rig))
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3
    first, second = runs[0][0].split()[-2:]
    assert first != second, "one step draws a stream, not the same number again"
