"""Signals and other news to workflows that cannot take a step now: stored, in order, each once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reactor import SenderError
from reactor.limits import DEFAULT_LIMITS
from tests.workflows.conftest import MakeRig
from tests.workflows.signals.support import Diary, Reader, pause, reading, stored, told, wake
from workflows import ChildEnd, WorkflowEngine, messages, signalling
from workflows.handle import Cause, EventSeen, TaskEnd
from workflows.inbox import Inbox
from workflows.life import Status


@pytest.mark.parametrize("status", [Status.PAUSED, Status.FAULTED, Status.PENDING])
def test_a_signal_to_one_that_cannot_step_waits(make_rig: MakeRig, status: Status) -> None:
    """B44, D76: stored with the call, survives a crash, delivered in order when it wakes, once."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    pause(rig, one, status)
    assert rig.call("workflow_signal", one, "note", {"text": "a"}) == status
    assert rig.call("workflow_send", one, "other", {"text": "b"}) == {
        "status": status,
        "outcome": "stored",
        "position": 2,
    }
    rig.call("workflow_signal", one, "note", {"text": "c"})
    rig.crash()
    rig.reopen()
    assert told(rig, one) == []
    assert [(m.name, m.kind) for m in rig.rows("workflow_message")] == [
        ("note", "signal"),
        ("other", "signal"),
        ("note", "signal"),
    ]
    wake(rig, one)
    assert told(rig, one) == [["note", "a"], ["other", "b"], ["note", "c"]]
    assert rig.rows("workflow_message") == []
    wake(rig, one)
    assert len(told(rig, one)) == 3


def test_an_operators_pause_holds_what_is_sent(make_rig: MakeRig) -> None:
    """B50, B44: by the operator's own verbs; what was held comes in the commit of the resume."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    rig.call("workflow_suspend", one, "maintenance")
    for text in "abc":
        rig.call("workflow_send", one, "note", {"text": text}, text)
    rig.crash()
    rig.reopen()
    seq = rig.engine.seq
    rig.call("workflow_resume", one)
    assert rig.engine.seq == seq + 1
    assert [text for _, text in told(rig, one)] == ["a", "b", "c"]


def test_an_awake_handler_is_told_at_once_and_nothing_is_stored(make_rig: MakeRig) -> None:
    """A24, A25: in the sender's commit; JSON text, a value, bytes as a list give the same."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    seq = rig.engine.seq
    assert rig.call("workflow_send", one, "note", {"text": "x"}) == {
        "status": "Suspended", "outcome": "delivered", "position": None,
    }  # fmt: skip
    assert rig.engine.seq == seq + 1
    rig.call("workflow_signal", one, "note", '{"text": "x"}')
    rig.call("workflow_signal", one, "note", list(b'{"text": "x"}'))
    assert told(rig, one) == [["note", "x"]] * 3
    assert rig.rows("workflow_message") == []


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [("nope", None, "unknown_signal"), ("note", 5, "bad_arguments"), ("note", {"text": "x", "y": 1}, "bad_arguments")],
)
def test_what_is_wrong_is_refused_before_it_is_stored(make_rig: MakeRig, name: str, payload: Any, code: str) -> None:
    """A64, A70, C24: also for a workflow that is paused; nothing is written and it goes on waiting."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    pause(rig, one)
    before = stored(rig)
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_send", one, name, payload, "id-1")
    assert caught.value.code == code
    assert stored(rig) == before
    wake(rig, one)


def test_a_signal_to_an_ended_one_is_refused(make_rig: MakeRig) -> None:
    """B46: ``not_active``, and what waited goes with the end."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    pause(rig, one)
    rig.call("workflow_signal", one, "note", {"text": "never read"})
    rig.call("workflow_cancel", one, "enough")
    assert rig.rows("workflow_message") == []
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", one, "note", {"text": "late"})
    assert caught.value.code == "not_active"


def test_everything_it_can_be_told_is_held(make_rig: MakeRig) -> None:
    """B44: children, tasks and events as well, with all that belongs to them, in the order they came."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    pause(rig, one)
    assert isinstance(rig.module, WorkflowEngine)
    tell = rig.module.part(Inbox).dispatcher.tell

    def happen(ctx: Any) -> None:
        assert tell(ctx, one, "on_child_end", ChildEnd(9, "nap", Status.FAILED, None, "why"), Cause("child", "9"))
        assert tell(
            ctx, one, "on_task_end", TaskEnd(3, "q", "t", "completed", "[1]", None, 1, None), Cause("task", "t")
        )
        assert tell(ctx, one, "on_event", EventSeen(None, "rain", "north", '"heavy"', 5, None), Cause("event", "rain"))
        assert not tell(ctx, 99, "on_event", EventSeen(None, "rain", "", None, 5, None), Cause("event", "rain"))

    rig.run(happen)
    assert [(m.kind, m.hook) for m in rig.rows("workflow_message")] == [
        ("child", "on_child_end"), ("task", "on_task_end"), ("event", "on_event"),
    ]  # fmt: skip
    rig.crash()
    rig.reopen()
    wake(rig, one)
    assert told(rig, one) == [["child", 9, "Failed"], ["task", "t", "[1]"], ["event", "rain", "north", '"heavy"']]


def test_delivery_stops_when_it_ends_or_fails(make_rig: MakeRig) -> None:
    """A41, B44: what comes after the end is not delivered and goes."""
    rig = make_rig(Diary)
    for last, status in (("finish", "Completed"), ("crash", "Failed")):
        one = rig.start("diary")
        pause(rig, one)
        for name, payload in (("note", {"text": "a"}), (last, None), ("note", {"text": "b"})):
            rig.call("workflow_signal", one, name, payload)
        wake(rig, one)
        assert rig.row("workflow", one).status == status
        assert rig.rows("workflow_message") == []


def test_much_that_waits_is_delivered_in_pieces(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """B44, D76: in several commits, in order, with a crash between them; what comes meanwhile waits behind."""
    monkeypatch.setattr(signalling, "DELIVERED_AT_ONCE_MAX", 2)
    rig = make_rig(Diary)
    one = rig.start("diary")
    pause(rig, one)
    for text in "abcde":
        rig.call("workflow_signal", one, "note", {"text": text})
    engine = rig.module
    assert isinstance(engine, WorkflowEngine)
    part = engine.part(Inbox)

    def run(ctx: Any) -> None:
        part.dispatcher.control.faults.unpark(ctx, one)
        part.dispatcher.signalling.deliver_held(ctx, ctx.db.workflow.update(one, status=Status.SUSPENDED))
        assert part.dispatcher.signal(ctx, one, "note", {"text": "f"}) == "Suspended"
        part.dispatcher.tell(ctx, one, "on_event", EventSeen(None, "g", "", None, 0, None), Cause("event", "g"))
        assert len(ctx.db.workflow_message) == 5

    rig.run(run)
    rig.crash()
    rig.reopen()
    assert [entry[1] for entry in told(rig, one)] == ["a", "b", "c", "d", "e", "f", "g"]
    assert rig.rows("workflow_message") == rig.rows("workflow_delivery") == []


def test_a_type_that_comes_back_gets_what_was_told_meanwhile(make_rig: MakeRig) -> None:
    """A106, B44: news for a workflow of a missing type is kept and delivered at the start at which it is back."""
    rig = make_rig(Diary, Reader)
    one = rig.start("diary")
    rig.crash()
    rig.reopen(WorkflowEngine([Reader], skip_types=["diary"]))
    assert isinstance(rig.module, WorkflowEngine)
    tell = rig.module.part(Inbox).dispatcher.tell
    rig.run(lambda ctx: tell(ctx, one, "on_event", EventSeen(None, "rain", "", None, 5, None), Cause("event", "rain")))
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", one, "note", {"text": "x"})
    assert caught.value.code == "unknown_type"
    rig.crash()
    rig.reopen(WorkflowEngine([Diary, Reader]))
    assert told(rig, one) == [["event", "rain", "", None]]
    assert rig.rows("workflow_message") == []


def test_too_many_unread_are_refused(make_rig: MakeRig) -> None:
    """D98: by kind, value and limit; others of the engine are not told less for it."""
    rig = make_rig(Diary, limits=replace(DEFAULT_LIMITS, workflow_signals_max=3))
    one = rig.start("diary")
    pause(rig, one)
    for text in "abc":
        rig.call("workflow_signal", one, "note", {"text": text})
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", one, "note", {"text": "d"})
    assert caught.value.code == "limit_exceeded"
    assert (caught.value.details["kind"], caught.value.details["value"], caught.value.details["limit"]) == (
        "unread_messages", 3, 3,
    )  # fmt: skip
    wake(rig, one)
    assert [text for _, text in told(rig, one)] == ["a", "b", "c"]


def test_a_signal_to_itself_from_its_own_step_comes_after_it(make_rig: MakeRig) -> None:
    """A64: also when it was held, and when the type stores its signals."""
    rig = reading(make_rig(Diary, Reader))
    one = rig.start("diary")
    rig.call("workflow_signal", one, "myself", {"text": "x"})
    assert told(rig, one) == [["note", "x"]]


# -- types whose signals are always stored ------------------------------------------------------


def test_a_script_takes_what_it_waits_for(make_rig: MakeRig) -> None:
    """B44, D76: taken in the commit in which it was sent; others wait, and cost the workflow's row nothing."""
    rig = reading(make_rig(Reader))
    one = rig.start("reader")
    sent = rig.call("workflow_send", one, "note", {"text": "a"})
    assert sent["outcome"] == "delivered"
    before = rig.row("workflow", one)
    assert rig.call("workflow_send", one, "other", {"text": "b"})["outcome"] == "stored"
    assert rig.row("workflow", one) is before
    rig.crash()
    rig.reopen()
    reading(rig)
    assert told(rig, one) == ['note:{"text":"a","number":0}']
    assert rig.run(lambda ctx: [m.name for m in messages.unread(ctx, one)]) == ["other"]
    assert rig.run(lambda ctx: messages.take(ctx, one, "note") is None)


def test_buffered_signals_are_taken_oldest_first(make_rig: MakeRig) -> None:
    """B44, D76: sent before the wait, each once, in order, by name."""
    rig = reading(make_rig(Reader))
    one = rig.start("reader")
    pause(rig, one)
    for at in range(5):
        rig.call("workflow_send", one, "note" if at % 2 else "other", {"text": str(at)}, f"id-{at}")
    wake(rig, one)
    assert [text.split('"')[3] for text in told(rig, one)] == ["1", "3"]
    taken = rig.run(lambda ctx: [messages.take(ctx, one, "other").payload for _ in range(3)])
    assert [text.split('"')[3] for text in taken] == ["0", "2", "4"]
