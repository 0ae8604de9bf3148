"""Failures at the edges: bounds, types that change or go, what is told, slow tries, decisions of the handler's own."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError, minutes, seconds
from reactor.budget import CallBudgetExceededError
from tests.workflows.conftest import MakeRig
from tests.workflows.control.conftest import seen
from tests.workflows.control.samples import TYPES, Fragile, broken, fails
from tests.workflows.control.test_faults import errors, say
from workflows import Handler, NoPayload, Status, Timer, Workflow, WorkflowEngine
from workflows.control.errorlog import ERRORS_MAX
from workflows.handle import Cause, EventSeen, TaskEnd
from workflows.policy import ErrorPolicy, Then


def test_failures_are_kept_in_bounds(make_rig: MakeRig) -> None:
    """E25: so many of each workflow, the newest; those of others stay."""

    class Endless(Fragile):
        name = "endless"
        on_error = ErrorPolicy(attempts=1_000, first_delay_us=seconds(1), max_delay_us=seconds(1))

    rig = make_rig(Endless)
    broken["boom"], broken["bang"] = -1, 1
    one, other = rig.start("endless"), rig.start("endless")
    say(rig, other, "bang")
    say(rig, one, "boom")
    rig.advance(seconds(ERRORS_MAX + 10))
    assert len(errors(rig, one)) == ERRORS_MAX
    assert errors(rig, one)[-1].attempt == ERRORS_MAX + 11
    assert len(errors(rig, other)) == 1
    rig.call("workflow_terminate", one, "enough")


def test_a_long_traceback_is_cut(make_rig: MakeRig) -> None:
    """E25: its end is kept, which names the place."""

    class Wordy(Handler[None]):
        name = "wordy"
        signals = {"go": NoPayload}

        def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
            """Waits."""

        def on_go(self, w: Workflow[None], payload: NoPayload) -> None:
            raise RuntimeError("x" * 100_000 + "the end")

    rig = make_rig(Wordy)
    rig.call("workflow_signal", rig.start("wordy"), "go")
    (error,) = errors(rig)
    assert len(error.traceback) == 8_000
    assert error.traceback.rstrip().endswith("the end")
    assert len(error.message) == 2_000


def test_a_retry_whose_type_is_gone_waits_for_it(make_rig: MakeRig) -> None:
    """A106, REQ-11: it is neither lost nor run; the start at which the type is back goes on with it."""
    rig = make_rig(*TYPES)
    broken["boom"] = 1
    workflow_id = rig.start("stubborn")
    say(rig, workflow_id, "boom")
    types = [t for t in TYPES if t.name != "stubborn"]
    rig.crash()
    rig.reopen(WorkflowEngine(types, skip_types=["stubborn"]))
    rig.advance(minutes(1))
    assert rig.row("workflow", workflow_id).status is Status.FAULTED
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_retry", workflow_id)
    assert caught.value.code == "unknown_type"
    rig.crash()
    rig.reopen(WorkflowEngine(TYPES))
    assert seen(rig, workflow_id) == ["start", "boom"]


def test_what_its_type_cannot_read_any_more_stays_parked(make_rig: MakeRig) -> None:
    """E32: the declaration has changed since; it is told, and nothing is lost."""

    class Changed(Fragile):
        name = "stubborn"
        signals = {}
        on_error = ErrorPolicy(attempts=3, first_delay_us=seconds(1), then=Then.PARK)

    rig = make_rig(*TYPES)
    broken["boom"] = 1
    workflow_id = rig.start("stubborn")
    say(rig, workflow_id, "boom")
    rig.crash()
    rig.reopen(WorkflowEngine([*(t for t in TYPES if t.name != "stubborn"), Changed]))
    rig.advance(minutes(1))
    row = rig.row("workflow", workflow_id)
    assert row.status is Status.FAULTED
    assert "declares no signal 'say' any more" in row.error_message


@pytest.mark.parametrize("what", ["event", "task"])
def test_news_is_told_again(make_rig: MakeRig, what: str) -> None:
    """REQ-11: events and ends of tasks as well, with all they said, over a crash."""

    class Listener(Fragile):
        name = "listener"
        on_error = ErrorPolicy(attempts=2, first_delay_us=seconds(1), then=Then.PARK)

        def on_event(self, w: Workflow[Any], event: EventSeen) -> None:
            self._note(w, f"{event.name} {event.key} {event.data} {event.at}")

        def on_task_end(self, w: Workflow[Any], task: TaskEnd) -> None:
            self._note(w, f"{task.name} {task.status} {task.result} {task.attempt}")

    rig = make_rig(Listener)
    one = rig.start("listener")
    news: dict[str, tuple[str, Any, str]] = {
        "event": ("on_event", EventSeen(1, "rain", "north", '{"mm":3}', 7, None), 'rain north {"mm":3} 7'),
        "task": ("on_task_end", TaskEnd(1, "q", "paint", "completed", "[1]", None, 2, None), "paint completed [1] 2"),
    }
    hook, told, noted = news[what]
    broken[noted] = 1
    tell = rig.module._dispatcher.tell  # type: ignore[attr-defined]
    assert rig.run(lambda ctx: tell(ctx, one, hook, told, Cause(what, "x"))) is True
    assert rig.row("workflow", one).status is Status.FAULTED
    rig.crash()
    rig.advance(seconds(1))
    rig.reopen()
    assert seen(rig, one) == ["start", noted]


class Slow(Handler[None]):
    """Fails, then runs over its time, twice, then works."""

    name = "slow"
    clock = "wall"
    signals = {"go": NoPayload}
    on_error = ErrorPolicy(attempts=5, first_delay_us=seconds(1), factor=1)

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        self._work(w)

    def on_timer(self, w: Workflow[None], timer: Timer) -> None:
        self._work(w)

    def on_go(self, w: Workflow[None], payload: NoPayload) -> None:
        self._work(w)

    @staticmethod
    def _work(w: Workflow[None]) -> None:
        if fails("slow"):
            raise KeyError("a defect")
        if fails("slower"):
            raise CallBudgetExceededError
        w.step = "done"
        w.timer("again", after_us=minutes(10))


@pytest.mark.parametrize("what", ["start", "signal", "timer"])
def test_a_try_that_takes_too_long_counts_as_one(make_rig: MakeRig, what: str) -> None:
    """REQ-11, F7: the call that tries again by itself is the workflow's own; nothing of what it is to do is lost."""
    rig = make_rig(Slow)
    if what == "start":
        # Tried once more by itself each time, to find out whether it or its caller is slow.
        broken.update(slow=1, slower=2)
    one = rig.start("slow")
    if what != "start":
        broken.update(slow=1, slower=2)
        if what == "signal":
            rig.call("workflow_signal", one, "go")
        else:
            rig.advance(minutes(10))
    assert rig.row("workflow", one).status is Status.FAULTED
    rig.advance(minutes(1))
    assert rig.row("workflow", one).status is Status.SUSPENDED
    assert [e.category for e in errors(rig, one)][:2] == ["application", "task_failure"]
    assert rig.rows("timer_error") == rig.rows("workflow_parked") == []


class Careful(Handler[None]):
    """Gives up by itself, and is told what somebody decided."""

    name = "careful"
    signals = {"go": NoPayload}

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        w.step = "careful"

    def on_go(self, w: Workflow[None], payload: NoPayload) -> None:
        w.step = "half done"
        w.park("somebody must look at this", category="activity")

    def on_retry(self, w: Workflow[None]) -> None:
        w.step = "retried"

    def on_skip(self, w: Workflow[None]) -> None:
        w.step = "skipped"


@pytest.mark.parametrize(("verb", "step"), [("retry", "retried"), ("skip", "skipped")])
def test_a_handler_may_leave_it_to_somebody(make_rig: MakeRig, verb: str, step: str) -> None:
    """E32: what its step did is kept; it is told of the decision, and signals wait meanwhile."""
    rig = make_rig(Careful, audit=True)
    one = rig.start("careful")
    assert rig.call("workflow_signal", one, "go") == "Faulted"
    row = rig.row("workflow", one)
    assert (row.current_step, row.error_message, row.failure_category) == (
        "half done", "somebody must look at this", "activity",
    )  # fmt: skip
    rig.crash()
    rig.reopen()
    assert rig.call(f"workflow_{verb}", one) is True
    row = rig.row("workflow", one)
    assert (row.status, row.current_step, row.error_message) == (Status.SUSPENDED, step, None)
