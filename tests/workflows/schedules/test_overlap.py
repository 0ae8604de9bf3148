"""What happens to an occurrence while a run is still live. Each run takes 25 minutes, one is due every ten."""

from __future__ import annotations

import pytest

from reactor import minutes, seconds
from reactor.testing import Rig
from tests.workflows.schedules.kit import CREATE, EVERY_TEN, buffered, crash, events, runs, the, working


def begin(rig: Rig, overlap: str, takes_us: int = minutes(25)) -> None:
    """The first run starts at 22:20."""
    rig.call(CREATE, "s", EVERY_TEN, working(takes_us, overlap=overlap))
    rig.advance(minutes(7))
    assert runs(rig) == ["22:20"]


def test_skip(rig: Rig) -> None:
    """B71, D91, D94: left out, counted, with the reason and the time; the next one after the end runs."""
    begin(rig, "skip")
    rig.advance(minutes(23))
    crash(rig)
    rig.advance(minutes(10))
    assert runs(rig) == ["22:20", "22:50"]
    row = the(rig)
    assert (row.fires, row.skipped, row.last_skip_reason) == (2, 2, "a run is still live")
    assert events(rig, "skipped") == [("skipped", "22:30"), ("skipped", "22:40")]
    assert rig.sql("SELECT skipped, last_skipped_at FROM schedule") == [[2, row.next_at - minutes(20)]]


def test_a_suspended_run_counts_as_running(rig: Rig) -> None:
    """B71: a workflow that only waits is not over."""
    begin(rig, "skip", minutes(600))
    (workflow,) = rig.rows("workflow")
    assert workflow.status == "Suspended"
    rig.advance(minutes(30))
    assert (len(rig.rows("workflow")), the(rig).skipped) == (1, 3)


def test_buffer_one(rig: Rig) -> None:
    """B71, D91: one waits, under its reserved name, and starts when the run ends; a second is left out."""
    begin(rig, "buffer_one")
    rig.advance(minutes(10))
    (waiting,) = rig.rows("schedule_buffer")
    assert waiting.run_name == "s-2023-11-14T22:30:00Z"
    listed = {"run_name": waiting.run_name, "reserved_id": waiting.reserved_id}
    assert rig.call("schedule_describe", "s")["buffered"] == [listed]
    rig.advance(minutes(13))
    assert (buffered(rig), the(rig).skipped) == (["22:30"], 1)
    crash(rig)
    rig.advance(minutes(3))
    assert (runs(rig, "completed"), runs(rig, "running"), buffered(rig)) == (["22:20"], ["22:30"], [])
    (_, second) = rig.rows("schedule_run")
    assert (second.run_name, second.workflow_id) == (waiting.run_name, waiting.reserved_id)
    workflow = rig.row("workflow", waiting.reserved_id)
    assert (workflow.name, workflow.created_at) == (waiting.run_name, rig.rows("workflow")[0].updated_at)


def test_buffer_all_keeps_the_order(rig: Rig) -> None:
    """B71, D91: all wait their turn, across crashes."""
    begin(rig, "buffer_all")
    for _ in range(6):
        rig.advance(minutes(10))
        crash(rig)
    # 25 minutes each: 22:20 ended at 22:45, then 22:30 until 23:10, then 22:40.
    assert (runs(rig, "completed"), runs(rig, "running")) == (["22:20", "22:30"], ["22:40"])
    assert buffered(rig) == ["22:50", "23:00", "23:10", "23:20"]
    assert the(rig).skipped == 0


def test_a_buffer_has_an_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """B71: what does not fit is left out and counted."""
    monkeypatch.setattr("workflows.schedules.occurrences.BUFFER_MAX", 2)
    begin(rig, "buffer_all", minutes(600))
    rig.advance(minutes(30))
    assert (buffered(rig), the(rig).skipped) == (["22:30", "22:40"], 1)
    assert the(rig).last_skip_reason == "a run is still live and the buffer is full"


def test_what_waits_goes_before_what_comes_at_the_same_instant(rig: Rig) -> None:
    """B71: a run that ends at 22:40 sharp makes room for 22:30; 22:40 waits in its turn."""
    begin(rig, "buffer_one", minutes(20))
    rig.advance(minutes(20))
    assert (runs(rig, "running"), buffered(rig), the(rig).skipped) == (["22:30"], ["22:40"], 0)


def test_allow_all(rig: Rig) -> None:
    """B71, D91: beside each other."""
    begin(rig, "allow_all")
    rig.advance(minutes(10))
    crash(rig)
    rig.advance(minutes(10))
    assert (runs(rig, "running"), the(rig).skipped) == (["22:20", "22:30", "22:40"], 0)


def test_cancel_other(rig: Rig) -> None:
    """B71, D91: the live run is cancelled in the commit in which the next starts."""
    begin(rig, "cancel_other")
    rig.advance(minutes(10) - seconds(1))
    crash(rig)
    rig.advance(seconds(1))
    assert (runs(rig, "cancelled"), runs(rig, "running")) == (["22:20"], ["22:30"])
    first, second = rig.rows("workflow")
    assert (first.status, second.status) == ("Cancelled", "Suspended")
    assert first.error_message == "run s-2023-11-14T22:30:00Z of schedule s takes its place"
    assert first.updated_at == second.created_at
    assert rig.rows("schedule_run")[0].detail == first.error_message


def test_terminate_other(rig: Rig) -> None:
    """B71, D91: as above, without asking its handler."""
    begin(rig, "terminate_other")
    rig.advance(minutes(10))
    assert (runs(rig, "terminated"), runs(rig, "running")) == (["22:20"], ["22:30"])
    assert [w.status for w in rig.rows("workflow")] == ["Terminated", "Suspended"]


def test_a_run_that_is_over_at_once_is_in_nobodys_way(rig: Rig) -> None:
    """B71: it has ended before the schedule knew its id."""
    begin(rig, "skip", 0)
    rig.advance(minutes(10))
    assert (runs(rig, "completed"), the(rig).skipped) == (["22:20", "22:30"], 0)


def test_one_that_waited_and_fails_at_once_counts_once(rig: Rig) -> None:
    """B71, D26: its id was known before it began, so it is told of its end twice."""
    rig.call(CREATE, "s", EVERY_TEN, working(minutes(15), overlap="buffer_one"))
    rig.advance(minutes(17))
    rig.call("schedule_update", "s", None, {"payload": {"fault": "start"}})
    rig.advance(minutes(6))
    assert (runs(rig, "failed"), the(rig).runs_failed, the(rig).failures) == (["22:30"], 1, 0)


def test_a_pause_holds_what_waits(rig: Rig) -> None:
    """B70, B71: it starts when the schedule is resumed."""
    begin(rig, "buffer_one")
    rig.advance(minutes(10))
    rig.call("schedule_pause", "s", "the bridge is out")
    rig.advance(minutes(30))
    crash(rig)
    assert (runs(rig, "running"), buffered(rig)) == ([], ["22:30"])
    rig.call("schedule_resume", "s")
    assert (runs(rig, "running"), buffered(rig)) == (["22:30"], [])


def test_another_policy_lets_go_of_what_waits(rig: Rig) -> None:
    """B70: with allow_all there is nothing to wait for at the next occurrence."""
    begin(rig, "buffer_all", minutes(600))
    rig.advance(minutes(20))
    rig.call("schedule_update", "s", None, {"overlap": "allow_all"})
    rig.advance(minutes(10))
    assert (runs(rig, "running"), buffered(rig)) == (["22:20", "22:30", "22:40", "22:50"], [])


def test_two_schedules_do_not_know_each_other(rig: Rig) -> None:
    """B71: overlap is within one schedule."""
    begin(rig, "skip", minutes(600))
    rig.call(CREATE, "t", EVERY_TEN, working())
    rig.advance(minutes(10))
    assert (the(rig).fires, the(rig, "t").fires, the(rig, "t").skipped) == (1, 1, 0)
