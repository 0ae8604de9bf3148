"""What a start does with workflows that are stopped, and with those whose type is gone meanwhile."""

from __future__ import annotations

import pytest

from reactor import Refusal, minutes, seconds
from reactor.testing import Rig
from tests.workflows.control.conftest import seen
from tests.workflows.control.samples import TYPES, broken
from tests.workflows.control.test_verbs import in_status
from workflows import Status, WorkflowEngine

STOPPED = (Status.PENDING, Status.PAUSED, Status.FAULTED)
OTHERS = [t for t in TYPES if t.name not in ("fragile", "parked")]


def restart(rig: Rig, engine: WorkflowEngine | None = None) -> str:
    """Crash and start again; what recovery said."""
    rig.logs.clear()
    rig.crash()
    rig.reopen(engine)
    return next(text for _, _, text in rig.logs if text.startswith("recovered "))


@pytest.mark.parametrize("status", STOPPED)
def test_what_is_stopped_is_left_alone(rig: Rig, status: Status) -> None:
    """B50, B60, C12: five starts change nothing of it; it is counted as parked."""
    workflow_id = in_status(rig, status)
    tables = ("workflow", "workflow_timer", "workflow_parked", "execution_error")
    before = [rig.rows(table) for table in tables]
    for _ in range(5):
        assert restart(rig).startswith("recovered 1 workflows (1 parked, 0 taken up again); 0 cannot go on")
    assert [rig.rows(table) for table in tables] == before
    assert rig.row("workflow", workflow_id).status is status


@pytest.mark.parametrize("status", STOPPED)
def test_their_types_must_be_there_too(rig: Rig, status: Status) -> None:
    """B61: a live workflow of a type nobody registered stops the start, whatever it waits for."""
    in_status(rig, status)
    rig.crash()
    with pytest.raises(Refusal) as caught:
        rig.reopen(WorkflowEngine(OTHERS))
    assert caught.value.code == "unregistered_types"
    rig.reopen(WorkflowEngine(TYPES, audit=True))


def test_a_pause_outlasts_the_absence_of_its_type(rig: Rig) -> None:
    """B50, A106: its timers stay held when the type is back; resuming lets them go."""
    workflow_id = rig.start("fragile", payload={"timers": {"wake": seconds(5)}})
    rig.call("workflow_suspend", workflow_id, "x")
    restart(rig, WorkflowEngine(OTHERS, skip_types=["fragile", "parked"], audit=True))
    rig.advance(minutes(1))
    restart(rig, WorkflowEngine(TYPES, audit=True))
    rig.advance(minutes(1))
    (timer,) = rig.rows("workflow_timer")
    assert (timer.held, timer.cancelled) == (True, True)
    assert seen(rig, workflow_id) == ["start"]
    rig.call("workflow_resume", workflow_id)
    assert seen(rig, workflow_id) == ["start", "wake"]


def test_a_pause_may_end_while_its_type_is_gone(rig: Rig) -> None:
    """B50: it waits for its type then, and goes on at the start at which it is back, with what was sent."""
    workflow_id = rig.start("fragile", payload={"timers": {"wake": seconds(5)}})
    rig.call("workflow_suspend", workflow_id, "x")
    rig.call("workflow_signal", workflow_id, "say", {"word": "kept"})
    restart(rig, WorkflowEngine(OTHERS, skip_types=["fragile", "parked"], audit=True))
    assert rig.call("workflow_resume", workflow_id) is True
    rig.advance(minutes(1))
    assert seen(rig, workflow_id) == ["start"]
    restart(rig, WorkflowEngine(TYPES, audit=True))
    assert sorted(seen(rig, workflow_id)) == ["kept", "start", "wake"]


def test_a_paused_workflow_whose_state_is_damaged_is_named(rig: Rig) -> None:
    """C05: in ``recovery_error``; it stays paused, the others are served."""
    workflow_id = rig.start("fragile")
    rig.call("workflow_suspend", workflow_id, "x")
    rig.run(lambda ctx: ctx.db.workflow.update(workflow_id, state="{") and None)
    restart(rig)
    assert [row.workflow_id for row in rig.rows("recovery_error")] == [workflow_id]
    assert rig.row("workflow", workflow_id).status is Status.PAUSED


def test_a_retry_that_came_due_while_the_server_was_down(rig: Rig) -> None:
    """A82, REQ-11: it is tried right after the start, once."""
    broken["boom"] = 1
    workflow_id = rig.start("stubborn")
    rig.call("workflow_signal", workflow_id, "say", {"word": "boom"})
    rig.crash()
    rig.advance(minutes(5))
    rig.reopen()
    assert seen(rig, workflow_id) == ["start", "boom"]
    restart(rig)
    assert seen(rig, workflow_id) == ["start", "boom"]
