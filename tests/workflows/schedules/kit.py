"""What the tests of schedules share: a few types, and short ways to look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from reactor import minutes
from reactor.testing import Rig
from workflows import Handler, NoPayload, Payload, Timer, Workflow

CREATE = "schedule_create"
EVERY_TEN = {"cron": ["*/10 * * * *"]}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Job(Payload):
    """How long it takes, and what goes wrong."""

    takes_us: int = minutes(3)
    fault: str = ""


class JobState(msgspec.Struct):
    fault: str = ""


class Work(Handler[JobState]):
    """Works for a while; ``finish`` ends it early. It may fail at its start, refuse it, or fail at its end."""

    name = "work"
    clock = "wall"
    signals = {"finish": NoPayload}

    def on_start(self, w: Workflow[JobState], payload: Job) -> None:
        w.state.fault = payload.fault
        if payload.fault == "start":
            raise ZeroDivisionError("a defect")
        if payload.takes_us == 0:
            w.complete("at once")
        else:
            w.timer("done", after_us=payload.takes_us)

    def on_timer(self, w: Workflow[JobState], timer: Timer) -> None:
        if w.state.fault == "end":
            w.fail("it went wrong")
        else:
            w.complete("in time")

    def on_finish(self, w: Workflow[JobState], payload: NoPayload) -> None:
        w.complete("early")


def working(takes_us: int = minutes(3), fault: str = "", **settings: Any) -> dict[str, Any]:
    """Settings of a schedule that starts ``work``."""
    return {"workflow_type": "work", "payload": {"takes_us": takes_us, "fault": fault}, **settings}


def clock_time(instant_us: int) -> str:
    """``22:20``, with seconds and their parts if there are any."""
    at = _EPOCH + timedelta(microseconds=instant_us)
    return at.strftime("%H:%M") if instant_us % minutes(1) == 0 else at.strftime("%H:%M:%S.%f")


def the(rig: Rig, name: str = "s") -> Any:
    """The row of a schedule."""
    return next(row for row in rig.rows("schedule") if row.name == name)


def runs(rig: Rig, outcome: str | None = None) -> list[str]:
    """Nominal times of the runs, of one outcome if told."""
    return [clock_time(r.nominal_at) for r in rig.rows("schedule_run") if outcome in (None, r.outcome)]


def buffered(rig: Rig) -> list[str]:
    """Nominal times of what waits."""
    return [clock_time(r.nominal_at) for r in rig.rows("schedule_buffer")]


def events(rig: Rig, *kinds: str) -> list[tuple[str, str]]:
    """Kinds and nominal times of events."""
    found = [e for e in rig.rows("schedule_event") if not kinds or e.kind in kinds]
    return [(e.kind, "" if e.nominal_at is None else clock_time(e.nominal_at)) for e in found]


def crash(rig: Rig, down_us: int = 0) -> None:
    """Kill it, leave it down for a while, start it again."""
    rig.crash()
    rig.advance(down_us)
    rig.reopen()


def assert_sound(rig: Rig) -> None:
    """Every active schedule has one durable way on; counters, buffer and timers agree."""
    timers = rig.rows("schedule_timer")
    for row in rig.rows("schedule"):
        mine = [t for t in timers if t.schedule_id == row.id]
        occurrences = [t for t in mine if t.kind == "occurrence"]
        waiting = [b for b in rig.rows("schedule_buffer") if b.schedule_id == row.id]
        assert row.buffered == len(waiting), row.name
        assert len(occurrences) == (row.next_at is not None), row.name
        if row.status == "deleted":
            assert not mine and not waiting, row.name
        if row.status == "active" and row.next_at is None:
            live = [r for r in rig.rows("schedule_run") if r.schedule_id == row.id and r.outcome == "running"]
            assert waiting or live or any(t.kind == "backfill" for t in mine), row.name
        assert len({(t.kind, t.target) for t in mine}) == len(mine), row.name
    for run in rig.rows("schedule_run"):
        lives = run.workflow_id is not None and rig.row("workflow", run.workflow_id).status in ("Suspended", "Paused")
        more = any(t.kind == "more" and t.target == run.id for t in timers)
        assert (run.outcome == "running") == (lives or more), run.run_name
