"""The built-in production, to the microsecond."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reactor import SenderError, days, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from workflows import Production, Status, Workflow


class LoudProduction(Production):
    """Notes what was produced and refunded, by the second."""

    heard: list[Any] = []

    def on_produced(self, w: Workflow[Any], job: Any) -> None:
        self.heard.append((job.recipe, (w.now - w.row.created_at) / seconds(1)))

    def on_finished(self, w: Workflow[Any]) -> None:
        self.heard.append("finished")

    def on_refund(self, w: Workflow[Any], amount: int) -> None:
        self.heard.append(("refund", amount))


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    LoudProduction.heard.clear()
    return make_rig(LoudProduction)


def job(recipe: str, *durations_s: float, runs: int = 1, cost: int = 0) -> dict[str, Any]:
    steps = [{"name": f"step{i}", "duration_us": seconds(d)} for i, d in enumerate(durations_s)]
    return {"recipe": recipe, "steps": steps, "runs": runs, "cost": cost}


def produce(rig: Rig, *jobs: dict[str, Any], **more: Any) -> int:
    return rig.start("production", payload={"jobs": list(jobs), **more})


def signal(rig: Rig, workflow_id: int, name: str, payload: Any = None) -> None:
    rig.call("workflow_signal", workflow_id, name, payload)


def test_steps_runs_and_jobs_in_order(rig: Rig) -> None:
    """The step is shown; what was produced is the result."""
    workflow_id = produce(rig, job("plank", 2, 3, runs=2), job("bow", 4))
    steps = []
    for _ in range(14):
        steps.append(rig.row("workflow", workflow_id).current_step.removeprefix("running:"))
        rig.advance(seconds(1))
    assert steps == ["step0"] * 2 + ["step1"] * 3 + ["step0"] * 2 + ["step1"] * 3 + ["step0"] * 4
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.current_step) == (Status.COMPLETED, "finished")
    assert orjson.loads(row.result) == {"produced": {"plank": 2, "bow": 1}}
    assert LoudProduction.heard == [("plank", 5), ("plank", 10), ("bow", 14), "finished"]


def test_a_chain_finished_during_downtime_has_exact_times(rig: Rig) -> None:
    """P1: five jobs across a downtime: each begins at the logical end of the one before."""
    workflow_id = produce(rig, *[job(f"item{i}", 10 + i) for i in range(5)])
    rig.advance(seconds(15))
    rig.crash()
    rig.advance(minutes(60))
    rig.reopen()
    assert LoudProduction.heard == [
        ("item0", 10), ("item1", 21), ("item2", 33), ("item3", 46), ("item4", 60), "finished",
    ]  # fmt: skip
    row = rig.row("workflow", workflow_id)
    assert row.updated_at == row.created_at + seconds(60)


def test_a_pause_keeps_exactly_what_is_left(rig: Rig) -> None:
    """Paused at 3 of 10 seconds, for an hour with a crash: seven more, to the microsecond."""
    workflow_id = produce(rig, job("bow", 10))
    rig.advance(seconds(3))
    signal(rig, workflow_id, "pause")
    assert rig.row("workflow", workflow_id).current_step == "paused"
    rig.advance(minutes(30))
    rig.crash()
    rig.advance(minutes(30))
    rig.reopen()
    signal(rig, workflow_id, "resume")
    rig.advance(seconds(7) - 1)
    assert LoudProduction.heard == []
    rig.advance(1)
    assert LoudProduction.heard == [("bow", 3610), "finished"]


def test_reasons_to_pause_are_a_set(rig: Rig) -> None:
    """P7: one of two cleared is still paused; the same twice is one; an unknown one changes nothing."""
    workflow_id = produce(rig, job("bow", 10))
    for reason in ("power", "owner", "power"):
        signal(rig, workflow_id, "pause", [reason])
    signal(rig, workflow_id, "resume", {"reason": "power"})
    signal(rig, workflow_id, "resume", {"reason": "weather"})
    assert rig.row("workflow", workflow_id).current_step == "paused"
    signal(rig, workflow_id, "resume", {"reason": "owner"})
    assert rig.row("workflow", workflow_id).current_step == "running:step0"
    rig.advance(seconds(10))
    assert rig.row("workflow", workflow_id).status is Status.COMPLETED


def test_jobs_can_be_added(rig: Rig) -> None:
    """The same request twice counts once."""
    workflow_id = produce(rig, job("bow", 10))
    rig.advance(seconds(5))
    for _ in range(3):
        signal(rig, workflow_id, "enqueue", {"job": job("arrow", 2), "request_id": "r1"})
    signal(rig, workflow_id, "enqueue", {"job": job("arrow", 2)})
    rig.advance(seconds(9))
    assert LoudProduction.heard == [("bow", 10), ("arrow", 12), ("arrow", 14), "finished"]


@pytest.mark.parametrize(
    ("after_s", "refund"),
    [(0, 550), (9.999999, 550), (10, 450), (25, 350), (30, 250), (39, 250), (69, 150)],
)
def test_cancelling_refunds_what_was_not_used(rig: Rig, after_s: float, refund: int) -> None:
    """P3, P5: all of what was not begun, half of the run in work, nothing of what is finished."""
    workflow_id = produce(
        rig, job("plank", 4, 6, runs=3, cost=100), job("bow", 20, runs=2, cost=100), job("x", 1, cost=100)
    )
    rig.advance(round(after_s * seconds(1)))
    rig.call("workflow_cancel", workflow_id, "changed my mind")
    result = orjson.loads(rig.row("workflow", workflow_id).result)
    produced = sum(result["produced"].values())
    assert result["refund"] == refund
    assert result["refund"] + produced * 100 <= 600
    assert LoudProduction.heard[-1] == ("refund", result["refund"])


def test_at_its_end_it_cannot_be_cancelled(rig: Rig) -> None:
    """P3: cancel and ready in the same instant: ready comes first."""
    workflow_id = produce(rig, job("bow", 10, cost=100))
    rig.clock.move_to(rig.clock.now() + seconds(10))
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_cancel", workflow_id, "too late")
    assert caught.value.code == "not_active"
    assert LoudProduction.heard == [("bow", 10), "finished"]


def test_a_cancelled_job_is_not_finished_later(rig: Rig) -> None:
    """P9: no completion of a job that is gone."""
    workflow_id = produce(rig, job("bow", 10, cost=100), refund_percent=100)
    rig.call("workflow_cancel", workflow_id, "x")
    rig.advance(minutes(1))
    assert LoudProduction.heard == [("refund", 100)]


@pytest.mark.parametrize(
    "payload",
    [
        {"jobs": []},
        {"jobs": [{"recipe": "x", "steps": []}]},
        {"jobs": [{"recipe": "x", "steps": [{"name": "a", "duration_us": 0}]}]},
        {"jobs": [{"recipe": "x", "steps": [{"name": "a", "duration_us": 49_999}]}]},
        {"jobs": [{"recipe": "x", "steps": [{"name": "a", "duration_us": days(40_000)}]}]},
        {"jobs": [{"recipe": "x", "steps": [{"name": "a", "duration_us": 60_000}], "runs": 2**60}]},
        {"jobs": [{"recipe": "x", "steps": [{"name": "a", "duration_us": 60_000}], "runs": 0}]},
        {"jobs": [{"recipe": "x", "steps": [{"name": "a", "duration_us": 60_000}], "cost": -1}]},
        {"jobs": [{"recipe": "x", "steps": [{"name": "a", "duration_us": 60_000}]}], "refund_percent": 101},
    ],
)
def test_bad_queues_are_refused(rig: Rig, payload: Any) -> None:
    """Nothing is stored."""
    with pytest.raises(SenderError) as caught:
        rig.start("production", payload=payload)
    assert caught.value.code == "bad_arguments"


def test_a_lost_timer_begins_the_step_again(rig: Rig) -> None:
    """C01: taken up at the next start; a paused one stays paused."""
    running, paused = produce(rig, job("bow", 10)), produce(rig, job("bow", 10))
    signal(rig, paused, "pause")

    def lose(ctx: Any) -> None:
        for timer in ctx.db.workflow_timer:
            ctx.db.workflow_timer.delete(timer)
        for workflow_id in (running, paused):
            ctx.db.workflow.update(workflow_id, status=Status.RUNNING)

    rig.run(lose)
    rig.crash()
    rig.reopen()
    assert [t.workflow_id for t in rig.rows("workflow_timer")] == [running]
    assert rig.row("workflow", paused).status is Status.SUSPENDED
