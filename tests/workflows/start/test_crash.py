"""The same course of starts, ends and waits, with a crash after any of its steps, comes out the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

from reactor.errors import SenderError
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.start.samples import ALL
from workflows import WorkflowEngine

_KINDS = ("timed", "duel", "turn", "aura", "bench", "smelter", "forge", "waiter")


def _course(seed: int, steps: int) -> list[tuple[Any, ...]]:
    chance = random.Random(seed)
    course: list[tuple[Any, ...]] = []
    for n in range(steps):
        what = chance.random()
        if what < 0.55:
            kind = chance.choice(_KINDS)
            payload = {} if kind == "waiter" else {"delay_us": chance.choice((-1, 0, 5, 20, 60))}
            options: dict[str, Any] = {}
            if chance.random() < 0.25:
                options["start_after_us"] = chance.randint(0, 30)
            if chance.random() < 0.25:
                options["deadline_us"] = chance.randint(1, 40)
            if chance.random() < 0.2:
                options["chain_deadline_us"] = chance.randint(31, 70)
            if chance.random() < 0.2:
                options["request_id"] = f"r{chance.randint(1, 4)}"
            if chance.random() < 0.2:
                options.update(name=f"n{chance.randint(1, 4)}", reuse=chance.choice(("reject", "start_new")))
            if chance.random() < 0.15:
                options.update(id=chance.randint(1, 12), reuse=chance.choice(("reject", "start_new")))
            if kind == "duel" and chance.random() < 0.5:
                options["on_conflict"] = chance.choice(("replace", "join", "queue"))
            course.append(("workflow_start_with", kind, chance.randint(1, 2), None, payload, options))
        elif what < 0.7:
            course.append(("workflow_cancel", chance.randint(1, n + 1), "enough"))
        elif what < 0.75:
            course.append(("cleanup_old_workflows", 0))
        elif what < 0.8:
            course.append(("workflow_rename", chance.randint(1, n + 1), f"n{chance.randint(1, 4)}"))
        else:
            course.append(("", chance.randint(1, 25)))
    return course


def _take(rig: Rig, step: tuple[Any, ...]) -> Any:
    name, *args = step
    if not name:
        return rig.advance(args[0])
    try:
        return rig.call(name, *args)
    except SenderError as error:
        return error.code


def _picture(rig: Rig) -> list[Any]:
    """Everything but the ids, which skip a block at each crash."""
    tables = ("workflow_request", "workflow_claim", "workflow_slot", "workflow_pending", "workflow_deadline")
    columns = [f for f in rig.engine.store.tables["workflow"].schema.column_names if "id" not in f]
    columns = [f for f in columns if f not in ("error_message", "name")]
    rows = [[row.name.split("~")[0], *(getattr(row, f) for f in columns)] for row in rig.rows("workflow")]
    return [*sorted(map(str, rows)), *[len(rig.rows(table)) for table in tables]]


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_after_any_step_changes_nothing(seed: int) -> None:
    """F1, F6, B47, B48, B53, REQ-7, E06: names, claims, places, lines, keys, deadlines and Pending ones are rows."""
    course = [step for step in _course(seed, 40) if step[0] not in ("workflow_cancel", "workflow_rename")]
    course = [step for step in course if step[0] != "workflow_start_with" or "id" not in step[5]]
    with Rig(WorkflowEngine(ALL)) as whole, Rig(WorkflowEngine(ALL)) as broken:
        for step in course:
            expected, found = _take(whole, step), _take(broken, step)
            if isinstance(expected, dict) and "outcome" in expected:
                assert (found["name"], found["outcome"]) == (expected["name"], expected["outcome"])
            broken.crash()
            broken.reopen()
            assert_invariants(broken)
            assert _picture(broken) == _picture(whole)


@pytest.mark.parametrize("seed", range(6))
def test_any_course_keeps_the_rules(seed: int) -> None:
    """F1, F2, REQ-7, B40-B42, B53: whatever is started, ended, renamed and removed, with crashes in between."""
    chance = random.Random(seed)
    with Rig(WorkflowEngine(ALL, audit=True)) as rig:
        for step in _course(seed + 100, 120):
            _take(rig, step)
            if chance.random() < 0.1:
                rig.crash()
                rig.advance(chance.randint(0, 50))
                rig.reopen()
            assert_invariants(rig)
            _assert_limits(rig)
        rig.advance(10_000)
        assert {row.workflow_type for row in rig.rows("workflow") if row.ended_at is None} <= {"waiter"}


def _assert_limits(rig: Rig) -> None:
    began = [row for row in rig.rows("workflow") if row.ended_at is None and row.status != "Pending"]
    for kind in ("duel", "turn", "aura", "forge"):
        entities = [row.entity_id for row in began if row.workflow_type == kind]
        assert len(entities) == len(set(entities))
    assert sum(row.workflow_type == "smelter" for row in began) <= 2
    assert sum(row.workflow_type == "forge" for row in began) <= 1
