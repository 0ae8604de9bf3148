"""The start rules hold for scripts as they do for handlers."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import SenderError
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from workflows import Concurrency, Exclusive, Payload, WorkflowEngine
from workflows.scripts.script import script


class Rounds(Payload):
    lasts_us: int = 90


@script(exclusive=Exclusive(on_conflict="queue"), concurrency=Concurrency(max=1, key="entity"))
async def ritual(w: Any, payload: Rounds) -> str:
    """One for each entity, the others in line."""
    await w.sleep(payload.lasts_us)
    return "done"


@script
async def circle(w: Any, payload: Rounds) -> None:
    """Begins anew for ever."""
    await w.sleep(payload.lasts_us)
    w.continue_as_new(payload)


def test_scripts_stand_in_line_too() -> None:
    """REQ-7, B53: declared in the decorator."""
    with Rig(WorkflowEngine([ritual])) as rig:
        first, second = (rig.start("ritual", entity_id=1, payload={}) for _ in range(2))
        assert rig.row("workflow", second).status == "Pending"
        rig.advance(200)
        assert [rig.row("workflow", i).status for i in (first, second)] == ["Completed", "Completed"]


@pytest.mark.parametrize("crashes", [False, True])
def test_a_chain_of_runs_ends_at_its_deadline(crashes: bool) -> None:
    """D101: each run is in time; all of them together are not. The workflow keeps its id and name."""
    with Rig(WorkflowEngine([circle])) as rig:
        began = rig.clock.now()
        options = {"name": "round", "deadline_us": 100, "chain_deadline_us": 250}
        circle_id = rig.call("workflow_start_with", "circle", None, None, {}, options)["id"]
        for at in (90, 180):
            rig.advance(90)
            if crashes:
                rig.crash()
                rig.reopen()
            row = rig.row("workflow", circle_id)
            assert (row.name, row.run, row.deadline) == ("round", at // 90 + 1, began + min(at + 100, 250))
            assert_invariants(rig)
        rig.advance(200)
        row = rig.row("workflow", circle_id)
        assert (row.status, row.ended_at) == ("TimedOut", began + 250)


def test_a_run_that_takes_too_long() -> None:
    """D101: its own deadline, though the chain has none."""
    with Rig(WorkflowEngine([circle])) as rig:
        started = rig.call("workflow_start_with", "circle", None, None, {"lasts_us": 500}, {"deadline_us": 100})
        rig.advance(100)
        assert rig.row("workflow", started["id"]).status == "TimedOut"


def test_a_key_makes_one_script() -> None:
    """B41: as for a handler."""
    with Rig(WorkflowEngine([circle])) as rig:
        ids = {rig.call("workflow_start_with", "circle", 1, None, {}, {"request_id": "k"})["id"] for _ in range(9)}
        assert len(ids) == 1
        with pytest.raises(SenderError) as refused:
            rig.call("workflow_start_with", "circle", 2, None, {}, {"request_id": "k"})
        assert refused.value.code == "key_reused"
