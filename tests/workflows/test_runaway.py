"""Whose fault it is when the time of a call is used up: the handler's that takes it, and nobody else's."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from reactor import Fault, milliseconds
from reactor.budget import CallBudgetExceededError
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.test_upkeep import behind
from workflows import ChildEnd, Handler, NoPayload, Payload, Status, Timer, Workflow
from workflows.steps import INTERRUPTIONS_MAX


class Told(Payload):
    whom: int


class Runaway(Handler[None]):
    """Runs for ever in whatever it does; ``interrupted`` counts how often it was stopped."""

    name = "runaway"
    clock = "wall"
    signals = {"run": NoPayload}
    interrupted: ClassVar[int] = 0
    guilty: ClassVar[bool] = True

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        if w.parent_id is not None:
            self._run()

    def on_run(self, w: Workflow[None], payload: NoPayload) -> None:
        w.step = "ran"
        self._run()

    def on_cancel(self, w: Workflow[None], reason: str) -> None:
        self._run()

    @classmethod
    def _run(cls) -> None:
        if cls.guilty or not cls.interrupted:
            cls.interrupted += 1
            raise CallBudgetExceededError


class Innocent(Runaway):
    """Is interrupted the first time only: somebody else had used the time up."""

    name = "innocent"
    guilty = False


class Caller(Handler[None]):
    """Signals all the others when its timer fires, or one when it is told to."""

    name = "caller"
    clock = "wall"
    signals = {"go": Told}

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        w.timer("t", after_us=1_000)

    def on_timer(self, w: Workflow[None], timer: Timer) -> None:
        for whom in w.workflows.find():
            if whom.id != w.id:
                self.on_go(w, Told(whom.id))

    def on_go(self, w: Workflow[None], payload: Told) -> None:
        w.step = w.workflows.signal(payload.whom, "run")


@pytest.fixture(autouse=True)
def _nobody_ran() -> None:
    Runaway.interrupted = Innocent.interrupted = 0


def statuses(rig: Rig, *ids: int) -> list[Status]:
    return [rig.row("workflow", workflow_id).status for workflow_id in ids]


def test_who_signals_a_runaway_goes_on(make_rig: MakeRig) -> None:
    """A44, REQ-11: it alone fails, with the reason; the caller is told as of any defect."""
    rig = make_rig(Caller, Runaway)
    runaway, caller = rig.start("runaway"), rig.start("caller")
    rig.advance(milliseconds(10))
    assert statuses(rig, runaway, caller) == [Status.FAILED, Status.SUSPENDED]
    assert rig.row("workflow", runaway).error_message == "it ran longer than 2.0 s"
    assert rig.row("workflow", caller).current_step == "Failed"
    assert rig.rows("timer_error") == []


def test_who_is_interrupted_in_anothers_time_does_not_fail(make_rig: MakeRig) -> None:
    """A44: given the time of a call to itself it gets through, so whoever called it has used the time up."""
    rig = make_rig(Caller, Innocent)
    innocent, caller = rig.start("innocent"), rig.start("caller")
    before = rig.row("workflow", innocent)
    rig.advance(milliseconds(10))
    assert statuses(rig, innocent, caller) == [Status.SUSPENDED, Status.FAILED]
    assert Innocent.interrupted == 1
    assert rig.row("workflow", caller).error_message == "it ran longer than 2.0 s"
    assert rig.row("workflow", innocent) is before, "what it did for a caller that failed is undone with the caller"


def test_in_a_call_of_a_client_the_outermost_step_is_the_calls(make_rig: MakeRig) -> None:
    """The client is told, and nothing is stored; a step inside it is told apart as ever."""
    rig = make_rig(Caller, Runaway)
    runaway, caller = rig.start("runaway"), rig.start("caller")
    with pytest.raises(Fault) as caught:
        rig.call("workflow_signal", runaway, "run")
    assert caught.value.code == "budget_exceeded"
    assert statuses(rig, runaway) == [Status.SUSPENDED]
    assert rig.call("workflow_signal", caller, "go", {"whom": runaway}) == "Suspended"
    assert statuses(rig, runaway, caller) == [Status.FAILED, Status.SUSPENDED]


def test_a_child_that_runs_away_in_its_start_is_a_failed_child(make_rig: MakeRig) -> None:
    """A66: the parent hears of its end."""

    class Parent(Handler[None]):
        name = "parent"

        def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
            w.start_child("runaway")

        def on_child_end(self, w: Workflow[None], child: ChildEnd) -> None:
            w.complete(child.error_message)

    rig = make_rig(Parent, Runaway)
    parent = rig.row("workflow", rig.start("parent"))
    assert (parent.status, parent.result) == (Status.COMPLETED, '"it ran longer than 2.0 s"')


def test_a_runaway_can_be_cancelled(make_rig: MakeRig) -> None:
    """Without its ``on_cancel``; there would be no other way to be rid of it."""
    rig = make_rig(Runaway)
    runaway = rig.start("runaway")
    assert rig.call("workflow_cancel", runaway, "enough") == "Cancelled"


def test_patience_has_an_end(make_rig: MakeRig) -> None:
    """P7: a call full of runaways does not take their time twice each; it fails as a whole."""
    rig = make_rig(Caller, Runaway)
    runaways = [rig.start("runaway") for _ in range(INTERRUPTIONS_MAX + 1)]
    caller = rig.start("caller")
    rig.advance(milliseconds(10))
    assert statuses(rig, caller, *runaways) == [Status.FAILED, *[Status.SUSPENDED] * len(runaways)]
    assert Runaway.interrupted == 2 * INTERRUPTIONS_MAX + 1


class Slow(Handler[None]):
    """Uses up a third of a call whenever its timer fires; see ``spent``."""

    name = "slow"
    clock = "wall"
    spent: ClassVar[int] = 0

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        w.timer("t", after_us=1_000)

    def on_timer(self, w: Workflow[None], timer: Timer) -> None:
        Slow.spent += 1
        if Slow.spent > 3:
            Slow.spent = 0
            raise CallBudgetExceededError
        w.complete()


def test_a_tick_by_hand_stops_when_its_time_is_up(make_rig: MakeRig) -> None:
    """A44: none of many slow ones fails for the sum of them; the rest is for the next call."""
    rig = make_rig(Slow)
    Slow.spent = 0
    ids = [rig.start("slow") for _ in range(5)]
    fired: list[Any] = [behind(rig, "workflow_tick", rig.clock.now() + 2_000)]
    assert statuses(rig, *ids) == [*[Status.COMPLETED] * 3, *[Status.SUSPENDED] * 2]
    fired.append(behind(rig, "workflow_tick", rig.clock.now()))
    assert fired == [b"3", b"2"]
    assert statuses(rig, *ids) == [Status.COMPLETED] * 5


def test_a_tick_by_hand_fails_one_that_takes_a_whole_call_alone(make_rig: MakeRig) -> None:
    """A44: else the first in line would keep all others from being fired, for ever."""

    class Loop(Slow):
        name = "loop"

        def on_timer(self, w: Workflow[None], timer: Timer) -> None:
            raise CallBudgetExceededError

    rig = make_rig(Loop, Slow)
    Slow.spent = 0
    loop, slow = rig.start("loop"), rig.start("slow")
    assert behind(rig, "workflow_tick", rig.clock.now() + 2_000) == b"1"
    assert statuses(rig, loop, slow) == [Status.FAILED, Status.SUSPENDED]
    assert behind(rig, "workflow_tick", rig.clock.now()) == b"1"
    assert statuses(rig, slow) == [Status.COMPLETED]
