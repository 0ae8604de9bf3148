"""Pause, go on, terminate, time out: whether a verb applies, and what it leaves."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import CatchUp, SenderError, milliseconds, minutes, seconds
from reactor.messages import Caller, Task
from reactor.testing import OWNER, Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.control.conftest import kinds, seen
from tests.workflows.control.samples import TYPES, broken
from tests.workflows.samples import Nap, Parent, Ticker
from workflows import TERMINAL, Status

ALICE = "a" * 32
VERBS = ("terminate", "suspend", "resume", "retry", "skip", "cancel")


def in_status(rig: Rig, status: Status) -> int:
    """A workflow that has come to that status in an honest way, if there is one."""
    if status is Status.FAULTED:
        broken["boom"] = 1
        workflow_id = rig.start("parked")
        rig.call("workflow_signal", workflow_id, "say", {"word": "boom"})
        return workflow_id
    if status is Status.PENDING:
        put_off = {"start_after_us": minutes(10)}
        return int(rig.call("workflow_start_with", "fragile", None, None, {"timers": {}}, put_off)["id"])
    workflow_id = rig.start("fragile", payload={"timers": {"wake": minutes(10)}})
    if status is Status.PAUSED:
        rig.call("workflow_suspend", workflow_id, "x")
    elif status is Status.COMPLETED:
        rig.call("workflow_signal", workflow_id, "stop")
    elif status is Status.FAILED:
        rig.call("workflow_signal", workflow_id, "fail")
    elif status is Status.CANCELLED:
        rig.call("workflow_cancel", workflow_id, "x")
    elif status is Status.TERMINATED:
        rig.call("workflow_terminate", workflow_id, "x")
    elif status is Status.TIMED_OUT:
        rig.run(lambda ctx: dispatcher(rig).ending.time_out(ctx, ctx.db.workflow.require(workflow_id), "x") and None)
    return workflow_id


def dispatcher(rig: Rig) -> Any:
    """The dispatcher of the engine under test."""
    return rig.module._dispatcher  # type: ignore[attr-defined]


APPLIES = {
    ("suspend", Status.SUSPENDED): Status.PAUSED,
    ("resume", Status.PAUSED): Status.SUSPENDED,
    ("retry", Status.FAULTED): Status.SUSPENDED,
    ("skip", Status.FAULTED): Status.SUSPENDED,
    **{("terminate", s): Status.TERMINATED for s in Status if s not in TERMINAL},
    **{("cancel", s): Status.CANCELLED for s in Status if s not in TERMINAL},
}


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.RUNNING])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_in_every_status(rig: Rig, verb: str, status: Status) -> None:
    """E34, A41, C19, D72, F6: whether it applied; ends refuse by name; what does not apply changes nothing."""
    workflow_id = in_status(rig, status)
    before = rig.row("workflow", workflow_id)
    assert before.status is status
    code, applied = None, None
    try:
        applied = rig.call(f"workflow_{verb}", workflow_id, "why")
    except SenderError as error:
        code = error.code
    after = rig.row("workflow", workflow_id)
    if status in TERMINAL:
        assert (code, after) == ("not_active", before)
    elif status is Status.PENDING and verb not in ("terminate", "cancel"):
        assert (code, after) == ("not_started", before)
    elif (verb, status) in APPLIES:
        assert applied in (True, "Cancelled")
        assert after.status is APPLIES[verb, status]
        assert after.sequence > before.sequence
        assert after.updated_at >= before.updated_at
    else:
        assert (applied, after) == (False, before)
    log = rig.rows("command_log")[-1]
    assert (log.verb, log.workflow_id, log.code, log.caller) == (verb, workflow_id, code, OWNER)


@pytest.mark.parametrize("verb", VERBS)
def test_what_there_is_not_is_refused_by_name(rig: Rig, verb: str) -> None:
    """E26, D72: ``unknown_workflow``; nothing but the refusal is written."""
    seq = rig.engine.seq
    with pytest.raises(SenderError) as caught:
        rig.call(f"workflow_{verb}", 4_711, "why")
    assert caught.value.code == "unknown_workflow"
    assert rig.engine.seq == seq + 1
    assert [row.code for row in rig.rows("command_log")] == ["unknown_workflow"]


@pytest.mark.parametrize("verb", ["terminate", "suspend", "resume", "retry", "skip"])
def test_operators_verbs_are_for_the_owner(rig: Rig, verb: str) -> None:
    """A107, D84, REQ-24: also for whoever started it; the attempt has its row."""
    workflow_id = rig.call("workflow_start", "fragile", None, None, {"timers": {}}, sender=ALICE)
    before = rig.row("workflow", workflow_id)
    with pytest.raises(SenderError) as caught:
        rig.call(f"workflow_{verb}", workflow_id, "why", sender=ALICE)
    assert caught.value.code == "forbidden"
    assert rig.row("workflow", workflow_id) is before
    (log,) = rig.rows("command_log")
    assert (log.caller, log.verb, log.code) == (ALICE, verb, "forbidden")


def test_operators_say_the_name_as_well(rig: Rig) -> None:
    """E07: wherever the id is asked for, the name will do, in reducers and in game code; the log has the id."""
    one = rig.start("fragile", payload={"timers": {"wake": minutes(1)}})
    assert rig.call("workflow_suspend", "fragile-1", "a look") is True
    assert rig.call("workflow_resume", "fragile-1") is True
    assert (rig.call("workflow_retry", str(one)), rig.call("workflow_skip", "fragile-1")) == (False, False)

    def play(ctx: Any) -> list[Any]:
        w, name = ctx.workflows, "fragile-1"
        told = [w.suspend(name, "x"), w.resume(name), w.retry(name), w.skip(name), w.signal(name, "say", word="hello")]
        return [*told, w.send(name, "say", word="again").outcome, w.attempt_suspend("nobody", "x").code]

    assert rig.run(play) == [True, True, False, False, "Suspended", "delivered", "unknown_workflow"]
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_terminate", "nobody", "x")
    assert caught.value.code == "unknown_workflow"
    assert rig.call("workflow_terminate", "fragile-1", "out of hand") is True
    assert seen(rig, one) == ["start", "hello", "again"]
    assert [r.workflow_id for r in rig.rows("command_log") if r.verb != "start"] == [one, one, one, one, None, one]


@pytest.mark.parametrize("verb", ["terminate", "suspend"])
def test_a_reason_is_wanted(rig: Rig, verb: str) -> None:
    """REQ-14: whoever stops a workflow says why."""
    workflow_id = rig.start("fragile")
    with pytest.raises(SenderError) as caught:
        rig.call(f"workflow_{verb}", workflow_id, "  ")
    assert (caught.value.code, caught.value.details["parameter"]) == ("bad_arguments", "reason")


# -- pausing ---------------------------------------------------------------------------------------


def test_a_pause_holds_timers_and_keeps_what_is_sent(rig: Rig) -> None:
    """B50: no timer fires, no hook runs, signals wait in order; on resume the due timer comes, then what was sent."""
    workflow_id = rig.start("fragile", payload={"timers": {"early": seconds(5), "late": minutes(5)}})
    begin = rig.clock.now()
    assert rig.call("workflow_suspend", workflow_id, "maintenance") is True
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.waits, row.error_message) == (Status.PAUSED, "fail,nested,say,stop", None)
    (parked,) = rig.rows("workflow_parked")
    assert (parked.actor, parked.reason, parked.since) == (OWNER, "maintenance", begin)
    rig.advance(seconds(60))
    assert rig.call("workflow_signal", workflow_id, "say", {"word": "a"}) == "Paused"
    rig.call("workflow_signal", workflow_id, "say", {"word": "b"})
    assert seen(rig, workflow_id) == ["start"]
    assert rig.sql("SELECT id, reason, held_timers, held_messages FROM paused_workflows") == [
        [workflow_id, "maintenance", 2, 2]
    ]
    rig.crash()
    rig.advance(seconds(30))
    rig.reopen()
    rig.advance(seconds(30))
    assert seen(rig, workflow_id) == ["start"]
    assert rig.call("workflow_resume", workflow_id) is True
    assert seen(rig, workflow_id) == ["start", "a", "b", "early"]
    assert rig.rows("workflow_parked") == rig.rows("workflow_message") == []
    rig.advance(minutes(5))
    assert seen(rig, workflow_id)[4:] == ["late"]
    assert [kind for kind, *_ in kinds(rig, workflow_id)][:3] == ["started", "paused", "resumed"]


@pytest.mark.parametrize(("policy", "ticks"), [(CatchUp.FIRE_ALL, 5), (CatchUp.COALESCE, 1), (CatchUp.SKIP, 0)])
def test_what_was_due_in_a_pause_follows_its_policy(make_rig: MakeRig, policy: CatchUp, ticks: int) -> None:
    """B50, F3: as if the server had been down; due times do not move."""
    rig = make_rig(Ticker)
    workflow_id = rig.start("ticker", payload={"interval_us": seconds(10), "catch_up": policy})
    begin = rig.clock.now()
    rig.call("workflow_suspend", workflow_id, "x")
    rig.advance(seconds(55))
    rig.call("workflow_resume", workflow_id)
    state = rig.row("workflow", workflow_id).state
    assert state.count("],[") + ("[[" in state) == ticks
    rig.advance(seconds(5))
    (timer,) = rig.rows("workflow_timer")
    assert timer.scheduled_at == begin + seconds(70)


def test_the_end_of_a_child_waits_for_a_paused_parent(rig: Rig) -> None:
    """B50, F1: it is told when the parent goes on."""
    parent = rig.start("fragile", payload={"child": True})
    rig.call("workflow_suspend", parent, "x")
    (child,) = [row.id for row in rig.rows("workflow") if row.parent_id == parent]
    rig.call("workflow_cancel", child, "y")
    assert "child Cancelled" not in seen(rig, parent)
    rig.call("workflow_resume", parent)
    assert seen(rig, parent)[-1] == "child Cancelled"


def test_a_step_may_pause_its_own_workflow(rig: Rig) -> None:
    """B50: when the step is over, with what it did."""
    workflow_id = rig.start("fragile", payload={"timers": {"wake": seconds(1)}})
    assert rig.call("workflow_signal", workflow_id, "nested") == "Paused"
    assert seen(rig, workflow_id) == ["start", "nested"]
    rig.advance(minutes(1))
    assert seen(rig, workflow_id) == ["start", "nested"]


def test_a_paused_workflow_can_be_cancelled(rig: Rig) -> None:
    """B50, B51: its handler cleans up; nothing of the pause is left."""
    workflow_id = rig.start("fragile", payload={"timers": {"wake": seconds(1)}})
    rig.call("workflow_suspend", workflow_id, "x")
    rig.call("workflow_cancel", workflow_id, "y")
    assert rig.row("workflow", workflow_id).result == '{"seen":["start","cancel"]}'
    assert rig.rows("workflow_parked") == rig.rows("workflow_timer") == []


# -- ending from outside ---------------------------------------------------------------------------


def test_a_cancel_is_one_commit_in_a_fixed_order(rig: Rig) -> None:
    """D70, F4: the end, the timers, the children, the parent; the reason, the failure row, one commit."""
    parent = rig.start("fragile", payload={"child": True, "timers": {"b": minutes(1), "a": minutes(2)}})
    (child,) = [row.id for row in rig.rows("workflow") if row.parent_id == parent]
    grown = rig.start("fragile")
    rig.run(lambda ctx: ctx.db.workflow.update(parent, parent_id=grown) and None)
    before, seq = len(rig.rows("workflow_event")), rig.engine.seq
    rig.call("workflow_cancel", parent, "enough")
    assert rig.engine.seq == seq + 1
    assert kinds(rig)[before:] == [
        (parent, "cancelled", "cancel"),
        (parent, "timer_closed", "cancel"),
        (parent, "timer_closed", "cancel"),
        (child, "cancelled", "cancel"),
        (child, "timer_closed", "cancel"),
        (grown, "stepped", f"child:{parent}"),
    ]
    row = rig.row("workflow", parent)
    assert (row.error_message, row.failure_category, row.ended_at) == ("enough", "cancelled", rig.clock.now())
    errors = [(e.workflow_id, e.cause, e.category, e.message) for e in rig.rows("execution_error")]
    assert errors == [
        (parent, "cancel", "cancelled", "enough"),
        (child, "cancel", "cancelled", f"its parent, workflow {parent}, has ended"),
    ]
    assert seen(rig, grown)[-1] == "child Cancelled"


def test_a_terminated_workflow_runs_no_code_and_takes_its_children_along(rig: Rig) -> None:
    """D71: ``on_cancel`` does not run; children end in the same way; the parent of it all is told."""
    top = rig.start("fragile", payload={"child": True, "timers": {"wake": minutes(1)}})
    (child,) = [row.id for row in rig.rows("workflow") if row.parent_id == top]
    seq = rig.engine.seq
    assert rig.call("workflow_terminate", top, "out of hand") is True
    assert rig.engine.seq == seq + 1
    for workflow_id in (top, child):
        row = rig.row("workflow", workflow_id)
        assert (row.status, row.failure_category, row.result) == (Status.TERMINATED, "terminated", None)
        assert "cancel" not in seen(rig, workflow_id)
    assert [e.category for e in rig.rows("execution_error")] == ["terminated", "terminated"]
    assert [kind for kind, *_ in kinds(rig, top)] == ["started", "terminated", "timer_closed"]


def test_the_parent_of_a_terminated_child_is_told(rig: Rig) -> None:
    """D71, E36: with the status it ended in."""
    top = rig.start("fragile", payload={"child": True})
    (child,) = [row.id for row in rig.rows("workflow") if row.parent_id == top]
    rig.call("workflow_terminate", child, "x")
    assert seen(rig, top)[-1] == "child Terminated"


def test_a_timed_out_workflow_says_so(rig: Rig) -> None:
    """B48, D99: the status, the reason, the category; children are cancelled; nothing of its handler runs."""
    top = rig.start("fragile", payload={"child": True, "timers": {"wake": minutes(1)}})
    (child,) = [row.id for row in rig.rows("workflow") if row.parent_id == top]

    def time_out(ctx: Any) -> str:
        return str(dispatcher(rig).ending.time_out(ctx, ctx.db.workflow.require(top), "its deadline has passed"))

    assert rig.run(time_out) == "TimedOut"
    row = rig.row("workflow", top)
    assert (row.status, row.failure_category, row.error_message) == (
        Status.TIMED_OUT, "timeout", "its deadline has passed",
    )  # fmt: skip
    assert rig.row("workflow", child).status is Status.CANCELLED
    assert [kind for kind, *_ in kinds(rig, top)] == ["started", "timed_out", "timer_closed"]


def test_a_cancel_whose_clean_up_fails_stands(rig: Rig) -> None:
    """B51: the workflow is cancelled all the same, and a row tells what went wrong, with the traceback."""
    broken["cancel"] = -1
    workflow_id = rig.start("fragile", payload={"timers": {"wake": minutes(1)}})
    assert rig.call("workflow_cancel", workflow_id, "x") == "Cancelled"
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.error_message, row.result) == (Status.CANCELLED, "x", None)
    failed, cancelled = rig.rows("execution_error")
    assert (failed.cause, failed.category, failed.message) == ("on_cancel", "application", "KeyError: 'a defect'")
    assert "raise ERRORS" in failed.traceback
    assert cancelled.traceback is None
    assert seen(rig, workflow_id) == ["start"]


def test_game_code_asks_without_raising(rig: Rig) -> None:
    """D74: the ``attempt_`` forms return what came of it, and what a refused one did is undone."""
    one = rig.start("fragile", payload={"timers": {"wake": minutes(1)}})

    def run(ctx: Any) -> list[Any]:
        w = ctx.workflows
        told = [w.attempt_suspend(one, "x"), w.attempt_suspend(one, "x"), w.attempt_resume(one), w.attempt_retry(one)]
        told += [w.attempt_signal(one, "say", word="hello"), w.attempt_signal(one, "nope"), w.attempt_skip(99)]
        told += [w.attempt_start("fragile"), w.attempt_start("nothing"), w.attempt_start("fragile", payload={"x": 1})]
        told += [w.attempt_terminate(one, "x"), w.attempt_cancel(one, "x")]
        return [[t.ok, t.value, t.code] for t in told]

    told = rig.run(run)
    assert told == [
        [True, True, None], [True, False, None], [True, True, None], [True, False, None],
        [True, "Suspended", None], [False, None, "unknown_signal"], [False, None, "unknown_workflow"],
        [True, 2, None], [False, None, "unknown_type"], [False, None, "bad_arguments"],
        [True, True, None], [False, None, "not_active"],
    ]  # fmt: skip
    assert len(rig.rows("workflow")) == 2


def test_parents_by_old_ways_still_hear_of_children(make_rig: MakeRig) -> None:
    """E36: completing, cancelling and terminating a child all wake the one who waits for it."""
    rig = make_rig(Nap, Parent)
    for verb, status in (("cancel", "Cancelled"), ("terminate", "Terminated")):
        parent = rig.start("parent", payload={"payload": {"delay_us": minutes(1)}})
        (child,) = [row.id for row in rig.rows("workflow") if row.parent_id == parent]
        rig.call(f"workflow_{verb}", child, "x")
        assert f'"{status}"' in rig.row("workflow", parent).state
        assert rig.row("workflow", parent).status is Status.COMPLETED


def test_a_suspended_multitude_stays_cheap(make_rig: MakeRig) -> None:
    """B50, REQ-6: a thousand are paused and resumed in one call each, and none of their timers is lost."""
    rig = make_rig(*TYPES)

    def fill(ctx: Any) -> list[int]:
        start = ctx.workflows.start
        return [start("fragile", payload={"timers": {"wake": milliseconds(i + 1)}}) for i in range(300)]

    ids = rig.run(fill)
    rig.run(lambda ctx: [ctx.workflows.suspend(i, "x") for i in ids] and None)
    rig.advance(seconds(1))
    assert rig.sql("SELECT COUNT(*) FROM workflow_timer WHERE held AND cancelled") == [[300]]
    rig.run(lambda ctx: [ctx.workflows.resume(i) for i in ids] and None)
    assert rig.rows("workflow_timer") == []
    assert {tuple(seen(rig, i)) for i in ids} == {("start", "wake")}


def test_the_owner_is_known_by_the_call(rig: Rig) -> None:
    """D73: game code that pauses on behalf of a client is not a command; the actor of the pause is the client."""
    one = rig.start("fragile", payload={"timers": {"wake": minutes(1)}})
    answers: list[Any] = []

    def pause(ctx: Any) -> bool:
        return bool(ctx.workflows.suspend(one, "by a rule of the game"))

    rig.host.submit(Task("game", pause, Caller(ALICE), lambda seq, body: answers.append(body)))
    rig.settle()
    assert answers == [b"true"]
    assert [row.actor for row in rig.rows("workflow_parked")] == [ALICE]
    assert rig.rows("command_log") == []
