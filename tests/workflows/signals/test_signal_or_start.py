"""Start or signal in one commit: whoever comes first starts, all others signal."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from reactor import SenderError
from reactor.messages import Call, Caller
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.signals.support import Note, pause, stored, told, wake
from workflows import Handler, NoPayload, Payload, Signal, Workflow
from workflows.start.options import Exclusive


class RaidStart(Payload):
    leader: int = 0


class RaidState(msgspec.Struct):
    leader: int = 0
    told: list[Any] = []


class Raid(Handler[RaidState]):
    name = "raid"
    signals = {"note": Note, "finish": NoPayload}

    def on_start(self, w: Workflow[RaidState], payload: RaidStart) -> None:
        w.state.leader = payload.leader

    def on_signal(self, w: Workflow[RaidState], signal: Signal) -> None:
        if signal.name == "finish":
            w.complete()
        else:
            w.state.told.append(signal.payload.text)


class Siege(Raid):
    """One for each entity."""

    name = "siege"
    exclusive = Exclusive()


def ask(rig: Rig, text: str, type: str = "raid", **more: Any) -> Any:
    given = {"type": type, "signal": "note", "payload": {"text": text}, **more}
    client = rig.connect(more.pop("sender", "0" * 32), is_owner=True)
    answer = client.ask(call="workflow_signal_or_start", args=given)
    client.disconnect()
    if "error" in answer:
        error = answer["error"]
        raise SenderError(error.pop("code"), error.pop("message"), **error)
    return answer["ok"]


def test_a_hundred_callers_start_one(make_rig: MakeRig) -> None:
    """B43: one start, 99 signals, none lost, in one turn and in any order of arrival."""
    rig = make_rig(Raid)
    answers: list[Any] = []
    for at in range(100):
        args = orjson.dumps({"type": "raid", "signal": "note", "payload": {"text": str(at)}, "correlation_id": "run"})
        call = Call("workflow_signal_or_start", args, Caller(f"{at:032x}"), lambda _, body: answers.append(body), None)
        rig.host.submit(call)
    rig.settle()
    did = [orjson.loads(body)["did"] for body in answers]
    assert did == ["started"] + ["signalled"] * 99
    assert told(rig, 1) == [str(at) for at in range(1, 100)]
    assert len(rig.rows("workflow")) == 1


@pytest.mark.parametrize("who", [
    {"entity_id": 7}, {"correlation_id": "run"}, {"entity_id": 7, "correlation_id": "run"},
    {"options": {"name": "the-raid"}}, {"entity_id": 7, "options": {"exclusive": "gate"}},
])  # fmt: skip
def test_who_is_meant(make_rig: MakeRig, who: dict[str, Any]) -> None:
    """B43: by entity, correlation, name or what it holds; another of these is another workflow. It outlives a crash."""
    rig = make_rig(Raid)
    first = ask(rig, "a", start_payload={"leader": 3}, **who)
    assert (first["did"], first["outcome"], first["status"]) == ("started", "started", "Suspended")
    other = ask(rig, "x", entity_id=8, correlation_id="other")
    rig.crash()
    rig.reopen()
    second = ask(rig, "b", **who)
    assert (second["did"], second["id"], second["outcome"]) == ("signalled", first["id"], "delivered")
    assert other["id"] != first["id"]
    assert told(rig, first["id"]) == ["b"]
    assert first["name"] == second["name"]


def test_the_one_that_holds_it_is_meant(make_rig: MakeRig) -> None:
    """B43: exclusivity that the type declares."""
    rig = make_rig(Siege)
    one = rig.start("siege", entity_id=4)
    assert ask(rig, "a", "siege", entity_id=4)["id"] == one
    assert ask(rig, "a", "siege", entity_id=5)["did"] == "started"
    rig.call("workflow_signal", one, "finish")
    assert ask(rig, "a", "siege", entity_id=4)["did"] == "started"


@pytest.mark.parametrize("who", [{"correlation_id": "run"}, {"options": {"name": "the-raid"}}])
def test_one_that_has_ended_is_a_conflict(make_rig: MakeRig, who: dict[str, Any]) -> None:
    """B43: unless a new one is wanted; the new one is then the one that is meant."""
    rig = make_rig(Raid)
    first = ask(rig, "a", **who)
    rig.call("workflow_signal", first["id"], "finish")
    with pytest.raises(SenderError) as caught:
        ask(rig, "b", **who)
    assert (caught.value.code, caught.value.details["workflow_id"]) == ("conflict", first["id"])
    second = ask(rig, "b", on_finished="start_new", **who)
    assert (second["did"], second["id"] != first["id"]) == ("started", True)
    assert ask(rig, "c", on_finished="start_new", **who)["id"] == second["id"]


def test_the_new_one_may_get_the_signal_too(make_rig: MakeRig) -> None:
    """B43: if it is asked for."""
    rig = make_rig(Raid)
    first = ask(rig, "a", correlation_id="run", signal_new=True)
    assert (first["did"], told(rig, first["id"])) == ("started", ["a"])


@pytest.mark.parametrize("signal_new", [False, True])
def test_asking_again_with_an_id_does_nothing(make_rig: MakeRig, signal_new: bool) -> None:
    """B43, B45: the answer says what the first call did, after the end as well."""
    rig = make_rig(Raid)
    more: dict[str, Any] = {"correlation_id": "run", "signal_new": signal_new}
    first = ask(rig, "a", signal_id="one", **more)
    rig.crash()
    rig.reopen()
    again = ask(rig, "a", signal_id="one", **more)
    assert (again["did"], again["id"], again["outcome"]) == ("started", first["id"], "duplicate")
    for _ in range(2):
        assert ask(rig, "b", signal_id="two", **more)["did"] == "signalled"
    assert told(rig, first["id"]) == (["a", "b"] if signal_new else ["b"])
    rig.call("workflow_signal", first["id"], "finish")
    assert ask(rig, "a", signal_id="one", **more)["outcome"] == "duplicate"
    assert ask(rig, "b", signal_id="two", on_finished="start_new", **more)["outcome"] == "duplicate"
    assert len(rig.rows("workflow")) == 1


def test_one_that_is_paused_gets_it_later(make_rig: MakeRig) -> None:
    """B43, B44."""
    rig = make_rig(Raid)
    one = ask(rig, "a", correlation_id="run")["id"]
    pause(rig, one)
    answer = ask(rig, "b", correlation_id="run")
    assert (answer["did"], answer["outcome"], answer["status"]) == ("signalled", "stored", "Paused")
    wake(rig, one)
    assert told(rig, one) == ["b"]


def test_what_cannot_be_meant_is_refused(make_rig: MakeRig) -> None:
    """B43, A64: nothing is stored, whether there is one already or not."""
    rig = make_rig(Raid, Siege)
    rig.start("raid", correlation_id="two")
    rig.start("raid", correlation_id="two")
    rig.call("workflow_start_with", "siege", 4, None, None, {"name": "taken"})
    before = stored(rig)
    for more, code in (
        ({}, "bad_arguments"),
        ({"correlation_id": "two"}, "conflict"),
        ({"options": {"name": "taken"}}, "conflict"),
        ({"correlation_id": "new", "signal": "nope"}, "unknown_signal"),
        ({"correlation_id": "new", "payload": {"text": 5}}, "bad_arguments"),
        ({"correlation_id": "new", "start_payload": {"leader": "x"}}, "bad_arguments"),
        ({"correlation_id": "new", "signal_id": ""}, "bad_arguments"),
        ({"correlation_id": "new", "on_finished": "perhaps"}, "bad_arguments"),
        ({"correlation_id": "new", "type": "nope"}, "unknown_type"),
    ):
        with pytest.raises(SenderError) as caught:
            ask(rig, "a", **more)
        assert caught.value.code == code, more
    assert stored(rig) == before


def test_both_permissions_are_asked(make_rig: MakeRig) -> None:
    """REQ-24: to start where it starts, to signal where it signals."""
    rig = make_rig(Raid, authorize=lambda ctx, row, verb: verb == "start")
    args = ["raid", "note", {"text": "a"}, None, None, "run"]
    assert rig.call("workflow_signal_or_start", *args, sender="a" * 32)["did"] == "started"
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal_or_start", *args, sender="a" * 32)
    assert (caught.value.code, caught.value.details["verb"]) == ("forbidden", "signal")


def test_game_code_may_do_it_too(make_rig: MakeRig) -> None:
    """B43: ``ctx.workflows.signal_or_start``."""
    rig = make_rig(Raid)

    def run(ctx: Any) -> list[str]:
        return [ctx.workflows.signal_or_start("raid", "note", Note(text=t), correlation_id="r").did for t in "ab"]

    assert rig.run(run) == ["started", "signalled"]
