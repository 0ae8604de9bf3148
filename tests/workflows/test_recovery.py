"""What a start does with the workflows it finds."""

from __future__ import annotations

import time
from typing import Any

import pytest

from reactor import Refusal, SenderError, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Counter, Nap, Parent, Ticker
from workflows import Status, WorkflowEngine
from workflows.recovery import PAGE_ROWS, Recovery


def restart(rig: Rig, *types: Any, **options: Any) -> None:
    rig.logs.clear()
    rig.crash()
    rig.reopen(WorkflowEngine(types, **options) if types or options else None)


def recovered(rig: Rig) -> str:
    (line,) = [text for _, _, text in rig.logs if text.startswith("recovered ")]
    return line


def plant(rig: Rig, workflow_id: int, **columns: Any) -> None:
    if columns.get("status") is Status.COMPLETED:
        columns["ended_at"] = rig.clock.now()
    rig.run(lambda ctx: ctx.db.workflow.update(workflow_id, **columns) and None)


def lose_timers(rig: Rig, workflow_id: int) -> None:
    def lose(ctx: Any) -> None:
        for timer in ctx.db.workflow_timer.where(workflow_id=workflow_id):
            ctx.db.workflow_timer.delete(timer)

    rig.run(lose)


def hashes(rig: Rig) -> dict[int, Any]:
    return {row.id: row for row in rig.rows("workflow")}


def test_an_empty_store_starts_cleanly(make_rig: MakeRig) -> None:
    """C03, C11: and says so."""
    rig = make_rig(Nap)
    assert (
        recovered(rig)
        == "recovered 0 workflows (0 parked, 0 taken up again); 0 cannot go on, 0 skipped, 0 not looked at"
    )


def test_parked_workflows_are_not_touched(make_rig: MakeRig) -> None:
    """C02, C12, B60: rows as they were, no commit but the start's own; only what is due wakes."""
    rig = make_rig(Nap, Counter)
    due = [rig.start("nap", payload={"delay_us": minutes(1)}) for _ in range(6)]
    for _ in range(225):
        rig.start("nap", payload={"delay_us": minutes(60)})
        rig.start("counter")
    ended = rig.start("counter")
    rig.call("workflow_signal", ended, "finish")
    before = hashes(rig)
    rig.crash()
    rig.advance(minutes(2))
    rig.logs.clear()
    rig.reopen()
    assert recovered(rig).startswith("recovered 456 workflows (456 parked, 0 taken up again)")
    after = hashes(rig)
    assert {i for i, row in after.items() if row != before[i]} == set(due)
    assert all(after[i].status is Status.COMPLETED for i in due)


def test_what_was_running_is_put_back_to_work(make_rig: MakeRig) -> None:
    """C01, C13: no step can be stored half done, but rows may be planted; all six finish with no call."""
    rig = make_rig(Nap)
    ids = [rig.start("nap", payload={"delay_us": seconds(10)}) for _ in range(6)]
    for workflow_id in ids[:3]:
        plant(rig, workflow_id, status=Status.RUNNING)
    for workflow_id in ids[1:5]:
        lose_timers(rig, workflow_id)
    restart(rig)
    assert recovered(rig).startswith("recovered 6 workflows (1 parked, 5 taken up again)")
    rig.advance(seconds(10))
    assert [rig.row("workflow", i).status for i in ids] == [Status.COMPLETED] * 6


@pytest.mark.parametrize(
    ("status", "has_timer", "signals", "resumed"),
    [
        (Status.SUSPENDED, True, False, False),
        (Status.SUSPENDED, False, True, False),
        (Status.SUSPENDED, False, False, True),
        (Status.RUNNING, True, False, True),
        (Status.RUNNING, False, True, True),
        (Status.RUNNING, False, False, True),
        (Status.COMPLETED, False, False, False),
    ],
)
def test_which_workflows_are_taken_up(
    make_rig: MakeRig, status: Status, has_timer: bool, signals: bool, resumed: bool
) -> None:
    """C13: the decision table. A step in progress, or nothing stored that would wake it."""
    rig = make_rig(Nap, Counter)
    workflow_id = rig.start("counter") if signals else rig.start("nap", payload={"delay_us": minutes(1)})
    if not has_timer:
        lose_timers(rig, workflow_id)
    plant(rig, workflow_id, status=status, waits=None if status is Status.COMPLETED else rig.rows("workflow")[0].waits)
    before = rig.row("workflow", workflow_id)
    restart(rig)
    after = rig.row("workflow", workflow_id)
    live = status is not Status.COMPLETED
    assert f"({int(live and not resumed)} parked, {int(resumed)} taken up again)" in recovered(rig)
    if resumed:
        assert after.status is not Status.RUNNING
    else:
        assert after == before


def test_a_parent_that_waits_for_its_child_is_parked(make_rig: MakeRig) -> None:
    """F1: the end of a child is a way on."""
    rig = make_rig(Nap, Parent)
    rig.start("parent", payload={"payload": {"delay_us": minutes(1)}})
    restart(rig)
    assert recovered(rig).startswith("recovered 2 workflows (2 parked, 0 taken up again)")


def test_a_bad_row_is_named_and_skipped(make_rig: MakeRig) -> None:
    """C05, F7: 1 of 100 corrupt: 99 recover, one is listed, the server is up, the row is left as it is."""
    rig = make_rig(Counter)
    ids = [rig.start("counter") for _ in range(100)]
    plant(rig, ids[50], state='{"total":"x"}')
    before = rig.row("workflow", ids[50])
    restart(rig)
    assert (
        recovered(rig)
        == "recovered 99 workflows (99 parked, 0 taken up again); 1 cannot go on, 0 skipped, 0 not looked at"
    )
    (error,) = rig.rows("recovery_error")
    assert (error.workflow_id, error.workflow_type, error.at) == (ids[50], "counter", rig.clock.now())
    assert "the stored state of counter cannot be read" in error.message
    assert rig.row("workflow", ids[50]) == before
    assert any(level == "error" and f"counter {ids[50]} cannot be recovered" in text for level, _, text in rig.logs)
    assert rig.call("workflow_signal", ids[49], "add", 1) == "Suspended"


def test_repeated_starts_do_not_pile_up_errors(make_rig: MakeRig) -> None:
    """C04, C14: ten starts, one row, from the first of them; mended, it goes."""
    rig = make_rig(Counter)
    bad = rig.start("counter")
    plant(rig, bad, state="]")
    restart(rig)
    first = rig.clock.now()
    for _ in range(10):
        rig.advance(1)
        restart(rig)
    assert [(e.workflow_id, e.at) for e in rig.rows("recovery_error")] == [(bad, first)]
    plant(rig, bad, state='{"total":1}')
    restart(rig)
    assert rig.rows("recovery_error") == []


def test_nothing_to_wake_it_and_no_way_back_is_named(make_rig: MakeRig) -> None:
    """A101: the planted row that the stuck query finds; its type does not say how to go on."""
    rig = make_rig(Nap, Parent)
    parent = rig.start("parent", payload={"payload": {"delay_us": minutes(1)}})
    (child,) = [row for row in rig.rows("workflow") if row.parent_id == parent]
    plant(rig, child.id, status=Status.COMPLETED)
    lose_timers(rig, child.id)
    restart(rig)
    (error,) = rig.rows("recovery_error")
    assert error.workflow_id == parent
    assert "left nothing that would wake the workflow" in error.message
    assert rig.sql("SELECT id FROM stuck_workflows") == [[parent]]


def test_a_corrupt_state_that_is_woken_is_parked_alone(make_rig: MakeRig) -> None:
    """A44, REQ-12: the timer comes, the state cannot be read, the workflow is parked with that message."""
    rig = make_rig(Nap)
    workflow_id = rig.start("nap", payload={"delay_us": seconds(1)})
    plant(rig, workflow_id, state="{}x")
    rig.advance(seconds(1))
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.state, row.failure_category) == (Status.FAULTED, "{}x", "task_failure")
    assert "the stored state of nap cannot be read" in row.error_message


def test_recovery_goes_through_all_pages_and_is_quick(make_rig: MakeRig) -> None:
    """C07: more rows than one page; 10,000 take far less than two seconds, all of a start included."""
    rig = make_rig(Counter)

    def fill(ctx: Any) -> None:
        for _ in range(10_000):
            ctx.workflows.start("counter")

    rig.run(fill)
    assert PAGE_ROWS < 10_000
    last = rig.rows("workflow")[-1].id
    plant(rig, last, state="x")
    begin = time.perf_counter()
    restart(rig)
    assert time.perf_counter() - begin < 2.0
    assert recovered(rig).startswith("recovered 9999 workflows")
    assert [e.workflow_id for e in rig.rows("recovery_error")] == [last]


def test_a_page_that_cannot_be_looked_at_does_not_stop_the_start(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C06: the scan raises on page 2; the server is up, the others are recovered, the log says which are not."""
    rig = make_rig(Counter)

    def fill(ctx: Any) -> None:
        for _ in range(2 * PAGE_ROWS + 10):
            ctx.workflows.start("counter")

    rig.run(fill)
    ids = [row.id for row in rig.rows("workflow")]
    plant(rig, ids[PAGE_ROWS], state="x")
    plant(rig, ids[-1], state="x")
    whole = Recovery._look_at

    def torn(self: Recovery, ctx: Any, page: list[int]) -> None:
        whole(self, ctx, page)
        if ids[PAGE_ROWS] in page:
            raise OSError("page 2")

    monkeypatch.setattr(Recovery, "_look_at", torn)
    restart(rig)
    assert f"{PAGE_ROWS} not looked at" in recovered(rig)
    assert any(f"workflows {ids[PAGE_ROWS]} to {ids[2 * PAGE_ROWS - 1]}" in text for _, _, text in rig.logs)
    assert [e.workflow_id for e in rig.rows("recovery_error")] == [ids[-1]]
    assert rig.call("workflow_signal", ids[PAGE_ROWS + 1], "add", 1) == "Suspended"
    monkeypatch.undo()
    restart(rig)
    assert [e.workflow_id for e in rig.rows("recovery_error")] == [ids[PAGE_ROWS], ids[-1]]


def test_recovery_can_be_switched_off(make_rig: MakeRig) -> None:
    """C15: rows stay as they are, even those that would be taken up."""
    rig = make_rig(Nap)
    workflow_id = rig.start("nap", payload={"delay_us": minutes(1)})
    plant(rig, workflow_id, status=Status.RUNNING)
    restart(rig, Nap, recover=False)
    assert rig.row("workflow", workflow_id).status is Status.RUNNING
    restart(rig, Nap)
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED


# -- types that are missing ----------------------------------------------------------------------


def test_live_rows_of_a_missing_type_stop_the_start(make_rig: MakeRig) -> None:
    """B61: types, count, 20 samples, truncated flag; the message has no ids. Nothing is written."""
    rig = make_rig(Nap, Counter, Ticker)
    naps = [rig.start("nap", payload={"delay_us": minutes(1)}) for _ in range(25)]
    rig.start("counter")
    rig.crash()
    with pytest.raises(Refusal) as caught:
        rig.reopen(WorkflowEngine([Ticker]))
    error = caught.value
    assert error.code == "unregistered_types"
    assert error.details["known_types"] == ["ticker"]
    assert error.details["missing_types"] == ["counter", "nap"]
    assert error.details["count"] == 26
    assert len(error.details["samples"]) == 20
    assert error.details["truncated"] is True
    assert "counter, nap" in error.message and "skip_types" in error.message
    assert not any(str(workflow_id) in error.message.replace("26", "") for workflow_id in naps[10:])
    rig.reopen(WorkflowEngine([Nap, Counter, Ticker]))
    assert len(rig.rows("workflow")) == 26


def test_ended_rows_of_a_missing_type_do_not_matter(make_rig: MakeRig) -> None:
    """B61: completed rows do not trigger it; nor do few live ones truncate the samples."""
    rig = make_rig(Nap, Counter)
    ended = rig.start("counter")
    rig.call("workflow_signal", ended, "finish")
    restart(rig, Nap)
    live = rig.start("nap", payload={"delay_us": minutes(1)})
    rig.crash()
    with pytest.raises(Refusal) as caught:
        rig.reopen(WorkflowEngine([Ticker]))
    assert (caught.value.details["samples"], caught.value.details["truncated"]) == ([live], False)
    rig.reopen(WorkflowEngine([Nap]))


def test_skipped_types_stay_parked_until_they_are_back(make_rig: MakeRig) -> None:
    """B62: an option of the program, one ``skipped`` event per row, timers held; later everything goes on."""
    rig = make_rig(Nap, Counter)
    begin = rig.clock.now()
    nap = rig.start("nap", payload={"delay_us": minutes(1)})
    other = rig.start("counter")
    restart(rig, Counter, skip_types=["nap"])
    before = rig.row("workflow", nap)
    rig.advance(minutes(5))
    restart(rig)
    assert "1 skipped" in recovered(rig)
    assert [(e.workflow_id, e.kind) for e in rig.rows("workflow_event")] == [(nap, "skipped")]
    assert rig.row("workflow", nap) == before
    assert rig.call("workflow_signal", other, "add", 1) == "Suspended"
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", nap, "add", 1)
    assert caught.value.code == "unknown_type"
    restart(rig, Nap, Counter)
    row = rig.row("workflow", nap)
    assert row.status is Status.COMPLETED
    assert row.result == f'{{"due_at":{begin + minutes(1)},"fired_at":{rig.clock.now()}}}'


def test_a_skipped_workflow_can_be_cancelled(make_rig: MakeRig) -> None:
    """Without the help of its handler, and its held timer goes."""
    rig = make_rig(Nap, Counter)
    nap = rig.start("nap", payload={"delay_us": minutes(1)})
    restart(rig, Counter, skip_types=["nap"])
    assert rig.call("workflow_cancel", nap, "retired") == "Cancelled"
    assert rig.rows("workflow_timer") == []
