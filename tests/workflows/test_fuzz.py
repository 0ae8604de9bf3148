"""The public doors under hostile hands: whatever they are called with, no defect shows and nothing breaks."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.control.samples import broken
from tests.workflows.doors import DOORS, INTERNAL, people_about
from tests.workflows.fuzzworld import World, make_engine
from tests.workflows.hostile import call, code, stored, tracebacks, tried, variants

DEFECTS = ("internal", "bad_result", "budget_exceeded")

COMMANDS = st.lists(st.tuples(st.booleans() | st.just(True), st.integers(0, 1 << 32)), min_size=10, max_size=40)


@given(COMMANDS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_call_shows_a_defect_or_breaks_anything(commands: list[tuple[bool, int]]) -> None:
    """A64, C19, F1-F10: calls with random arguments of all reducers and reports, between starts, tasks, events,
    schedules, groups and faults: refused or done, never a defect; a crash afterwards changes no row."""
    broken.clear()
    broken.update({"boom": 5, "wake": 1})
    with Rig(make_engine()) as rig:
        world = World(rig)
        for is_hostile, seed in commands:
            random = Random(seed)
            if is_hostile:
                for _ in range(3):
                    world.hostile(random)
            else:
                world.legit(random)
        for client in world.clients:
            client.disconnect()
        assert_unharmed(rig)


def assert_unharmed(rig: Rig) -> None:
    """No defect in the log, the invariants hold, and a crash changes nothing."""
    assert tracebacks(rig) == []
    assert rig.rows("timer_error") == []
    assert_invariants(rig)
    before = stored(rig, "clock", "workflow_definition")
    rig.crash()
    rig.reopen()
    after = stored(rig, "clock", "workflow_definition")
    changed = {name: (before[name], after[name]) for name in after if after[name] != before[name]}
    assert not changed, f"a crash has changed {changed}"


@pytest.mark.parametrize("name", [name for name, (who, _) in DOORS.items() if who != INTERNAL])
def test_no_value_of_any_parameter_shows_a_defect(name: str) -> None:
    """A64, B33, B35: each parameter, and each field of a struct, has every hostile value in its turn, the others being
    right; what the owner does is undone, so that each meets the same tables, and what a stranger does is not."""
    with people_about() as people:
        module = people.rig.module
        report = module.reports.get(name)
        door: Any = module.reducers.get(name) or report
        for args in variants(door.function, DOORS[name][1]):
            ask = tried if report is None else call
            answer = ask(people.owner, name, args)
            assert code(answer) not in DEFECTS, (args, answer)
        for args in variants(door.function, DOORS[name][1], fields=False):
            answer = call(people.stranger, name, args)
            assert code(answer) not in DEFECTS, (args, answer)
        assert tracebacks(people.rig) == []
        assert people.rig.rows("timer_error") == []
