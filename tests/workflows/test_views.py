"""Monitoring by SQL: the reference queries as written, and the views."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reactor import SenderError, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Counter, Nap, Parent, Ticker
from workflows.views import monitoring_views

STUCK = """
SELECT w.id, w.workflow_type, w.status, w.updated_at FROM workflow w
LEFT JOIN workflow_timer t ON w.id = t.workflow_id AND NOT t.cancelled
WHERE w.status IN ('Running', 'Suspended') AND t.scheduled_id IS NULL
"""


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """Two naps (one done), a counter that waits for signals, a ticker, a parent with its child, one failed."""
    rig = make_rig(Nap, Counter, Ticker, Parent, audit=True)
    rig.start("nap", payload={"delay_us": seconds(1)})
    rig.start("nap", entity_id=42, correlation_id="raid", payload={"delay_us": minutes(60)})
    rig.start("counter")
    rig.start("ticker", payload={"interval_us": minutes(1)})
    rig.start("parent", payload={"payload": {"delay_us": minutes(60)}})
    broken = rig.start("counter")
    rig.call("workflow_signal", broken, "crash")
    rig.advance(seconds(1))
    return rig


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "SELECT status, COUNT(*) FROM workflow GROUP BY status ORDER BY status",
            [["Completed", 1], ["Failed", 1], ["Suspended", 5]],
        ),
        ("SELECT COUNT(*) FROM workflow_timer WHERE NOT cancelled", [[3]]),
        ("SELECT COUNT(*) FROM workflow WHERE status = 'Failed'", [[1]]),
        (
            "SELECT workflow_type, COUNT(*) FROM workflow GROUP BY workflow_type ORDER BY 1",
            [["counter", 2], ["nap", 3], ["parent", 1], ["ticker", 1]],
        ),
        ("SELECT COUNT(*) FROM workflow WHERE status IN ('Running', 'Suspended')", [[5]]),
        ("SELECT id FROM workflow WHERE entity_id = 42", [[2]]),
        ("SELECT id FROM workflow WHERE correlation_id = 'raid'", [[2]]),
        ("SELECT kind FROM workflow_event WHERE workflow_id = 1 ORDER BY timestamp", [["started"], ["completed"]]),
        ("SELECT kind FROM workflow_event ORDER BY timestamp DESC, id DESC LIMIT 1", [["completed"]]),
    ],
)
def test_the_reference_queries_run_as_written(rig: Rig, query: str, expected: list[Any]) -> None:
    """A100, A102, A104: GROUP BY, counts, recent events, events of one workflow in time order."""
    assert rig.sql(query) == expected


def test_an_empty_database_counts_zero(make_rig: MakeRig) -> None:
    """A06: both tables exist right after the start."""
    rig = make_rig(Nap)
    assert rig.sql("SELECT COUNT(*) FROM workflow") == rig.sql("SELECT COUNT(*) FROM workflow_timer") == [[0]]


def test_waiting_for_a_signal_or_a_child_is_not_stuck(rig: Rig) -> None:
    """A101: the reference's query takes signal-only waits for stuck; the view knows better, and finds what is."""
    assert [row[1] for row in rig.sql(STUCK)] == ["counter", "parent"]
    assert rig.sql("SELECT id FROM stuck_workflows") == []
    (nap,) = [row for row in rig.rows("workflow") if row.entity_id == 42]

    def lose_timer(ctx: Any) -> None:
        for timer in ctx.db.workflow_timer.where(workflow_id=nap.id):
            ctx.db.workflow_timer.update(timer, cancelled=True)

    rig.run(lose_timer)
    assert rig.sql("SELECT id, workflow_type, entity_id FROM stuck_workflows") == [[nap.id, "nap", 42]]
    rig.call("workflow_cancel", nap.id, "planted")


def test_alert_rules_have_their_queries(rig: Rig) -> None:
    """A103: failure rate, and active but untouched for an hour."""
    rate = "SELECT 100.0 * SUM(status = 'Failed') / COUNT(*) FROM workflow"
    assert rig.sql(rate)[0][0] == pytest.approx(100 / 7)
    untouched = "SELECT COUNT(*) FROM active_workflows WHERE updated_at < ? - 3600000000"
    assert rig.sql(untouched, [rig.clock.now()]) == [[0]]
    assert rig.sql(untouched, [rig.clock.now() + minutes(61)]) == [[5]]


def test_the_views(rig: Rig) -> None:
    """Backlog by timer, active ones with their next due time and state size, counts by type and status."""
    begin = rig.clock.now() - seconds(1)
    assert rig.sql("SELECT * FROM timer_backlog ORDER BY 1") == [
        ["nap", "wake", "wall", 2, begin + minutes(60), begin + minutes(60)],
        ["ticker", "tick", "wall", 1, begin + minutes(1), begin + minutes(1)],
    ]
    active = rig.sql("SELECT workflow_type, next_due, state_bytes, waits FROM active_workflows WHERE id IN (2, 3)")
    assert active == [
        ["nap", begin + minutes(60), 11, None],
        ["counter", None, 20, "add,crash,finish,grow,reject"],
    ]
    assert ["nap", "Suspended", 2] in rig.sql("SELECT * FROM workflow_counts")


def test_clients_may_use_the_views(rig: Rig) -> None:
    """They read public tables only, but for those about what operators do."""
    for name in monitoring_views():
        if name in ("faulted_workflows", "paused_workflows"):
            with pytest.raises(SenderError, match="private"):
                rig.sql(f"SELECT * FROM {name}", owner=False)
        else:
            rig.sql(f"SELECT * FROM {name}", owner=False)


@pytest.mark.parametrize(
    "condition",
    ["workflow WHERE workflow_type = 'x'", "workflow WHERE entity_id = 1", "workflow WHERE correlation_id = 'x'",
     "workflow WHERE status = 'Failed'", "workflow_timer WHERE workflow_id = 1", "workflow WHERE parent_id = 1",
     "workflow_event WHERE workflow_id = 1"],
)  # fmt: skip
def test_the_monitored_columns_are_indexed(rig: Rig, condition: str) -> None:
    """A49: SQLite's plan uses an index for each."""
    connection = rig.storage.projection_connection()
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {condition}")
    assert re.search(r"SEARCH \w+ USING INDEX", str(list(plan)))


def test_every_view_of_the_file_is_offered() -> None:
    """The file can be pasted into a shell, and nothing in it is overlooked."""
    assert list(monitoring_views()) == [
        "stuck_workflows", "timer_backlog", "active_workflows", "faulted_workflows", "paused_workflows",
        "workflow_counts",
    ]  # fmt: skip
