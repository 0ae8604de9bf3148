"""Large groups: in pieces, each target once, in order, whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import ReactorError, SenderError, days, seconds
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants, picture
from tests.workflows.conftest import MakeRig
from tests.workflows.groups.conftest import MakeGroups, finish, in_pieces_of
from tests.workflows.groups.samples import ALICE, BOB, RAID, Noter, add, raid, totals
from tests.workflows.samples import Counter
from workflows import WorkflowEngine
from workflows.groups import operations
from workflows.groups.orders import Carrier


def test_a_large_group_is_done_in_pieces(make_groups: MakeGroups) -> None:
    """REQ-13: the call fixes the targets, then a piece a commit, and it says how far it has come."""
    rig = make_groups(Counter)
    ids = raid(rig, 10)
    watch = rig.subscribe("SELECT * FROM workflow")
    answer = add(rig, 1)
    assert answer.items() >= {"status": "Running", "total": 10, "done": 0}.items()
    assert "results" not in answer
    for done in (3, 6, 9):
        rig.advance(1)
        assert rig.call("workflow_group_operation", answer["operation"])["done"] == done
        assert totals(rig, ids) == [1] * done + [0] * (10 - done)
    rig.advance(1)
    told = rig.call("workflow_group_operation", answer["operation"], sender=ALICE)
    assert told.items() >= {"status": "Done", "done": 10, "applied": 10, "refused": 0, "failed": 0}.items()
    assert len(watch.frames) == 4, "a subscriber gets one message a piece"
    for table in ("workflow_group_turn", "workflow_group_targets", "workflow_group_result"):
        assert rig.rows(table) == []


def test_live_calls_come_between_pieces(make_groups: MakeGroups) -> None:
    """REQ-13: every call is answered in the turn after it was made; one piece a turn and no more."""
    rig = make_groups(Counter)
    ids = raid(rig, 30)
    bystander = rig.start("counter")
    operation = add(rig, 1)["operation"]
    for count in range(1, 11):
        rig.clock.move_to(rig.clock.now() + 1)
        assert rig.call("workflow_signal", bystander, "add", 1) == "Suspended"
        assert totals(rig, [bystander]) == [count]
        assert rig.call("workflow_group_operation", operation)["done"] == 3 * count
    assert totals(rig, ids) == [1] * 30


def test_those_that_join_later_are_not_hit(make_groups: MakeGroups) -> None:
    """REQ-13: the targets are those at the beginning; one that ended meanwhile refuses by itself."""
    rig = make_groups(Counter)
    ids = raid(rig, 7)
    operation = add(rig, 1)["operation"]
    rig.advance(1)
    late = raid(rig, 2)
    rig.call("workflow_signal", ids[5], "finish")
    finish(rig)
    assert totals(rig, late) == [0, 0]
    told = rig.call("workflow_group_operation", operation)
    assert told.items() >= {"total": 7, "applied": 6, "refused": 1}.items()
    page = rig.call("workflow_group_results", operation)
    assert [(r["id"], r["outcome"], r["code"], r["status"]) for r in page["results"]] == [
        (ids[5], "refused", "not_active", "Completed")
    ]
    assert page["next"] is None


@pytest.mark.parametrize("verb", ["signal", "cancel"])
def test_a_crash_at_every_piece_changes_nothing(verb: str) -> None:
    """A53, REQ-13, F1: after each piece a crash; each target once, and in the end what a run without one leaves."""

    def play(crash_after: int | None) -> list[Any]:
        with Rig(WorkflowEngine([Counter], audit=True)) as rig:
            in_pieces_of(rig, 3)
            raid(rig, 11)
            name, payload = ("add", 1) if verb == "signal" else (None, None)
            answer = rig.call("workflow_group", verb, RAID, None, "once", "why", name, payload, "all", sender=ALICE)
            for piece in range(5):
                if crash_after in (piece, -1):
                    rig.crash()
                    rig.reopen()
                again = rig.call("workflow_group", verb, RAID, None, "once", "why", name, payload, "all", sender=ALICE)
                assert again["operation"] == answer["operation"], "sent again after the crash"
                rig.advance(1)
            assert_invariants(rig)
            assert rig.rows("workflow_group_turn") == []
            results = [(r.workflow_id, r.outcome, r.status) for r in rig.rows("workflow_group_result")]
            operations = [(o.status, o.done, o.applied, o.ended_at) for o in rig.rows("workflow_group_operation")]
            return [picture(rig), results, operations]

    undisturbed = play(None)
    assert [result[0] for result in undisturbed[1]] == list(range(1, 12))
    for crash_after in range(-1, 5):
        assert play(crash_after) == undisturbed, f"crash after piece {crash_after}"


def test_a_request_id_counts_once(make_groups: MakeGroups) -> None:
    """REQ-13: the second answers the same operation, for small groups and large; another command is refused."""
    rig = make_groups(Counter, at_once=4)
    ids = raid(rig, 4)
    first = add(rig, 1, request_id="a")
    assert first["operation"] is not None
    assert add(rig, 1, request_id="a") == first
    raid(rig, 6)
    large = add(rig, 2, request_id="b")
    finish(rig)
    again = add(rig, 2, request_id="b")
    assert (again["operation"], again["status"], again["done"]) == (large["operation"], "Done", 10)
    assert totals(rig, ids) == [3] * 4
    with pytest.raises(SenderError) as caught:
        add(rig, 3, request_id="b")
    assert caught.value.code == "key_reused"
    assert add(rig, 1, request_id="a", sender=BOB)["operation"] != first["operation"], "each caller has ids of its own"


def test_a_request_is_answered_also_when_its_token_is_stale_by_now(make_rig: MakeRig) -> None:
    """REQ-13, B36: what it did has made it stale."""
    rig = make_rig(Counter)
    raid(rig, 3)
    token = rig.call("workflow_group_preview", "cancel", RAID)["token"]
    call = ("workflow_group", "cancel", RAID, token, "once", "over")
    assert rig.call(*call) == rig.call(*call)
    assert rig.call(*call)["applied"] == 3


def test_commands_reach_a_workflow_in_their_order(make_groups: MakeGroups) -> None:
    """Signals to a whole group keep the order of each workflow, also a small group behind a large one."""
    rig = make_groups(Counter, Noter)
    ids = raid(rig, 8, name="noter")
    other = rig.start("noter", correlation_id="else")
    for word in ("one", "two"):
        answer = rig.call("workflow_group", "signal", RAID, None, None, "", "note", {"word": word})
        assert answer["status"] == "Running"
    small = rig.call("workflow_group", "signal", {"ids": [ids[7], ids[6]]}, None, None, "", "note", {"word": "three"})
    assert (small["status"], small["total"]) == ("Running", 2)
    free = rig.call("workflow_group", "signal", {"ids": [other]}, None, None, "", "note", {"word": "at once"})
    assert free["status"] == "Done", "it has nothing to do with the others"
    finish(rig)
    assert {rig.row("workflow", i).state for i in ids[:6]} == {'{"words":["one","two"]}'}
    assert {rig.row("workflow", i).state for i in ids[6:]} == {'{"words":["one","two","three"]}'}


def test_an_operation_can_be_stopped(make_groups: MakeGroups) -> None:
    """REQ-13: what is done stays, what is not is left alone; once stopped it is over."""
    rig = make_groups(Counter)
    ids = raid(rig, 8)
    behind = raid(rig, 4)
    operation = add(rig, 1)["operation"]
    rig.call("workflow_group", "signal", {"ids": behind}, None, None, "", "add", 10, sender=ALICE)
    rig.advance(1)
    told = rig.call("workflow_group_stop", operation, "changed our minds", sender=ALICE)
    assert told.items() >= {"status": "Cancelled", "done": 3, "total": 12}.items()
    finish(rig)
    assert totals(rig, ids) == [1] * 3 + [0] * 5
    assert totals(rig, behind) == [10] * 4, "the next one goes on"
    assert rig.row("workflow_group_operation", operation).stop_reason == "changed our minds"
    for bad, code in ((operation, "not_active"), (99, "not_found")):
        with pytest.raises(SenderError) as caught:
            rig.call("workflow_group_stop", bad, "x")
        assert caught.value.code == code


def test_all_results_are_kept_when_asked_for_and_paged(make_groups: MakeGroups) -> None:
    """REQ-13: pages in order, each result once, also while it runs."""
    rig = make_groups(Counter)
    ids = raid(rig, 10)
    operation = add(rig, 1, results="all")["operation"]
    rig.advance(1)
    page = rig.call("workflow_group_results", operation, 0, 2)
    seen = [result["id"] for result in page["results"]]
    finish(rig)
    while page["next"] is not None:
        page = rig.call("workflow_group_results", operation, page["next"], 2)
        seen += [result["id"] for result in page["results"]]
    assert seen == ids
    with pytest.raises(SenderError):
        rig.call("workflow_group_results", operation, 0, 0)


def test_a_broken_piece_is_tried_again(make_groups: MakeGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1: whatever happens to a piece as a whole, the operation has a way on; a deleted turn is mended at a start."""
    rig = make_groups(Counter)
    ids = raid(rig, 5)
    operation = add(rig, 1)["operation"]
    with monkeypatch.context() as broken:
        broken.setattr(Carrier, "carry_out", lambda *_: 1 / 0)
        rig.advance(1)
    assert totals(rig, ids) == [0] * 5
    rig.advance(seconds(2))
    assert rig.call("workflow_group_operation", operation)["status"] == "Done"
    assert totals(rig, ids) == [1] * 5
    add(rig, 1)
    (turn,) = rig.rows("workflow_group_turn")
    rig.run(lambda ctx: ctx.db.workflow_group_turn.delete(turn.scheduled_id))
    rig.crash()
    rig.reopen()
    finish(rig)
    assert totals(rig, ids) == [2] * 5


def test_what_ended_long_ago_is_forgotten(make_groups: MakeGroups) -> None:
    """F1: operations and their results do not pile up."""
    rig = make_groups(Counter)
    raid(rig, 4)
    for count in range(3):
        add(rig, 1, request_id=f"r{count}", results="all")
        finish(rig)
    assert len(rig.rows("workflow_group_result")) == 12
    rig.advance(days(8))
    add(rig, 1, request_id="new")
    assert [row.request for row in rig.rows("workflow_group_operation")] == [
        f"{ALICE}|r1",
        f"{ALICE}|r2",
        f"{ALICE}|new",
    ]
    assert len(rig.rows("workflow_group_result")) == 8
    finish(rig)


def test_a_client_cannot_fill_the_line(make_groups: MakeGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """REQ-19: a few operations of each client, refused by code past that; the owner is not held up; old ones go."""
    rig = make_groups(Counter)
    ids = raid(rig, 4)
    for _ in range(operations.CLIENT_RUNNING_MAX):
        add(rig, 1)
    with pytest.raises(SenderError) as caught:
        add(rig, 1)
    assert caught.value.code == "limit_exceeded"
    add(rig, 1, sender=BOB)
    add(rig, 1, sender="0" * 32)
    finish(rig)
    assert totals(rig, ids) == [operations.CLIENT_RUNNING_MAX + 2] * 4
    monkeypatch.setattr(operations, "OPERATIONS_MAX", 3)
    before = len(rig.rows("workflow_group_operation"))
    add(rig, 1)
    assert len(rig.rows("workflow_group_operation")) == before
    finish(rig)


def test_nobody_works_an_operation_off_from_outside(make_groups: MakeGroups) -> None:
    """REQ-24: the reducer of the turn is the reactor's."""
    rig = make_groups(Counter)
    raid(rig, 5)
    add(rig, 1)
    with pytest.raises(ReactorError):
        rig.call("workflow_group_work", {"scheduled_id": 1})
    with pytest.raises(SenderError):
        rig.connect(ALICE).watch("SELECT * FROM workflow_group_operation")
    finish(rig)


def test_results_do_not_pile_up(make_groups: MakeGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """REQ-13: a client that asks again and again for results of each target finds the oldest gone."""
    monkeypatch.setattr(operations, "RESULTS_MAX", 20)
    rig = make_groups(Counter)
    for _ in range(10):
        rig.call("workflow_start", "counter", 5)
    asked = ["add", 1, None, [5], None]
    for _ in range(12):
        answer = rig.call("workflow_signal_area", *asked, sender=ALICE)
        finish(rig)
    assert len(rig.rows("workflow_group_result")) <= 30
    last = rig.call("workflow_group_results", answer["operation"], sender=ALICE)
    assert len(last["results"]) == 10
    with pytest.raises(SenderError) as refused:
        rig.call("workflow_group_results", answer["operation"], 1 << 63)
    assert refused.value.code == "bad_arguments"


def test_a_payload_too_deep_to_be_kept_is_refused(make_groups: MakeGroups) -> None:
    """A64: as one that is no JSON, whatever the depth at which writing it gives up."""
    rig = make_groups(Counter)
    rig.start("counter")
    client = rig.connect(ALICE)
    for depth in range(930, 1_000):
        nested = b"[" * depth + b"]" * depth
        client.send(
            b'{"id":1,"call":"workflow_group","args":["signal",{"ids":[1]},null,"k%d","","add",%b]}' % (depth, nested)
        )
        rig.settle()
        assert client.received[-1].get("error", {}).get("code") not in ("internal", "bad_result")
