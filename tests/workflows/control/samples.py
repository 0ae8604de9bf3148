"""Types that fail as they are told, with policies of their own."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor import CatchUp, SenderError, seconds
from reactor.budget import CallBudgetExceededError
from reactor.errors import InvariantError
from workflows import ChildEnd, Handler, NoPayload, Payload, Timer, Workflow
from workflows.failures import FailureCategory
from workflows.policy import ErrorPolicy, Fatal, RetryAfter, Then

broken: dict[str, int] = {}
"""How often what is called so fails before it works; -1 for ever. Outside of the tables, as a defect is."""


def fails(what: str) -> bool:
    """Whether it fails this time."""
    left = broken.get(what, 0)
    if left > 0:
        broken[what] = left - 1
    return left != 0


class ActivityError(Exception):
    """As a step of a script raises."""

    category = FailureCategory.ACTIVITY


class ChildError(Exception):
    """As the await of a child raises."""

    category = FailureCategory.CHILD


ERRORS: dict[str, Any] = {
    "application": lambda: KeyError("a defect"),
    "activity": lambda: ActivityError("no answer"),
    "child": lambda: ChildError("the child failed"),
    "internal": lambda: InvariantError("this cannot be"),
    "task_failure": CallBudgetExceededError,
    "fatal": lambda: Fatal("it is no use"),
    "later": lambda: RetryAfter(seconds(7)),
    "sender": lambda: SenderError("sender_error", "not now"),
}


class FragileStart(Payload):
    timers: dict[str, int] = {}
    error: str = "application"
    child: bool = False


class Say(Payload):
    word: str


class FragileState(msgspec.Struct):
    error: str = "application"
    seen: list[str] = []
    at: list[list[int]] = []


class Fragile(Handler[FragileState]):
    """Notes what it is told; what ``broken`` names fails."""

    name = "fragile"
    clock = "wall"
    signals = {"say": Say, "fail": NoPayload, "stop": NoPayload, "nested": NoPayload}

    def on_start(self, w: Workflow[FragileState], payload: FragileStart) -> None:
        w.step = "up"
        w.state.error = payload.error
        for name, after in payload.timers.items():
            w.timer(name, after_us=after)
        if payload.child:
            w.start_child("brittle", payload={"timers": {"grow": seconds(1)}})
        self._note(w, "start")

    def on_timer(self, w: Workflow[FragileState], timer: Timer) -> None:
        w.state.at.append([w.now, timer.due_at, timer.fired_at])
        self._note(w, timer.name)

    def on_say(self, w: Workflow[FragileState], payload: Say) -> None:
        self._note(w, payload.word)

    def on_fail(self, w: Workflow[FragileState], payload: NoPayload) -> None:
        w.fail("it has had enough")

    def on_stop(self, w: Workflow[FragileState], payload: NoPayload) -> None:
        w.complete(w.state.seen)

    def on_nested(self, w: Workflow[FragileState], payload: NoPayload) -> None:
        w.workflows.suspend(w.id, "from its own step")
        self._note(w, "nested")

    def on_child_end(self, w: Workflow[FragileState], child: ChildEnd) -> None:
        self._note(w, f"child {child.status}")

    def on_cancel(self, w: Workflow[FragileState], reason: str) -> Any:
        self._note(w, "cancel")
        return {"seen": w.state.seen}

    def _note(self, w: Workflow[FragileState], what: str) -> None:
        w.state.seen.append(what)
        w.step = what
        if fails(what):
            w.timer("never", after_us=1)
            raise ERRORS[w.state.error]()


class Stubborn(Fragile):
    """Tries three times, then waits for somebody."""

    name = "stubborn"
    on_error = ErrorPolicy(attempts=3, first_delay_us=seconds(1), factor=3.0, then=Then.PARK)


class Hopeful(Fragile):
    """Tries twice, then fails."""

    name = "hopeful"
    on_error = ErrorPolicy(attempts=2, first_delay_us=seconds(1))


class Parked(Fragile):
    """Waits for somebody at once."""

    name = "parked"
    on_error = ErrorPolicy(attempts=1, then=Then.PARK)


class Doomed(Fragile):
    """Is terminated."""

    name = "doomed"
    on_error = ErrorPolicy(attempts=1, then=Then.TERMINATE)


class Brittle(Fragile):
    """Takes no signals: only its timers wake it."""

    name = "brittle"
    signals = {}
    on_error = ErrorPolicy(attempts=1, then=Then.PARK)

    def on_timer(self, w: Workflow[FragileState], timer: Timer) -> None:
        super().on_timer(w, timer)
        w.complete()


class Ticking(Fragile):
    """An interval, whose missed occurrences are counted."""

    name = "ticking"
    on_error = ErrorPolicy(attempts=5, first_delay_us=seconds(1), factor=1.0, then=Then.PARK)

    def on_start(self, w: Workflow[FragileState], payload: FragileStart) -> None:
        w.timer("tick", interval_us=seconds(2), catch_up=CatchUp.FIRE_ALL)


TYPES = (Fragile, Stubborn, Hopeful, Parked, Doomed, Brittle, Ticking)
