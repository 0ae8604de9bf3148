"""What operators do with schedules, what is refused, who may, and what is written down."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import hours, minutes, seconds
from reactor.errors import SenderError
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.schedules.kit import (
    CREATE,
    EVERY_TEN,
    buffered,
    clock_time,
    crash,
    events,
    runs,
    the,
    working,
)
from workflows import WorkflowEngine
from workflows.schedules import SchedulePart
from workflows.schedules.part import SchedulePart as Part

STRANGER = "a" * 32


def refused(rig: Rig, *call: Any, sender: str = "0" * 32) -> SenderError:
    """The error of a call that changes nothing, besides the row of the command if it came so far."""
    before = rig.engine.seq - len(rig.rows("command_log"))
    with pytest.raises(SenderError) as caught:
        rig.call(*call, sender=sender)
    assert rig.engine.seq - len(rig.rows("command_log")) == before
    return caught.value


# -- pause, resume, update, delete -----------------------------------------------------------------


def test_pause_and_resume(rig: Rig) -> None:
    """B70: with a reason; what would have been due meanwhile is neither run nor missed."""
    rig.call(CREATE, "s", EVERY_TEN, working(0))
    rig.advance(minutes(8))
    assert rig.call("schedule_pause", "s", "the bridge is out")["status"] == "paused"
    crash(rig)
    rig.advance(minutes(20))
    row = the(rig)
    assert (row.status, row.reason, row.next_at, row.missed) == ("paused", "the bridge is out", None, 0)
    assert clock_time(rig.call("schedule_resume", "s")["next_at"]) == "22:50"
    rig.advance(minutes(10))
    assert (runs(rig), the(rig).reason) == (["22:20", "22:50"], None)
    assert events(rig, "paused", "resumed") == [("paused", ""), ("resumed", "")]


def test_a_schedule_may_begin_paused(rig: Rig) -> None:
    """B70: made ready now, let go later; pausing or resuming twice is no event."""
    rig.call(CREATE, "s", EVERY_TEN, working(0), "not before the feast")
    rig.call("schedule_pause", "s", "again")
    rig.advance(minutes(20))
    assert (runs(rig), the(rig).reason) == ([], "not before the feast")
    rig.call("schedule_resume", "s")
    rig.call("schedule_resume", "s")
    assert events(rig) == [("created", ""), ("paused", ""), ("resumed", "")]


def test_update_keeps_what_is_not_given(rig: Rig) -> None:
    """B70: the new times hold from now on; payload and counters stay."""
    rig.call(CREATE, "s", EVERY_TEN, working(0, description="old", jitter_us=0))
    rig.advance(minutes(8))
    answer = rig.call("schedule_update", "s", {"cron": ["5 * * * *"]}, {"description": "new"})
    assert (clock_time(answer["next_at"]), answer["changed"]) == ("23:05", ["description", "spec"])
    crash(rig)
    rig.advance(hours(1))
    row = the(rig)
    assert (runs(rig), row.description, row.payload["takes_us"], row.fires) == (["22:20", "23:05"], "new", 0, 2)
    assert [e.detail for e in rig.rows("schedule_event") if e.kind == "updated"] == ["description, spec"]


def test_an_update_that_changes_nothing_is_none(rig: Rig) -> None:
    """B70: no event, no new next time."""
    rig.call(CREATE, "s", EVERY_TEN, working(0))
    before = rig.engine.seq
    assert rig.call("schedule_update", "s", EVERY_TEN | {"time_zone": "UTC"}, {"overlap": "skip"})["changed"] == []
    # The row of the command, and no other.
    assert rig.engine.seq == before + 1


def test_an_update_may_lift_the_number_of_runs(rig: Rig) -> None:
    """B70, D92: one that has only its buffer left goes on."""
    rig.call(CREATE, "s", EVERY_TEN, working(minutes(25), overlap="buffer_one", max_runs=2))
    rig.advance(minutes(18))
    assert the(rig).next_at is None
    rig.call("schedule_update", "s", None, {"max_runs": None})
    rig.advance(hours(1))
    assert the(rig).fires > 2


def test_delete_leaves_the_history(rig: Rig) -> None:
    """D92: soft; nothing comes due, what waits is skipped, the live run goes on, the name may be used again."""
    rig.call(CREATE, "s", EVERY_TEN, working(minutes(25), overlap="buffer_all"))
    rig.advance(minutes(28))
    rig.call("schedule_delete", "s")
    crash(rig)
    rig.advance(hours(1))
    row = the(rig)
    assert (row.status, row.reason, row.skipped) == ("deleted", "it was deleted by hand", 2)
    assert (runs(rig, "completed"), buffered(rig)) == (["22:20"], [])
    assert refused(rig, "schedule_resume", "s").code == "not_active"
    rig.call(CREATE, "s", EVERY_TEN, working(0))
    rig.advance(minutes(10))
    assert (the(rig).fires, [r.schedule_id for r in rig.rows("schedule_run")]) == (1, [the(rig).id])
    assert [e.kind for e in rig.rows("schedule_event") if e.schedule_id == 1][-1] == "deleted"


# -- trigger ---------------------------------------------------------------------------------------


def test_trigger_now(rig: Rig) -> None:
    """D92, D95: a run beside the calendar, which it does not move; the caller is the owner of the workflow."""
    rig.call(CREATE, "s", EVERY_TEN, working(seconds(10)))
    answer = rig.call("schedule_trigger", "s")
    assert (answer["outcome"], answer["run_name"]) == ("started", "s-2023-11-14T22:13:20Z")
    assert rig.row("workflow", answer["workflow_id"]).owner == "0" * 32
    assert events(rig, "triggered", "fired") == [("triggered", "22:13:20.000000"), ("fired", "22:13:20.000000")]
    rig.advance(minutes(7))
    assert runs(rig) == ["22:13:20.000000", "22:20"]
    assert [run.cause for run in rig.rows("schedule_run")] == ["trigger", "schedule"]


def test_trigger_minds_the_overlap_unless_told_otherwise(rig: Rig) -> None:
    """B71: the answer says what became of it; two of one instant have two names."""
    rig.call(CREATE, "s", EVERY_TEN, working())
    answers = rig.batch(*[("schedule_trigger", "s", policy) for policy in (None, None, "buffer_all", "allow_all")])
    assert [a["outcome"] for a in answers] == ["started", "skipped", "buffered", "started"]
    assert answers[1]["detail"] == "a run is still live"
    assert len({a["run_name"] for a in answers if a["outcome"] != "skipped"}) == 3
    rig.advance(minutes(4))
    assert (buffered(rig), len(runs(rig, "running"))) == ([], 1)


def test_trigger_while_paused(rig: Rig) -> None:
    """B70: a pause is for the calendar; who asks by hand is served."""
    rig.call(CREATE, "s", EVERY_TEN, working(0), "later")
    assert rig.call("schedule_trigger", "s")["outcome"] == "started"
    assert the(rig).status == "paused"


def test_a_trigger_that_fails_says_why(make_rig: MakeRig) -> None:
    """D95: counted and written down like any other."""
    rig = make_rig()
    rig.call(CREATE, "s", EVERY_TEN, working())
    rig.crash()
    rig.reopen(WorkflowEngine([]))
    answer = rig.call("schedule_trigger", "s")
    assert (answer["outcome"], answer["workflow_id"]) == ("failed", None)
    assert "unknown_type" in answer["detail"]
    assert (the(rig).failures, events(rig, "failed")[0][0]) == (1, "failed")


# -- looking ---------------------------------------------------------------------------------------


def test_describe(rig: Rig) -> None:
    """D92: the next times, nominal, due and local; what is live and what waits."""
    rig.call(CREATE, "s", {"cron": ["0 12 * * *"], "time_zone": "Asia/Tokyo"}, working(max_runs=3))
    rig.call("schedule_trigger", "s")
    told = rig.call("schedule_describe", "s")
    assert [n["local"] for n in told["next"]] == ["2023-11-15T12:00:00+09:00", "2023-11-16T12:00:00+09:00"]
    assert told["schedule"]["name"] == "s"
    assert told["running"] == [{"run_name": "s-2023-11-14T22:13:20Z", "workflow_id": 1}]
    rig.call("schedule_pause", "s", "a while")
    assert len(rig.call("schedule_describe", "s", 1)["next"]) == 1
    rig.call("schedule_delete", "s")
    assert rig.call("schedule_describe", "s")["next"] == []


def test_overview(rig: Rig) -> None:
    """D26: active, paused, fires, failures, missed, skipped, and the oldest due time, by SQL."""
    rig.call(CREATE, "a", EVERY_TEN, working())
    rig.call(CREATE, "b", EVERY_TEN, working(minutes(15)))
    rig.call(CREATE, "c", EVERY_TEN, working(), "later")
    rig.advance(minutes(17))
    crash(rig, minutes(10))
    ((active, paused, fires, failures, failed, missed, skipped, waiting, oldest),) = rig.sql(
        "SELECT active, paused, fires, failures, runs_failed, missed, skipped, buffered, oldest_due "
        "FROM schedule_overview"
    )
    assert (active, paused, fires, failures, failed, missed, skipped, waiting) == (2, 1, 3, 0, 0, 2, 1, 0)
    assert clock_time(oldest) == "22:50"


# -- who may ---------------------------------------------------------------------------------------

VERBS: list[tuple[Any, ...]] = [
    (CREATE, "t", EVERY_TEN, working()),
    ("schedule_update", "s"),
    ("schedule_pause", "s", "why"),
    ("schedule_resume", "s"),
    ("schedule_trigger", "s"),
    ("schedule_backfill", "s", 0, 1),
    ("schedule_delete", "s"),
    ("schedule_describe", "s"),
]


@pytest.mark.parametrize("call", VERBS, ids=lambda call: str(call[0]))
def test_only_the_owner_may(rig: Rig, call: tuple[Any, ...]) -> None:
    """A107: nobody else, also of schedules that are not there."""
    rig.call(CREATE, "s", EVERY_TEN, working())
    assert refused(rig, *call, sender=STRANGER).code == "forbidden"
    assert refused(rig, call[0], "nowhere", *call[2:], sender=STRANGER).code == "forbidden"


def test_a_game_may_let_others(make_rig: MakeRig) -> None:
    """A107: asked with the row and the verb; a reducer that a schedule calls stays for the owner."""
    rig = make_rig()
    rig.call(CREATE, "s", EVERY_TEN, working())
    rig.call(CREATE, "c", EVERY_TEN, {"command": "workflow_tick"})
    asked: list[tuple[str | None, str]] = []

    def authorize(ctx: Any, schedule: Any, verb: str) -> bool:
        asked.append((None if schedule is None else schedule.name, verb))
        return verb != "delete"

    engine = rig.module
    assert isinstance(engine, WorkflowEngine)
    engine.part(SchedulePart).authorize = authorize
    rig.call(CREATE, "t", EVERY_TEN, working(), sender=STRANGER)
    rig.call("schedule_pause", "s", "why", sender=STRANGER)
    assert refused(rig, "schedule_delete", "s", sender=STRANGER).code == "forbidden"
    assert asked == [(None, "create"), ("s", "pause"), ("s", "delete")]
    for call in ((CREATE, "u", EVERY_TEN, {"command": "workflow_tick"}), ("schedule_trigger", "c")):
        assert refused(rig, *call, sender=STRANGER).code == "forbidden"
    taken_over = ("schedule_update", "t", None, {"workflow_type": None, "command": "workflow_tick"})
    assert refused(rig, *taken_over, sender=STRANGER).code == "forbidden"


def test_nobody_fires_a_schedule(rig: Rig) -> None:
    """A88: what a timer runs is out of everybody's reach."""
    rig.call(CREATE, "s", EVERY_TEN, working())
    for identity in ("0" * 32, STRANGER):
        answer = rig.connect(identity).ask(call="schedule_fire", args=[{}])
        assert answer["error"]["code"] == "forbidden"
    assert runs(rig) == []


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spec", "settings", "parameter", "told"),
    [
        ("a b", EVERY_TEN, working(), "name", "begin with a letter or digit"),
        ("", EVERY_TEN, working(), "name", "begin with a letter or digit"),
        ("s", {}, working(), "spec", "give it cron lines"),
        ("s", {"cron": ["0 0 30 2 *"]}, working(), "spec", "there is no occurrence"),
        ("s", {"cron": "* * * * *"}, working(), "spec", "array"),
        ("s", EVERY_TEN, {}, "settings", "either workflow_type, or command"),
        ("s", EVERY_TEN, working(command="workflow_tick"), "settings", "either workflow_type, or command"),
        ("s", EVERY_TEN, working(overlap="maybe"), "settings", "maybe"),
        ("s", EVERY_TEN, working(colour=1), "settings", "colour"),
        ("s", EVERY_TEN, {"workflow_type": "work", "payload": {"fast": 1}}, "payload", "fast"),
        ("s", EVERY_TEN, working(jitter_us=-1), "jitter_us", "from 0 to a day"),
        ("s", EVERY_TEN, working(catch_up_us=hours(9_000)), "catch_up_us", "from 0 to a year"),
        ("s", EVERY_TEN, working(max_runs=0), "max_runs", "1 or more"),
        ("s", EVERY_TEN, working(ends_at=5), "ends_at", "widen"),
        ("s", EVERY_TEN, working(starts_at=9, ends_at=5), "ends_at", "swap"),
        ("s", EVERY_TEN, working(starts_at=1 << 62), "starts_at", "microseconds"),
        ("s", EVERY_TEN, working(attributes={"$mine": 1}), "attributes", "are the engine's"),
        ("s", EVERY_TEN, working(tags=["$mine"]), "tags", "are the engine's"),
        ("s", EVERY_TEN, working(attributes={"a": [1]}), "attributes", "holds text, a number"),
        ("s", EVERY_TEN, working(description="x" * 1001), "description", "longer than"),
        ("s", EVERY_TEN, {"command": "nonsense"}, "command", "no reducer that a schedule may call"),
        ("s", EVERY_TEN, {"command": "schedule_fire"}, "command", "no reducer that a schedule may call"),
        ("s", EVERY_TEN, {"command": "schedule_trigger", "arguments": ["s"]}, "command", "no reducer"),
        ("s", EVERY_TEN, {"command": "workflow_timer_fire"}, "command", "no reducer"),
        ("s", EVERY_TEN, {"command": "workflow_cancel", "arguments": [1]}, "arguments", "parameter reason is missing"),
    ],
)  # fmt: skip
def test_bad_schedules_are_refused(rig: Rig, name: str, spec: Any, settings: Any, parameter: str, told: str) -> None:
    """C32, B81: nothing is stored; the field is named, and how to mend it."""
    error = refused(rig, CREATE, name, spec, settings)
    assert (error.code, error.details["parameter"]) == ("bad_arguments", parameter)
    assert told in error.message


def test_bad_changes_are_refused(rig: Rig) -> None:
    """B81: an update is checked as a whole, against what it keeps."""
    rig.call(CREATE, "s", EVERY_TEN, working())
    assert refused(rig, "schedule_update", "s", None, {"command": "workflow_tick"}).code == "bad_arguments"
    assert refused(rig, "schedule_update", "s", None, {"workflow_type": "nonsense"}).code == "unknown_type"
    assert refused(rig, "schedule_update", "s", {"cron": ["x"]}).code == "bad_arguments"
    assert refused(rig, "schedule_update", "t").code == "not_found"
    assert refused(rig, CREATE, "s", EVERY_TEN, working()).code == "unique_violation"
    assert refused(rig, "schedule_describe", "s", 101).code == "bad_arguments"


# -- a way on --------------------------------------------------------------------------------------


def test_a_start_mends_what_somebody_broke(rig: Rig) -> None:
    """F1: timers that were deleted, runs that were never told of their end: no schedule is left without a way on."""
    rig.call(CREATE, "a", EVERY_TEN, working(minutes(25), overlap="buffer_one"))
    rig.call(CREATE, "b", EVERY_TEN, working(0))
    rig.advance(minutes(18))
    rig.call("schedule_backfill", "b", rig.clock.now() - hours(9), rig.clock.now())

    def sabotage(ctx: Any) -> None:
        for timer in list(ctx.db.schedule_timer):
            ctx.db.schedule_timer.delete(timer)
        ctx.db.workflow_timer.delete(ctx.db.workflow_timer.first(workflow_id=1))
        ctx.db.workflow.update(1, status="Completed", waits=None, ended_at=ctx.now)

    rig.run(sabotage)
    rig.advance(minutes(10))
    assert (the(rig, "a").buffered, the(rig, "b").fires) == (1, 27)
    crash(rig)
    rig.advance(minutes(12))
    assert buffered(rig) in ([], ["22:50"])
    assert (the(rig, "b").fires, the(rig, "b").missed) == (2 + 52 + 1, 1)
    assert [r for r in rig.rows("schedule_timer") if r.kind == "backfill"] == []


def test_the_part_is_the_engines(rig: Rig) -> None:
    """Its reducers are ordinary ones, described to whoever asks; what fires is internal."""
    reducers = rig.engine.program.reducers
    assert {call[0] for call in VERBS} <= set(reducers)
    assert reducers["schedule_fire"].access == "internal"
    assert Part is SchedulePart
