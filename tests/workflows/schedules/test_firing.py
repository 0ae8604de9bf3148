"""Occurrences: each once, on time, whatever happens to the process, the clock or the run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from reactor import days, hours, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.schedules.kit import (
    CREATE,
    EVERY_TEN,
    Work,
    clock_time,
    crash,
    events,
    runs,
    the,
    working,
)
from tests.workflows.schedules.naive import us, utc
from workflows import WorkflowEngine
from workflows.schedules import launching


def nominal(rig: Rig) -> list[str]:
    """Dates and times of the runs."""
    return [utc(run.nominal_at) for run in rig.rows("schedule_run")]


# -- once ------------------------------------------------------------------------------------------


def test_an_occurrence_starts_a_workflow(rig: Rig) -> None:
    """B70, D92: with all it was told, at its very time, under a name that follows from the schedule and the time."""
    settings = working(entity_id=7, correlation_id="farm", description="Every ten minutes.")
    labels = {"attributes": {"zone": 4}, "tags": ["farm"]}
    answer = rig.call(CREATE, "harvest", EVERY_TEN, settings | labels)
    assert clock_time(answer["next_at"]) == "22:20"
    rig.advance(minutes(7))
    (workflow,) = rig.rows("workflow")
    assert (workflow.workflow_type, workflow.entity_id, workflow.correlation_id) == ("work", 7, "farm")
    assert (workflow.created_at, workflow.owner) == (answer["next_at"], None)
    (run,) = rig.rows("schedule_run")
    assert (run.workflow_id, run.run_name) == (workflow.id, "harvest-2023-11-14T22:20:00Z")
    assert (run.nominal_at, run.outcome, run.cause) == (answer["next_at"], "running", "schedule")
    assert workflow.name == run.run_name
    found = rig.sql("SELECT name, value FROM workflow_attribute ORDER BY name")
    assert found == [["$nominal_at", str(run.nominal_at)], ["$schedule", "harvest"], ["zone", "4"]]
    assert rig.sql("SELECT workflow_id, tag FROM workflow_tag") == [[workflow.id, "farm"]]
    row = the(rig, "harvest")
    assert (row.fires, clock_time(row.last_at), clock_time(row.next_at)) == (1, "22:20", "22:30")
    assert events(rig) == [("created", ""), ("fired", "22:20")]


@pytest.mark.parametrize("down_us", [0, seconds(1)])
def test_a_crash_between_due_and_fire_fires_once(rig: Rig, down_us: int) -> None:
    """F2, B72: due while the server is down; up to a second late it is not even late."""
    rig.call(CREATE, "s", EVERY_TEN, working())
    rig.advance(minutes(6) + seconds(39))
    rig.crash()
    rig.advance(seconds(1) + down_us)
    rig.reopen()
    crash(rig)
    crash(rig, seconds(5))
    assert (runs(rig), the(rig).missed) == (["22:20"], 0)


def test_an_interval_has_a_phase_of_its_own(rig: Rig) -> None:
    """D90, F3: it is counted from 1970, so restarts and the instant of creation do not move it."""
    rig.call(CREATE, "s", {"intervals": [{"every": "PT7M", "offset": "PT1M"}]}, working(0))
    for _ in range(5):
        rig.advance(minutes(4))
        crash(rig)
    rig.advance(minutes(1))
    assert all((run.nominal_at - minutes(1)) % minutes(7) == 0 for run in rig.rows("schedule_run"))
    assert runs(rig) == ["22:14", "22:21", "22:28"]


def test_bounds(rig: Rig) -> None:
    """D92: nothing before the first, nothing after the second; then the schedule is done."""
    at = rig.clock.now()
    settings = working(0, starts_at=at + minutes(20), ends_at=at + minutes(50))
    rig.call(CREATE, "s", EVERY_TEN, settings)
    rig.advance(hours(2))
    assert runs(rig) == ["22:40", "22:50", "23:00"]
    assert (the(rig).status, the(rig).reason) == ("deleted", "it has no further occurrence")


def test_max_runs_then_deleted(rig: Rig) -> None:
    """D92: exactly so many; those that wait count, those that could not be started do not."""
    rig.call(CREATE, "s", EVERY_TEN, working(minutes(25), overlap="buffer_all", max_runs=3))
    rig.advance(minutes(28))
    assert (the(rig).fires, the(rig).buffered, the(rig).next_at, the(rig).status) == (1, 2, None, "active")
    crash(rig)
    rig.advance(hours(3))
    assert (runs(rig, "completed"), the(rig).fires) == (["22:20", "22:30", "22:40"], 3)
    assert (the(rig).status, the(rig).reason) == ("deleted", "it has its 3 runs")


def test_a_last_run_that_could_not_be_started_is_made_up_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """D92: a schedule that stopped because all its runs were spoken for goes on when one falls through."""
    rig.call(CREATE, "s", EVERY_TEN, working(minutes(25), overlap="buffer_one", max_runs=2))
    rig.advance(minutes(18))
    assert (the(rig).buffered, the(rig).next_at) == (1, None)
    real = launching.Launcher.launch

    def broken(self: Any, ctx: Any, schedule: Any, run: Any) -> Any:
        if clock_time(run.nominal_at) == "22:30":
            raise LookupError("the barn is locked")
        return real(self, ctx, schedule, run)

    monkeypatch.setattr(launching.Launcher, "launch", broken)
    rig.advance(hours(1))
    assert (runs(rig, "could_not_start"), runs(rig, "completed")) == (["22:30"], ["22:20", "22:50"])
    assert the(rig).status == "deleted"


# -- late ------------------------------------------------------------------------------------------


def test_what_is_late_is_missed(rig: Rig) -> None:
    """B72: not run, counted, the last of them remembered, one event for all; the phase is kept."""
    rig.call(CREATE, "s", EVERY_TEN, working(0))
    rig.advance(minutes(8))
    crash(rig, minutes(31))
    row = the(rig)
    assert (runs(rig), row.missed, clock_time(row.last_missed_at)) == (["22:20"], 3, "22:50")
    (event,) = [e for e in rig.rows("schedule_event") if e.kind == "missed"]
    assert (event.count, clock_time(event.nominal_at)) == (3, "22:50")
    rig.advance(minutes(10))
    assert runs(rig) == ["22:20", "23:00"]


def test_with_a_window_it_is_caught_up(rig: Rig) -> None:
    """B72: what is not older than the window runs, in order; what is, is missed."""
    rig.call(CREATE, "s", EVERY_TEN, working(0, catch_up_us=minutes(25)))
    rig.advance(minutes(8))
    # 22:21:20 until 23:11:20: due were 22:30 (41 minutes late) to 23:10.
    crash(rig, minutes(50))
    row = the(rig)
    assert runs(rig) == ["22:20", "22:50", "23:00", "23:10"]
    assert (row.missed, clock_time(row.last_missed_at), row.fires) == (2, "22:40", 4)
    assert rig.rows("workflow")[1].created_at == rig.rows("schedule_run")[1].nominal_at


@pytest.mark.parametrize(("catch_up_us", "expected"), [(0, []), (minutes(200), ["22:20", "22:40"])])
def test_catching_up_minds_the_overlap(rig: Rig, catch_up_us: int, expected: list[str]) -> None:
    """B71, B72: runs that are caught up stand in each other's way as on time."""
    rig.call(CREATE, "s", EVERY_TEN, working(minutes(15), catch_up_us=catch_up_us))
    crash(rig, minutes(30))
    assert (runs(rig), the(rig).missed + the(rig).skipped) == (expected, 3 - len(expected))


def test_a_long_silence_is_counted_in_portions(rig: Rig) -> None:
    """B72: a line for every second of a day; nobody waits for the count, and a crash does not spoil it."""
    rig.call(CREATE, "s", {"cron": ["* * * * * *"]}, working(0))
    rig.advance(seconds(3))
    crash(rig, hours(1))
    assert 0 < the(rig).missed < 3600
    for _ in range(20):
        rig.advance(milliseconds_25 := 25_000)
        crash(rig)
    assert milliseconds_25 * 20 < seconds(1)
    assert the(rig).missed == 3599
    rig.advance(seconds(1))
    assert the(rig).missed == 3599
    assert the(rig).fires == 3 + 2


# -- jitter ----------------------------------------------------------------------------------------


def test_jitter_is_the_same_after_a_restart(make_rig: MakeRig) -> None:
    """B73: derived from the schedule's id and the nominal time: another process, the same delays."""

    def play(rig: Rig, crashes: bool) -> list[tuple[str, int]]:
        rig.call(CREATE, "s", EVERY_TEN, working(0, jitter_us=minutes(5)))
        told = rig.call("schedule_describe", "s", 6)["next"]
        for _ in range(30):
            rig.advance(minutes(2) + 1)
            if crashes:
                crash(rig)
        found = [(clock_time(r.nominal_at), r.started_at - r.nominal_at) for r in rig.rows("schedule_run")]
        assert found == [(clock_time(n["nominal_at"]), n["due_at"] - n["nominal_at"]) for n in told][: len(found)]
        return found

    through, broken = play(make_rig(), False), play(make_rig(), True)
    assert through == broken
    assert [at for at, _ in through] == ["22:20", "22:30", "22:40", "22:50", "23:00", "23:10"][: len(through)]
    delays = [delay for _, delay in through]
    assert len(set(delays)) == len(delays) >= 5
    assert 0 <= min(delays) <= max(delays) <= minutes(5)


def test_jitter_never_reaches_the_next_occurrence(rig: Rig) -> None:
    """B73: longer than the interval, it still keeps the order, and nothing counts as late."""
    rig.call(CREATE, "s", {"intervals": ["PT2S"]}, working(0, jitter_us=hours(5)))
    rig.advance(minutes(2))
    assert (the(rig).missed, the(rig).fires) in ((0, 59), (0, 60))
    assert all(0 <= r.started_at - r.nominal_at < seconds(2) for r in rig.rows("schedule_run"))


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "outcome", "counts"), [("start", "failed", (2, 0, 2)), ("end", "failed", (2, 0, 1))])
def test_a_run_that_fails_does_not_stop_the_schedule(
    rig: Rig, fault: str, outcome: str, counts: tuple[int, int, int]
) -> None:
    """A44, D26: counted apart from starts that could not be."""
    rig.call(CREATE, "s", EVERY_TEN, working(fault=fault))
    rig.advance(minutes(17))
    row = the(rig)
    assert (row.fires, row.failures, row.runs_failed) == counts
    assert rig.rows("schedule_run")[0].outcome == outcome


def test_a_start_that_is_refused_is_a_failure(make_rig: MakeRig) -> None:
    """A44, D26: the type is gone; counted, written down, and the schedule goes on for when it is back."""
    rig = make_rig()
    rig.call(CREATE, "s", EVERY_TEN, working(0))
    rig.crash()
    rig.reopen(WorkflowEngine([]))
    rig.advance(minutes(17))
    row = the(rig)
    assert (row.fires, row.failures, row.status) == (0, 2, "active")
    assert row.last_failure is not None and row.last_failure.startswith(
        "unknown_type: there is no workflow type 'work'"
    )
    assert events(rig, "failed") == [("failed", "22:20"), ("failed", "22:30")]
    assert runs(rig, "could_not_start") == ["22:20", "22:30"]
    rig.crash()
    rig.reopen(WorkflowEngine([Work]))
    rig.advance(minutes(10))
    assert (runs(rig, "completed"), the(rig).failures) == (["22:40"], 2)


def test_a_schedule_that_cannot_go_on_is_paused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1: a defect of ours or a time zone that is gone: it says so, instead of stopping silently."""
    rig.call(CREATE, "s", EVERY_TEN, working())
    monkeypatch.setattr("workflows.schedules.firing.next_nominal", lambda *_: 1 // 0)
    rig.advance(minutes(7))
    monkeypatch.undo()
    row = the(rig)
    assert (row.status, row.reason) == (
        "paused",
        "occurrence failed: ZeroDivisionError: integer division or modulo by zero",
    )
    assert (runs(rig), events(rig, "paused")) == ([], [("paused", "")])
    rig.call("schedule_resume", "s")
    rig.advance(minutes(10))
    assert runs(rig) == ["22:30"]


# -- history ---------------------------------------------------------------------------------------


def test_history_has_an_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """D95: the newest runs and routine events of each schedule are kept; live runs and what people did stay."""
    monkeypatch.setattr("workflows.schedules.runs.RUNS_KEPT", 5)
    monkeypatch.setattr("workflows.schedules.book.ROUTINE_KEPT", 7)
    rig.call(CREATE, "s", {"intervals": ["PT1M"]}, working(minutes(3) - 1, overlap="allow_all"))
    rig.call(CREATE, "t", {"intervals": ["PT1M"]}, working(0))
    rig.advance(minutes(20))
    mine = [r for r in rig.rows("schedule_run") if r.schedule_id == 1]
    assert [r.outcome for r in mine] == ["completed"] * 5 + ["running"] * 3
    assert [clock_time(r.nominal_at) for r in mine] == [f"22:{m}" for m in range(26, 34)]
    told = [e for e in rig.rows("schedule_event") if e.schedule == "s"]
    assert [e.kind for e in told] == ["created"] + ["fired"] * 7
    assert the(rig).fires == 20


# -- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_us", [hours(26), -hours(26), -minutes(5)])
def test_a_clock_that_is_set_anew_doubles_nothing(rig: Rig, step_us: int) -> None:
    """D90: forward is like being late; back, what has run does not run again, and the next comes at its time."""
    rig.call(CREATE, "s", EVERY_TEN, working(0))
    rig.advance(minutes(17))
    rig.crash()
    rig.clock._now += step_us
    rig.reopen()
    rig.call("schedule_pause", "s", "have a look")
    rig.call("schedule_resume", "s")
    rig.advance(hours(27))
    times = [run.nominal_at for run in rig.rows("schedule_run")]
    assert len(times) == len(set(times))
    assert sorted(times) == times
    assert the(rig).missed == (156 if step_us > 0 else 0)
    if step_us < 0:
        assert [b - a for a, b in pairwise(times)] == [minutes(10)] * (len(times) - 1)


@pytest.mark.parametrize(
    ("zone", "line", "start", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2024-03-30T00:00", "03-30 01:30, 03-31 01:30, 04-01 00:30"),
        ("Europe/Berlin", "30 2 * * *", "2024-10-26T00:00", "10-26 00:30, 10-27 00:30, 10-28 01:30"),
        ("America/New_York", "30 2 * * *", "2024-03-09T06:00", "03-09 07:30, 03-10 07:30, 03-11 06:30"),
        ("America/New_York", "30 1 * * *", "2024-11-02T00:00", "11-02 05:30, 11-03 05:30, 11-04 06:30"),
        ("Australia/Lord_Howe", "15 2 * * *", "2024-10-04T12:00", "10-04 15:45, 10-05 15:45, 10-06 15:15"),
        ("Australia/Lord_Howe", "45 1 * * *", "2024-04-05T12:00", "04-05 14:45, 04-06 14:45, 04-07 15:15"),
    ],
)
def test_runs_across_a_change_of_the_clocks(make_rig: MakeRig, zone: str, line: str, start: str, expected: str) -> None:
    """D90: both directions, with a crash every three hours and a half."""
    rig = make_rig(start_us=us(start))
    rig.call(CREATE, "s", {"cron": [line], "time_zone": zone}, working(0))
    for _ in range(days(3) // minutes(210)):
        rig.advance(minutes(210) - seconds(7))
        crash(rig)
        rig.advance(seconds(7))
    assert ", ".join(nominal(rig)[:3]) == expected
    assert the(rig).missed == 0
