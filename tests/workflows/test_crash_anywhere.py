"""A crash after any step of any of the five types: the end is that of a run without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reactor import milliseconds, seconds
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants, picture
from workflows import TERMINAL, WorkflowEngine

Act = Callable[[Rig, int], Any]


def start(workflow_type: str, payload: Any) -> Act:
    return lambda rig, _: rig.start(workflow_type, entity_id=42, correlation_id="run", payload=payload)


def signal(name: str, payload: Any = None) -> Act:
    return lambda rig, workflow_id: rig.call("workflow_signal", workflow_id, name, payload)


def cancel(rig: Rig, workflow_id: int) -> None:
    rig.call("workflow_cancel", workflow_id, "enough")


def wait(duration_us: int) -> Act:
    return lambda rig, _: rig.advance(duration_us)


STEPS = [{"name": "saw", "duration_us": seconds(2)}, {"name": "glue", "duration_us": seconds(3)}]
PATH = [{"place": "a", "travel_us": seconds(2)}, {"place": "b", "travel_us": seconds(3), "wait_us": seconds(1)}]

RUNS: dict[str, list[Act]] = {
    "buff": [
        start("buff", {"duration_us": seconds(4), "tick_us": seconds(1), "max_stacks": 3}),
        wait(milliseconds(1_500)),
        signal("stack"),
        wait(milliseconds(1_500)),
        signal("stack", 5),
        wait(seconds(1)),
        signal("refresh"),
        wait(seconds(3)),
        wait(seconds(5)),
    ],
    "npc_patrol": [
        start("npc_patrol", {"waypoints": PATH, "mode": "once"}),
        wait(seconds(1)),
        signal("combat_start"),
        wait(seconds(5)),
        signal("combat_end"),
        wait(seconds(2)),
        wait(seconds(3)),
    ],
    "combat": [
        start("combat", {"participants": [1, 2, 3], "turn_us": seconds(2), "leash_us": seconds(9)}),
        signal("act", [1, "hit"]),
        wait(seconds(3)),
        signal("join", {"entity": 4}),
        signal("act", [3, "hit"]),
        signal("death", 2),
        wait(seconds(4)),
        wait(seconds(5)),
    ],
    "respawn": [
        start("respawn", {"delay_us": seconds(3), "delay_max_us": seconds(9)}),
        wait(seconds(1)),
        wait(seconds(2)),
        wait(seconds(7)),
    ],
    "production": [
        start("production", {"jobs": [{"recipe": "bow", "steps": STEPS, "runs": 2, "cost": 10}]}),
        wait(seconds(1)),
        signal("pause", ["power"]),
        wait(seconds(10)),
        signal("enqueue", {"job": {"recipe": "arrow", "steps": STEPS}, "request_id": "r"}),
        signal("resume", ["power"]),
        wait(seconds(6)),
        wait(seconds(20)),
    ],
    "production, cancelled": [
        start("production", {"jobs": [{"recipe": "bow", "steps": STEPS, "runs": 2, "cost": 10}]}),
        wait(seconds(6)),
        signal("pause", ["power"]),
        wait(seconds(1)),
        cancel,
    ],
}


def play(acts: list[Act], crash_after: int | None) -> list[list[Any]]:
    """The pictures of the tables after each act, with a crash after one of them, or after all but the last."""
    pictures = []
    with Rig(WorkflowEngine(audit=True)) as rig:
        workflow_id = 0
        for at, act in enumerate(acts):
            done = act(rig, workflow_id)
            workflow_id = workflow_id or done
            if crash_after in (at, -1):
                rig.crash()
                rig.reopen()
                assert not rig.rows("recovery_error")
            assert_invariants(rig)
            pictures.append(picture(rig))
        assert rig.row("workflow", workflow_id).status in TERMINAL
    return pictures


@pytest.mark.parametrize("name", RUNS)
def test_a_crash_after_any_step_changes_nothing(name: str) -> None:
    """A53, F2, F3: every step is tried, and a run with a crash after each; also what is seen on the way is the same."""
    acts = RUNS[name]
    undisturbed = play(acts, None)
    for crash_after in range(-1, len(acts)):
        assert play(acts, crash_after) == undisturbed, f"crash after step {crash_after}"
