"""Limits by key, and how deep children may go."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import SenderError
from reactor.testing import Rig
from tests.workflows.start.conftest import Start
from tests.workflows.start.samples import ALL, Smelter
from workflows import WorkflowEngine
from workflows.start.options import Concurrency


def test_what_is_too_much_is_refused_by_name(rig: Rig, start: Start) -> None:
    """B53: two for each entity; the third is told how many there are; an end makes room, also after a crash."""
    for _ in range(2):
        start("bench", 7, delay_us=50)
    start("bench", 8, delay_us=50)
    with pytest.raises(SenderError) as refused:
        start("bench", 7, delay_us=50)
    told = {name: refused.value.details[name] for name in ("kind", "key", "value", "limit")}
    assert (refused.value.code, told) == (
        "limit_exceeded", {"kind": "concurrency", "key": "7", "value": 2, "limit": 2},
    )  # fmt: skip
    assert rig.call("workflow_can_start", "bench", 7, {"delay_us": 5})["reason"]["code"] == "limit_exceeded"
    rig.crash()
    rig.reopen()
    with pytest.raises(SenderError):
        start("bench", 7, delay_us=50)
    rig.advance(50)
    assert rig.rows("workflow_slot") == []
    assert start("bench", 7, delay_us=50)["outcome"] == "started"


def test_a_key_of_ones_own(start: Start) -> None:
    """B53: the owner may count a start elsewhere."""
    for _ in range(2):
        start("bench", 7, delay_us=50, concurrency_key="red")
    with pytest.raises(SenderError, match="for key 'red'"):
        start("bench", 8, delay_us=50, concurrency_key="red")
    assert start("bench", 8, delay_us=50)["outcome"] == "started"


def test_a_line_for_places(rig: Rig, start: Start) -> None:
    """B53: what waits begins in order as places become free; nobody passes the line."""
    ids = [start("smelter", n, delay_us=10 * (n + 1))["id"] for n in range(5)]
    assert [str(row.status) for row in rig.rows("workflow")] == ["Suspended"] * 2 + ["Pending"] * 3
    rig.advance(10)
    assert rig.row("workflow", ids[2]).status == "Suspended"
    assert start("smelter", 9, delay_us=10)["outcome"] == "queued"
    assert start("smelter", 9, delay_us=0, when_full="queue")["outcome"] == "queued"
    with pytest.raises(SenderError) as refused:
        start("smelter", 9, delay_us=10, when_full="refuse")
    assert refused.value.code == "limit_exceeded"
    rig.advance(300)
    assert {str(row.status) for row in rig.rows("workflow")} == {"Completed"}
    assert rig.rows("workflow_slot") == []


def test_both_lines_one_after_the_other(rig: Rig, start: Start) -> None:
    """REQ-7, B53: one of each entity and one in all: first the claim, then the place; all get their turn."""
    ids = [start("forge", n % 2, delay_us=10)["id"] for n in range(6)]
    for done in range(6):
        assert len(rig.rows("workflow_slot")) == 1
        rig.advance(10)
        assert sum(row.status == "Completed" for row in rig.rows("workflow")) == done + 1
    assert {rig.row("workflow", i).status for i in ids} == {"Completed"}
    assert rig.rows("workflow_claim") == rig.rows("workflow_slot") == []


def test_a_higher_limit_lets_the_line_move_on(rig: Rig, start: Start) -> None:
    """B53: after a restart with another declaration."""

    class Wider(Smelter):
        concurrency = Concurrency(max=4, when_full="queue")

    for n in range(6):
        start("smelter", n, delay_us=1_000)
    rig.crash()
    rig.reopen(WorkflowEngine([*(kind for kind in ALL if kind is not Smelter), Wider], audit=True))
    assert [str(row.status) for row in rig.rows("workflow")] == ["Suspended"] * 4 + ["Pending"] * 2


def test_children_go_ten_deep(rig: Rig) -> None:
    """B55, E37: the eleventh is refused, and with it the whole start; each knows the root and its parent."""
    rig.start("nest", payload={"depth": 10})
    rows = {row.id: row for row in rig.rows("workflow")}
    assert len(rows) == 11
    (root,) = [row for row in rows.values() if row.parent_id is None]
    assert {row.root_id for row in rows.values() if row is not root} == {root.id}
    assert rig.sql(f"SELECT COUNT(*) FROM workflow WHERE root_id = {root.id} OR id = {root.id}") == [[11]]
    deepest = next(row for row in rows.values() if row.state == '{"depth":0}')

    def below(ctx: Any) -> list[Any]:
        with pytest.raises(SenderError) as refused:
            ctx.workflows.start("nest", parent_id=deepest.id, depth=0)
        told = refused.value.details
        return [refused.value.code, told["kind"], told["value"], told["limit"]]

    assert rig.run(below) == ["limit_exceeded", "child_depth", 11, 10]
    children = rig.run(lambda ctx: [row.id for row in ctx.workflows.find(parent_id=root.id)])
    assert children == [row.id for row in rows.values() if row.parent_id == root.id]
    with pytest.raises(SenderError, match="child number 11"):
        rig.start("nest", payload={"depth": 11})
    assert len(rig.rows("workflow")) == 11


def test_a_parent_that_never_was(rig: Rig) -> None:
    """B55: a child belongs to somebody."""
    with pytest.raises(SenderError, match="there is no workflow 99"):
        rig.run(lambda ctx: ctx.workflows.start("waiter", parent_id=99))
