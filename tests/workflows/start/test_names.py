"""Names: counted for each type, unique, changed, looked up, and given to what was stored before them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from reactor.columns import U32, Timestamp
from reactor.errors import SenderError
from reactor.module import Module
from reactor.schema import declare_table, primary_key
from reactor.testing import Rig
from tests.workflows.start.conftest import Start
from tests.workflows.start.samples import ALL
from workflows import Status, WorkflowEngine

PLAYER = "a" * 32


def test_names_count_from_one_for_each_type(rig: Rig, start: Start) -> None:
    """E06, E08: a hundred starts of one type and some of another, in batches and alone; no gap, no two alike."""
    items = [{"type": "timed", "payload": {"delay_us": 5}} for _ in range(50)]
    rig.call("workflow_start_batch", items)
    for _ in range(25):
        start("timed", delay_us=5)
        rig.start("timed", payload={"delay_us": 5})
    assert start("waiter")["name"] == "waiter-1"
    names = [row.name for row in rig.rows("workflow") if row.workflow_type == "timed"]
    assert names == [f"timed-{n}" for n in range(1, 101)]
    assert len({row.id for row in rig.rows("workflow")}) == 101


def test_a_refused_start_leaves_no_gap(rig: Rig, start: Start) -> None:
    """E06: the counter is part of the call; a Failed workflow has a name like any other."""
    start("timed", delay_us=5)
    with pytest.raises(SenderError):
        start("timed", delay_us="soon")
    with pytest.raises(SenderError):
        rig.call("workflow_start_batch", [{"type": "timed", "payload": {"delay_us": 5}}, {"type": "nothing"}])
    assert start("timed", delay_us=-1)["name"] == "timed-2"
    rig.crash()
    rig.reopen()
    assert start("timed", delay_us=5)["name"] == "timed-3"


def test_a_name_of_ones_own(rig: Rig, start: Start) -> None:
    """E05: taken names are refused, live or ended, and say whose they are; nothing is stored."""
    first = start("timed", delay_us=5, name="boss/raid.7:east")
    assert first["name"] == "boss/raid.7:east"
    for _ in range(2):
        with pytest.raises(SenderError, match="has that name") as refused:
            start("waiter", name="boss/raid.7:east")
        assert (refused.value.code, refused.value.details["workflow_id"]) == ("already_exists", first["id"])
        rig.advance(5)
    assert len(rig.rows("workflow")) == 1


@pytest.mark.parametrize("bad", ["", "12", "-a", "a b", "x" * 129, "ü", "a~1", "0-1"])
def test_names_that_cannot_be(start: Start, bad: str) -> None:
    """E05: length and letters are checked; what could be taken for an id is none."""
    with pytest.raises(SenderError, match="is no workflow name") as refused:
        start("waiter", name=bad)
    assert refused.value.code == "bad_arguments"


def test_default_names_that_somebody_took_are_skipped(start: Start) -> None:
    """E06: the counter goes on to the next free one."""
    for name in ("waiter-1", "waiter-2", "waiter-4"):
        start("waiter", name=name)
    assert [start("waiter")["name"] for _ in range(2)] == ["waiter-3", "waiter-5"]


def test_renaming(rig: Rig, start: Start) -> None:
    """E07: it lasts, the old name is free, a taken one is refused; only the starter and the owner may."""
    first = start("waiter", sender=PLAYER)
    other = start("waiter")
    assert rig.call("workflow_rename", "waiter-1", "mine", sender=PLAYER) == "waiter-1"
    for arguments, code in (((first["id"], "waiter-2"), "already_exists"), (("nobody", "x1"), "unknown_workflow")):
        with pytest.raises(SenderError) as refused:
            rig.call("workflow_rename", *arguments)
        assert refused.value.code == code
    with pytest.raises(SenderError) as refused:
        rig.call("workflow_rename", other["id"], "stolen", sender=PLAYER)
    assert refused.value.code == "forbidden"
    rig.crash()
    rig.reopen()
    assert rig.row("workflow", first["id"]).name == "mine"
    assert rig.sql("SELECT name FROM workflow ORDER BY id") == [["mine"], ["waiter-2"]]
    assert start("waiter", name="waiter-1")["name"] == "waiter-1"


def _id_of(ctx: Any, known: int | str) -> int:
    found: int = ctx.workflows.get(known).id
    return found


def test_a_name_is_as_good_as_an_id(rig: Rig, start: Start) -> None:
    """E05: both find the same, everywhere one is asked for; a name nobody has is not found."""
    one = start("waiter", name="one")
    by_id, by_name = rig.call("workflow_find", one["id"]), rig.call("workflow_find", "one")
    assert by_id == by_name == rig.call("workflow_find", str(one["id"]))
    for known in ("one", one["id"], str(one["id"])):
        assert rig.run(partial(_id_of, known=known)) == one["id"]
    assert rig.run(lambda ctx: ctx.workflows.get("two")) is None
    for call in (("workflow_find", "two"), ("workflow_signal", "two", "finish"), ("workflow_cancel", "two", "no")):
        with pytest.raises(SenderError) as refused:
            rig.call(*call)
        assert refused.value.code == "unknown_workflow"
    assert rig.call("workflow_signal", "one", "finish") == "Completed"
    start("waiter", name="two")
    assert rig.call("workflow_cancel", "two", "no") == "Cancelled"


class _OldWorkflow:
    """The table as it was before there were names."""

    id: int = primary_key(auto=True)
    workflow_type: str
    entity_id: int | None
    correlation_id: str | None
    status: Status
    current_step: str
    state: str
    state_version: U32 = 1
    waits: str | None = None
    sequence: int = 1
    created_at: Timestamp
    updated_at: Timestamp


def _old_module() -> Module:
    module = Module("workflows")
    module.add_table(declare_table(_OldWorkflow, name="workflow", public=True, indexes=["workflow_type"]))
    module.reducer(put)
    return module


def put(ctx: Any, kind: str) -> None:
    """A waiting workflow."""
    ctx.db.workflow.insert(
        workflow_type=kind, entity_id=None, correlation_id=None, status="Suspended", current_step="waiting",
        state='{"delay_us":0}', waits="finish", created_at=ctx.now, updated_at=ctx.now,
    )  # fmt: skip


@pytest.mark.parametrize("crashes", [False, True])
def test_data_from_before_there_were_names(crashes: bool) -> None:
    """E04: names are made of ids, unique and not null, in memory and in SQL; new ones go on after them."""
    with Rig(_old_module()) as rig:
        for kind in ("waiter", "timed", "waiter"):
            rig.call("put", kind)
        if crashes:
            rig.crash()
        else:
            rig.stop()
        rig.reopen(WorkflowEngine(ALL))
        names = [["waiter-1"], ["timed-2"], ["waiter-3"]]
        assert [[row.name] for row in rig.rows("workflow")] == names
        assert rig.sql("SELECT name FROM workflow ORDER BY id") == names
        assert rig.call("workflow_signal", "waiter-1", "finish") == "Completed"
        fresh = rig.start("waiter")
        assert rig.row("workflow", fresh).name == "waiter-4"
        rig.crash()
        rig.reopen()
        assert [row.name for row in rig.rows("workflow")][-1] == "waiter-4"
        assert rig.row("workflow", rig.start("timed", payload={"delay_us": 1})).name == "timed-3"
