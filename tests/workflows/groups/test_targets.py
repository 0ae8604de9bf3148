"""What one target does is its own affair: refusals, defects, permission, time, and who it sees."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import Context, SenderError, seconds
from tests.workflows.conftest import MakeRig
from tests.workflows.groups.conftest import MakeGroups, finish
from tests.workflows.groups.samples import (
    ALICE,
    BOB,
    RAID,
    Slow,
    Stopper,
    Tired,
    Touchy,
    Witness,
    add,
    listen,
    raid,
    totals,
)
from tests.workflows.samples import Add, Counter, Nap
from workflows.groups import Selection
from workflows.groups.orders import SCRIPT_WEIGHT


def test_a_bad_target_harms_only_itself(make_groups: MakeGroups) -> None:
    """F7: refusals, defects and types that do not know the signal; kinds of errors are kept, the others are told."""
    rig = make_groups(Counter, Touchy, Nap, at_once=100)
    good = rig.start("counter", correlation_id="raid")
    nap = rig.start("nap", correlation_id="raid", payload={"delay_us": seconds(5)})
    touchy = [rig.start("touchy", correlation_id="raid", entity_id=i) for i in range(3)]
    last = rig.start("counter", correlation_id="raid")
    answer = add(rig, 1, sender="0" * 32)
    assert [(r["id"], r["outcome"], r.get("code"), r["status"]) for r in answer["results"]] == [
        (good, "applied", None, "Suspended"),
        (nap, "refused", "unknown_signal", "Suspended"),
        (touchy[0], "applied", None, "Suspended"),
        (touchy[1], "refused", "sender_error", "Suspended"),
        (touchy[2], "applied", None, "Failed"),
        (last, "applied", None, "Suspended"),
    ]
    assert answer.items() >= {"total": 6, "applied": 4, "refused": 2, "failed": 0}.items()
    assert totals(rig, [good, last]) == [1, 1]
    wrong = rig.call("workflow_group", "signal", {"ids": [good, last]}, None, None, "", "add", {"amount": "much"})
    assert {result["code"] for result in wrong["results"]} == {"bad_arguments"}


def test_permission_is_asked_for_every_target(make_groups: MakeGroups) -> None:
    """REQ-24, A107: the rule of the single verb; others' workflows refuse, in pieces too; the owner may all."""
    rig = make_groups(Counter, at_once=2)
    mine = raid(rig, 3, sender=ALICE)
    theirs = raid(rig, 3, sender=BOB)
    operation = rig.call("workflow_group", "cancel", RAID, None, None, "over", None, None, "all", sender=ALICE)
    finish(rig)
    results = rig.call("workflow_group_results", operation["operation"], sender=ALICE)["results"]
    assert [(r["id"], r["outcome"], r["code"]) for r in results] == [
        *((i, "applied", None) for i in mine),
        *((i, "refused", "forbidden") for i in theirs),
    ]
    for reducer, args in (
        ("workflow_group_operation", ()),
        ("workflow_group_results", ()),
        ("workflow_group_stop", ("mine now",)),
    ):
        with pytest.raises(SenderError) as caught:
            rig.call(reducer, operation["operation"], *args, sender=BOB)
        assert caught.value.code == "forbidden"
    assert rig.call("workflow_group", "cancel", RAID, None, None, "over")["total"] == 3
    finish(rig)
    assert {row.status for row in rig.rows("workflow")} == {"Cancelled"}


def test_a_permission_that_raises_fails_its_target_alone(make_rig: MakeRig) -> None:
    """F7: a defect of the game's rule is told as one, and logged."""

    def rule(ctx: Context, row: Any, verb: str) -> bool:
        if verb == "signal" and row.entity_id == 1:
            raise KeyError("a defect")
        return True

    rig = make_rig(Counter, authorize=rule)
    raid(rig, 3)
    answer = add(rig, 1)
    assert [(r["outcome"], r.get("code")) for r in answer["results"]] == [
        ("applied", None), ("failed", "internal"), ("applied", None),
    ]  # fmt: skip
    assert any("a defect" in message for level, _, message in rig.logs if level == "error")


def test_a_piece_acts_for_whoever_asked(make_groups: MakeGroups) -> None:
    """F3: what a target sees does not depend on whether it was in the call or in a later piece."""
    seen = []
    for at_once in (1, 100):
        rig = make_groups(Witness, Nap, at_once=at_once)
        for _ in range(3):
            rig.start("witness", correlation_id="raid")
        rig.call("workflow_group", "signal", RAID, None, None, "", "look", None, sender=ALICE)
        finish(rig)
        seen.append([row.state for row in rig.rows("workflow") if row.workflow_type == "witness"])
        assert {row.owner for row in rig.rows("workflow") if row.workflow_type == "nap"} == {ALICE}
    assert seen[0] == seen[1] == [f'{{"who":"{ALICE}","timer":false}}'] * 3


def test_a_target_that_takes_too_long_fails_alone(make_groups: MakeGroups) -> None:
    """F7: in a call and in pieces; those behind it are told, and a piece that runs out of time goes on in the next."""
    rig = make_groups(Counter, Slow, at_once=2)
    before, slow, after = rig.start("counter"), rig.start("slow"), rig.start("counter")
    for ids in ([slow, after], [before, slow, after]):
        answer = rig.call("workflow_group", "signal", {"ids": ids}, None, None, "", "add", 1, "all")
        finish(rig)
        if answer["status"] == "Running":
            results = rig.call("workflow_group_results", answer["operation"])["results"]
        else:
            results = answer["results"]
        assert [(r["id"], r["outcome"], r.get("code")) for r in results] == [
            (i, "failed" if i == slow else "applied", "budget_exceeded" if i == slow else None) for i in ids
        ]
    assert rig.rows("timer_error") == []
    assert rig.row("workflow", slow).status == "Suspended", "it is as it was"


def test_a_call_that_runs_out_of_time_goes_on_by_itself(make_groups: MakeGroups) -> None:
    """F7, F1: the targets before have used the time up; the rest becomes an operation."""
    rig = make_groups(Counter, Tired, at_once=10)
    ids = [rig.start("tired") for _ in range(5)]
    Tired.interrupted.clear()
    answer = rig.call("workflow_group", "signal", {"type": "tired"}, None, None, "", "add", 1, "all")
    assert (answer["status"], answer["done"]) == ("Running", 2)
    finish(rig)
    results = rig.call("workflow_group_results", answer["operation"])["results"]
    assert [(r["id"], r["outcome"]) for r in results] == [(i, "applied") for i in ids]
    assert totals(rig, ids) == [1] * 5


def test_a_target_may_stop_its_own_operation(make_groups: MakeGroups) -> None:
    """F6: what the piece did is counted, and the operation stays stopped."""
    rig = make_groups(Stopper)
    for _ in range(7):
        rig.start("stopper", correlation_id="raid")
    operation = rig.call("workflow_group", "signal", RAID, None, None, "", "halt", None)["operation"]
    finish(rig)
    told = rig.call("workflow_group_operation", operation)
    assert told.items() >= {"status": "Cancelled", "done": 3}.items()
    assert rig.rows("workflow_group_targets") == []


def test_a_piece_of_scripts_is_smaller(make_groups: MakeGroups) -> None:
    """REQ-13: a script's step costs more than a handler's, and live calls wait no longer for it."""
    rig = make_groups(listen, Counter, at_once=2 * SCRIPT_WEIGHT)
    ids = [rig.start("listen", correlation_id="raid") for _ in range(8)]
    ids += raid(rig, 9)
    operation = add(rig, 1)["operation"]
    done = []
    while rig.rows("workflow_group_turn"):
        rig.advance(1)
        done.append(rig.call("workflow_group_operation", operation)["done"])
    assert done[:4] == [2, 4, 6, 8]
    assert done[-1] == 17 and rig.row("workflow_group_operation", operation).applied == 17
    assert {rig.row("workflow", i).status for i in ids[:8]} == {"Completed"}


def test_game_code_has_groups_too(make_groups: MakeGroups) -> None:
    """REQ-13: part of its own call, trusted, in pieces where there are many; undone with the call."""
    rig = make_groups(Counter)
    ids = raid(rig, 5)
    chosen = Selection(correlation_id="raid")
    found = rig.run(lambda ctx: [row.id for row in ctx.groups.find(correlation_id="raid", entity_id=2)])
    assert found == [ids[2]]
    told = rig.run(lambda ctx: ctx.groups.signal(chosen, "add", Add(amount=2), request_id="x"), sender=BOB)
    assert told["status"] == "Running"

    def refuse(ctx: Context) -> None:
        ctx.groups.cancel(chosen, "never")
        raise SenderError("sender_error", "no")

    with pytest.raises(SenderError):
        rig.run(refuse)
    finish(rig)
    assert totals(rig, ids) == [2] * 5
    rig.run(lambda ctx: ctx.groups.cancel(chosen, "over"), sender=BOB)
    finish(rig)
    assert {row.status for row in rig.rows("workflow")} == {"Cancelled"}, "BOB started none of them"


def test_a_payload_must_be_json_to_be_kept(make_groups: MakeGroups) -> None:
    """B33: game code is told at once, not in a later piece."""
    rig = make_groups(Counter)
    raid(rig, 5)
    with pytest.raises(SenderError) as caught:
        rig.run(lambda ctx: ctx.groups.signal(Selection(type="counter"), "add", object()))
    assert caught.value.code == "bad_arguments"
