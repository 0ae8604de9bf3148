"""Signals with an id of their sender's: sent again, they count once."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError
from tests.workflows.conftest import MakeRig
from tests.workflows.signals.support import Diary, Reader, pause, reading, told, wake
from workflows import messages


def test_a_duplicate_does_nothing_and_gets_the_first_answer(make_rig: MakeRig) -> None:
    """B45: after a crash, too; however the payload is written down."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    first = rig.call("workflow_send", one, "note", {"text": "a"}, "once")
    assert first == {"status": "Suspended", "outcome": "delivered", "position": None}
    rig.crash()
    rig.reopen()
    seq = rig.engine.seq
    for payload in ({"text": "a"}, '{"number": 0, "text": "a"}', ["a"]):
        assert rig.call("workflow_send", one, "note", payload, "once") == {**first, "outcome": "duplicate"}
    assert rig.engine.seq == seq
    assert told(rig, one) == [["note", "a"]]
    assert rig.rows("workflow_message") == []


def test_the_duplicate_of_a_stored_signal_is_not_stored_again(make_rig: MakeRig) -> None:
    """B45, B44: before it was taken and after; a handler's and a script's."""
    rig = reading(make_rig(Diary, Reader))
    for workflow_type, name in (("diary", "note"), ("reader", "other")):
        one = rig.start(workflow_type)
        pause(rig, one)
        first = rig.call("workflow_send", one, name, {"text": "a"}, "once")
        assert first["outcome"] == "stored"
        assert rig.call("workflow_send", one, name, {"text": "a"}, "once") == {**first, "outcome": "duplicate"}
        wake(rig, one)
        again = rig.call("workflow_send", one, name, {"text": "a"}, "once")
        assert again == {**first, "outcome": "duplicate"}
    assert [row.name for row in rig.rows("workflow_message")] == ["other"]


def test_a_lost_answer_to_the_last_signal_can_be_asked_for_again(make_rig: MakeRig) -> None:
    """B45, B46: the duplicate of what ended a workflow is answered; anything else is refused."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    assert rig.call("workflow_send", one, "finish", None, "end")["status"] == "Completed"
    assert rig.call("workflow_send", one, "finish", None, "end") == {
        "status": "Completed", "outcome": "duplicate", "position": None,
    }  # fmt: skip
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_send", one, "finish", None, "another")
    assert caught.value.code == "not_active"


def test_an_id_belongs_to_one_workflow_and_one_name(make_rig: MakeRig) -> None:
    """B45: case counts, and nothing that looks like an escape collides."""
    rig = make_rig(Diary)
    one, two = rig.start("diary"), rig.start("diary")
    sent = [
        (one, "note", "a:b"),
        (one, "note", "a%3Ab"),
        (one, "note", "A:b"),
        (one, "other", "a:b"),
        (two, "note", "a:b"),
    ]
    for workflow_id, name, signal_id in sent:
        answer = rig.call("workflow_send", workflow_id, name, {"text": signal_id}, signal_id)
        assert answer["outcome"] == "delivered"
    assert len(told(rig, one)) == 4
    assert len(told(rig, two)) == 1


def test_an_id_with_another_payload_is_refused(make_rig: MakeRig) -> None:
    """B45: ``key_reused``, and nothing changes."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    rig.call("workflow_send", one, "note", {"text": "a"}, "once")
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_send", one, "note", {"text": "b"}, "once")
    assert caught.value.code == "key_reused"
    assert told(rig, one) == [["note", "a"]]


@pytest.mark.parametrize(("signal_id", "good"), [("", False), ("x" * 129, False), ("é" * 64, True), ("é" * 65, False)])
def test_how_long_an_id_may_be(make_rig: MakeRig, signal_id: str, good: bool) -> None:
    """B45: 1 to 128 bytes of UTF-8."""
    rig = make_rig(Diary)
    one = rig.start("diary")
    if good:
        assert rig.call("workflow_send", one, "note", {"text": "a"}, signal_id)["outcome"] == "delivered"
        return
    with pytest.raises(SenderError, match="1 to 128 bytes") as caught:
        rig.call("workflow_send", one, "note", {"text": "a"}, signal_id)
    assert caught.value.code == "bad_arguments"
    assert rig.rows("workflow_signal_id") == []


def test_a_refused_signal_leaves_no_mark(make_rig: MakeRig) -> None:
    """B45: also where game code catches the refusal and goes on."""
    rig = make_rig(Refuser)
    one = rig.start("refuser")

    def run(ctx: Any) -> None:
        with pytest.raises(SenderError):
            ctx.workflows.send(one, "refuse", {"text": "a"}, signal_id="once")
        ctx.db.last_workflow_id.insert(identity="x", workflow_id=one)

    rig.run(run)
    assert rig.rows("workflow_signal_id") == []
    assert rig.row("last_workflow_id", "x") is not None


class Refuser(Diary):
    name = "refuser"

    def on_signal(self, w: Any, signal: Any) -> None:
        raise SenderError("sender_error", "no")


def test_the_ids_of_one_workflow_are_bounded(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """B45: the older half goes when there are too many, and all of them with the workflow."""
    monkeypatch.setattr(messages, "SIGNAL_IDS_MAX", 6)
    rig = make_rig(Diary)
    one = rig.start("diary")
    for at in range(10):
        rig.call("workflow_send", one, "note", {"text": "a"}, f"id-{at}")
    kept = [row.signal_id for row in rig.rows("workflow_signal_id")]
    assert kept == [f"id-{at}" for at in range(6, 10)]


def test_ids_go_with_their_workflow(make_rig: MakeRig) -> None:
    """A105, B45: the clean-up removes them with the workflow they belong to, and no others."""
    rig = make_rig(Diary)
    one, two = rig.start("diary"), rig.start("diary")
    for workflow_id in (one, two):
        rig.call("workflow_send", workflow_id, "note", {"text": "a"}, "id")
    rig.call("workflow_signal", one, "finish")
    rig.advance(1)
    assert rig.call("cleanup_old_workflows", 0)["removed"] == 1
    assert [row.workflow_id for row in rig.rows("workflow_signal_id")] == [two]
