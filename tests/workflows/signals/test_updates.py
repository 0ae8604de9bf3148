"""Updates change a workflow and reply; queries read it and change nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reactor import Fault, Refusal, SenderError
from tests.workflows.conftest import MakeRig
from tests.workflows.signals.support import pause, stored, wake
from workflows import Handler, NoPayload, Payload, Timer, Workflow, WorkflowEngine, updates
from workflows.life import Status
from workflows.policy import FAIL_AT_ONCE, ErrorPolicy, Then


class Amount(Payload):
    amount: int


class PurseState(msgspec.Struct):
    coins: int = 0


class Purse(Handler[PurseState]):
    """Holds coins; pays when asked, unless there are too few."""

    name = "purse"
    signals = {"close": NoPayload, "myself": NoPayload}
    updates = {
        "pay": Amount,
        "fail": NoPayload,
        "half": Amount,
        "empty": NoPayload,
        "peek": NoPayload,
        "slow": NoPayload,
    }
    queries = {"coins": None, "worth": Amount, "meddle": Amount, "refuse": None}

    def on_start(self, w: Workflow[PurseState], payload: Amount) -> None:
        w.step = "open"
        w.state.coins = payload.amount

    def on_close(self, w: Workflow[PurseState], payload: NoPayload) -> None:
        w.complete(w.state.coins)

    def on_myself(self, w: Workflow[PurseState], payload: NoPayload) -> None:
        w.workflows.update(w.id, "pay", amount=1)

    def validate_pay(self, w: Workflow[PurseState], payload: Amount) -> None:
        if payload.amount > w.state.coins:
            raise SenderError("sender_error", f"there are only {w.state.coins}")
        if payload.amount == 13:
            w.state.coins = 0

    def update_pay(self, w: Workflow[PurseState], payload: Amount) -> Any:
        w.state.coins -= payload.amount
        w.timer("interest", after_us=1_000_000)
        return {"left": w.state.coins}

    def update_fail(self, w: Workflow[PurseState], payload: NoPayload) -> Any:
        w.state.coins = -1
        w.timer("never", after_us=1)
        raise KeyError("a defect")

    def update_half(self, w: Workflow[PurseState], payload: Amount) -> Any:
        w.state.coins = -1
        raise SenderError("sender_error", "changed my mind")

    def update_empty(self, w: Workflow[PurseState], payload: NoPayload) -> None:
        w.complete(w.state.coins)

    def update_peek(self, w: Workflow[PurseState], payload: NoPayload) -> Any:
        return w.state

    def update_slow(self, w: Workflow[PurseState], payload: NoPayload) -> Any:
        return object()

    def query_coins(self, w: Workflow[PurseState], payload: NoPayload) -> int:
        return w.state.coins

    def query_worth(self, w: Workflow[PurseState], payload: Amount) -> PurseState:
        return PurseState(w.state.coins * payload.amount)

    def query_refuse(self, w: Workflow[PurseState], payload: NoPayload) -> int:
        raise SenderError("sender_error", "none of your business")

    def query_meddle(self, w: Workflow[PurseState], payload: Amount) -> int:
        match payload.amount:
            case 0:
                w.state.coins += 1
            case 1:
                w.timer("interest", after_us=1)
            case 2:
                w.complete()
            case 3:
                w.workflows.start("purse", amount=1)
            case 4:
                w.step = "looked at"
            case 5:
                w.workflows.signal(w.id, "close")
            case _:
                w.db.recovery_error.insert(workflow_id=w.id, workflow_type="purse", message="x", at=1)
        return 1

    def on_timer(self, w: Workflow[PurseState], timer: Timer) -> None:
        w.state.coins += 1


def purse(rig: Any, amount: int = 10) -> int:
    started: int = rig.start("purse", payload={"amount": amount})
    return started


def coins(rig: Any, one: int) -> int:
    found: int = rig.call("workflow_query", one, "coins")
    return found


# -- updates -----------------------------------------------------------------------------------


def test_an_update_changes_and_replies(make_rig: MakeRig) -> None:
    """B49, D78: one commit, which survives a crash."""
    rig = make_rig(Purse)
    one = purse(rig)
    seq = rig.engine.seq
    assert rig.call("workflow_update", one, "pay", 4) == {"left": 6}
    assert rig.engine.seq == seq + 1
    rig.crash()
    rig.reopen()
    assert coins(rig, one) == 6
    assert rig.call("workflow_update", one, "peek") == {"coins": 6}
    assert rig.run(lambda ctx: ctx.workflows.update(one, "pay", amount=1)) == {"left": 5}
    assert rig.rows("workflow_update") == []


def test_a_validator_refuses_before_anything_is_written(make_rig: MakeRig) -> None:
    """B49, D78: neither by the throwing form nor by the other; a refused update leaves no row."""
    rig = make_rig(Purse)
    one = purse(rig)
    before = stored(rig)
    with pytest.raises(SenderError, match="there are only 10"):
        rig.call("workflow_update", one, "pay", 11, "u-1")
    assert rig.call("attempt_workflow_update", one, "pay", 11, "u-1") == {
        "outcome": "rejected", "reply": None, "error": {"code": "sender_error", "message": "there are only 10"},
    }  # fmt: skip
    assert stored(rig) == before
    assert rig.rows("workflow_update") == []


def test_a_validator_that_changes_something_is_a_defect(make_rig: MakeRig) -> None:
    """B49: it may only read; nothing is kept, and the update is not run."""
    rig = make_rig(Purse)
    one = purse(rig, 20)
    with pytest.raises(Fault, match="validate_pay of workflow type purse may only read, but it changed its state"):
        rig.call("workflow_update", one, "pay", 13)
    assert coins(rig, one) == 20


@pytest.mark.parametrize(("name", "code"), [("fail", "internal"), ("half", "sender_error"), ("slow", "internal")])
def test_a_failed_update_is_undone_and_the_workflow_goes_on(make_rig: MakeRig, name: str, code: str) -> None:
    """D78: answered as an error; with an id it is kept as failed, by the form that does not throw."""
    rig = make_rig(Purse)
    one = purse(rig)
    payload = 1 if name == "half" else None
    before = stored(rig)
    with pytest.raises((SenderError, Fault)) as caught:
        rig.call("workflow_update", one, name, payload)
    assert caught.value.code == code
    assert stored(rig) == before
    assert rig.call("attempt_workflow_update", one, name, payload)["outcome"] == "failed"
    kept = rig.call("attempt_workflow_update", one, name, payload, "u-1")
    assert (kept["outcome"], kept["error"]["code"]) == ("failed", code)
    assert rig.call("workflow_update_result", one, name, "u-1") == kept
    with pytest.raises((SenderError, Fault)):
        rig.call("workflow_update", one, name, payload, "u-1")
    assert (coins(rig, one), rig.row("workflow", one).status) == (10, "Suspended")
    assert rig.rows("workflow_timer") == []


def test_an_update_with_an_id_counts_once(make_rig: MakeRig) -> None:
    """D78, B45: the reply is kept and given again, after a crash and after the end; another payload is refused."""
    rig = make_rig(Purse)
    one = purse(rig)
    assert rig.call("workflow_update", one, "pay", 4, "u-1") == {"left": 6}
    rig.crash()
    rig.reopen()
    assert rig.call("workflow_update", one, "pay", {"amount": 4}, "u-1") == {"left": 6}
    assert rig.call("attempt_workflow_update", one, "pay", 4, "u-1")["reply"] == {"left": 6}
    assert coins(rig, one) == 6
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_update", one, "pay", 5, "u-1")
    assert caught.value.code == "key_reused"
    assert rig.call("workflow_update", one, "empty", None, "u-2") is None
    assert rig.row("workflow", one).status == "Completed"
    assert rig.call("workflow_update_result", one, "empty", "u-2")["outcome"] == "completed"
    assert rig.call("workflow_update", one, "empty", None, "u-2") is None
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_update", one, "pay", 1, "u-3")
    assert caught.value.code == "not_active"


@pytest.mark.parametrize("status", [Status.PAUSED, Status.FAULTED, Status.PENDING])
def test_an_update_to_one_that_cannot_step_is_accepted_if_it_has_an_id(make_rig: MakeRig, status: Status) -> None:
    """D78: done when it wakes, in order with what else it was sent, once, through a crash."""
    rig = make_rig(Purse)
    one = purse(rig)
    pause(rig, one, status)
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_update", one, "pay", 4)
    assert caught.value.code == "not_awake"
    for _ in range(2):
        assert rig.call("attempt_workflow_update", one, "pay", 4, "u-1") == {
            "outcome": "accepted", "reply": None, "error": None,
        }  # fmt: skip
    assert rig.call("workflow_update", one, "fail", None, "u-2") is None
    if status is not Status.PENDING:
        assert rig.call("attempt_workflow_update", one, "pay", 99, "u-3")["outcome"] == "rejected"
    rig.crash()
    rig.reopen()
    wake(rig, one)
    assert rig.call("workflow_update_result", one, "pay", "u-1") == {
        "outcome": "completed", "reply": {"left": 6}, "error": None,
    }  # fmt: skip
    assert rig.call("workflow_update_result", one, "fail", "u-2")["outcome"] == "failed"
    assert coins(rig, one) == 6


def test_what_was_accepted_fails_with_the_workflow(make_rig: MakeRig) -> None:
    """D78, B46: nothing stays accepted for ever."""
    rig = make_rig(Purse)
    one = purse(rig)
    pause(rig, one)
    rig.call("workflow_update", one, "pay", 4, "u-1")
    rig.call("workflow_cancel", one, "enough")
    result = rig.call("workflow_update_result", one, "pay", "u-1")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "not_active")
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_update_result", one, "pay", "u-9")
    assert caught.value.code == "not_found"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("nope",), "unknown_update"),
        (("pay", "x"), "bad_arguments"),
        (("pay", 1, ""), "bad_arguments"),
        (("pay", 1, "x" * 129), "bad_arguments"),
    ],
)
def test_what_is_no_update_is_refused(make_rig: MakeRig, args: Any, code: str) -> None:
    """B49, A70: nothing is stored."""
    rig = make_rig(Purse)
    one = purse(rig)
    before = stored(rig)
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_update", one, *args)
    assert caught.value.code == code
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_update", 99, *args)
    assert stored(rig) == before


def test_a_workflow_in_a_step_cannot_answer(make_rig: MakeRig) -> None:
    """B49: it would have to answer before the step that asks is over."""
    rig = make_rig(Purse)
    one = purse(rig)
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", one, "myself")
    assert caught.value.code == "not_awake"
    assert coins(rig, one) == 10


def test_the_updates_of_one_workflow_are_bounded(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """D78: the older half of the finished ones goes."""
    monkeypatch.setattr(updates, "UPDATES_MAX", 4)
    rig = make_rig(Purse)
    one = purse(rig)
    for at in range(6):
        rig.call("workflow_update", one, "pay", 1, f"u-{at}")
    assert [row.update_id for row in rig.rows("workflow_update")] == ["u-2", "u-3", "u-4", "u-5"]


# -- queries -----------------------------------------------------------------------------------


def test_a_query_reads_and_makes_no_commit(make_rig: MakeRig) -> None:
    """B49: of live ones, of paused ones, of ended ones."""
    rig = make_rig(Purse)
    one = purse(rig)
    seq = rig.engine.seq
    assert rig.call("workflow_query", one, "worth", 3) == {"coins": 30}
    assert rig.engine.seq == seq
    pause(rig, one)
    assert coins(rig, one) == 10
    wake(rig, one)
    rig.call("workflow_signal", one, "close")
    rig.crash()
    rig.reopen()
    assert coins(rig, one) == 10
    assert rig.run(lambda ctx: ctx.workflows.query(one, "worth", amount=2)) == {"coins": 20}


@pytest.mark.parametrize(
    ("amount", "what"),
    [(0, "its state"), (1, "workflow_timer"), (2, "workflows"), (3, "workflow"), (4, "its state"), (5, "workflows"),
     (6, "recovery_error")],
)  # fmt: skip
def test_a_query_that_changes_something_is_told_so(make_rig: MakeRig, amount: int, what: str) -> None:
    """B49: whatever it changes, nothing of it is kept, also by game code that goes on."""
    rig = make_rig(Purse)
    one = purse(rig)
    before, seq = rig.row("workflow", one), rig.engine.seq
    with pytest.raises(Fault, match=f"query_meddle of workflow type purse may only read, but it changed .*{what}"):
        rig.call("workflow_query", one, "meddle", amount)

    def run(ctx: Any) -> None:
        with pytest.raises(Fault):
            ctx.workflows.query(one, "meddle", amount=amount)

    rig.run(run)
    assert (rig.engine.seq, rig.row("workflow", one)) == (seq, before)
    assert rig.rows("workflow_timer") == rig.rows("recovery_error") == []


def test_what_a_query_cannot_answer(make_rig: MakeRig) -> None:
    """B49, E26: unknown ones are typed; a handler may refuse."""
    rig = make_rig(Purse)
    one = purse(rig)
    for workflow_id, name, code in (
        (one, "nope", "unknown_query"),
        (99, "coins", "unknown_workflow"),
        (one, "refuse", "sender_error"),
    ):
        with pytest.raises(SenderError) as caught:
            rig.call("workflow_query", workflow_id, name)
        assert caught.value.code == code


class Locked(Purse):
    """Waits for somebody when it cannot begin: the first coin must be there."""

    name = "locked"
    on_error = ErrorPolicy(attempts=1, then=Then.PARK)

    def on_start(self, w: Workflow[PurseState], payload: Amount) -> None:
        if payload.amount < 0:
            raise ValueError("no coin")
        super().on_start(w, payload)


class Lost(Locked):
    """Fails when it cannot begin."""

    name = "lost"
    on_error = FAIL_AT_ONCE


def test_one_without_a_state_says_so(make_rig: MakeRig) -> None:
    """B49, REQ-23: its start is put off, is parked, or has failed; asking is the sender's mistake, no defect."""
    rig = make_rig(Purse, Locked, Lost)
    starts = [("purse", 1, {"start_after_us": 1_000}), ("locked", -1, None), ("lost", -1, None)]
    ids = [rig.call("workflow_start_with", k, None, None, {"amount": n}, options)["id"] for k, n, options in starts]
    assert [rig.row("workflow", one).status for one in ids] == ["Pending", "Faulted", "Failed"]
    for one, why in zip(ids, ("put off", "retried", "no coin"), strict=True):
        with pytest.raises(SenderError, match=why) as caught:
            rig.call("workflow_query", one, "coins")
        assert caught.value.code == "not_started"
        with pytest.raises(SenderError) as caught:
            rig.call("workflow_update", one, "pay", 1)
        assert caught.value.code == ("not_active" if why == "no coin" else "not_awake")
    told = [rig.call("attempt_workflow_update", one, "pay", 1, "u-1")["outcome"] for one in ids]
    assert told == ["accepted", "accepted", "rejected"]
    rig.advance(1_000)
    assert coins(rig, ids[0]) == 0
    assert rig.call("workflow_update_result", ids[0], "pay", "u-1")["reply"] == {"left": 0}


def test_who_may_ask_can_be_said(make_rig: MakeRig) -> None:
    """REQ-24: with the verbs ``update`` and ``query``."""
    rig = make_rig(Purse, authorize=lambda ctx, row, verb: verb not in ("update", "query"))
    one = purse(rig)
    for reducer in ("workflow_update", "attempt_workflow_update", "workflow_query"):
        with pytest.raises(SenderError) as caught:
            rig.call(reducer, one, "pay", 1, sender="a" * 32)
        assert caught.value.code == "forbidden"
    assert coins(rig, one) == 10


# -- declarations ------------------------------------------------------------------------------


def test_declarations_are_checked(make_rig: MakeRig) -> None:
    """E39: a method that is missing, async or takes something else is refused when the type is registered."""

    class Missing(Purse):
        updates = {"nothing": NoPayload}

    class Waiting(Purse):
        queries = {"later": NoPayload}

        async def query_later(self, w: Workflow[PurseState], payload: NoPayload) -> int:
            return 1

    class Other(Purse):
        updates = {"pay": NoPayload}

    for wrong, why in ((Missing, "update_nothing"), (Waiting, "async"), (Other, "Amount")):
        with pytest.raises(Refusal, match=why) as caught:
            WorkflowEngine([wrong])
        assert caught.value.code == "bad_declaration"
