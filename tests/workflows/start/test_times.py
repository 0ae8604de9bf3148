"""Delayed starts and deadlines, exact under the simulated clock and across restarts."""

from __future__ import annotations

import pytest

from reactor.testing import Rig
from tests.workflows.start.conftest import Start
from tests.workflows.start.samples import Timed, Waiter
from workflows import WorkflowEngine
from workflows.start import deadlines


def test_a_delayed_start(rig: Rig, start: Start) -> None:
    """B47: Pending until its time; it begins at the instant it was due, and times count from there."""
    began = rig.clock.now()
    first = start("timed", delay_us=10, start_after_us=100)
    second = start("timed", delay_us=10, start_at=began + 100)
    assert (first["outcome"], first["status"], first["begins_at"]) == ("delayed", "Pending", began + 100)
    assert rig.sql("SELECT status, current_step FROM workflow") == [["Pending", "pending"]] * 2
    rig.advance(99)
    assert rig.row("workflow", first["id"]).status == "Pending"
    rig.advance(1)
    assert rig.row("workflow", second["id"]).status == "Suspended"
    rig.advance(10)
    assert rig.row("workflow", first["id"]).ended_at == began + 110
    kinds = [(event.kind, event.sequence) for event in rig.rows("workflow_event") if event.workflow_id == first["id"]]
    assert kinds == [("pending", 1), ("started", 2), ("completed", 3)]


@pytest.mark.parametrize("down_us", [50, 100, 1_000])
def test_a_delayed_start_survives_a_restart(rig: Rig, start: Start, down_us: int) -> None:
    """B47: whether its time comes after the restart or came meanwhile: it begins once, at its own time."""
    began = rig.clock.now()
    pending = start("timed", delay_us=2_000, start_after_us=100)
    rig.crash()
    rig.advance(down_us)
    rig.reopen()
    rig.advance(max(100 - down_us, 0))
    row = rig.row("workflow", pending["id"])
    assert row.status == "Suspended"
    assert f'"began_at":{began + 100},' in row.state
    rig.advance(2_000)
    assert rig.row("workflow", pending["id"]).ended_at == began + 2_100


def test_a_start_in_the_past_is_a_start(rig: Rig, start: Start) -> None:
    """B47: there is nothing to wait for."""
    assert start("timed", delay_us=10, start_at=1)["outcome"] == "started"
    assert start("timed", delay_us=10, start_after_us=0)["outcome"] == "started"


def test_a_delayed_start_that_fails(rig: Rig, start: Start) -> None:
    """B47: nobody is there to be told, so the workflow tells."""
    pending = start("timed", delay_us=-1, start_after_us=100)
    rig.advance(100)
    row = rig.row("workflow", pending["id"])
    assert (row.status, "a defect" in row.error_message) == ("Failed", True)


def test_a_delayed_start_can_be_cancelled(rig: Rig, start: Start) -> None:
    """B47, D70: its timer goes with it."""
    pending = start("timed", delay_us=5, start_after_us=100)
    assert rig.call("workflow_cancel", pending["id"], "changed my mind") == "Cancelled"
    assert rig.rows("workflow_start_timer") == rig.rows("workflow_pending") == []
    rig.advance(200)
    assert rig.row("workflow", pending["id"]).status == "Cancelled"


def test_signals_reach_what_has_not_begun_when_it_begins(rig: Rig, start: Start) -> None:
    """B45, B47: kept, and delivered in the commit in which it begins."""
    pending = start("waiter", start_after_us=100)
    assert rig.call("workflow_signal", pending["id"], "finish") == "Pending"
    rig.advance(100)
    assert rig.row("workflow", pending["id"]).status == "Completed"


def test_a_delayed_start_of_a_missing_type_waits_for_it(rig: Rig, start: Start) -> None:
    """B47, B61: nothing is lost; it begins when the type is back."""
    pending = start("timed", delay_us=50, start_after_us=100)
    rig.crash()
    rig.reopen(WorkflowEngine([Waiter], skip_types=["timed"], audit=True))
    rig.advance(200)
    assert rig.row("workflow", pending["id"]).status == "Pending"
    rig.crash()
    rig.reopen(WorkflowEngine([Timed, Waiter], audit=True))
    assert rig.row("workflow", pending["id"]).status in ("Suspended", "Completed")


# -- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("crashes", [False, True])
def test_a_deadline_ends_what_waits_for_a_signal(rig: Rig, start: Start, crashes: bool) -> None:
    """B48, D101: exactly then, as TimedOut with the reason; the row says when beforehand."""
    began = rig.clock.now()
    waiting = start("waiter", deadline_us=1_000)
    assert rig.row("workflow", waiting["id"]).deadline == began + 1_000
    rig.advance(999)
    assert rig.row("workflow", waiting["id"]).status == "Suspended"
    if crashes:
        rig.crash()
        rig.reopen()
    rig.advance(1)
    row = rig.row("workflow", waiting["id"])
    assert (row.status, row.error_message, row.ended_at) == ("TimedOut", "its deadline has passed", began + 1_000)
    assert rig.rows("workflow_deadline") == []


def test_a_deadline_that_passed_while_the_server_was_down(rig: Rig, start: Start) -> None:
    """B48: it ends at the instant of the deadline, right after the start."""
    began = rig.clock.now()
    waiting = start("waiter", deadline_at=began + 1_000)
    rig.crash()
    rig.advance(5_000)
    rig.reopen()
    row = rig.row("workflow", waiting["id"])
    assert (row.status, row.ended_at) == ("TimedOut", began + 1_000)


def test_what_is_due_together_with_the_deadline_is_done(rig: Rig, start: Start) -> None:
    """B48: of what is due at one instant the deadline is last."""
    timed = start("timed", delay_us=100, deadline_us=100)
    rig.advance(100)
    assert rig.row("workflow", timed["id"]).status == "Completed"
    assert rig.rows("workflow_deadline") == []


def test_the_deadline_of_a_run_counts_from_its_beginning(rig: Rig, start: Start) -> None:
    """B47, B48, D101: that of the chain from the call, so it can end what never began."""
    began = rig.clock.now()
    late = start("waiter", start_after_us=500, deadline_us=100)
    first = start("turn", 7, delay_us=400)
    queued = start("turn", 7, delay_us=10_000, deadline_us=100, chain_deadline_us=450)
    never = start("turn", 7, delay_us=10_000, chain_deadline_us=300)
    assert rig.row("workflow", queued["id"]).deadline == began + 450
    rig.advance(400)
    assert rig.row("workflow", first["id"]).status == "Completed"
    assert rig.row("workflow", queued["id"]).deadline == began + 450
    row = rig.row("workflow", never["id"])
    assert (row.status, row.ended_at) == ("TimedOut", began + 300)
    assert row.error_message == "the deadline of all its runs together has passed"
    rig.advance(100)
    assert rig.row("workflow", queued["id"]).ended_at == began + 450
    assert rig.row("workflow", late["id"]).deadline == began + 600
    rig.advance(100)
    assert rig.row("workflow", late["id"]).ended_at == began + 600


def test_a_new_run_has_a_deadline_of_its_own(rig: Rig, start: Start) -> None:
    """D101: a span counts anew for each run; that of the chain stays."""
    began = rig.clock.now()
    waiting = start("waiter", deadline_us=100, chain_deadline_us=250)["id"]
    for at in (90, 180):
        rig.advance(90)

        def renew(ctx: object, at: int = at) -> None:
            due = deadlines.renew(ctx, waiting)  # type: ignore[arg-type]
            assert due == began + min(at + 100, 250)
            ctx.db.workflow.update(waiting, deadline=due)  # type: ignore[attr-defined]

        rig.run(renew)
    rig.advance(69)
    assert rig.row("workflow", waiting).status == "Suspended"
    rig.advance(1)
    row = rig.row("workflow", waiting)
    assert (row.status, row.ended_at) == ("TimedOut", began + 250)
