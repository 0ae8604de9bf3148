"""Workflows that start, wake and end one another inside one call."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reactor import SenderError, milliseconds, seconds
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Domino, Faulty, Nap, Parent, Poker
from workflows import Status

# -- children ----------------------------------------------------------------------------------


def test_a_child_resumes_its_parent(make_rig: MakeRig) -> None:
    """A66: the child's end is told in the same commit, with its result."""
    rig = make_rig(Nap, Parent)
    parent_id = rig.start("parent", entity_id=9)
    (child,) = [row for row in rig.rows("workflow") if row.workflow_type == "nap"]
    assert (child.parent_id, child.entity_id) == (parent_id, 9)
    seq = rig.engine.seq
    rig.advance(milliseconds(5))
    assert rig.engine.seq == seq + 1
    parent = rig.row("workflow", parent_id)
    assert parent.status is Status.COMPLETED
    child = rig.row("workflow", child.id)
    assert orjson.loads(parent.state)["ends"] == [[child.id, "Completed", child.result, None]]


def test_a_child_that_ends_at_once_is_told_after_the_parents_step(make_rig: MakeRig) -> None:
    """The parent's own row exists by then."""
    rig = make_rig(Faulty, Parent)
    parent_id = rig.start("parent", payload={"child": "faulty", "payload": {"where": "start"}})
    parent = rig.row("workflow", parent_id)
    assert parent.status is Status.COMPLETED
    assert orjson.loads(parent.state)["ends"][0][1:] == ["Failed", None, "ZeroDivisionError: a defect"]


def test_the_end_of_a_parent_cancels_its_children(make_rig: MakeRig) -> None:
    """D70: nothing is left behind; the reason names the parent."""
    rig = make_rig(Nap, Parent)
    parent_id = rig.start("parent", payload={"payload": {"delay_us": seconds(60)}})
    rig.call("workflow_cancel", parent_id, "why")
    (child,) = [row for row in rig.rows("workflow") if row.parent_id == parent_id]
    assert (child.status, child.error_message) == (Status.CANCELLED, f"its parent, workflow {parent_id}, has ended")
    assert rig.rows("workflow_timer") == []


def test_a_parent_that_fails_to_start_undoes_its_children(make_rig: MakeRig) -> None:
    """The savepoint covers what the handler did through others."""
    rig = make_rig(Nap, Parent)
    parent_id = rig.start("parent", payload={"then": "fail"})
    assert [row.id for row in rig.rows("workflow")] == [parent_id]
    assert rig.row("workflow", parent_id).status is Status.FAILED
    assert rig.rows("workflow_timer") == []


# -- steps inside steps --------------------------------------------------------------------------


def poke(rig: Any, first: int, second: int, times: int) -> str:
    status: str = rig.call("workflow_signal", first, "poke", {"peer": second, "times": times})
    return status


def test_two_workflows_may_signal_each_other_in_one_commit(make_rig: MakeRig) -> None:
    """A signal back to a workflow whose step is open waits for the end of that step; none is lost."""
    rig = make_rig(Poker)
    one, two = rig.start("poker"), rig.start("poker")
    seq = rig.engine.seq
    assert poke(rig, one, two, 5) == "Suspended"
    assert rig.engine.seq == seq + 1
    assert [rig.row("workflow", w).state for w in (one, two)] == ['{"poked":3}'] * 2


def test_a_workflow_may_signal_and_cancel_itself(make_rig: MakeRig) -> None:
    """What it asks of itself is done when its step is over."""
    rig = make_rig(Poker)
    workflow_id = rig.start("poker")
    rig.call("workflow_signal", workflow_id, "myself", {"peer": 0, "times": 3})
    assert rig.row("workflow", workflow_id).state == '{"poked":4}'
    assert rig.call("workflow_signal", workflow_id, "stop") == "Cancelled"
    assert rig.row("workflow", workflow_id).error_message == "by itself"


def test_an_endless_exchange_fails_the_one_that_began_it(make_rig: MakeRig) -> None:
    """REQ-19: a loop guard, with the rest of the world unharmed."""
    rig = make_rig(Poker)
    one, two, other = rig.start("poker"), rig.start("poker"), rig.start("poker")
    assert poke(rig, one, two, 1_000_000) == "Failed"
    assert "more than 100 things" in rig.row("workflow", one).error_message
    assert rig.row("workflow", two).status is Status.SUSPENDED
    assert rig.row("workflow", other).state == '{"poked":0}'


def test_a_long_chain_of_steps_inside_steps_is_refused(make_rig: MakeRig) -> None:
    """REQ-19: the chain guard stops at its limit, and nothing of the chain remains."""
    rig = make_rig(Domino)
    ids = [rig.start("domino") for _ in range(33)]
    with pytest.raises(SenderError, match="would be step 33 inside other steps") as caught:
        rig.call("workflow_signal", ids[0], "fall")
    assert caught.value.code == "limit_exceeded"
    assert {row.current_step for row in rig.rows("workflow")} == {"stands"}
    rig.call("workflow_signal", ids[1], "fall")
    assert [row.current_step for row in rig.rows("workflow")] == ["stands"] + ["fallen"] * 32


def test_an_ended_workflow_takes_nothing_from_its_own_step(make_rig: MakeRig) -> None:
    """B46: not even before the step is over."""
    rig = make_rig(Domino)
    workflow_id = rig.start("domino")
    with pytest.raises(SenderError, match="has ended in this step") as caught:
        rig.call("workflow_signal", workflow_id, "end")
    assert caught.value.code == "not_active"
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED
