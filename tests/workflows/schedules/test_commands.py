"""Schedules that call a reducer, and the clean-up that is built in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reactor import Module, days, hours, minutes
from reactor.errors import SenderError
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.schedules.kit import CREATE, EVERY_TEN, Work, assert_sound, clock_time, crash, events, runs, the
from workflows import WorkflowEngine
from workflows.schedules import CleanupPolicy


def game(cleanup: CleanupPolicy | None = None, factor: int = 1) -> Module:
    """A module with reducers of its own."""
    module = Module("game", includes=[WorkflowEngine([Work], cleanup=cleanup)])

    @module.table(public=True)
    class Tally:
        """What was counted."""

        name: str = module.primary_key()
        count: int

    @module.reducer(access="owner")
    def add(ctx: Any, name: str, amount: int = 1) -> dict[str, Any]:
        """Count; there is more to do until it is five."""
        row = ctx.db.tally.get(name) or ctx.db.tally.insert(name=name, count=0)
        if name == "bad":
            raise KeyError("a defect")
        count = row.count + amount * factor
        ctx.db.tally.update(name, count=count)
        return {"count": count, "more": name == "long" and count < 5}

    return module


def test_a_reducer_of_the_game(make_rig: MakeRig) -> None:
    """A106: any reducer of the program but what timers run; its answer is kept with the run."""
    with Rig(game()) as rig:
        rig.call(CREATE, "s", EVERY_TEN, {"command": "add", "arguments": ["x", 3]})
        rig.call(CREATE, "t", EVERY_TEN, {"command": "add", "arguments": {"name": "y"}})
        rig.advance(minutes(8))
        crash(rig)
        rig.advance(minutes(10))
        assert {row.name: row.count for row in rig.rows("tally")} == {"x": 6, "y": 2}
        run = rig.rows("schedule_run")[0]
        assert (run.outcome, run.detail, run.workflow_id) == ("completed", '{"count":3,"more":false}', None)
        assert_sound(rig)


def test_a_reload_brings_other_reducers_and_another_policy() -> None:
    """REQ-12, A106: the timers stay what they are; the next occurrence runs what the new version says."""
    before = game()
    with Rig(before) as rig:
        rig.call(CREATE, "s", EVERY_TEN, {"command": "add", "arguments": ["x", 3]})
        rig.advance(minutes(8))
        timers = rig.rows("schedule_timer")
        rig.reload(game(CleanupPolicy(), factor=10))
        assert rig.rows("schedule_timer")[0] is timers[0]
        assert [row.name for row in rig.rows("schedule")] == ["s", "cleanup"]
        rig.advance(minutes(10))
        assert (rig.row("tally", "x").count, the(rig).fires) == (33, 2)
        rig.reload(before)
        assert [row.status for row in rig.rows("schedule")] == ["active", "deleted"]


def test_one_that_raises_is_undone_and_counted(make_rig: MakeRig) -> None:
    """A44: what it did is gone, the schedule goes on."""
    with Rig(game()) as rig:
        rig.call(CREATE, "s", EVERY_TEN, {"command": "add", "arguments": ["bad"]})
        rig.advance(minutes(17))
        assert rig.rows("tally") == []
        assert (the(rig).failures, the(rig).last_failure) == (2, "KeyError: 'a defect'")
        assert events(rig, "failed") == [("failed", "22:20"), ("failed", "22:30")]


def test_one_that_has_more_to_do_goes_on_soon(make_rig: MakeRig) -> None:
    """A106: a portion in each commit, a tenth of a second apart, one run for all of them; a crash loses none."""
    with Rig(game()) as rig:
        rig.call(CREATE, "s", EVERY_TEN, {"command": "add", "arguments": ["long"], "max_runs": 1})
        rig.advance(minutes(6) + 40_000_000)
        assert (rig.row("tally", "long").count, runs(rig, "running"), the(rig).status) == (1, ["22:20"], "active")
        for count in (2, 3, 4):
            crash(rig)
            rig.advance(100_000)
            assert rig.row("tally", "long").count == count
            assert_sound(rig)
        assert rig.call("schedule_trigger", "s")["outcome"] == "skipped"
        rig.advance(minutes(1))
        assert (rig.row("tally", "long").count, runs(rig), runs(rig, "completed")) == (5, ["22:20"], ["22:20"])
        assert (the(rig).fires, the(rig).status) == (1, "deleted")


@pytest.mark.parametrize(("verb", "reason"), [("schedule_pause", "was paused"), ("schedule_delete", "was deleted")])
def test_a_pause_stops_the_portions(make_rig: MakeRig, verb: str, reason: str) -> None:
    """B70: who stops a clean-up means now."""
    with Rig(game()) as rig:
        rig.call(CREATE, "s", EVERY_TEN, {"command": "add", "arguments": ["long"]})
        rig.advance(minutes(6) + 40_000_000)
        rig.call(verb, "s", *(["a while"] if verb == "schedule_pause" else []))
        rig.advance(minutes(1))
        (run,) = rig.rows("schedule_run")
        assert (rig.row("tally", "long").count, run.outcome, run.detail) == (1, "cancelled", f"the schedule {reason}")
        assert_sound(rig)


# -- the clean-up ----------------------------------------------------------------------------------


def cleaning(**options: Any) -> WorkflowEngine:
    """An engine that cleans up at four in the morning."""
    return WorkflowEngine([Work], cleanup=CleanupPolicy(**options))


def fill(rig: Rig, count: int) -> None:
    """Workflows that end at once."""
    for _ in range(count):
        rig.start("work", payload={"takes_us": 0})


def test_the_clean_up_is_a_schedule_like_any_other() -> None:
    """A105, A106: visible, written down, and it removes what is old enough and nothing else."""
    with Rig(cleaning(older_than_days=2)) as rig:
        row = the(rig, "cleanup")
        assert (row.built_in, row.command, row.arguments) == (True, "cleanup_old_workflows", [2])
        assert rig.sql("SELECT name, status FROM schedule") == [["cleanup", "active"]]
        fill(rig, 3)
        live = rig.start("work", payload={"takes_us": days(9)})
        rig.advance(days(1))
        fill(rig, 2)
        rig.advance(days(1) + hours(6))
        assert [w.id for w in rig.rows("workflow")] == [live, live + 1, live + 2]
        assert rig.rows("schedule_run")[-1].detail == '{"removed":3,"more":false}'
        assert clock_time(row.next_at) == "04:00"
        assert_sound(rig)


def test_the_clean_up_works_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A105: a bounded number a call, one after another, through a crash."""
    with Rig(cleaning(older_than_days=0, every="* * * * *")) as rig:
        fill(rig, 60)
        monkeypatch.setattr("workflows.upkeep.cleanup.__defaults__", (25, None))
        rig.advance(40_000_000)
        left = [len(rig.rows("workflow"))]
        while rig.rows("workflow"):
            crash(rig)
            rig.advance(100_000)
            left.append(len(rig.rows("workflow")))
        assert left == [35, 10, 0]
        assert runs(rig, "completed") == ["22:14"]
        assert_sound(rig)


def test_types_may_be_kept_longer_or_shorter() -> None:
    """B76: retention by type."""

    class Chat(Work):
        name = "chat"

    class Trade(Work):
        name = "trade"

    policy = CleanupPolicy(older_than_days=2, types={"chat": 0.2, "trade": 90})
    with Rig(WorkflowEngine([Work, Chat, Trade], cleanup=policy)) as rig:
        for kind in ("work", "chat", "trade"):
            rig.start(kind, payload={"takes_us": 0})
        rig.advance(days(1))
        assert [w.workflow_type for w in rig.rows("workflow")] == ["work", "trade"]
        rig.advance(days(3))
        assert [w.workflow_type for w in rig.rows("workflow")] == ["trade"]


def test_the_policy_is_what_the_engine_says() -> None:
    """A106: changed, gone and back with the engine; an operator's pause stays; nobody else changes it."""
    with Rig(cleaning()) as rig:
        before = rig.engine.seq
        crash(rig)
        assert rig.engine.seq == before
        rig.call("schedule_pause", "cleanup", "audit")
        rig.crash()
        rig.reopen(cleaning(older_than_days=7, every="30 5 * * *", time_zone="Europe/Berlin"))
        row = the(rig, "cleanup")
        assert (row.status, row.reason, row.arguments) == ("paused", "audit", [7])
        assert row.spec == {"cron": ["30 5 * * *"], "time_zone": "Europe/Berlin", "intervals": []}
        for call in (("schedule_delete", "cleanup"), ("schedule_update", "cleanup", None, {"max_runs": 1})):
            with pytest.raises(SenderError, match="built in"):
                rig.call(*call)
        rig.call("schedule_resume", "cleanup")
        rig.crash()
        rig.reopen(WorkflowEngine([Work]))
        assert (the(rig, "cleanup").status, rig.rows("schedule_timer")) == ("deleted", [])
        rig.crash()
        rig.reopen(cleaning())
        assert (the(rig, "cleanup").status, len(rig.rows("schedule_timer"))) == ("active", 1)
        assert [e.kind for e in rig.rows("schedule_event")] == [
            "created", "paused", "updated", "resumed", "deleted", "created"
        ]  # fmt: skip


def test_a_schedule_of_the_games_own_is_not_taken_over(make_rig: MakeRig) -> None:
    """F7: it says so in the log."""
    rig = make_rig()
    rig.call(CREATE, "cleanup", EVERY_TEN, {"command": "workflow_tick"})
    rig.crash()
    rig.reopen(cleaning())
    assert (the(rig, "cleanup").command, the(rig, "cleanup").built_in) == ("workflow_tick", False)
    assert any(level == "error" and "no built-in clean-up" in text for level, _, text in rig.logs)


def test_a_history_survives_the_clean_up() -> None:
    """A105: runs of a schedule stay, without the workflow that is gone."""
    with Rig(cleaning(older_than_days=0)) as rig:
        rig.call(CREATE, "s", {"cron": ["0 1 * * *"]}, {"workflow_type": "work", "payload": {"takes_us": 0}})
        rig.advance(hours(6))
        run = rig.rows("schedule_run")[0]
        assert (run.outcome, run.workflow_id, rig.rows("workflow")) == ("completed", None, [])
        assert_sound(rig)


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        (EVERY_TEN, {"command": "add", "arguments": ["x", 10**30]}),
        ({"intervals": [{"every": 10**30}]}, {"command": "add", "arguments": ["x"]}),
        ({"intervals": [{"every": 10**9, "offset": -(10**30)}]}, {"command": "add", "arguments": ["x"]}),
    ],
)
def test_numbers_that_no_row_can_hold_are_refused(spec: Any, settings: dict[str, Any]) -> None:
    """D90, A106: nothing is made."""
    with Rig(game()) as rig:
        client = rig.connect()
        text = json.dumps({"id": 1, "call": CREATE, "args": ["s", spec, settings]})
        client.send(text.encode())
        rig.settle()
        assert client.received[-1]["error"]["code"] == "bad_arguments"
        assert rig.rows("schedule") == []
