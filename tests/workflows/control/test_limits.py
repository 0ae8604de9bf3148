"""What one workflow may have, and what goes with it when it is removed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from reactor import SenderError, days, minutes, seconds
from reactor.limits import DEFAULT_LIMITS
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.control.checks import assert_no_orphans
from tests.workflows.control.samples import TYPES, broken
from tests.workflows.samples import Counter
from workflows import Handler, NoPayload, Payload, Status, Workflow


class Grow(Payload):
    timers: int = 0
    children: int = 0
    bytes: int = 0


class GreedyState(msgspec.Struct):
    ballast: str = ""


class Greedy(Handler[GreedyState]):
    """Wants as much as it is told."""

    name = "greedy"
    clock = "wall"
    signals = {"grow": Grow, "shrink": NoPayload}

    def on_start(self, w: Workflow[GreedyState], payload: NoPayload) -> None:
        w.step = "hungry"

    def on_grow(self, w: Workflow[GreedyState], payload: Grow) -> None:
        for number in range(payload.timers):
            w.timer(f"t{number}", after_us=minutes(1))
        for _ in range(payload.children):
            w.start_child("greedy")
        w.state.ballast = "x" * payload.bytes

    def on_shrink(self, w: Workflow[GreedyState], payload: NoPayload) -> None:
        for child in w.workflows.find("greedy"):
            if child.parent_id == w.id:
                w.workflows.cancel(child.id, "enough")


def small(make_rig: MakeRig, **limits: Any) -> Rig:
    """A rig where a workflow may have little."""
    return make_rig(Greedy, *TYPES, limits=replace(DEFAULT_LIMITS, **limits))


def grow(rig: Rig, workflow_id: int, **payload: int) -> Any:
    """Tell it to want more."""
    return rig.call("workflow_signal", workflow_id, "grow", payload)


def warnings(rig: Rig) -> list[tuple[Any, ...]]:
    """The warnings as rows."""
    return [(row.workflow_id, row.kind, row.value, row.bound) for row in rig.rows("workflow_warning")]


def lines(rig: Rig, text: str) -> int:
    """How many lines of the log say so."""
    return sum(text in message for _, _, message in rig.logs)


def test_too_many_timers_fail_the_run(make_rig: MakeRig) -> None:
    """D98: exactly so many pass; one more is the handler's fault, undone, with kind, value and limit."""
    rig = small(make_rig, workflow_timers_max=10)
    one, other = rig.start("greedy"), rig.start("greedy")
    assert grow(rig, one, timers=10) == "Suspended"
    assert grow(rig, one, timers=10) == "Suspended"
    assert grow(rig, other, timers=11) == "Failed"
    row = rig.row("workflow", other)
    assert (row.failure_category, row.error_message) == (
        "structural_limit",
        "StructuralLimitError: it would have 11 timers, and a workflow may have 10",
    )
    assert len(rig.rows("workflow_timer")) == 10


def test_the_warning_comes_once_at_four_fifths(make_rig: MakeRig) -> None:
    """D98: one line and one row of each kind for each workflow, however often it goes up and down."""
    rig = small(make_rig, workflow_timers_max=10, workflow_children_max=5)
    one = rig.start("greedy")
    grow(rig, one, timers=7)
    assert warnings(rig) == []
    grow(rig, one, timers=8)
    grow(rig, one, timers=10)
    assert warnings(rig) == [(one, "timers", 8, 10)]
    assert lines(rig, f"workflow {one} has 8 timers; 10 are allowed") == 1
    for _ in range(3):
        grow(rig, one, children=4)
        rig.call("workflow_signal", one, "shrink")
    assert warnings(rig) == [(one, "timers", 8, 10), (one, "children", 4, 5)]


def test_live_children_count_and_ended_ones_do_not(make_rig: MakeRig) -> None:
    """D98: the parent's own step fails; those that have ended make room."""
    rig = small(make_rig, workflow_children_max=3)
    one = rig.start("greedy")
    for _ in range(4):
        assert grow(rig, one, children=3) == "Suspended"
        rig.call("workflow_signal", one, "shrink")
    assert len(rig.rows("workflow")) == 13
    assert grow(rig, one, children=4) == "Failed"
    assert rig.row("workflow", one).failure_category == "structural_limit"
    assert len(rig.rows("workflow")) == 13


def test_somebody_outside_is_refused_a_child_too_many(make_rig: MakeRig) -> None:
    """D98: intake is refused by kind, value and limit; the workflow itself has done nothing wrong."""
    rig = small(make_rig, workflow_children_max=2)
    one = rig.start("greedy")
    grow(rig, one, children=2)
    with pytest.raises(SenderError) as caught:
        rig.run(lambda ctx: ctx.workflows.start("greedy", parent_id=one))
    assert caught.value.code == "limit_exceeded"
    assert [caught.value.details[name] for name in ("kind", "value", "limit")] == ["children", 3, 2]
    assert rig.row("workflow", one).status is Status.SUSPENDED


def test_too_many_kept_signals_are_refused(make_rig: MakeRig) -> None:
    """D98: the sender is told; the warning comes before; what is kept is delivered."""
    rig = small(make_rig, workflow_signals_max=5)
    one = rig.start("fragile")
    rig.call("workflow_suspend", one, "x")
    for number in range(5):
        rig.call("workflow_signal", one, "say", {"word": str(number)})
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", one, "say", {"word": "5"})
    assert (caught.value.code, caught.value.details["limit"]) == ("limit_exceeded", 5)
    assert warnings(rig) == [(one, "unread_messages", 4, 5)]
    rig.call("workflow_resume", one)
    assert '"seen":["start","0","1","2","3","4"]' in rig.row("workflow", one).state


def test_a_large_state_is_noted_in_a_row(make_rig: MakeRig) -> None:
    """A52, B75: a line past 10 KB, a row past 64 KiB, both once; the size is in SQL; the cap refuses."""
    rig = small(make_rig, state_bytes_max=200_000)
    one = rig.start("greedy")
    for size in (20_000, 20_100, 70_000, 80_000, 120_000):
        grow(rig, one, bytes=size)
    (warning,) = warnings(rig)
    assert warning == (one, "bytes of state", 70_014, 200_000)
    assert lines(rig, "its state has grown to 20014 bytes") == 1
    assert rig.sql("SELECT state_bytes FROM active_workflows") == [[120_014]]
    with pytest.raises(SenderError) as caught:
        grow(rig, one, bytes=200_000)
    assert caught.value.code == "payload_too_large"


def test_a_life_may_have_so_many_steps(make_rig: MakeRig) -> None:
    """B74: exactly so many; the next one ends it as TimedOut, and says why."""
    rig = make_rig(Counter, limits=replace(DEFAULT_LIMITS, workflow_steps_max=5))
    one = rig.start("counter")
    for _ in range(4):
        rig.call("workflow_signal", one, "add", {"amount": 1})
    assert rig.row("workflow", one).state == '{"total":4,"log":[]}'
    assert rig.call("workflow_signal", one, "add", {"amount": 1}) == "TimedOut"
    row = rig.row("workflow", one)
    assert (row.state, row.failure_category) == ('{"total":4,"log":[]}', "timeout")
    assert row.error_message == "it has taken 5 steps, all it may"


def test_old_events_give_way_to_a_mark(make_rig: MakeRig) -> None:
    """B74: the newest so many are kept, and the mark says how many are gone and up to which; also after a crash."""
    rig = make_rig(Counter, audit=True, limits=replace(DEFAULT_LIMITS, workflow_events_max=20))
    one, other = rig.start("counter"), rig.start("counter")
    for number in range(100):
        rig.call("workflow_signal", one, "add", {"amount": 1})
        if number == 50:
            rig.crash()
            rig.reopen()
    mine = [e for e in rig.rows("workflow_event") if e.workflow_id == one]
    assert len(mine) <= 20
    assert mine[0].kind == "compacted"
    assert mine[0].detail == f"{mine[0].sequence} events were removed"
    assert [e.sequence for e in mine[1:]] == list(range(mine[0].sequence + 1, 102))
    assert len([e for e in rig.rows("workflow_event") if e.workflow_id == other]) == 1


def test_cleanup_leaves_nothing_behind_in_any_table(make_rig: MakeRig) -> None:
    """A105, E14: failures, warnings, held timers, messages, events, whatever parts there are; also after a crash."""
    rig = make_rig(Greedy, *TYPES, audit=True, limits=replace(DEFAULT_LIMITS, workflow_timers_max=10))
    broken["boom"] = -1
    ids = []
    for kind in ("fragile", "stubborn", "parked", "hopeful", "doomed"):
        one = rig.start(kind, payload={"timers": {"wake": minutes(1)}, "child": True})
        rig.call("workflow_signal", one, "say", {"word": "boom"})
        ids.append(one)
    greedy = rig.start("greedy")
    grow(rig, greedy, timers=9, children=2)
    paused = rig.start("fragile", payload={"timers": {"wake": minutes(1)}})
    rig.call("workflow_suspend", paused, "x")
    rig.call("workflow_signal", paused, "say", {"word": "kept"})
    rig.advance(seconds(1))
    rig.crash()
    rig.reopen()
    for row in rig.rows("workflow"):
        live = rig.row("workflow", row.id).status not in ("Completed", "Failed", "Cancelled", "Terminated", "TimedOut")
        if live:
            rig.call("workflow_cancel", row.id, "enough")
    rig.advance(days(2))
    left = rig.start("greedy")
    assert rig.call("cleanup_old_workflows", 1)["more"] is False
    assert [row.id for row in rig.rows("workflow")] == [left]
    assert_no_orphans(rig)
    for table in ("execution_error", "workflow_warning", "workflow_parked", "workflow_timer", "workflow_message"):
        assert rig.rows(table) == []
    assert {e.workflow_id for e in rig.rows("workflow_event")} == {left}
    rig.crash()
    rig.reopen()
    assert [row.id for row in rig.rows("workflow")] == [left]


def test_a_crash_between_two_batches_of_cleanup(make_rig: MakeRig) -> None:
    """A105: each batch is whole; the next call goes on where it was."""
    rig = make_rig(Counter)

    def fill(ctx: Any) -> None:
        for _ in range(1_200):
            ctx.workflows.signal(ctx.workflows.start("counter"), "crash")

    rig.run(fill)
    rig.advance(days(2))
    assert rig.call("cleanup_old_workflows", 1) == {"removed": 1_000, "more": True}
    rig.crash()
    rig.reopen()
    assert len(rig.rows("execution_error")) == 200
    assert rig.call("cleanup_old_workflows", 1) == {"removed": 200, "more": False}
    assert rig.rows("execution_error") == []
