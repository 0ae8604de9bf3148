"""What is no ``Exception`` and yet raised by a handler: its workflow alone bears it, and the server goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from reactor import SenderError, seconds
from tests.workflows.conftest import MakeRig
from workflows import Handler, NoPayload, Payload, Timer, Workflow


class Stray(BaseException):
    """As libraries raise to get past ``except Exception``."""


STRAYS: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(3),
    "generator exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "base": Stray,
}


class Where(Payload):
    """In which method it raises, and what."""

    at: str = ""
    what: str = "cancelled"


class Astray(Handler[Where]):
    """Raises where it was told to, after it has written something."""

    name = "astray"
    clock = "wall"
    signals = {"poke": NoPayload}
    updates = {"ask": NoPayload}
    queries = {"look": NoPayload}

    def on_start(self, w: Workflow[Where], payload: Where) -> None:
        w.state = payload
        w.timer("tick", after_us=seconds(1))
        self.go(w, "start")

    def on_timer(self, w: Workflow[Where], timer: Timer) -> None:
        self.go(w, "timer")

    def on_poke(self, w: Workflow[Where], payload: NoPayload) -> None:
        self.go(w, "signal")

    def on_cancel(self, w: Workflow[Where], reason: str) -> None:
        self.go(w, "cancel")

    def update_ask(self, w: Workflow[Where], payload: NoPayload) -> int:
        return self.go(w, "update")

    def query_look(self, w: Workflow[Where], payload: NoPayload) -> int:
        return self.go(w, "query")

    @staticmethod
    def go(w: Workflow[Where], at: str) -> int:
        if w.state.at == at:
            w.step = "should be undone"
            raise STRAYS[w.state.what]()
        return 1


@pytest.mark.parametrize("what", STRAYS)
@pytest.mark.parametrize("at", ["start", "timer", "signal"])
def test_its_workflow_alone_bears_it(make_rig: MakeRig, at: str, what: str) -> None:
    """A62, P7: the step is undone and the workflow fails; one that does the same without raising goes on."""
    rig = make_rig(Astray)
    one = rig.start("astray", payload={"at": at, "what": what})
    other = rig.start("astray")
    if at == "signal":
        both = rig.run(lambda ctx: [ctx.workflows.signal(i, "poke") for i in (one, other)])
        assert both == ["Failed", "Suspended"]
    rig.advance(seconds(1))
    row = rig.row("workflow", one)
    assert (row.status, row.failure_category, row.current_step) == ("Failed", "task_failure", "started")
    assert f"it raised {type(STRAYS[what]()).__name__}" in row.error_message
    assert rig.rows("timer_error") == []
    rig.crash()
    rig.reopen()
    assert rig.call("workflow_query", other, "look") == 1


@pytest.mark.parametrize("what", STRAYS)
def test_what_is_asked_is_undone_alone(make_rig: MakeRig, what: str) -> None:
    """P7: an update, a query and a cancel; the workflow goes on, or ends as it was to."""
    rig = make_rig(Astray)
    asked = {at: rig.start("astray", payload={"at": at, "what": what}) for at in ("update", "query", "cancel")}
    assert rig.call("attempt_workflow_update", asked["update"], "ask")["outcome"] == "failed"
    answer = rig.connect("a" * 32).ask(call="workflow_query", args=[asked["query"], "look"])
    assert answer["error"]["code"] == "internal"
    assert rig.call("workflow_cancel", asked["cancel"], "enough") == "Cancelled"
    assert [rig.row("workflow", i).status for i in asked.values()] == ["Suspended", "Suspended", "Cancelled"]
    assert [r.category for r in rig.rows("execution_error")] == ["task_failure", "cancelled"]


def test_ctrl_c_is_not_kept_back(make_rig: MakeRig) -> None:
    """The one who runs the server ends it."""
    rig = make_rig(Astray)

    def stop(ctx: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rig.run(stop)
    rig.crash()
    rig.reopen()
    assert rig.start("astray") == 1


@pytest.mark.parametrize("what", STRAYS)
def test_a_scheduled_command_is_kept_for_later(make_rig: MakeRig, what: str) -> None:
    """D58: as after any other failure of it."""
    rig = make_rig(Astray)
    tries: list[int] = []

    def fails_once(ctx: Any, data: Any) -> None:
        tries.append(ctx.now)
        if len(tries) == 1:
            raise STRAYS[what]()

    module: Any = rig.module
    module.command("fails_once")(fails_once)
    rig.call("command_schedule", "fails_once", None, None, 5)
    rig.advance(seconds(60))
    assert len(tries) == 2 and rig.rows("timer_error") == []


def test_a_refusal_stays_one(make_rig: MakeRig) -> None:
    """A70: what the sender did wrong is told the sender, as before."""
    rig = make_rig(Astray)
    with pytest.raises(SenderError):
        rig.start("astray", payload={"nowhere": 1})
