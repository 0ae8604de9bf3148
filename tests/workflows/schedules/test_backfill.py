"""Backfills: a span of the past, at its exact times, in portions, once."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import hours, minutes
from reactor.errors import SenderError
from reactor.testing import Rig
from tests.workflows.schedules.kit import CREATE, EVERY_TEN, Work, clock_time, crash, events, runs, the, working

NOON = 1_699_963_200_000_000
"""14 November 2023, 12:00 UTC; the tests begin at 22:13:20."""


def begin(rig: Rig, **settings: Any) -> None:
    """A schedule every ten minutes, made at 22:13:20."""
    rig.call(CREATE, "s", EVERY_TEN, working(**settings))


def ask(rig: Rig, from_at: int, to_at: int, *more: Any) -> Any:
    """A backfill, and what it comes to."""
    answer = rig.call("schedule_backfill", "s", from_at, to_at, *more)
    rig.advance(minutes(1))
    return answer


def test_a_span_is_run_at_its_exact_times(rig: Rig) -> None:
    """D93: both ends included, no jitter, deterministic names; the calendar goes on beside it."""
    begin(rig, jitter_us=minutes(9), overlap="allow_all", takes_us=0)
    answer = ask(rig, NOON, NOON + minutes(30))
    assert clock_time(answer["first_at"]) == "12:00"
    assert runs(rig) == ["12:00", "12:10", "12:20", "12:30"]
    assert [w.name for w in rig.rows("workflow")][-1] == "s-2023-11-14T12:30:00Z"
    assert {run.cause for run in rig.rows("schedule_run")} == {"backfill"}
    assert rig.rows("schedule_backfill") == []
    told = [(e.kind, e.detail) for e in rig.rows("schedule_event") if e.kind.startswith("backfill")]
    assert told == [
        ("backfill", f"backfill 1: {NOON} to {NOON + minutes(30)}"),
        ("backfilled", "backfill 1: 4 started, 0 skipped, 0 failed"),
    ]
    rig.advance(minutes(15))
    assert runs(rig)[4:] == ["22:20"]


def test_portions_and_a_crash_between_any_two(rig: Rig) -> None:
    """D93, F1: the cursor is a row: no occurrence lost, none doubled, and others have their turn."""
    begin(rig, overlap="allow_all", takes_us=0)
    rig.call("schedule_backfill", "s", NOON - hours(24), NOON)
    left = 0
    while rig.rows("schedule_backfill"):
        crash(rig)
        done = len(rig.rows("workflow"))
        assert 0 < done - left <= 26
        left = done
        rig.advance(25_000)
    assert the(rig).fires == len(rig.rows("workflow")) == 145
    assert len({w.name for w in rig.rows("workflow")}) == 145
    assert rig.engine.counters.timer_failures == 0


@pytest.mark.parametrize(
    ("overlap", "live", "skipped"),
    [("buffer_one", 4, 0), ("buffer_all", 4, 0), ("allow_all", 4, 0), ("skip", 1, 3), ("cancel_other", 1, 0)],
)
def test_buffers_act_as_allow(rig: Rig, overlap: str, live: int, skipped: int) -> None:
    """D93: what is past has no reason to wait; the other policies are as ever."""
    begin(rig, overlap=overlap, takes_us=hours(9))
    ask(rig, NOON, NOON + minutes(30))
    assert (len(runs(rig, "running")), the(rig).skipped) == (live, skipped)


def test_another_policy_for_a_backfill(rig: Rig) -> None:
    """D93: the schedule's own stays."""
    begin(rig, overlap="skip", takes_us=hours(9))
    ask(rig, NOON, NOON + minutes(30), "allow_all")
    assert (len(runs(rig, "running")), the(rig).overlap) == (4, "skip")


def test_the_number_of_runs_is_minded(rig: Rig) -> None:
    """D93: it ends when the schedule has had all its runs."""
    begin(rig, overlap="allow_all", takes_us=0, max_runs=3)
    ask(rig, NOON, NOON + hours(2))
    assert (runs(rig), the(rig).status) == (["12:00", "12:10", "12:20"], "deleted")
    assert "3 started" in next(e.detail for e in rig.rows("schedule_event") if e.kind == "backfilled")


def test_what_has_run_does_not_run_again(rig: Rig) -> None:
    """F2: also when only the workflow remembers it, and twice the same span comes to one."""
    begin(rig, overlap="allow_all", takes_us=0)
    rig.advance(minutes(17))
    for _ in range(2):
        ask(rig, NOON + hours(10), rig.clock.now())
    assert sorted(runs(rig)) == ["22:00", "22:10", "22:20", "22:30"]

    def forget(ctx: Any) -> None:
        for run in list(ctx.db.schedule_run):
            ctx.db.schedule_run.delete(run)

    rig.run(forget)
    ask(rig, NOON + hours(10), rig.clock.now())
    assert (runs(rig), len(rig.rows("workflow"))) == ([], 4)


def test_what_is_due_stays_the_schedules_own(rig: Rig) -> None:
    """F2: an occurrence that still waits for its delay is not taken by a backfill up to now."""
    begin(rig, overlap="allow_all", takes_us=0, jitter_us=minutes(9))
    due = rig.call("schedule_describe", "s", 1)["next"][0]
    rig.advance(due["nominal_at"] - rig.clock.now())
    assert due["due_at"] > rig.clock.now()
    ask(rig, due["nominal_at"] - minutes(10), rig.clock.now())
    rig.advance(minutes(9))
    assert sorted(runs(rig)) == ["22:10", "22:20"]


def test_nothing_to_do_is_said(rig: Rig) -> None:
    """D93: a span without occurrences makes no row."""
    begin(rig)
    assert ask(rig, NOON + 1, NOON + minutes(9)) == {"backfill": None, "first_at": None}
    assert events(rig) == [("created", "")]


def test_while_paused_and_after_the_end(rig: Rig) -> None:
    """B70, D93: a pause does not hold it up, a deletion ends it."""
    begin(rig, overlap="allow_all", takes_us=0)
    rig.call("schedule_pause", "s", "a while")
    rig.call("schedule_backfill", "s", NOON - hours(24), NOON)
    assert the(rig).fires == 25
    rig.call("schedule_delete", "s")
    rig.advance(minutes(1))
    assert (the(rig).fires, rig.rows("schedule_backfill"), rig.rows("schedule_timer")) == (25, [], [])


def test_a_backfill_of_failures_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A44: each is counted."""
    begin(rig, overlap="allow_all", takes_us=0)
    monkeypatch.setattr(Work, "on_start", lambda *_: 1 // 0)
    ask(rig, NOON, NOON + minutes(30))
    assert (the(rig).fires, the(rig).runs_failed) == (4, 4)


def test_bad_spans_are_refused(rig: Rig) -> None:
    """B81: swapped, in the future, or of a schedule that has had its runs."""
    begin(rig, max_runs=1, takes_us=hours(1), overlap="buffer_all")
    for span, parameter in (((NOON + 1, NOON), "from_at"), ((NOON, rig.clock.now() + 1), "to_at")):
        with pytest.raises(SenderError) as caught:
            rig.call("schedule_backfill", "s", *span)
        assert (caught.value.code, caught.value.details["parameter"]) == ("bad_arguments", parameter)


def test_a_span_before_the_calendar_is_refused(rig: Rig) -> None:
    """D93: runs are named by dates; it does not stop the schedule."""
    rig.call(CREATE, "s", EVERY_TEN, working(takes_us=0))
    for from_at in (-1, -(10**17), -(1 << 63)):
        with pytest.raises(SenderError) as refused:
            ask(rig, from_at, from_at + minutes(30))
        assert refused.value.code == "bad_arguments"
    assert the(rig).status == "active"
