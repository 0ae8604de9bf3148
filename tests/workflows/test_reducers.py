"""The reducers that clients call: arguments, batches, permission, last ids."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reactor import Context, SenderError, seconds
from reactor.limits import Limits
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Add, Counter, Nap
from workflows import Status, Workflow

ALICE, BOB = "a" * 32, "b" * 32


def test_start_takes_positions_names_and_nulls(make_rig: MakeRig) -> None:
    """A23: entity and correlation may be null; a payload may be left out."""
    rig = make_rig(Counter)
    assert rig.call("workflow_start", "counter") == 1
    assert rig.call("workflow_start", "counter", None, None) == 2
    assert rig.call("workflow_start", "counter", 7, "raid", {}) == 3
    client = rig.connect(ALICE)
    assert client.ask(call="workflow_start", args={"type": "counter", "correlation_id": "x"})["ok"] == 4
    assert [(r.entity_id, r.correlation_id) for r in rig.rows("workflow")] == [
        (None, None), (None, None), (7, "raid"), (None, "x"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "named"),
    [
        ((), "bad_arguments", "parameter type is missing"),
        (("counter", "seven"), "bad_arguments", "parameter entity_id"),
        (("counter", 1, 2), "bad_arguments", "parameter correlation_id"),
        (("counter", 1 << 63), "bad_arguments", "entity_id"),
        (("nope",), "unknown_type", "registered are counter, nap"),
        (("nap",), "bad_arguments", "missing required field `delay_us`"),
        (("nap", None, None, {"delay_us": 1.5}), "bad_arguments", "Expected `int`, got `float`"),
    ],
)
def test_bad_arguments_are_named_and_leave_nothing(make_rig: MakeRig, args: Any, code: str, named: str) -> None:
    """A23, A45, A48, D72: nothing is written but the refusal, and not even that where it was no command at all."""
    rig = make_rig(Counter, Nap)
    seq = rig.engine.seq
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_start", *args)
    assert caught.value.code in (code, "bad_value")
    assert named in caught.value.message
    assert rig.rows("workflow") == []
    written = [row.code for row in rig.rows("command_log")]
    assert written in ([], [caught.value.code])
    assert rig.engine.seq == seq + len(written)


def test_every_form_of_payload_leaves_the_same_row(make_rig: MakeRig) -> None:
    """A25: value, text, byte values, base64."""
    rig = make_rig(Nap)
    text = '{"delay_us":5000}'
    for payload in ({"delay_us": 5000}, text, list(text.encode()), "eyJkZWxheV91cyI6NTAwMH0=", [5000]):
        rig.start("nap", payload=payload)
    kept = ("id", "name")
    rows = [[getattr(r, f) for f in r.__struct_fields__ if f not in kept] for r in rig.rows("workflow")]
    assert all(row == rows[0] for row in rows)
    assert len({t.scheduled_at for t in rig.rows("workflow_timer")}) == 1


def test_the_payload_cap_comes_before_any_write(make_rig: MakeRig) -> None:
    """B52: exactly the cap passes; one byte more is refused; for signals as for starts."""
    rig = make_rig(Counter, limits=Limits(payload_bytes_max=100))
    workflow_id = rig.start("counter")
    note = "x" * (100 - len('{"amount":1,"note":""}'))
    assert rig.call("workflow_signal", workflow_id, "add", {"amount": 1, "note": note}) == "Suspended"
    seq = rig.engine.seq
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", workflow_id, "add", {"amount": 1, "note": note + "x"})
    assert caught.value.code == "payload_too_large"
    with pytest.raises(SenderError) as caught:
        rig.start("counter", payload=" " * 50 + '{"x":"' + "x" * 100 + '"}')
    assert caught.value.code == "payload_too_large"
    assert rig.engine.seq == seq + len(rig.rows("command_log")) == seq + 2


def test_a_batch_is_one_commit_and_one_message(make_rig: MakeRig) -> None:
    """A51, A29: a thousand starts; a subscriber gets one frame."""
    rig = make_rig(Nap)
    watch = rig.subscribe("SELECT * FROM workflow")
    seq = rig.engine.seq
    ids = rig.call(
        "workflow_start_batch",
        [{"type": "nap", "entity_id": i, "payload": {"delay_us": 1_000}} for i in range(1_000)],
    )
    assert len(set(ids)) == 1_000
    assert rig.engine.seq == seq + 1
    assert len(watch.frames) == 1
    assert [rig.row("workflow", i).entity_id for i in ids] == list(range(1_000))
    assert rig.call("workflow_start_batch", []) == []


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"type": "nope"}, "unknown_type"),
        ({"type": "nap", "payload": {}}, "bad_arguments"),
        ({"type": "nap", "entity_id": 1 << 63, "payload": {"delay_us": 1}}, "bad_value"),
    ],
)
def test_one_bad_item_rolls_back_the_batch_and_is_named(make_rig: MakeRig, bad: Any, code: str) -> None:
    """A51: all or none, and the index of the bad one."""
    rig = make_rig(Nap)
    good = {"type": "nap", "payload": {"delay_us": 1_000}}
    with pytest.raises(SenderError, match=r"^item 2: ") as caught:
        rig.call("workflow_start_batch", [good, good, bad, good])
    assert (caught.value.code, caught.value.details["index"]) == (code, 2)
    assert rig.rows("workflow") == rig.rows("workflow_timer") == []


def test_a_batch_item_of_the_wrong_shape_is_refused(make_rig: MakeRig) -> None:
    """Unknown fields are not dropped."""
    with pytest.raises(SenderError) as caught:
        make_rig(Nap).call("workflow_start_batch", [{"type": "nap", "entity": 1}])
    assert caught.value.code == "bad_arguments"


def test_every_caller_has_a_last_id_of_its_own(make_rig: MakeRig) -> None:
    """A27: the id is in the reply and kept per caller; nobody sees another's."""
    rig = make_rig(Counter)
    assert rig.call("workflow_last_id", sender=ALICE) is None
    one = rig.call("workflow_start", "counter", sender=ALICE)
    two = rig.call("workflow_start", "counter", sender=BOB)
    three = rig.call("workflow_start_batch", [{"type": "counter"}] * 2, sender=ALICE)
    assert rig.call("workflow_last_id", sender=ALICE) == three[-1]
    assert rig.call("workflow_last_id", sender=BOB) == two
    assert one < two < three[0]
    with pytest.raises(SenderError):
        rig.connect(ALICE).watch("SELECT * FROM last_workflow_id")
    rig.run(lambda ctx: ctx.workflows.start("counter"), sender=ALICE)
    assert rig.call("workflow_last_id", sender=ALICE) == three[-1], "only what a client asked for itself counts"


def test_only_the_starter_and_the_owner_cancel(make_rig: MakeRig) -> None:
    """A107: another identity gets ``forbidden`` and changes nothing; the reason is stored."""
    rig = make_rig(Counter)
    one = rig.call("workflow_start", "counter", sender=ALICE)
    two = rig.call("workflow_start", "counter", sender=ALICE)
    with pytest.raises(SenderError, match=f"may not cancel workflow {one} .counter") as caught:
        rig.call("workflow_cancel", one, "mine now", sender=BOB)
    assert caught.value.code == "forbidden"
    assert rig.row("workflow", one).status is Status.SUSPENDED
    assert rig.call("workflow_cancel", one, "enough", sender=ALICE) == "Cancelled"
    assert rig.call("workflow_cancel", two, "cleaning up") == "Cancelled"
    assert rig.row("workflow", one).error_message == "enough"


def test_a_workflow_of_the_server_is_nobodys(make_rig: MakeRig) -> None:
    """Started by game code without a caller: only the owner of the database cancels it."""
    rig = make_rig(Counter)
    workflow_id = rig.run(lambda ctx: ctx.workflows.start("counter"))
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_cancel", workflow_id, "x", sender=ALICE)
    assert caught.value.code == "forbidden"


class Private(Counter):
    name = "private"

    def may(self, ctx: Context, workflow: Any, verb: str) -> bool | None:
        return None if verb == "cancel" else ctx.sender == ALICE

    def on_add(self, w: Workflow[Any], payload: Add) -> None:
        w.state.total += payload.amount


def test_a_type_and_a_game_have_a_say(make_rig: MakeRig) -> None:
    """REQ-24: signals and starts can be authorised per type, and for the whole game."""

    def nobody_but_alice_cancels(ctx: Context, workflow: Any, verb: str) -> bool:
        return verb != "cancel" or ctx.sender == ALICE

    rig = make_rig(Counter, Private, authorize=nobody_but_alice_cancels)
    for reducer, args in (
        ("workflow_start", ["private"]),
        ("workflow_start_batch", [[{"type": "private"}]]),
    ):
        with pytest.raises(SenderError) as caught:
            rig.call(reducer, *args, sender=BOB)
        assert caught.value.code == "forbidden"
    workflow_id = rig.call("workflow_start", "private", sender=ALICE)
    with pytest.raises(SenderError):
        rig.call("workflow_signal", workflow_id, "add", 1, sender=BOB)
    assert rig.call("workflow_signal", workflow_id, "add", 1, sender=ALICE) == "Suspended"
    bobs = rig.call("workflow_start", "counter", sender=BOB)
    with pytest.raises(SenderError):
        rig.call("workflow_cancel", bobs, "mine", sender=BOB)
    assert rig.call("workflow_cancel", bobs, "not yours", sender=ALICE) == "Cancelled"


def test_nobody_fires_a_timer_from_outside(make_rig: MakeRig) -> None:
    """A88: not with a copied row, not as the owner."""
    rig = make_rig(Nap)
    workflow_id = rig.start("nap", payload={"delay_us": 1_000})
    (timer,) = rig.rows("workflow_timer")
    copied = {f: orjson.loads(orjson.dumps(getattr(timer, f))) for f in timer.__struct_fields__}
    for sender in (ALICE, "0" * 32):
        with pytest.raises(SenderError) as caught:
            rig.call("workflow_timer_fire", copied, sender=sender)
        assert caught.value.code == "forbidden"
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED


@pytest.mark.parametrize("reducer", ["cleanup_old_workflows", "workflow_tick"])
def test_upkeep_is_the_owners(make_rig: MakeRig, reducer: str) -> None:
    """D84: clients are refused."""
    args = [1.0] if reducer.startswith("cleanup") else []
    with pytest.raises(SenderError) as caught:
        make_rig(Nap).call(reducer, *args, sender=ALICE)
    assert caught.value.code == "forbidden"


def test_a_client_sees_each_step_as_one_update(make_rig: MakeRig) -> None:
    """A21, A22: rows of entity 42 alone; one insert, then one update per change, with type and step."""
    rig = make_rig(Nap)
    watch = rig.connect(ALICE).watch("SELECT * FROM workflow WHERE entity_id = 42")
    rig.start("nap", entity_id=42, payload={"delay_us": seconds(1)})
    rig.start("nap", entity_id=43, payload={"delay_us": seconds(1)})
    rig.advance(seconds(1))
    assert [(kind, row["workflow_type"], row["current_step"], row["status"]) for kind, row in watch.events] == [
        ("insert", "nap", "asleep", "Suspended"),
        ("update", "nap", "asleep", "Completed"),
    ]
