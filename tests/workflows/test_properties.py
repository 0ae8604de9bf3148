"""Random commands over everything: what must hold after each of them."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor import ReactorError
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants, picture
from tests.workflows.control.samples import Brittle, Parked, Stubborn, broken
from tests.workflows.samples import Counter, Faulty, Nap, Parent, Poker, Ticker
from workflows import BUILT_IN, TERMINAL, WorkflowEngine

TYPES = (*BUILT_IN, Nap, Counter, Ticker, Faulty, Parent, Poker, Brittle, Stubborn, Parked)

PAYLOADS: dict[str, list[Any]] = {
    "buff": [{"duration_us": 3_000_000, "tick_us": 700_000, "max_stacks": 3}, {}],
    "npc_patrol": [
        {"waypoints": [{"place": "a", "travel_us": 500_000}, {"place": "b", "travel_us": 900_000, "wait_us": 100_000}]},
        {"waypoints": [{"place": "a", "travel_us": 0}, {"place": "b", "travel_us": 400_000}], "mode": "once"},
    ],
    "combat": [{"participants": [1, 2, 3], "turn_us": 600_000, "leash_us": 4_000_000}],
    "respawn": [{"delay_us": 1_500_000}, {"delay_us": 100_000, "delay_max_us": 5_000_000}],
    "production": [
        {"jobs": [{"recipe": "sword", "runs": 2, "cost": 5, "steps": [{"name": "x", "duration_us": 800_000}]}]}
    ],
    "nap": [{"delay_us": 1_000_000}],
    "counter": [{}],
    "ticker": [{"interval_us": 1_000_000, "catch_up": "coalesce"}],
    "faulty": [{"where": "timer"}, {"where": "start"}, {"where": "cancel"}],
    "parent": [{}, {"child": "respawn", "payload": {"delay_us": 900_000}}],
    "poker": [{}],
    "stubborn": [{"timers": {"boom": 700_000, "wake": 900_000}}, {"timers": {"boom": 100_000}, "child": True}],
    "parked": [{"timers": {"boom": 700_000, "wake": 900_000}}],
}
SIGNALS: dict[str, list[tuple[str, Any]]] = {
    "buff": [("stack", 1), ("refresh", {}), ("dispel", None), ("entity_death", None)],
    "npc_patrol": [("combat_start", {}), ("combat_start", {"fight": {"participants": [1, 2]}}), ("combat_end", None)],
    "combat": [("act", [1, "hit"]), ("act", [2, "hit"]), ("leave", 1), ("join", 9), ("death", 2), ("death", 3)],
    "production": [("pause", ["a"]), ("pause", ["b"]), ("resume", ["a"]), ("resume", ["b"])],
    "counter": [("add", 1), ("finish", None), ("crash", None), ("reject", None)],
    "ticker": [("quiet", None), ("again", {"interval_us": 500_000})],
    "poker": [("poke", {"peer": 1, "times": 4}), ("myself", {"peer": 1, "times": 2}), ("stop", None)],
    "stubborn": [("say", {"word": "boom"}), ("say", {"word": "hello"}), ("nested", None), ("stop", None)],
    "parked": [("say", {"word": "boom"}), ("say", {"word": "hello"}), ("fail", None)],
}

VERBS = ("suspend", "resume", "retry", "skip", "terminate")
BROKEN = {"boom": 5, "child Cancelled": 1}
"""How often what is called so fails, in types that are tried again or wait for somebody."""

COMMAND = st.one_of(
    st.tuples(st.just("start"), st.integers(0, len(PAYLOADS) - 1), st.integers(0, 1)),
    st.tuples(st.just("start"), st.integers(0, len(PAYLOADS) - 1), st.integers(0, 1)),
    st.tuples(st.just("signal"), st.integers(0, 30), st.integers(0, 5)),
    st.tuples(st.just("signal"), st.integers(0, 30), st.integers(0, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
    st.tuples(st.sampled_from(VERBS), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("advance"), st.integers(1, 2_000), st.just(0)),
    st.tuples(st.just("crash"), st.integers(0, 2_000), st.just(0)),
)


def obey(rig: Rig, verb: str, first: int, second: int) -> None:
    rows = rig.rows("workflow")
    if verb == "advance":
        rig.advance(first * 1_000)
    elif verb == "crash":
        rig.crash()
        rig.advance(first * 1_000)
        rig.reopen()
    elif verb == "start":
        name = list(PAYLOADS)[first]
        rig.start(name, entity_id=second, payload=PAYLOADS[name][second % len(PAYLOADS[name])])
    elif rows:
        row = rows[first % len(rows)]
        if verb == "cancel" or verb in VERBS:
            rig.call(f"workflow_{verb}", row.id, "at random")
        else:
            choices = SIGNALS.get(row.workflow_type, [("nope", None)])
            rig.call("workflow_signal", row.id, *choices[second % len(choices)])


@given(st.lists(COMMAND, max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_command_leaves_a_terminal_status(commands: list[tuple[str, int, int]]) -> None:
    """A41, C19, F1-F3, F6: over random commands, ended rows never change, and every other invariant holds."""
    with Rig(WorkflowEngine(TYPES, audit=True)) as rig:
        broken.update(BROKEN)
        ended: dict[int, Any] = {}
        for command in commands:
            before, seq = picture(rig), rig.engine.seq
            try:
                obey(rig, *command)
            except ReactorError:
                assert picture(rig) == before, "a refused command changed something"
                assert rig.engine.seq <= seq + 1, "a refusal is one row of the log of commands"
            for workflow_id, row in ended.items():
                assert rig.row("workflow", workflow_id) == row
            ended = {row.id: row for row in rig.rows("workflow") if row.status in TERMINAL}
            assert_invariants(rig)
        assert rig.rows("timer_error") == []
        assert rig.rows("recovery_error") == []


@given(st.lists(COMMAND, max_size=25))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_sql_and_a_subscriber_see_is_the_table(commands: list[tuple[str, int, int]]) -> None:
    """F4, F5: one commit for row, timers and events; the mirror and the projection agree with memory."""
    with Rig(WorkflowEngine(TYPES)) as rig:
        broken.update(BROKEN)
        watch = rig.subscribe("SELECT * FROM workflow")
        for verb, first, second in commands:
            if verb == "crash":
                continue
            try:
                obey(rig, verb, first, second)
            except ReactorError:
                continue
        rows = {row.id: (row.status, row.current_step, row.state, row.sequence) for row in rig.rows("workflow")}
        mirrored = {
            key: (row["status"], row["current_step"], row["state"], row["sequence"]) for key, row in watch.rows.items()
        }
        assert mirrored == rows
        projected = rig.sql("SELECT id, status, current_step, state, sequence FROM workflow")
        assert {key: tuple(rest) for key, *rest in projected} == rows
        pending = {
            (table, t.scheduled_id): t.scheduled_at
            for table in ("workflow_timer", "workflow_parked")
            for t in rig.rows(table)
            if not t.cancelled
        }
        assert rig.engine.timers.pending() == pending
