"""``production``: a queue of jobs is worked off, step by step and run by run.

    start ──▶ running:step ⇄ (next step, run, job) ──queue empty──▶ Completed {"produced": {recipe: runs}}
                 │   ▲
           pause ▼   │ resume, when no reason is left
               paused

A step begins at the logical end of the one before it, so a queue that was finished while the server was down ends
with the same times as one that was watched. Reasons to pause are a set; the step goes on with exactly what was left of
it. Cancelling gives back what it cost: all of a run not begun, a part of the run in work, nothing of finished ones.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from workflows.handle import Timer, Workflow
from workflows.handler import Handler
from workflows.payload import Payload
from workflows.types.spans import Count, Period

Cost = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One step of a recipe."""

    name: str
    duration_us: Period


class Job(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """``runs`` runs of one recipe; ``cost`` is what one run cost, in whatever the game counts."""

    recipe: str
    steps: Annotated[list[Step], msgspec.Meta(min_length=1, max_length=100)]
    runs: Count = 1
    cost: Cost = 0


class ProductionStart(Payload):
    """A queue. ``refund_percent`` is given back of the run in work when it is cancelled."""

    jobs: Annotated[list[Job], msgspec.Meta(min_length=1, max_length=100)]
    refund_percent: Percent = 50
    data: Any = None


class Pause(Payload):
    """A reason to stand still."""

    reason: str = "paused"


class Resume(Payload):
    """A reason that is gone."""

    reason: str = "paused"


class Enqueue(Payload):
    """One more job at the end; with a ``request_id``, the same request sent twice counts once."""

    job: Job
    request_id: str | None = None


class ProductionState(msgspec.Struct, omit_defaults=True):
    """What is left to do, the job in work first: of it, ``run`` runs and ``step`` steps of the present run are done."""

    jobs: list[Job]
    run: int
    step: int
    refund_percent: int
    produced: dict[str, int]
    reasons: list[str] = []
    remaining_us: int | None = None
    requests: list[str] = []
    data: Any = None


_REQUESTS_KEPT = 100


class Production(Handler[ProductionState]):
    """The built-in production; see the module."""

    name = "production"
    clock = "wall"
    timers = ("step",)
    signals = {"pause": Pause, "resume": Resume, "enqueue": Enqueue}

    # -- for games ---------------------------------------------------------------------------

    def on_produced(self, w: Workflow[ProductionState], job: Job) -> None:
        """One run of a job is finished; ``w.now`` is when."""

    def on_finished(self, w: Workflow[ProductionState]) -> None:
        """The queue is empty."""

    def on_refund(self, w: Workflow[ProductionState], amount: int) -> None:
        """It was cancelled, and this much is given back."""

    # -- its life ----------------------------------------------------------------------------

    def on_start(self, w: Workflow[ProductionState], payload: ProductionStart) -> None:
        """Begin with the first job."""
        w.state = ProductionState(
            payload.jobs, run=0, step=0, refund_percent=payload.refund_percent, produced={}, data=payload.data
        )
        self._begin_step(w)

    def on_timer(self, w: Workflow[ProductionState], timer: Timer) -> None:
        """A step is finished; so may be the run, the job and the queue."""
        state, job = w.state, w.state.jobs[0]
        state.step += 1
        if state.step == len(job.steps):
            state.step = 0
            state.run += 1
            state.produced[job.recipe] = state.produced.get(job.recipe, 0) + 1
            self.on_produced(w, job)
            if state.run == job.runs:
                state.run = 0
                del state.jobs[0]
        if state.jobs:
            self._begin_step(w)
        else:
            w.step = "finished"
            self.on_finished(w)
            w.complete({"produced": state.produced})

    def on_pause(self, w: Workflow[ProductionState], payload: Pause) -> None:
        """Stand still, keeping what is left of the step."""
        state = w.state
        if payload.reason in state.reasons:
            return
        if not state.reasons:
            state.remaining_us = w.remaining_us("step")
            w.cancel_timer("step")
            w.step = "paused"
        state.reasons = [*state.reasons, payload.reason]

    def on_resume(self, w: Workflow[ProductionState], payload: Resume) -> None:
        """Go on once the last reason is gone."""
        state = w.state
        if payload.reason not in state.reasons:
            return
        state.reasons = [reason for reason in state.reasons if reason != payload.reason]
        if not state.reasons:
            left, state.remaining_us = state.remaining_us, None
            self._begin_step(w, left)

    def on_enqueue(self, w: Workflow[ProductionState], payload: Enqueue) -> None:
        """One more job."""
        state = w.state
        if payload.request_id is not None:
            if payload.request_id in state.requests:
                return
            state.requests = [*state.requests, payload.request_id][-_REQUESTS_KEPT:]
        state.jobs = [*state.jobs, payload.job]

    def on_cancel(self, w: Workflow[ProductionState], reason: str) -> Any:
        """Give back what was not used up."""
        amount = self.refund(w.state)
        w.step = "cancelled"
        self.on_refund(w, amount)
        return {"refund": amount, "produced": w.state.produced}

    def on_recover(self, w: Workflow[ProductionState]) -> None:
        """If it has no timer though it should: the step begins again."""
        if not w.state.reasons and not w.has_timer():
            self._begin_step(w)

    def refund(self, state: ProductionState) -> int:
        """What cancelling now would give back: never more than what is unfinished has cost."""
        whole = sum(job.cost * job.runs for job in state.jobs)
        if not state.jobs:
            return 0
        job = state.jobs[0]
        in_work = job.cost * (100 - state.refund_percent) // 100
        return whole - job.cost * state.run - in_work

    @staticmethod
    def _begin_step(w: Workflow[ProductionState], left_us: int | None = None) -> None:
        step = w.state.jobs[0].steps[w.state.step]
        w.step = f"running:{step.name}"
        w.timer("step", after_us=step.duration_us if left_us is None else left_us)
