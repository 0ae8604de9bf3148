"""Starting, firing, signalling and cancelling workflows; who bears the consequence when a handler fails."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reactor import SenderError, milliseconds, minutes, seconds
from reactor.errors import Fault
from reactor.limits import Limits
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Counter, Faulty, Nap, Ticker, Vandal
from workflows import Status


def test_a_started_workflow_waits(make_rig: MakeRig) -> None:
    """A40, A42: the row says what it is and what it waits for, the timer row when."""
    rig = make_rig(Nap)
    workflow_id = rig.start("nap", entity_id=42, correlation_id="raid", payload={"delay_us": 5_000})
    row = rig.row("workflow", workflow_id)
    now = rig.clock.now()
    assert (row.workflow_type, row.entity_id, row.correlation_id) == ("nap", 42, "raid")
    assert (row.status, row.current_step, row.state) == (Status.SUSPENDED, "asleep", '{"slept":0}')
    assert (row.created_at, row.updated_at, row.sequence) == (now, now, 1)
    assert (row.result, row.error_message, row.waits, row.parent_id) == (None, None, None, None)
    (timer,) = rig.rows("workflow_timer")
    assert (timer.workflow_id, timer.name, timer.scheduled_at, timer.clock) == (
        workflow_id,
        "wake",
        now + 5_000,
        "wall",
    )
    assert (timer.cancelled, timer.generation, timer.armed_at) == (False, 1, now)


def test_a_timer_wakes_it_and_its_result_is_kept(make_rig: MakeRig) -> None:
    """A46, A91, A43: the result is stored, the fired row is gone, ``updated_at`` is the due time."""
    rig = make_rig(Nap)
    workflow_id = rig.start("nap", payload={"delay_us": milliseconds(500)})
    rig.advance(milliseconds(499))
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED
    rig.advance(milliseconds(1))
    row = rig.row("workflow", workflow_id)
    assert row.status is Status.COMPLETED
    assert orjson.loads(row.result) == {"due_at": rig.clock.now(), "fired_at": rig.clock.now()}
    assert row.updated_at == row.created_at + milliseconds(500)
    assert rig.rows("workflow_timer") == []


def test_a_restart_does_not_move_a_due_time(make_rig: MakeRig) -> None:
    """A81: five minutes with a restart at minute three end at minute five."""
    rig = make_rig(Nap)
    workflow_id = rig.start("nap", payload={"delay_us": minutes(5)})
    due = rig.clock.now() + minutes(5)
    rig.advance(minutes(3))
    rig.crash()
    rig.advance(minutes(1))
    rig.reopen()
    rig.advance(minutes(1) - 1)
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED
    rig.advance(1)
    assert orjson.loads(rig.row("workflow", workflow_id).result) == {"due_at": due, "fired_at": due}


def test_what_was_due_while_down_fires_once_after_the_start(make_rig: MakeRig) -> None:
    """A82, A84, F2: exactly once, told its due time and its lateness, after any number of restarts."""
    rig = make_rig(Ticker)
    workflow_id = rig.start("ticker", payload={"interval_us": minutes(10)})
    for _ in range(5):
        rig.crash()
        rig.reopen()
    due = rig.clock.now() + minutes(10)
    rig.crash()
    rig.advance(minutes(12))
    rig.reopen()
    rig.crash()
    rig.reopen()
    state = orjson.loads(rig.row("workflow", workflow_id).state)
    assert state == {"ticks": [[due, due + minutes(2), minutes(2), 0]]}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("fire_all", [[1, 0], [2, 0], [3, 0], [4, 0]]),
        ("coalesce", [[3, 2], [4, 0]]),
        ("skip", [[4, 3]]),
    ],
)
def test_missed_ticks_follow_the_policy(make_rig: MakeRig, policy: str, expected: list[list[int]]) -> None:
    """A85, A86: phase is kept, and the handler is told how many were left out."""
    rig = make_rig(Ticker)
    begin = rig.clock.now()
    workflow_id = rig.start("ticker", payload={"interval_us": seconds(10), "catch_up": policy})
    rig.crash()
    rig.advance(seconds(35))
    rig.reopen()
    rig.advance(seconds(5))
    ticks = orjson.loads(rig.row("workflow", workflow_id).state)["ticks"]
    assert [[(due - begin) // seconds(10), missed] for due, _, _, missed in ticks] == expected
    assert all((due - begin) % seconds(10) == 0 for due, *_ in ticks)


def test_an_interval_can_be_stopped_and_armed_again(make_rig: MakeRig) -> None:
    """A62, A71: a cancelled timer is flagged and never fires; its name has one row, whose generation counts up."""
    rig = make_rig(Ticker)
    workflow_id = rig.start("ticker", payload={"interval_us": seconds(1)})
    rig.advance(seconds(2))
    rig.call("workflow_signal", workflow_id, "quiet")
    rig.advance(seconds(5))
    (timer,) = rig.rows("workflow_timer")
    assert (timer.cancelled, timer.generation) == (True, 1)
    assert len(orjson.loads(rig.row("workflow", workflow_id).state)["ticks"]) == 2
    rig.call("workflow_signal", workflow_id, "again", {"interval_us": seconds(3)})
    rig.advance(seconds(3))
    (timer,) = rig.rows("workflow_timer")
    assert (timer.cancelled, timer.generation, timer.interval) == (False, 2, seconds(3))
    assert len(orjson.loads(rig.row("workflow", workflow_id).state)["ticks"]) == 3


def test_signals_change_the_state_and_may_end_it(make_rig: MakeRig) -> None:
    """A24, A61, A64: typed parameters arrive decoded; the state survives a crash between signals."""
    rig = make_rig(Counter)
    workflow_id = rig.start("counter")
    assert rig.row("workflow", workflow_id).waits == "add,crash,finish,grow,reject"
    assert rig.call("workflow_signal", workflow_id, "add", {"amount": 2}) == "Suspended"
    rig.crash()
    rig.reopen()
    assert rig.call("workflow_signal", workflow_id, "add", "[3]") == "Suspended"
    assert rig.call("workflow_signal", workflow_id, "finish", "[]") == "Completed"
    row = rig.row("workflow", workflow_id)
    assert (row.result, row.sequence, row.waits) == ("5", 4, None)


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [
        ("nope", None, "unknown_signal"),
        ("add", None, "bad_arguments"),
        ("add", {"amount": "many"}, "bad_arguments"),
        ("add", {"amount": 1, "colour": 2}, "bad_arguments"),
        ("finish", {"now": True}, "bad_arguments"),
        ("reject", None, "sender_error"),
    ],
)
def test_a_wrong_signal_changes_nothing(make_rig: MakeRig, name: str, payload: Any, code: str) -> None:
    """A64, A70, D72: refused, the workflow untouched; nothing is written but what was refused."""
    rig = make_rig(Counter, audit=True)
    workflow_id = rig.start("counter")
    before, seq = rig.row("workflow", workflow_id), rig.engine.seq
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", workflow_id, name, payload)
    assert caught.value.code == code
    assert rig.row("workflow", workflow_id) is before
    assert rig.engine.seq == seq + 1
    assert [(row.verb, row.outcome, row.code) for row in rig.rows("command_log")] == [("signal", "refused", code)]
    assert len(rig.rows("workflow_event")) == 1


def test_a_type_without_signals_refuses_them(make_rig: MakeRig) -> None:
    """A70: and says so."""
    rig = make_rig(Nap)
    workflow_id = rig.start("nap", payload={"delay_us": 5_000})
    with pytest.raises(SenderError, match="nap declares no signal 'wake'; it takes none") as caught:
        rig.call("workflow_signal", workflow_id, "wake")
    assert caught.value.code == "unknown_signal"


def test_an_ended_workflow_takes_nothing_more(make_rig: MakeRig) -> None:
    """A41, B46: signals and cancels are refused, not swallowed."""
    rig = make_rig(Counter)
    workflow_id = rig.start("counter")
    rig.call("workflow_signal", workflow_id, "finish")
    before = rig.row("workflow", workflow_id)
    for verb, argument in (("workflow_signal", "add"), ("workflow_cancel", "why")):
        with pytest.raises(SenderError) as caught:
            rig.call(verb, workflow_id, argument)
        assert caught.value.code == "not_active"
        assert caught.value.details["status"] == "Completed"
    assert rig.row("workflow", workflow_id) is before


@pytest.mark.parametrize("verb", ["workflow_signal", "workflow_cancel"])
def test_an_unknown_workflow_is_named(make_rig: MakeRig, verb: str) -> None:
    """E26: not-found is a kind of its own."""
    with pytest.raises(SenderError, match="there is no workflow 99") as caught:
        make_rig(Counter).call(verb, 99, "x")
    assert caught.value.code == "unknown_workflow"


def test_cancel_runs_the_hook_keeps_the_reason_and_removes_the_timers(make_rig: MakeRig) -> None:
    """A90, A107: what the hook returns is the result; the timers never fire."""
    rig = make_rig(Faulty)
    workflow_id = rig.start("faulty", payload={"where": "nowhere"})
    assert rig.call("workflow_cancel", workflow_id, "left the game") == "Cancelled"
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.error_message) == (Status.CANCELLED, "left the game")
    assert (row.result, row.current_step) == ('{"told":"left the game"}', "half way")
    assert rig.rows("workflow_timer") == []
    fired = rig.engine.counters.fired
    rig.advance(minutes(1))
    assert rig.engine.counters.fired == fired
    assert rig.row("workflow", workflow_id) is row


def test_a_hook_that_fails_does_not_stop_the_cancel(make_rig: MakeRig) -> None:
    """B51: what the hook did is undone, the workflow is cancelled all the same, the log has the defect."""
    rig = make_rig(Faulty)
    workflow_id = rig.start("faulty", payload={"where": "cancel"})
    rig.call("workflow_cancel", workflow_id, "why")
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.error_message) == (Status.CANCELLED, "why")
    assert (row.current_step, row.result) == ("started", None)
    assert any(level == "error" and "on_cancel" in text for level, _, text in rig.logs)


# -- failures ----------------------------------------------------------------------------------


def test_a_handler_that_raises_fails_alone(make_rig: MakeRig) -> None:
    """A44, REQ-11: one of a hundred fails with its message, undone; the others do not notice."""
    rig = make_rig(Faulty)
    ids = [rig.start("faulty", payload={"where": "timer" if i == 37 else "nowhere"}) for i in range(100)]
    rig.advance(milliseconds(10))
    rows = [rig.row("workflow", workflow_id) for workflow_id in ids]
    failed = rows[37]
    assert (failed.status, failed.error_message) == (Status.FAILED, "ZeroDivisionError: a defect")
    assert failed.current_step == "started", "what the step did before it raised is undone"
    assert [row.status for i, row in enumerate(rows) if i != 37] == [Status.SUSPENDED] * 99
    assert {timer.workflow_id for timer in rig.rows("workflow_timer")} == set(ids) - {ids[37]}
    assert any("ZeroDivisionError" in text and "Traceback" in text for _, _, text in rig.logs)
    assert rig.rows("timer_error") == [], "the timer itself did its work"


def test_a_defect_in_a_signal_fails_the_workflow_and_the_caller_is_told(make_rig: MakeRig) -> None:
    """A44: the call commits the failure; the answer is the status."""
    rig = make_rig(Counter)
    workflow_id = rig.start("counter")
    assert rig.call("workflow_signal", workflow_id, "crash") == "Failed"
    row = rig.row("workflow", workflow_id)
    assert (row.state, row.error_message) == ('{"total":0,"log":[]}', "KeyError: 'a defect'")
    assert rig.rows("workflow_timer") == []


def test_a_failed_step_is_undone_in_every_table(make_rig: MakeRig) -> None:
    """A44, A47: rows it wrote, workflows it started and signalled; only its own failure remains."""
    rig = make_rig(Counter, Vandal)
    counter = rig.start("counter")
    before = rig.row("workflow", counter)
    by_timer, by_signal = rig.start("vandal"), rig.start("vandal")
    assert rig.call("workflow_signal", by_signal, "defect") == "Failed"
    rig.advance(1_000)
    assert rig.row("workflow", by_timer).status is Status.FAILED
    assert [row.id for row in rig.rows("workflow")] == [counter, by_timer, by_signal]
    assert rig.row("workflow", counter) is before
    assert rig.rows("recovery_error") == rig.rows("workflow_timer") == []


@pytest.mark.parametrize("how", ["defect", "refuse"])
def test_a_failed_hook_of_a_cancel_is_undone_in_every_table(make_rig: MakeRig, how: str) -> None:
    """B51: the workflow is cancelled, and of the hook nothing remains."""
    rig = make_rig(Counter, Vandal)
    vandal = rig.start("vandal")
    assert rig.call("workflow_cancel", vandal, how) == "Cancelled"
    assert [row.id for row in rig.rows("workflow")] == [vandal]
    assert rig.rows("recovery_error") == rig.rows("workflow_timer") == []


def test_a_refused_signal_is_undone_also_when_the_game_catches_it(make_rig: MakeRig) -> None:
    """A47: the savepoint undoes the handler; the game's own call goes on and commits."""
    rig = make_rig(Counter, Vandal)
    counter, vandal = rig.start("counter"), rig.start("vandal")
    before = [rig.row("workflow", counter), rig.row("workflow", vandal), *rig.rows("workflow_timer")]

    def play(ctx: Any) -> int:
        with pytest.raises(SenderError):
            ctx.workflows.signal(vandal, "refuse")
        kept: int = ctx.workflows.start("counter")
        return kept

    kept = rig.run(play)
    assert [row.id for row in rig.rows("workflow")] == [counter, vandal, kept]
    assert [rig.row("workflow", counter), rig.row("workflow", vandal), *rig.rows("workflow_timer")] == before
    assert rig.rows("recovery_error") == []


def test_a_start_that_is_the_callers_mistake_stores_nothing(make_rig: MakeRig) -> None:
    """A48: ``SenderError`` in ``on_start`` is the caller's; no row, no timer."""
    rig = make_rig(Faulty)
    with pytest.raises(SenderError, match="refused by the handler"):
        rig.start("faulty", payload={"where": "start", "how": "sender"})
    assert rig.rows("workflow") == rig.rows("workflow_timer") == []


@pytest.mark.parametrize(
    ("how", "message"),
    [("defect", "ZeroDivisionError: a defect"), ("strand", "on_start of faulty left nothing that would wake")],
)
def test_a_start_that_is_a_defect_leaves_a_failed_workflow(make_rig: MakeRig, how: str, message: str) -> None:
    """A44: so that it is seen; its timers are undone."""
    rig = make_rig(Faulty)
    workflow_id = rig.start("faulty", entity_id=7, payload={"where": "start", "how": how})
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.entity_id, row.state) == (Status.FAILED, 7, "null")
    assert message in row.error_message
    assert rig.rows("workflow_timer") == []


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("sender", "refused by the handler"),
        ("strand", "timer:wake of faulty left nothing that would wake the workflow: arm a timer"),
        ("budget", "it ran longer than 2.0 s"),
    ],
)
def test_every_failure_in_a_timer_is_the_workflows_own(make_rig: MakeRig, how: str, message: str) -> None:
    """A42, REQ-11: no caller to blame; nothing left to wait for; a handler that runs away."""
    rig = make_rig(Faulty)
    workflow_id = rig.start("faulty", payload={"where": "timer", "how": how})
    rig.advance(milliseconds(2))
    row = rig.row("workflow", workflow_id)
    assert row.status is Status.FAILED
    assert message in row.error_message
    assert rig.rows("workflow_timer") == []


def test_a_handler_that_runs_away_in_a_start_is_the_calls_failure(make_rig: MakeRig) -> None:
    """Its caller waits and is told; nothing is stored."""
    rig = make_rig(Faulty)
    with pytest.raises(Fault) as caught:
        rig.start("faulty", payload={"where": "start", "how": "budget"})
    assert caught.value.code == "budget_exceeded"
    assert rig.rows("workflow") == []
    # And the engine is as it was: the next start works.
    assert rig.start("faulty", payload={"where": "nowhere"})


def test_states_are_warned_about_and_capped(make_rig: MakeRig) -> None:
    """A52: a warning at 10 KB, a louder one at 100 KB, each once; above the cap the step is refused."""
    rig = make_rig(Counter, limits=Limits(state_bytes_max=200_000))
    workflow_id = rig.start("counter")
    for size in (9_000, 11_000, 12_000, 101_000, 102_000):
        rig.call("workflow_signal", workflow_id, "grow", {"amount": size})
    told = [(level, text) for level, _, text in rig.logs if "its state has grown" in text]
    assert [level for level, _ in told] == ["warning", "error"]
    assert "11" in told[0][1] and "101" in told[1][1]
    before = rig.row("workflow", workflow_id)
    fits = 200_000 - len('{"total":0,"log":[""]}')
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", workflow_id, "grow", {"amount": fits + 1})
    assert caught.value.code == "payload_too_large"
    assert rig.row("workflow", workflow_id) is before
    rig.call("workflow_signal", workflow_id, "grow", {"amount": fits})
    assert len(rig.row("workflow", workflow_id).state) == 200_000
