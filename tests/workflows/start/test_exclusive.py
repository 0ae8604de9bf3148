"""Exclusivity: one live workflow for each key, and what happens to the next one that wants it."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import Refusal, SenderError
from reactor.testing import Rig
from tests.workflows.start.conftest import Start
from tests.workflows.start.samples import Span, SpanState, Timed
from workflows import Handler, Workflow, WorkflowEngine
from workflows.start.options import Concurrency, Exclusive, StartOptions


def _held(rig: Rig) -> list[list[Any]]:
    return rig.sql("SELECT workflow_type, entity_id, key, workflow_id FROM workflow_claim ORDER BY claim")


def test_a_thousand_engage_and_one_does(rig: Rig, start: Start) -> None:
    """REQ-7: one row; the others are told who holds it, since when and how long still."""
    refused = 0
    for _ in range(1_000):
        try:
            first = start("duel", 7, delay_us=50)
        except SenderError as error:
            refused += 1
            assert error.code == "conflict"
            assert error.details["holder"] == 1
            assert error.details["left_us"] == 50
    assert (refused, first["outcome"]) == (999, "started")
    assert _held(rig) == [["duel", 7, "", 1]]
    start("duel", 8, delay_us=50)
    assert len(rig.rows("workflow")) == 2
    rig.advance(50)
    assert _held(rig) == []
    assert start("duel", 7, delay_us=50)["outcome"] == "started"


def test_the_claim_is_gone_with_every_end(rig: Rig, start: Start) -> None:
    """REQ-7: completed at once, failed at the start, cancelled, timed out."""
    for given in ({"delay_us": 0}, {"delay_us": -1}, {"delay_us": 9}, {"delay_us": 99, "deadline_us": 5}):
        started = start("duel", 7, **given)
        if given["delay_us"] == 9:
            rig.call("workflow_cancel", started["id"], "enough")
        rig.advance(5)
        assert _held(rig) == []
    statuses = [str(row.status) for row in rig.rows("workflow")]
    assert statuses == ["Completed", "Failed", "Cancelled", "TimedOut"]


def test_replace(rig: Rig, start: Start) -> None:
    """REQ-7: the holder is cancelled with the reason and the new one holds, in one commit."""
    first = start("duel", 7, delay_us=50)
    watch = rig.subscribe("SELECT * FROM workflow")
    second = start("duel", 7, delay_us=60, on_conflict="replace")
    assert (second["outcome"], second["replaced"]) == ("replaced", [first["id"]])
    assert len(watch.frames) == 1
    row = rig.row("workflow", first["id"])
    assert (row.status, row.error_message) == ("Cancelled", f"replaced by workflow {second['id']}")
    assert _held(rig) == [["duel", 7, "", second["id"]]]


def test_replacing_oneself(rig: Rig) -> None:
    """REQ-7: a workflow that starts its own successor in a step: one is live when the call is over."""

    class Phoenix(Timed):
        name = "phoenix"
        exclusive = Exclusive(on_conflict="replace")

        def on_timer(self, w: Workflow[SpanState], timer: Any) -> None:
            w.workflows.start("phoenix", entity_id=w.entity_id, delay_us=w.state.delay_us)

    with Rig(WorkflowEngine([Phoenix])) as alone:
        alone.start("phoenix", entity_id=1, payload={"delay_us": 10})
        for _ in range(3):
            alone.advance(10)
            assert len(alone.rows("workflow_claim")) == 1
        statuses = [str(row.status) for row in alone.rows("workflow")]
        assert statuses == ["Cancelled", "Cancelled", "Cancelled", "Suspended"]


def test_refresh(rig: Rig, start: Start) -> None:
    """REQ-7: the holder is told of the new payload and goes on; another key of the entity is another claim."""
    first = start("aura", 7, slot="head", delay_us=50)
    assert start("aura", 7, slot="feet", delay_us=50)["outcome"] == "started"
    rig.advance(30)
    again = start("aura", 7, slot="head", delay_us=50)
    assert (again["id"], again["outcome"]) == (first["id"], "refreshed")
    rig.advance(30)
    assert [str(row.status) for row in rig.rows("workflow")] == ["Suspended", "Completed"]
    rig.advance(20)
    assert rig.row("workflow", first["id"]).status == "Completed"


def test_refreshing_what_has_not_begun(rig: Rig, start: Start) -> None:
    """REQ-7, B47: it begins with the newer payload."""
    first = start("aura", 7, slot="head", delay_us=50, start_after_us=100)
    assert start("aura", 7, slot="head", delay_us=5)["outcome"] == "refreshed"
    rig.advance(105)
    assert rig.row("workflow", first["id"]).status == "Completed"


def test_join(rig: Rig, start: Start) -> None:
    """REQ-7: the answer is the holder; nothing is written."""
    first = start("duel", 7, delay_us=50)
    seq = rig.engine.seq
    again = start("duel", 7, delay_us=50, on_conflict="join", name="unused")
    assert (again["id"], again["name"], again["outcome"]) == (first["id"], "duel-1", "joined")
    assert rig.engine.seq == seq


def test_a_queue(rig: Rig, start: Start) -> None:
    """REQ-7: they begin in order, each in the commit in which the one before it ends; SQL shows the positions."""
    began = rig.clock.now()
    ids = [start("turn", 7, delay_us=10)["id"] for _ in range(4)]
    assert start("turn", 8, delay_us=10)["outcome"] == "started"
    assert rig.sql("SELECT workflow_id, position FROM workflow_queue ORDER BY position") == [
        [ids[1], 1], [ids[2], 2], [ids[3], 3],
    ]  # fmt: skip
    rig.call("workflow_cancel", ids[2], "no patience")
    for turn in (ids[0], ids[1], ids[3]):
        assert _held(rig)[0][3] == turn
        rig.crash()
        rig.reopen()
        rig.advance(10)
        assert rig.row("workflow", turn).status == "Completed"
    ends = [rig.row("workflow", turn).ended_at - began for turn in ids]
    assert ends == [10, 20, 0, 30]
    assert rig.rows("workflow_pending") == []


def test_a_queue_of_workflows_that_end_at_once(rig: Rig, start: Start) -> None:
    """REQ-7: as many as there are, some in the same commit, the others right after; none waits for a timer."""
    first = start("turn", 7, delay_us=10)
    rest = [start("turn", 7, delay_us=0 if n % 3 else -1)["id"] for n in range(100)]
    rig.call("workflow_signal", first["id"], "finish")
    statuses = {str(rig.row("workflow", i).status) for i in rest}
    assert statuses == {"Completed", "Failed"}
    assert rig.rows("workflow_claim") == rig.rows("workflow_pending") == []


def test_a_key_for_one_start(rig: Rig, start: Start) -> None:
    """REQ-7: a type that declares nothing, with a key in the options."""
    start("waiter", 7, exclusive="mount")
    start("waiter", 7)
    start("waiter", 7, exclusive="pet|b")
    with pytest.raises(SenderError, match=r"holds 'waiter\|7\|mount'"):
        start("waiter", 7, exclusive="mount")
    queued = start("waiter", 7, exclusive="mount", on_conflict="queue")
    assert queued["status"] == "Pending"
    rig.call("workflow_signal", 1, "finish")
    assert rig.row("workflow", queued["id"]).status == "Suspended"


def test_what_is_pending_never_runs_code_when_it_ends(rig: Rig) -> None:
    """REQ-7, D70: cancelled in line; `on_cancel` is not asked about something that has not begun."""
    asked: list[int] = []

    class Shy(Timed):
        name = "shy"
        exclusive = Exclusive(on_conflict="queue")

        def on_cancel(self, w: Workflow[SpanState], reason: str) -> Any:
            asked.append(w.id)

    with Rig(WorkflowEngine([Shy])) as alone:
        first, second = (alone.start("shy", entity_id=1, payload={"delay_us": 10}) for _ in range(2))
        assert alone.call("workflow_cancel", second, "no") == "Cancelled"
        alone.call("workflow_cancel", first, "no")
        assert asked == [first]


def test_can_start_says_what_a_start_says(rig: Rig, start: Start) -> None:
    """REQ-7: free, held, bad payload, full; it writes nothing and leaves no gap in the names."""
    free = rig.call("workflow_can_start", "duel", 7, {"delay_us": 5})
    assert (free["ok"], free["outcome"]) == (True, "started")
    assert rig.rows("workflow") == []
    assert start("duel", 7, delay_us=50)["name"] == "duel-1"
    rig.advance(20)
    held = rig.call("workflow_can_start", "duel", 7, {"delay_us": 5})
    assert (held["ok"], held["reason"]["code"], held["left_us"]) == (False, "conflict", 30)
    bad = rig.call("workflow_can_start", "duel", 8, {"delay": 5})
    assert bad["reason"]["code"] == "bad_arguments"
    assert rig.call("workflow_can_start", "turn", 7, {"delay_us": 5})["outcome"] == "started"
    ok = rig.run(lambda ctx: ctx.workflows.can_start("duel", entity_id=9, delay_us=5)["ok"])
    assert ok is True
    assert rig.run(lambda ctx: ctx.workflows.can_start("duel", entity_id=7, delay_us=5)["ok"]) is False


def test_game_code_has_the_whole_answer(rig: Rig) -> None:
    """REQ-7: `start` gives the id one has, `start_with` says how."""

    def engage(ctx: Any) -> list[Any]:
        first = ctx.workflows.start("duel", entity_id=1, delay_us=50)
        options = StartOptions(on_conflict="join")
        joined = ctx.workflows.start_with("duel", entity_id=1, options=options, delay_us=50)
        again = ctx.workflows.start("duel", entity_id=1, options=options, payload=Span(delay_us=50))
        return [first, joined.id, again, str(joined.outcome)]

    first, joined, again, outcome = rig.run(engage)
    assert (joined, again, outcome) == (first, first, "joined")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"exclusive": "entity"}, "Exclusive"),
        ({"concurrency": 3}, "Concurrency"),
        ({"exclusive": Exclusive(on_conflict="refresh")}, "on_conflict"),
    ],
)
def test_wrong_declarations(members: dict[str, Any], message: str) -> None:
    """A type that cannot be is refused where it is registered."""
    kind: type[Handler[Any]] = type("Odd", (Timed,), {"name": "odd", **members})
    with pytest.raises(Refusal, match=message):
        WorkflowEngine([kind])
    for wrong in (
        lambda: Exclusive(key="zone"),
        lambda: Exclusive(on_conflict="fight"),
        lambda: Concurrency(max=0),
        lambda: Concurrency(max=1, key="zone"),
        lambda: Concurrency(max=1, when_full="wait"),
    ):
        with pytest.raises(Refusal, match=r"is one of|a whole number|a function of the payload"):
            wrong()
