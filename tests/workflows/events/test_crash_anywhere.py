"""A crash after any step of a story with events and claims changes neither what is told nor what is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reactor import seconds
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.events.support import Waiter, seen
from workflows import WorkflowEngine
from workflows.events import publishing

Act = Callable[[Rig], Any]


def publish(data: Any, *more: Any) -> Act:
    return lambda rig: rig.call("event_publish", "rain", "", data, *more)


def wait(**payload: Any) -> Act:
    return lambda rig: rig.start("waiter", payload=payload)


STORY: list[Act] = [
    wait(times=3),
    wait(lasting=True),
    publish("a"),
    wait(lasting=True),
    publish("b", None, True, "once"),
    publish("b", None, True, "once"),
    lambda rig: rig.call("event_claim_first", "rain", "", "token", "w", seconds(5)),
    publish("c", None, False),
    wait(as_of=1, times=2),
    lambda rig: rig.advance(seconds(5)),
    publish("d"),
    *(wait() for _ in range(5)),
    publish("e"),
    publish("f"),
    publish("stop"),
]


def play(crash_after: int | None) -> list[Any]:
    """What everybody was told after each act, and what is left."""
    told: list[Any] = []
    with Rig(WorkflowEngine([Waiter])) as rig:
        for at, act in enumerate(STORY):
            act(rig)
            if crash_after in (at, -1):
                rig.crash()
                rig.reopen()
            assert_invariants(rig)
            told.append([(row.status, seen(rig, row.id)) for row in rig.rows("workflow")])
            told.append([(sub.name, sub.lasting, sub.claim_token) for sub in rig.rows("event_subscription")])
            told.append([(event.data, event.processed) for event in rig.rows("event")])
            assert rig.rows("event_delivery") == rig.rows("workflow_message") == rig.rows("timer_error") == []
    return told


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_crash_after_any_step_changes_nothing(monkeypatch: pytest.MonkeyPatch, in_pieces: bool) -> None:
    """E20, E21, F2: every step is tried, and a run with a crash after each."""
    if in_pieces:
        monkeypatch.setattr(publishing, "AT_ONCE_MAX", 2)
        monkeypatch.setattr(publishing, "CHUNK", 2)
    undisturbed = play(None)
    for crash_after in range(-1, len(STORY)):
        assert play(crash_after) == undisturbed, f"crash after step {crash_after}"
