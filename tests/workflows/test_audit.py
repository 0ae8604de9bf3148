"""The optional record of transitions."""

from __future__ import annotations

from typing import Any

from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Counter, Faulty, Nap, Parent, Poker
from workflows import Handler, NoPayload, Workflow
from workflows.handle import Timer

ALICE = "a" * 32


def test_off_it_costs_not_one_row(make_rig: MakeRig) -> None:
    """A08: a thousand transitions and an empty table."""
    rig = make_rig(Counter)

    def count(ctx: Any) -> None:
        workflow_id = ctx.workflows.start("counter")
        for _ in range(999):
            ctx.workflows.signal(workflow_id, "add", 1)

    rig.run(count)
    assert rig.rows("workflow")[0].sequence == 1_000
    assert rig.rows("workflow_event") == []


def test_on_there_is_one_row_per_transition(make_rig: MakeRig) -> None:
    """A08, REQ-18: what, when, who, why, before and after; also for ticks that change no row."""
    rig = make_rig(Nap, audit=True)
    begin = rig.clock.now()
    workflow_id = rig.call("workflow_start", "nap", None, None, {"delay_us": 1_000}, sender=ALICE)
    rig.crash()
    rig.advance(5_000)
    rig.reopen()
    events = [tuple(getattr(e, f) for f in e.__struct_fields__[1:]) for e in rig.rows("workflow_event")]
    assert events == [
        (workflow_id, 1, begin, begin, "started", ALICE, "start", None, "Suspended", None, "asleep", None),
        (
            workflow_id, 2, begin + 1_000, begin + 5_000, "completed", "timer", "timer:wake", "Suspended", "Completed",
            "asleep", "asleep", None,
        ),
    ]  # fmt: skip


def kinds(rig: Any, workflow_id: int) -> list[tuple[str, str, str | None]]:
    return [(e.kind, e.cause, e.detail) for e in rig.rows("workflow_event") if e.workflow_id == workflow_id]


def test_every_way_to_end_is_told_apart(make_rig: MakeRig) -> None:
    """C17: completed, failed, cancelled, with what led there and why."""
    rig = make_rig(Counter, Faulty, Parent, Nap, Poker, audit=True)
    done = rig.start("counter")
    rig.call("workflow_signal", done, "add", 1)
    rig.call("workflow_signal", done, "finish")
    assert kinds(rig, done) == [
        ("started", "start", None),
        ("stepped", "signal:add", None),
        ("completed", "signal:finish", None),
    ]
    broken = rig.start("counter")
    rig.call("workflow_signal", broken, "crash")
    assert kinds(rig, broken)[1:] == [("failed", "signal:crash", "KeyError: 'a defect'")]
    unborn = rig.start("faulty", payload={"where": "start"})
    assert kinds(rig, unborn) == [("failed", "start", "ZeroDivisionError: a defect")]
    parent = rig.start("parent")
    rig.advance(5_000)
    assert [kind for kind, *_ in kinds(rig, parent)] == ["started", "completed"]
    assert kinds(rig, parent)[1][1].startswith("child:")
    cancelled = rig.start("poker")
    rig.call("workflow_cancel", cancelled, "enough")
    assert kinds(rig, cancelled)[1:] == [("cancelled", "cancel", "enough")]


class Diarist(Handler[None]):
    name = "diarist"
    signals = {"write": NoPayload}

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        w.timer("tick", interval_us=1_000)

    def on_write(self, w: Workflow[None], payload: NoPayload) -> None:
        w.event("wrote", "dear diary")
        w.event("slept")

    def on_timer(self, w: Workflow[None], timer: Timer) -> None:
        """A tick that changes nothing."""

    def on_cancel(self, w: Workflow[None], reason: str) -> None:
        w.event("burned")


def test_handlers_add_notes_of_their_own(make_rig: MakeRig) -> None:
    """They stand beside the transition, with its number; without the audit they cost nothing."""
    rig = make_rig(Diarist, audit=True)
    workflow_id = rig.start("diarist")
    rig.call("workflow_signal", workflow_id, "write")
    rig.advance(1_000)
    rig.call("workflow_cancel", workflow_id, "x")
    assert [(e.sequence, e.kind, e.detail) for e in rig.rows("workflow_event")] == [
        (1, "started", None),
        (2, "stepped", None),
        (2, "wrote", "dear diary"),
        (2, "slept", None),
        (3, "stepped", None),
        (4, "cancelled", "x"),
        (4, "burned", None),
        (4, "timer_closed", "tick"),
    ]
    quiet = make_rig(Diarist)
    workflow_id = quiet.start("diarist")
    before = quiet.row("workflow", workflow_id)
    quiet.call("workflow_signal", workflow_id, "write")
    quiet.advance(1_000)
    assert quiet.row("workflow", workflow_id) is before
    assert quiet.rows("workflow_event") == []
